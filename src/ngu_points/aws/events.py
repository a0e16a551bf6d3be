"""The event tables: the working queue of the last days, dead letters, coverage records.

Which events of a block range there are is read from an index, and an index may lag: only the
count and the digest of a coverage record say that all of them were seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ngu_points.aws import items
from ngu_points.aws.changes import Mark
from ngu_points.aws.dynamo import Dynamo, Where
from ngu_points.aws.items import BLOCK_DIGITS, Row
from ngu_points.aws.lease import Lease, keeping
from ngu_points.aws.tables import (
    BATCH_EVENTS,
    COVERAGE,
    DEAD_LETTERS,
    STAKING_EVENTS,
    STREAM_BLOCK,
    TYPE_BLOCK,
)
from ngu_points.engine.coverage import BATCH, STAKING, STREAMS, Coverage, Delivery
from ngu_points.engine.events import TYPES, Events, Kind, Rejected, concat
from ngu_points.engine.rules import DAY

KEEP = 7 * DAY
FAR_AWAY = 253_370_764_800  # 9999-01-01: an event that is not processed does not expire
OTHER = "attribute_not_exists(#id) OR #blockHash <> :blockHash"
ASIDE = "unannounced"
"""Where the stream of a dead letter should be, of one that no record counts."""
COUNTED = 10_000
TABLE = {BATCH: BATCH_EVENTS, STAKING: STAKING_EVENTS}
TYPES_OF = {BATCH: TYPES[: Kind.STAKE], STAKING: TYPES[Kind.STAKE :]}


@dataclass(frozen=True, slots=True)
class Written:
    """Of what was delivered: how many rows are new, and how many were there already."""

    new: int
    known: int


def put(dynamo: Dynamo, delivery: Delivery, chain_id: int, now: int) -> Written:
    """Write events by id, then dead letters, then coverage: a record comes after its events.

    The same id of the same block is there already; of another block it takes the place.
    """
    table = TABLE[delivery.stream]
    rows = {row["id"]: row for row in items.event_rows(delivery.events, chain_id, FAR_AWAY)}

    def event(row: Row) -> bool:
        other = Where(OTHER, {"blockHash": row["blockHash"]})
        return dynamo.put(table, row | {"receivedAt": now}, other)

    def letter(rejected: Rejected) -> bool:
        row = items.letter_row(rejected, now)
        known = {"blockHash": row["blockHash"], "aside": ASIDE}
        return dynamo.put(DEAD_LETTERS, row, Where(f"{OTHER} OR #stream = :aside", known))

    def record(covers: Coverage) -> bool:
        row = items.coverage_row(covers) | {"receivedAt": now}
        return dynamo.put(COVERAGE, row, Where("attribute_not_exists(#stream)", {}))

    new = sum(dynamo.each(event, rows.values()))
    new += sum(dynamo.each(letter, delivery.rejected))
    new += sum(dynamo.each(record, delivery.coverage))
    of_all = len(delivery.events) + len(delivery.rejected) + len(delivery.coverage)
    return Written(new, of_all - new)


def between(dynamo: Dynamo, stream: str, first: int, last: int) -> Events:
    """The events of some blocks as the index shows them now, in position order.

    Also those that have expired and are not yet gone: they are facts as before, which callers
    compare with what was announced. Left out, they could not go into a late archive any more.
    """

    def of_type(kind: str) -> list[Row]:
        values = {"type": kind, "first": first, "last": last}
        where = Where("#type = :type AND #blockNumber BETWEEN :first AND :last", values)
        return list(dynamo.query(TABLE[stream], where, index=TYPE_BLOCK))

    found = dynamo.each(of_type, TYPES_OF[stream])
    return items.events_of([row for rows in found for row in rows])


def pending(dynamo: Dynamo, after: int, through: int) -> Events:
    """The events of both streams in the blocks (after, through], in position order."""
    return concat([between(dynamo, s, after + 1, through) for s in STREAMS]).sorted()


def letters(dynamo: Dynamo, stream: str, first: int, last: int) -> list[Rejected]:
    """The dead letters of some blocks that were announced as such, as the index shows them.

    Places and hashes only: the index has no more.
    """
    found = [items.letter_of(row) for row in _letter_keys(dynamo, stream, first, last)]
    return sorted(found, key=lambda r: (r.block, r.log_index))


def letters_whole(dynamo: Dynamo, first: int, last: int) -> list[Rejected]:
    """The same of both streams, with reason, time and log."""
    keys = [{"id": row["id"]} for s in STREAMS for row in _letter_keys(dynamo, s, first, last)]
    found = [items.letter_of(row) for row in dynamo.get_many(DEAD_LETTERS, keys)]
    return sorted(found, key=lambda r: (r.block, r.log_index))


def _letter_keys(dynamo: Dynamo, stream: str, first: int, last: int) -> Iterator[Row]:
    values = {"stream": stream, "first": first, "last": last}
    where = Where("#stream = :stream AND #blockNumber BETWEEN :first AND :last", values)
    return dynamo.query(DEAD_LETTERS, where, index=STREAM_BLOCK)


def dead_letters(dynamo: Dynamo) -> int:
    """How many there are as the index shows them, `COUNTED` of a stream at most."""
    streams = (*STREAMS, ASIDE)
    wheres = [Where("#stream = :stream", {"stream": stream}) for stream in streams]
    return sum(dynamo.count(DEAD_LETTERS, w, STREAM_BLOCK, COUNTED) for w in wheres)


def coverage(dynamo: Dynamo, after: int) -> list[Coverage]:
    """The records that reach beyond a block, of both streams."""
    return [record for stream in STREAMS for record, _ in announced(dynamo, stream, after)]


def announced(dynamo: Dynamo, stream: str, after: int) -> Iterator[tuple[Coverage, int]]:
    """A stream's records that reach beyond a block, by their ends, and when each came."""
    end = f"{max(after + 1, 0):0{BLOCK_DIGITS}d}"
    where = Where("#stream = :stream AND #end >= :end", {"stream": stream, "end": end})
    for row in dynamo.query(COVERAGE, where):
        yield items.coverage_of(row), row["receivedAt"]


