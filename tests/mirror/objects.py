"""A bucket and a parameter in memory, shaped like what botocore's clients give."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.dynamo.client import Refused

from ngu_points.aws.parameters import Sent


@dataclass
class Objects:
    """S3, as far as the archive and repairs call it."""

    found: dict[str, bytes] = field(default_factory=dict)

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, IfNoneMatch: str = "") -> None:  # noqa: N803
        if IfNoneMatch and Key in self.found:
            raise Refused("PreconditionFailed", "it is there")
        self.found[Key] = Body

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        if Key not in self.found:
            raise Refused("NoSuchKey", "it is not there")
        return {"Body": io.BytesIO(self.found[Key])}

    def delete_object(self, *, Bucket: str, Key: str) -> None:  # noqa: N803
        self.found.pop(Key, None)

    def get_paginator(self, _: str) -> Objects:
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:  # noqa: N803
        written = datetime(2026, 1, 1, tzinfo=UTC)
        keys = sorted(key for key in self.found if key.startswith(Prefix))
        yield {"Contents": [{"Key": key, "LastModified": written} for key in keys]}


@dataclass
class Position:
    """The event monitor's position in Parameter Store."""

    sent: Sent | None = None

    def position(self) -> Sent | None:
        return self.sent

    def put_position(self, sent: Sent) -> None:
        self.sent = sent
