"""The event tables: the working queue of the last days, dead letters, coverage records.

Which events of a block range there are is read from an index, and an index may lag: only the
count and the digest of a coverage record say that all of them were seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ngu_points.aws import items
from ngu_points.aws.changes import Mark
from ngu_points.aws.dynamo import Dynamo, Where
from ngu_points.aws.items import BLOCK_DIGITS, Row
from ngu_points.aws.lease import Lease
from ngu_points.aws.tables import (
    BATCH_EVENTS,
    CHANGES,
    COVERAGE,
    DEAD_LETTERS,
    STAKING_EVENTS,
    STREAM_BLOCK,
    TYPE_BLOCK,
)
from ngu_points.engine.coverage import BATCH, STAKING, STREAMS, Coverage, Delivery, of_stream
from ngu_points.engine.events import TYPES, Events, Kind, Rejected, concat
from ngu_points.engine.rules import DAY

KEEP = 7 * DAY
FAR_AWAY = 253_370_764_800  # 9999-01-01: an event that is not processed does not expire
LATE, GAP = "late", "gap"
UNANNOUNCED = "an event came after its block was processed without it"
TABLE = {BATCH: BATCH_EVENTS, STAKING: STAKING_EVENTS}
TYPES_OF = {BATCH: TYPES[: Kind.STAKE], STAKING: TYPES[Kind.STAKE :]}


def put(dynamo: Dynamo, delivery: Delivery, chain_id: int, now: int) -> None:
    """Write events by id, then dead letters, then coverage.

    The same id of the same block is there already; of another block it takes the place.
    """
    for row in items.event_rows(delivery.events, chain_id, FAR_AWAY):
        other = "attribute_not_exists(#id) OR #blockHash <> :blockHash"
        where = Where(other, {"blockHash": row["blockHash"]})
        dynamo.put(TABLE[delivery.stream], row, where)
    for letter in delivery.rejected:
        dynamo.put(DEAD_LETTERS, items.letter_row(letter, now))
    for record in delivery.coverage:
        dynamo.put(COVERAGE, items.coverage_row(record))


def between(dynamo: Dynamo, stream: str, first: int, last: int) -> Events:
    """The events of some blocks as the index shows them now, in position order."""
    rows: list[Row] = []
    for kind in TYPES_OF[stream]:
        values = {"type": kind, "first": first, "last": last}
        where = Where("#type = :type AND #blockNumber BETWEEN :first AND :last", values)
        rows += dynamo.query(TABLE[stream], where, index=TYPE_BLOCK)
    return items.events_of(rows)


def pending(dynamo: Dynamo, after: int, through: int) -> Events:
    """The events of both streams in the blocks (after, through], in position order."""
    return concat([between(dynamo, s, after + 1, through) for s in STREAMS]).sorted()


def letters(dynamo: Dynamo, stream: str, first: int, last: int) -> list[Rejected]:
    """The dead letters of some blocks as the index shows them: places and hashes only."""
    values = {"stream": stream, "first": first, "last": last}
    where = Where("#stream = :stream AND #blockNumber BETWEEN :first AND :last", values)
    rows = dynamo.query(DEAD_LETTERS, where, index=STREAM_BLOCK)
    found = [items.letter_of(row) for row in rows]
    return sorted(found, key=lambda r: (r.block, r.log_index))


def coverage(dynamo: Dynamo, after: int) -> list[Coverage]:
    """The records that reach beyond a block, of both streams."""
    end = f"{max(after + 1, 0):0{BLOCK_DIGITS}d}"
    found: list[Coverage] = []
    for stream in STREAMS:
        where = Where("#stream = :stream AND #end >= :end", {"stream": stream, "end": end})
        found += map(items.coverage_of, dynamo.query(COVERAGE, where))
    return found


def mark(dynamo: Dynamo, lease: Lease, marks: Sequence[Mark], now: int) -> None:
    """Note events as processed. Where another has taken an event's place, it is a late one."""
    for one in marks:
        done: Row = {"processed": True, "processedAt": now, "ttl": now + KEEP}
        done["fence"] = lease.fence
        if one.note:
            done["error"] = one.note
        if not _same_event(dynamo, one, lease, done):
            found = dynamo.get(TABLE[one.stream], {"id": one.id})
            if found and not found["processed"]:
                note_late(dynamo, one.stream, [found])


def marked(dynamo: Dynamo, marks: Sequence[Mark]) -> bool:
    """Whether all of a step's events are marked: they are marked in order."""
    if not marks:
        return True
    last = dynamo.get(TABLE[marks[-1].stream], {"id": marks[-1].id})
    return last is None or bool(last["processed"])


