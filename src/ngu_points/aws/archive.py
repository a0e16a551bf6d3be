"""The archive in S3: segments as objects, and rows of the changes table that say which are live.

An object is written first and its row after it, so that a row always has its object; an object
without a row is what a crash or a larger segment left behind, and is swept away a day later. No
object is ever written over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from ngu_points.aws import changes
from ngu_points.aws.dynamo import Where
from ngu_points.aws.items import BLOCK_DIGITS, coverage_of
from ngu_points.aws.store import Store
from ngu_points.aws.tables import COVERAGE, META
from ngu_points.aws.trouble import code_of, naming
from ngu_points.engine.coverage import STREAMS, Coverage, Covered, digest, of_stream
from ngu_points.engine.events import Bool, Events, blobs, ids
from ngu_points.engine.rules import DAY
from ngu_points.errors import StoreError
from ngu_points.pipeline.segments import (
    Identity,
    Segment,
    decoded,
    encoded,
    joined,
    remedy,
    segment_name,
)

log = logging.getLogger("ngu")
PREFIX = "segments/"
SEGMENT = 50_000
"""Events that fill a segment."""
REVISIONS = 1_000
ORPHANS_KEPT = DAY
AT_HAND = 4  # segments that stay in memory


class Archive:
    """The segments of one stage; `store` has the rows."""

    def __init__(self, s3: Any, bucket: str, store: Store) -> None:
        self._s3 = s3
        self.bucket = bucket
        self.store = store
        self._at_hand: dict[str, Covered] = {}

    @cached_property
    def _of(self) -> Mapping[str, Any]:
        row = self.store.dynamo.get(META, {"key": "identity"})
        if row is None:
            raise StoreError("the tables are of no contract yet: the event monitor says of which"
                             " when it starts")  # fmt: skip
        return row

    @property
    def start(self) -> int:
        """The first block of all."""
        return int(self._of["startBlock"])

    def identity(self) -> Identity:
        """What segments say they are of."""
        return Identity(self._of["chainId"], self._of["contract"], self._of["contractKind"])

    def archived(self) -> int:
        """The last block in the archive; the one before the first if there is none."""
        segments = self.store.segments()
        return segments[-1].to_block if segments else self.start - 1

    def holds(self, found: Events) -> Bool:
        """Which of the events it has, by id and block hash."""
        known = np.zeros(len(found), np.bool_)
        keys = list(zip(ids(found), blobs(found.block_hash), strict=True))
        for segment in self.store.segments():
            inside = (found.block >= segment.from_block) & (found.block <= segment.to_block)
            rows = np.flatnonzero(inside)
            if len(rows):
                events = self.read(segment.name).events
                there = set(zip(ids(events), blobs(events.block_hash), strict=True))
                known[rows] = [keys[row] in there for row in rows.tolist()]
        return known

    def read(self, name: str) -> Covered:
        """A segment; StoreError if it is missing or a bit of it changed."""
        if name not in self._at_hand:
            covered = decoded(self.data(name), self.where(name), name)
            while len(self._at_hand) >= AT_HAND:
                del self._at_hand[next(iter(self._at_hand))]
            self._at_hand[name] = covered
        return self._at_hand[name]

    def data(self, name: str) -> bytes:
        """A segment's bytes; StoreError if it is missing."""
        where = self.where(name)
        with naming(where):
            try:
                answer = self._s3.get_object(Bucket=self.bucket, Key=PREFIX + name)
                data: bytes = answer["Body"].read()
            except Exception as error:
                if code_of(error) == "NoSuchKey":
                    raise StoreError(f"{where} is not there: {remedy(name)}") from error
                raise
        return data

    def write(self, covered: Covered) -> str:
        """Store a range and its events, without a row; the name of what holds them now.

        What holds these blocks already stays as it is: this is the next revision, unless it is
        the same to the byte.
        """
        data = encoded(covered, self.identity())
        for revision in range(REVISIONS):
            name = segment_name(covered.from_block, covered.to_block, revision)
            if self._put(name, data) or self.data(name) == data:
                return name
        raise StoreError(f"{self.where(name)} has too many revisions: remove those without a row")

    def _put(self, name: str, data: bytes) -> bool:
        """Whether there was no object of that name."""
        with naming(self.where(name)):
            try:
                self._s3.put_object(
                    Bucket=self.bucket, Key=PREFIX + name, Body=data, IfNoneMatch="*"
                )
            except Exception as error:
                if code_of(error) == "PreconditionFailed":
                    return False
                raise
        return True

    def where(self, name: str) -> str:
        """A segment's place, for people."""
        return f"s3://{self.bucket}/{PREFIX}{name}"

    def names(self) -> dict[str, int]:
        """All objects of segments, with or without a row, and when each was written (seconds)."""
        pages = self._s3.get_paginator("list_objects_v2")
        with naming(f"the bucket {self.bucket}"):
            return {
                item["Key"].removeprefix(PREFIX): int(item["LastModified"].timestamp())
                for page in pages.paginate(Bucket=self.bucket, Prefix=PREFIX)
                for item in page.get("Contents", [])
            }

    # Sealing ------------------------------------------------------------------------------

    def seal(self, now: int, most: int = 1_000) -> int:
        """Move what can no more be taken back into segments; the last block that is archived.

        At most so many segments at once: the rest is for the next time.
        A small last segment is written again together with what follows it. StoreError if the
        tables do not have all that was announced: nothing of it is archived then.
        """
        until = self._sealable()
        for _ in range(most):
            start = self.archived() + 1
            if start > until:
                break
            end = self.store.end_at(self._full_at(start, until))
            if end is None or end.to_block < start:
                break
            self._write(self._whole(start, end), now)
        return self.archived()

    def sweep(self, now: int) -> int:
        """Drop objects without a row once no reader can be at them; how many."""
        live = {segment.name for segment in self.store.segments()}
        old = [name for name, at in self.names().items()
               if name not in live and at < now - ORPHANS_KEPT]  # fmt: skip
        for name in old:
            with naming(self.where(name)):
                self._s3.delete_object(Bucket=self.bucket, Key=PREFIX + name)
        return len(old)

    def holes(self) -> list[tuple[int, int, str]]:
        """Blocks that the archive should have and has not: first, last, why."""
        there, found, block = self.names(), [], self.start
        for segment in self.store.segments():
            if segment.from_block > block:
                found.append((block, segment.from_block - 1, "no segment"))
            if segment.name not in there:
                found.append((segment.from_block, segment.to_block, "no file"))
            block = segment.to_block + 1
        return found

    def _sealable(self) -> int:
        """The last block that no step that may be taken back reaches."""
        oldest = changes.first_head(self.store.dynamo)
        position = self.store.position().block
        return position if oldest is None else min(position, oldest.from_block - 1)

    def _full_at(self, start: int, until: int) -> int:
        """The block at which about a segment's events have been announced, `until` at most."""
        announced: list[tuple[int, int]] = []
        for stream in STREAMS:
            count = 0
            for record in self._records(stream, start, until):
                announced.append((record.to_block, record.count))
                count += record.count
                if count >= SEGMENT:
                    break
        count = 0
        for block, more in sorted(announced):
            count += more
            if count >= SEGMENT:
                return block
        return until

    def _records(self, stream: str, start: int, until: int) -> Iterator[Coverage]:
        """A stream's coverage records that end in [start, until], in that order."""
        values = {"stream": stream, "first": _at(start), "last": _at(until + 1)}
        where = Where("#stream = :stream AND #end BETWEEN :first AND :last", values)
        yield from map(coverage_of, self.store.dynamo.query(COVERAGE, where))

    def _whole(self, start: int, end: Coverage) -> Covered:
        """The blocks from `start` to a record's end, compared with what was announced of them."""
        events = self.store.recent(start, end.to_block)
        letters = self.store.letters(start, end.to_block)
        covered = Covered(
            start, end.to_block, self.store.parent_of(start), end.last_hash, end.timestamp,
            events, tuple(letters),
        )  # fmt: skip
        for stream in STREAMS:
            for record in _in_force(list(self._records(stream, start, end.to_block)), start):
                if not _is_all(covered, record):
                    first, last = record.from_block, record.to_block
                    raise StoreError(
                        f"the tables do not have all events of blocks {first}..{last} any more"
                        f" that were announced on the {stream} stream, and the archive not yet:"
                        f" `ngu replay {first} {last} --store dynamodb` asks the chain"
                    )
        return covered

    def _write(self, covered: Covered, now: int) -> None:
        last = next(iter(self.store.segments()[-1:]), None)
        if last is not None and last.events + len(covered.events) <= SEGMENT:
            try:
                covered = joined(self.read(last.name), covered)
            except StoreError as error:  # what comes after goes on without it
                log.warning("segment not joined", extra={"fields": {"why": str(error)}})
        name = self.write(covered)
        segment = Segment(covered.from_block, covered.to_block, len(covered.events), name)
        self.store.sealed(segment, now)


def _in_force(records: list[Coverage], start: int) -> Iterator[Coverage]:
    """The records that no later one overlaps, as far as they begin at `start` or behind it."""
    for record in records:
        superseded = any(
            other.sequence > record.sequence
            and other.from_block <= record.to_block
            and other.to_block >= record.from_block
            for other in records
        )
        if record.from_block >= start and not superseded:
            yield record


def _is_all(covered: Covered, record: Coverage) -> bool:
    """Whether a range has exactly what a record announces."""
    events = covered.events
    inside = (events.block >= record.from_block) & (events.block <= record.to_block)
    mine = events.take(inside & of_stream(events, record.stream))
    first, last = record.from_block, record.to_block
    letters = [
        r for r in covered.rejected if r.stream == record.stream and first <= r.block <= last
    ]
    return len(mine) + len(letters) == record.count and digest(mine, letters) == record.digest


def _at(block: int) -> str:
    return f"{block:0{BLOCK_DIGITS}d}"
