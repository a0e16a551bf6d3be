"""Events that come when their blocks are processed: noted, looked for, then dealt with.

A note is written by whoever puts such an event, and by the process that finds one which came
while it folded. The writer looks at the notes before each step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from ngu_points.aws import events, gaps, items
from ngu_points.aws.changes import Step
from ngu_points.aws.dynamo import Dynamo, Where
from ngu_points.aws.events import ASIDE, KEEP, TABLE
from ngu_points.aws.items import BLOCK_DIGITS, Row
from ngu_points.aws.tables import CHANGES, DEAD_LETTERS
from ngu_points.engine.coverage import STREAMS, Coverage, Delivery, of_stream
from ngu_points.engine.events import Events, blobs, ids

LATE = "late"
WAIT = 4_000
"""Seconds that an event may be without a record that announces it: Firehose tries for an hour."""
NOTES = 10_000
UNANNOUNCED = "an event came that nothing had announced"


def late_rows(delivery: Delivery, position: int) -> list[Row]:
    """The events of a delivery that lie at or below the position."""
    late = delivery.events.take(delivery.events.block <= position)
    return list(items.event_rows(late, 0, 0))


def note(dynamo: Dynamo, stream: str, rows: Iterable[Row], now: int) -> None:
    """Write down that events may have come after their blocks were processed.

    A note that is there already stays, with the time when it was made.
    """

    def one(row: Row) -> None:
        at = f"{row['blockNumber']:0{BLOCK_DIGITS}d}#{row['id']}"
        told = {"stream": stream, "id": row["id"], "receivedAt": now}
        fresh = Where("attribute_not_exists(#kind)", {})
        dynamo.put(CHANGES, {"kind": LATE, "at": at, **told}, fresh)

    dynamo.each(one, rows)


def noted(dynamo: Dynamo) -> Iterator[Row]:
    """The notes, the lowest block first."""
    return dynamo.query(CHANGES, Where("#kind = :kind", {"kind": LATE}))


def look_back(dynamo: Dynamo, step: Step, now: int) -> None:
    """Note what a step did not see because it was just being written."""
    seen = {(mark.id, mark.block_hash) for mark in step.marks}
    for stream in STREAMS:
        found = events.between(dynamo, stream, step.from_block, step.to_block)
        keys = list(zip(ids(found), blobs(found.block_hash), strict=True))
        missed = found.take([row for row, key in enumerate(keys) if key not in seen])
        note(dynamo, stream, items.event_rows(missed, 0, 0), now)


def surfaced(dynamo: Dynamo, position: int) -> dict[str, list[Row]]:
    """By stream, the noted events that are unprocessed and at or below the position.

    Notes of others are dropped: their events were processed meanwhile, or will be. The first
    `NOTES` are looked at: with more, the rest has its turn when these are done with.
    """
    found: dict[str, list[Row]] = {stream: [] for stream in STREAMS}

    def one(told: Row) -> tuple[str, Row] | None:
        row = dynamo.get(TABLE[told["stream"]], {"id": told["id"]})
        if row is None or row["processed"] or row["blockNumber"] > position:
            dynamo.delete(CHANGES, {"kind": LATE, "at": told["at"]})
            return None
        return told["stream"], row

    for late in dynamo.each(one, list(islice(noted(dynamo), NOTES))):
        if late:
            found[late[0]].append(late[1])
    return found


def divided(dynamo: Dynamo, late: dict[str, list[Row]], now: int) -> tuple[Events, Events]:
    """Of late events those whose records have all come with them, and those that none awaits.

    What is in neither waits: for other events of its record, or for a record to announce it.
    """
    complete: list[Row] = []
    strays: list[Row] = []
    for stream, rows in late.items():
        if not rows:
            continue
        lowest = min(row["blockNumber"] for row in rows)
        records = [r for r, _ in events.announced(dynamo, stream, lowest - 1)]
        missing: dict[Coverage, int] = {}
        for row in rows:
            record = _in_force(records, row["blockNumber"])
            if record and record not in missing:
                missing[record] = _outstanding(dynamo, record)
            left = missing[record] if record else -1
            if left == 0:
                complete.append(row)
            elif left < 0 and row["receivedAt"] < now - WAIT:
                strays.append(row)
    return items.events_of(complete), items.events_of(strays)


def _in_force(records: Sequence[Coverage], block: int) -> Coverage | None:
    """The newest record of a block."""
    here = [r for r in records if r.from_block <= block <= r.to_block]
    return max(here, key=lambda r: r.sequence, default=None)


def _outstanding(dynamo: Dynamo, record: Coverage) -> int:
    """How many of the events that a record announces have not come; negative: too many have."""
    within = (record.stream, record.from_block, record.to_block)
    there = len(events.between(dynamo, *within)) + len(events.letters(dynamo, *within))
    return record.count - there


def mark_known(dynamo: Dynamo, known: Events, now: int) -> None:
    """Note events as processed that had their effect before their rows expired."""
    done = {"processed": True, "processedAt": now, "ttl": now + KEEP}
    there = Where("attribute_exists(#id)", {})
    for stream in STREAMS:
        for name in ids(known.take(of_stream(known, stream))):
            dynamo.update(TABLE[stream], {"id": name}, done, there)


def put_aside(dynamo: Dynamo, strays: Events, now: int) -> None:
    """Make dead letters of events that nothing announced in time; a gap asks for a replay."""
    for stream in STREAMS:
        for row in items.event_rows(strays.take(of_stream(strays, stream)), 0, 0):
            dynamo.put(DEAD_LETTERS, _unannounced(row, stream, now))
            block = row["blockNumber"]
            gaps.note(dynamo, gaps.Gap(stream, block, block, UNANNOUNCED, now))
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
    more = {"stream": ASIDE, "of": stream, "reason": reason, "raw": raw.encode()}
    return {**kept, **more, "receivedAt": now}
