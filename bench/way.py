"""The way of records on AWS in one process: Firehose and DynamoDB simulated, the rest is real."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.dynamo.client import Client
from bench.simulator import (
    Bucket,
    Clock,
    Faults,
    Secret,
    Settings,
    Stream,
    drive,
    endpoint_in_process,
)
from bench.streams import CONTRACT, FIRST_BLOCK, GENESIS
from ngu_points.aws import changes, records
from ngu_points.aws.dynamo import Dynamo
from ngu_points.aws.endpoint import Response, handle
from ngu_points.aws.records import Origin
from ngu_points.aws.store import Store
from ngu_points.aws.tables import BATCH_EVENTS, STAKING_EVENTS, TABLES, TOKENS, creation
from ngu_points.engine.coverage import STREAMS
from ngu_points.engine.rules import Rules
from ngu_points.errors import NguError
from ngu_points.pipeline.interfaces import Change
from ngu_points.pipeline.persist import persist
from ngu_points.pipeline.process import process

STEP = 2_000
"""Events of a step, as the function takes them."""
EVENT_TABLES = (BATCH_EVENTS, STAKING_EVENTS)
CHAIN = 8_453
KEY = "load"


class CountingStore(Store):
    """The store, noting how many rows each step changes: what the targets are about."""

    changed: Counter[str]

    def apply(self, change: Change, now: int) -> None:
        step = changes.step_of(change, None, -1, {}, now)
        for write in step.writes:
            self.changed[write.table] += 1
            if write.table == TOKENS:
                self.changed["OwnerIndex"] += _entries(write.before, write.after)
        super().apply(change, now)


def _entries(before: dict[str, Any] | None, after: dict[str, Any] | None) -> int:
    """Rows of the index of owners that a change of a run touches."""
    if before and after and before["owner"] == after["owner"]:
        return int(before["first"] != after["first"])
    return sum(1 for row in (before, after) if row)


@dataclass
class Way:
    """From the monitor's records to the state, in virtual time."""

    rules: Rules
    clock: Clock = field(default_factory=lambda: Clock(float(GENESIS)))
    client: Client = field(default_factory=Client)
    size: int = 1 << 20  # Firehose's buffer, in bytes
    interval: float = 60.0
    requests: int = 0
    refused: int = 0  # deliveries that have to come again
    put_records: int = 0
    put_bytes: int = 0
    seconds: Counter[str] = field(default_factory=Counter)  # of processor, by pure part
    sent: dict[bytes, float] = field(default_factory=dict)  # when each record was put
    written: list[float] = field(default_factory=list)  # seconds from there to its row

    def __post_init__(self) -> None:
        self.origin = Origin("prod", CHAIN, (CONTRACT,))
        self.streams = {name: self._stream(name) for name in STREAMS}
        self.dynamo = Dynamo(self.client, "ngu", "prod", self._sleep, random.Random(1), threads=1)
        for table in TABLES:
            self.client.create_table(**creation(table, self.dynamo.names[table.name]))
        self.store = CountingStore(self.dynamo, self.rules)
        self.store.changed = Counter()
        self.store.identify(CHAIN, "0x" + CONTRACT.hex(), "ngu", FIRST_BLOCK)
        self.store.lead("load", self.now)

    @property
    def now(self) -> int:
        return int(self.clock.now)

    def put(self, name: str, lines: Sequence[bytes], rounded: int) -> None:
        """Records as the monitor puts them; each is billed as a multiple of `rounded` bytes."""
        for line in lines:
            self.sent[line] = self.clock.now
            self.streams[name].put(line)
            self.put_bytes += -(-len(line) // rounded) * rounded
        self.put_records += len(lines)

    def wait(self, seconds: float) -> None:
        """Let time pass, and Firehose deliver."""
        drive(list(self.streams.values()), seconds, self._endpoint)
        for stream in self.streams.values():  # a million records need not all be kept
            for kept in (stream.attempts, stream.accepted, stream.delivered):
                kept.clear()
            stream.bucket.objects.clear()

    def process(self) -> int:
        """Fold all that is complete; how many events."""
        events = 0
        while step := process(self.store, self.rules, self.now, STEP):
            events += len(step.events)
        return events

    def bound(self, writes: int) -> None:
        """Give the event tables and their indexes an on-demand maximum."""
        maximum = {"MaxWriteRequestUnits": writes}
        for name in EVENT_TABLES:
            table = self.client.tables[self.dynamo.names[name]]
            updates = [{"Update": {"IndexName": index.name, "OnDemandThroughput": maximum}}
                       for index in table.indexes]  # fmt: skip
            self.client.update_table(
                TableName=table.name, OnDemandThroughput=maximum,
                GlobalSecondaryIndexUpdates=updates,
            )  # fmt: skip

    def forget(self) -> None:
        """Drop the rows of processed events before their time: expiry is free."""
        for name in EVENT_TABLES:
            table = self.client.tables[self.dynamo.names[name]]
            for row in [row for row in table.rows.values() if row["processed"]["BOOL"]]:
                table.write(row, None)

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Add what happens here to the processor seconds of a part."""
        began = time.process_time()
        try:
            yield
        finally:
            self.seconds[part] += time.process_time() - began  # type: ignore[assignment]

    def _stream(self, name: str) -> Stream:
        settings = Settings(f"ngu-{name}-events-prod", self.size, self.interval)
        return Stream(settings, self.clock, Bucket(), Secret(KEY), Faults(random.Random(1)))

    def _sleep(self, seconds: float) -> None:
        self.clock.now += seconds

    def _endpoint(self, request: Any) -> Any:
        """Answer a delivery. Time passes while it is made, so that none overlaps another."""
        self.requests += 1
        arn = request.headers["X-Amz-Firehose-Source-Arn"]
        name = next(name for name, s in self.streams.items() if s.settings.arn == arn)

        def answer(got: Any) -> Response:
            return handle(got, [KEY.encode()], partial(self._deliver, name), self.now * 1000)

        outcome = endpoint_in_process(answer)(request)
        self.refused += getattr(outcome, "status", 0) != 200
        return outcome

    def _deliver(self, name: str, batch: Sequence[bytes]) -> None:
        with self.timing("read"):
            found, poison = records.read(batch, name, self.origin)
        if poison:
            raise NguError(f"load: {poison[0].reason}")
        persist(self.store, found, self.now)
        self.written += [
            self.clock.now - self.sent.pop(line) for line in batch if line in self.sent
        ]