def end_at(dynamo: Dynamo, block: int) -> Coverage | None:
    """The record of the last covered range that ends at or below a block.

    An end inside a range that was announced later is none: that range counts as a whole.
    """
    later: list[Coverage] | None = None
    for record in ends_below(dynamo, block):
        if later is None:
            later = [r for r, _ in announced(dynamo, BATCH, record.to_block)]
        if not any(r.sequence > record.sequence and r.from_block <= record.to_block < r.to_block
                   for r in later):  # fmt: skip
            return record
        later.append(record)
    return None


def parent_of(dynamo: Dynamo, block: int) -> bytes:
    """The parent hash of a block at which a covered range begins; zeros if none does."""
    found = [r for r, _ in announced(dynamo, BATCH, block - 1) if r.from_block == block]
    newest = max(found, key=lambda r: r.sequence, default=None)
    return newest.parent_hash if newest else bytes(32)


def ends_below(dynamo: Dynamo, block: int) -> Iterator[Coverage]:
    """The batch stream's records that end at or below a block, from there downwards."""
    values = {"stream": BATCH, "end": f"{block + 1:0{BLOCK_DIGITS}d}"}
    where = Where("#stream = :stream AND #end < :end", values)
    yield from map(items.coverage_of, dynamo.query(COVERAGE, where, limit=10, backwards=True))


def forget_coverage(dynamo: Dynamo, below: int, most: int) -> int:
    """Drop records that end below a block, `most` of each stream at once; how many."""
    keys: list[Row] = []
    for stream in STREAMS:
        values = {"stream": stream, "end": f"{max(below, 0):0{BLOCK_DIGITS}d}"}
        where = Where("#stream = :stream AND #end < :end", values)
        old = islice(dynamo.query(COVERAGE, where, limit=most), most)
        keys += [{"stream": row["stream"], "end": row["end"]} for row in old]
    return len(dynamo.each(lambda key: dynamo.delete(COVERAGE, key), keys))


def mark(dynamo: Dynamo, lease: Lease, marks: Sequence[Mark], now: int) -> list[tuple[str, Row]]:
    """Note events as processed, the last one after all others.

    Returns, with their streams, the unprocessed rows that have taken the place of one.
    """

    def one(mark: Mark) -> tuple[str, Row] | None:
        done: Row = {"processed": True, "processedAt": now, "ttl": now + KEEP}
        done |= {"fence": lease.fence, "error": mark.note}
        if not _same_event(dynamo, mark, lease, done):
            found = dynamo.get(TABLE[mark.stream], {"id": mark.id})
            if found and not found["processed"]:
                return mark.stream, found
        return None

    found = dynamo.each(one, marks[:-1], keeping(dynamo, lease))
    found += [one(mark) for mark in marks[-1:]]
    return [other for other in found if other]


def marked(dynamo: Dynamo, marks: Sequence[Mark]) -> bool:
    """Whether all of a step's events are marked: the last one is marked after all others."""
    if not marks:
        return True
    last = dynamo.get(TABLE[marks[-1].stream], {"id": marks[-1].id})
    return last is None or bool(last["processed"])


def reopen(dynamo: Dynamo, lease: Lease, marks: Sequence[Mark]) -> None:
    """Note events as not processed: what they did was taken back."""
    undone = {"processed": False, "ttl": FAR_AWAY, "fence": lease.fence}
    values: Row = {**undone, "processedAt": None, "error": None}
    keep = keeping(dynamo, lease)
    dynamo.each(lambda one: _same_event(dynamo, one, lease, values), marks, keep)


def _same_event(dynamo: Dynamo, one: Mark, lease: Lease, values: Row) -> bool:
    same = f"#blockHash = :blockHash AND ({lease.unfenced.text})"
    known = {"blockHash": items.hexed(one.block_hash), **lease.unfenced.values}
    return dynamo.update(TABLE[one.stream], {"id": one.id}, values, Where(same, known))
