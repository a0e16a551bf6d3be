"""Where processing stands, from coverage records and the first events beyond the position.

Nothing here reads all events: what is announced says how many there are, and an index says which
come first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ngu_points.aws import events, gaps, strays
from ngu_points.aws.dynamo import Where
from ngu_points.aws.events import TABLE, TYPES_OF
from ngu_points.aws.gaps import NOT_ANNOUNCED, OUTSTANDING, Gap
from ngu_points.aws.store import Store
from ngu_points.aws.tables import META, TYPE_BLOCK
from ngu_points.engine import coverage
from ngu_points.engine.coverage import STREAMS, Coverage

RECORDS = 10_000
"""Coverage records of a stream that are looked at: with more, figures are of the first of them."""
GRACE = 600
"""Seconds after which what was announced should have come: streams bring things a minute apart,
and try again for some minutes."""
LOOKED_AT = 20_000
"""Events that the check for outstanding ones reads at most: the first ones hold up the rest."""


@dataclass(frozen=True, slots=True)
class Health:
    """Figures of one moment."""

    block: int  # the position's
    timestamp: int
    lag: int  # blocks up to the newest that is known
    backlog: int  # events announced beyond the position, or late
    delay: int  # seconds since the oldest unprocessed event was received
    gaps: int
    dead_letters: int


def look(store: Store, now: int) -> Health:
    """Figures of now; events and coverage that came within the last moment may be missing."""
    position = store.position()
    beyond = {stream: _announced(store, stream, position.block) for stream in STREAMS}
    late = list(islice(strays.noted(store.dynamo), RECORDS))
    waiting = _in_force([r for records in beyond.values() for r, _ in records])
    received = [at for records in beyond.values() for record, at in records if record.count]
    received += _first_received(store, position.block)
    received += [int(row["receivedAt"]) for row in late]
    head = store.dynamo.get(META, {"key": "head"}) or {"newest": position.block}
    return Health(
        position.block,
        position.timestamp,
        max(int(head["newest"]) - position.block, 0),
        sum(record.count for record in waiting) + len(late),
        max(now - min(received, default=now), 0),
        len(gaps.known(store.dynamo)),
        events.dead_letters(store.dynamo),
    )


def uncovered(store: Store, now: int) -> list[Gap]:
    """Blocks beyond the position that no record covers, although later ones are covered."""
    position = store.position().block
    found = [pair for stream in STREAMS for pair in _announced(store, stream, position)]
    end = max((r.to_block for r, at in found if at <= now - GRACE), default=position)
    missing = coverage.gaps([r for r, _ in found], position + 1, end)
    return [Gap(stream, first, last, NOT_ANNOUNCED, now) for stream, first, last in missing]


def outstanding(store: Store, now: int) -> list[Gap]:
    """Ranges of which not all, or more than was announced has come, the first ones of a stream."""
    position = store.position().block
    found = []
    for stream in STREAMS:
        announced = _announced(store, stream, position)
        old = {record for record, at in announced if at <= now - GRACE}
        read = 0
        for record in _in_force([record for record, _ in announced]):
            read += record.count
            if record in old and not store.arrived(record):
                place = (stream, record.from_block, record.to_block)
                found.append(Gap(*place, OUTSTANDING, now))
            if read > LOOKED_AT:
                break
    return found


def _announced(store: Store, stream: str, after: int) -> list[tuple[Coverage, int]]:
    return list(islice(events.announced(store.dynamo, stream, after), RECORDS))


def _in_force(records: Sequence[Coverage]) -> list[Coverage]:
    """The records that no later one of their stream covers whole, in the order of their ends."""
    found: list[Coverage] = []
    open_: list[Coverage] = []  # those that reach into the one that is looked at
    for record in sorted(records, key=lambda r: (r.stream, r.from_block, -r.to_block, -r.sequence)):
        open_ = [o for o in open_ if o.stream == record.stream and o.to_block >= record.from_block]
        if not any(o.sequence > record.sequence and o.to_block >= record.to_block for o in open_):
            found.append(record)
        open_.append(record)
    return sorted(found, key=lambda r: (r.to_block, r.sequence))


def _first_received(store: Store, position: int) -> Iterator[int]:
    """When the first event of each type beyond the position was received."""
    for stream in STREAMS:
        for kind in TYPES_OF[stream]:
            values = {"type": kind, "position": position}
            where = Where("#type = :type AND #blockNumber > :position", values)
            rows = store.dynamo.query(TABLE[stream], where, index=TYPE_BLOCK, limit=1)
            yield from (int(row["receivedAt"]) for row in islice(rows, 1))
