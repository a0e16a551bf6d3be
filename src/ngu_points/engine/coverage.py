"""What is known complete, and how far processing may go.

The monitor announces every block range it has read with a coverage record on each stream: how
many events it found there and a digest over them. A range counts when all that was announced has
arrived; the streams may bring events and records late, twice and in any order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ngu_points.engine.events import U8, Bool, Events, Kind, Rejected

BATCH, STAKING = "batch", "staking"
STREAMS = (BATCH, STAKING)


@dataclass(frozen=True, slots=True, eq=False)
class Covered:
    """A block range as read from the chain: all its events, and what could not be decoded."""

    from_block: int
    to_block: int
    parent_hash: bytes  # of from_block
    last_hash: bytes  # of to_block
    timestamp: int  # of to_block
    events: Events
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block of the chain, and the newest that may be read and that is final."""

    newest: int
    readable: int
    final: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """One stream's record of a range: what was announced for it. A later sequence supersedes."""

    stream: str
    sequence: int
    from_block: int
    to_block: int
    parent_hash: bytes
    last_hash: bytes
    timestamp: int
    count: int
    digest: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Announced:
    """A range as read, and the record of it for each stream."""

    covered: Covered
    records: tuple[Coverage, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """What travels on a stream: events of its kinds, dead letters, coverage records."""

    stream: str
    events: Events
    rejected: tuple[Rejected, ...]
    coverage: tuple[Coverage, ...]


def of_stream(events: Events, stream: str) -> Bool:
    """Which events belong to a stream: stakes and unstakes to one, all others to the other."""
    staking: Bool = events.kind >= Kind.STAKE
    return staking if stream == STAKING else ~staking


def digest(events: Events, rejected: Sequence[Rejected]) -> bytes:
    """SHA-256 over what `named` says of events and dead letters."""
    return hashlib.sha256(named(events, rejected)).digest()


def named(events: Events, rejected: Sequence[Rejected]) -> bytes | memoryview:
    """(block, log index, transaction hash, block hash) of each, 80 bytes each, sorted.

    `events` are in position order.
    """
    return _with_letters(_names(events), rejected)


def _names(events: Events) -> U8:
    """The same of events alone, uint8[n, 80]."""
    rows = np.empty((len(events), 80), np.uint8)
    rows[:, 0:8] = events.block.astype(">i8").view(np.uint8).reshape(-1, 8)
    rows[:, 8:16] = events.log_index.astype(">i8").view(np.uint8).reshape(-1, 8)
    rows[:, 16:48] = events.tx_hash
    rows[:, 48:80] = events.block_hash
    return rows


def _with_letters(names: U8, rejected: Sequence[Rejected]) -> bytes | memoryview:
    if not rejected:
        return names.reshape(-1).data
    items = [row.tobytes() for row in names]
    items += [
        r.block.to_bytes(8, "big") + r.log_index.to_bytes(8, "big") + r.tx_hash + r.block_hash
        for r in rejected
    ]
    return b"".join(sorted(items))


def announced(covered: Covered, sequence: int) -> Announced:
    """A range with the number under which the monitor announces it."""
    names, records = _names(covered.events), []
    for stream in STREAMS:
        mine = of_stream(covered.events, stream)
        rows = names if mine.all() else names[mine]
        rejected = [r for r in covered.rejected if r.stream == stream]
        record = Coverage(
            stream,
            sequence,
            covered.from_block,
            covered.to_block,
            covered.parent_hash,
            covered.last_hash,
            covered.timestamp,
            len(rows) + len(rejected),
            hashlib.sha256(_with_letters(rows, rejected)).digest(),
        )
        records.append(record)
    return Announced(covered, tuple(records))


def deliveries(told: Announced) -> list[Delivery]:
    """What the monitor sends for a range: on each stream its events, then its record."""
    covered, sent = told.covered, []
    for record in told.records:
        mine = of_stream(covered.events, record.stream)
        events = covered.events if mine.all() else covered.events.take(mine)
        rejected = tuple(r for r in covered.rejected if r.stream == record.stream)
        sent.append(Delivery(record.stream, events, rejected, (record,)))
    return sent


def announce(covered: Covered, sequence: int) -> list[Delivery]:
    """The same of a range that was just read."""
    return deliveries(announced(covered, sequence))


def ready_through(
    records: Sequence[Coverage],
    position: int,
    arrived: Callable[[Coverage], bool],
    limit: int | None = None,
) -> Coverage | None:
    """The record that ends where both streams are contiguous and complete beyond `position`.

    `records` are all that reach beyond the position; `arrived` tells whether what a record
    announces is there. It is not asked further once a stream has `limit` events. None where
    nothing new is ready.
    """
    reach = min(
        _reach([r for r in records if r.stream == stream], position, arrived, limit)
        for stream in STREAMS
    )
    ends = [r for r in records if position < r.to_block <= reach]
    return max(ends, key=lambda r: (r.to_block, r.sequence), default=None)


def _reach(
    records: Sequence[Coverage],
    position: int,
    arrived: Callable[[Coverage], bool],
    limit: int | None,
) -> int:
    """The last block up to which one stream is contiguous and complete."""
    events = 0
    while True:
        here = [r for r in records if r.from_block <= position + 1 <= r.to_block]
        if not here or (limit is not None and events >= limit):
            return position
        newest = max(here, key=lambda r: r.sequence)
        if not arrived(newest):
            return position
        events += newest.count
        later = [r.from_block for r in records
                 if r.sequence > newest.sequence and position + 1 < r.from_block]  # fmt: skip
        position = min([newest.to_block, *(b - 1 for b in later)])


def cut(records: Sequence[Coverage], position: int, reach: Coverage, limit: int) -> Coverage:
    """Of the ranges up to `reach`, the end where about `limit` events have been announced."""
    ends = [r for r in records if position < r.to_block <= reach.to_block]
    ends.sort(key=lambda r: (r.to_block, r.sequence))
    announced = 0
    for record, following in zip(ends, [*ends[1:], None], strict=True):
        announced += record.count
        if announced >= limit and following and following.to_block > record.to_block:
            return record
    return reach


def gaps(records: Sequence[Coverage], start: int, end: int) -> list[tuple[str, int, int]]:
    """Block ranges of [start, end] that no record covers, per stream."""
    missing = []
    for stream in STREAMS:
        block = start
        for r in sorted((r for r in records if r.stream == stream), key=lambda r: r.from_block):
            if r.from_block > block and block <= end:
                missing.append((stream, block, min(r.from_block - 1, end)))
            block = max(block, r.to_block + 1)
        if block <= end:
            missing.append((stream, block, end))
    return missing