def reopen(dynamo: Dynamo, lease: Lease, marks: Sequence[Mark]) -> None:
    """Note events as not processed: what they did was taken back."""
    for one in marks:
        undone = {"processed": False, "ttl": FAR_AWAY, "fence": lease.fence}
        _same_event(dynamo, one, lease, {**undone, "processedAt": None, "error": None})


def _same_event(dynamo: Dynamo, one: Mark, lease: Lease, values: Row) -> bool:
    same = f"#blockHash = :blockHash AND ({lease.unfenced.text})"
    known = {"blockHash": items.hexed(one.block_hash), **lease.unfenced.values}
    return dynamo.update(TABLE[one.stream], {"id": one.id}, values, Where(same, known))


# What comes late --------------------------------------------------------------------------


def late_rows(delivery: Delivery, position: int) -> list[Row]:
    """The events of a delivery that lie at or below the position."""
    late = delivery.events.take(delivery.events.block <= position)
    return list(items.event_rows(late, 0, 0))


def note_late(dynamo: Dynamo, stream: str, rows: Iterable[Row]) -> None:
    """Write down that events may have come after their blocks were processed."""
    for row in rows:
        at = f"{row['blockNumber']:0{BLOCK_DIGITS}d}#{row['id']}"
        dynamo.put(CHANGES, {"kind": LATE, "at": at, "stream": stream, "id": row["id"]})


def surfaced(dynamo: Dynamo, position: int) -> dict[str, Events]:
    """By stream, the noted events that are unprocessed and at or below the position.

    Notes of others are dropped: their events were processed meanwhile, or will be.
    """
    found: dict[str, list[Row]] = {stream: [] for stream in STREAMS}
    for note in list(dynamo.query(CHANGES, Where("#kind = :kind", {"kind": LATE}))):
        row = dynamo.get(TABLE[note["stream"]], {"id": note["id"]})
        if row is None or row["processed"] or row["blockNumber"] > position:
            dynamo.delete(CHANGES, {"kind": LATE, "at": note["at"]})
        else:
            found[note["stream"]].append(row)
    return {stream: items.events_of(rows) for stream, rows in found.items()}


def mark_known(dynamo: Dynamo, events: Events, now: int) -> None:
    """Note events as processed that had their effect before their rows expired."""
    for stream in STREAMS:
        for row in items.event_rows(events.take(of_stream(events, stream)), 0, 0):
            done = {"processed": True, "processedAt": now, "ttl": now + KEEP}
            there = Where("attribute_exists(#id)", {})
            dynamo.update(TABLE[stream], {"id": row["id"]}, done, there)


def put_aside(dynamo: Dynamo, events: Events, now: int) -> None:
    """Make dead letters of events that nothing announced in time; a gap asks for a replay."""
    for stream in STREAMS:
        for row in items.event_rows(events.take(of_stream(events, stream)), 0, 0):
            dynamo.put(DEAD_LETTERS, _unannounced(row, stream, now))
            block = row["blockNumber"]
            at = f"{stream}#{block:0{BLOCK_DIGITS}d}"
            gap = {"stream": stream, "fromBlock": block, "toBlock": block, "why": UNANNOUNCED}
            dynamo.put(CHANGES, {"kind": GAP, "at": at, **gap, "since": now})
            dynamo.delete(TABLE[stream], {"id": row["id"]})


def _unannounced(row: Row, stream: str, now: int) -> Row:
    block = row["blockNumber"]
    kept = {
        name: value
        for name, value in row.items()
        if name not in ("type", "processed", "ttl", "chainId", "startTokenId", "tokenId",
                        "quantity", "from", "to", "staker")
    }  # fmt: skip
    told = ("type", "startTokenId", "tokenId", "quantity", "from", "to", "staker")
    raw = " ".join(f"{name}={row[name]}" for name in told if row.get(name))
    reason = f"{UNANNOUNCED}: `ngu replay {block} {block}` asks the chain"
    return {**kept, "stream": stream, "reason": reason, "raw": raw.encode(), "receivedAt": now}


def ends_below(dynamo: Dynamo, block: int) -> Iterator[Coverage]:
    """The batch stream's records that end at or below a block, from there downwards."""
    values = {"stream": BATCH, "end": f"{block + 1:0{BLOCK_DIGITS}d}"}
    where = Where("#stream = :stream AND #end < :end", values)
    yield from map(items.coverage_of, dynamo.query(COVERAGE, where, limit=10, backwards=True))
