"""A stream with everything around it, for tests that are about one thing of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aws.firehose.backup import Bucket, failed_records
from aws.firehose.protocol import Answer, HttpRequest, Outcome
from aws.firehose.stream import Clock, Faults, Secret, Settings, Stream, drive
from ngu_points.aws.endpoint import Request, Response

NAME = "ngu-batch-events-staging"
START = 1_700_000_000.0


def accepting(request: HttpRequest) -> Answer:
    """An endpoint to which everything is welcome."""
    name = request.headers["X-Amz-Firehose-Request-Id"]
    return saying(200, {"requestId": name, "timestamp": int(START * 1000)})


def saying(status: int, body: Any, seconds: float = 0.0, **headers: str) -> Answer:
    """An answer with the headers that Firehose wants, unless others are given."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json", "Content-Length": str(len(raw))}
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, given | changed, raw, seconds)


def endpoint_in_process(
    handle: Callable[[Request], Response], seconds: float = 0.0
) -> Callable[[HttpRequest], Outcome]:
    """The real handler as an endpoint of `drive`, answering after some virtual seconds."""

    def answer(request: HttpRequest) -> Outcome:
        response = handle(Request(request.headers, request.body))
        return Answer(response.status, response.headers, response.body, seconds)

    return answer


@dataclass
class Scene:
    """One stream, its clock, bucket and key."""

    settings: Settings = field(default_factory=lambda: Settings(NAME))
    faults: Faults = field(default_factory=Faults)
    clock: Clock = field(default_factory=lambda: Clock(START))
    bucket: Bucket = field(default_factory=Bucket)
    secret: Secret = field(default_factory=lambda: Secret("key"))
    endpoint: Callable[[HttpRequest], Outcome] = accepting

    def __post_init__(self) -> None:
        self.stream = Stream(self.settings, self.clock, self.bucket, self.secret, self.faults)

    def put(self, *records: bytes) -> None:
        for record in records:
            self.stream.put(record)

    def wait(self, seconds: float) -> None:
        drive([self.stream], seconds, self.endpoint)

    def times(self) -> list[float]:
        """When delivery was attempted, in seconds since the start."""
        return [attempt.at - START for attempt in self.stream.attempts]

    def batches(self) -> list[list[bytes]]:
        """The records of each attempt."""
        return [[held.data for held in a.batch.records] for a in self.stream.attempts]

    def delivered(self) -> list[bytes]:
        return [held.data for held in self.stream.delivered]

    def failed(self) -> list[bytes]:
        return failed_records(self.bucket, "failed/")

    def saved(self) -> bytes:
        """The backup of all data, in the order of the keys."""
        return b"".join(self.bucket.under("backup/"))
