"""Change records: what a step writes, row by row, with what was there before.

A step is written down before any of its rows. Whoever holds the lease next repeats it from there,
or takes it back: every row is written as an absolute value, so repeating has no further effect.
A row that is no more stays for some days as a blank one (`gone`), for its fence shuts out a writer
who woke up late; a deleted row could not.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import msgspec
import numpy as np

from ngu_points.aws import items
from ngu_points.aws.dynamo import Dynamo, Where, key_of
from ngu_points.aws.items import BLOCK_DIGITS, Row
from ngu_points.aws.lease import KEY as LEASE_KEY
from ngu_points.aws.lease import Lease, keeping, lost
from ngu_points.aws.tables import CHANGES, FEAST_POOL, META, POINTS, TOKENS
from ngu_points.engine.coverage import STREAMS, of_stream
from ngu_points.engine.events import Kind, blobs, ids
from ngu_points.engine.rules import DAY
from ngu_points.engine.state import Wallets
from ngu_points.errors import StoreError
from ngu_points.pipeline.interfaces import Change
from ngu_points.pipeline.jobs import totals

STEP, IMAGE = "step", "image"
ANOMALY, UNCERTAIN = "anomaly", "uncertain"
CHUNK = 350_000  # bytes; a row holds 400 KB
IMAGE_KEPT = 60 * DAY
GONE_KEPT = 7 * DAY
POSITION_KEY = {"key": "position"}
_PACKED = ("counters", "totals")  # of the position, as JSON in its row


class Write(msgspec.Struct, array_like=True):
    """One row before and after a step; None where there is none."""

    table: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Mark(msgspec.Struct, array_like=True):
    """An event that a step has folded, and what it contradicted."""

    stream: str
    id: str
    block_hash: bytes
    note: str | None


class Step(msgspec.Struct):
    """All that one step writes; positions are rows of the meta table without key and fence."""

    from_block: int
    to_block: int
    at: int  # wall clock
    before: dict[str, Any] | None  # position
    after: dict[str, Any]
    writes: list[Write]
    marks: list[Mark]


@dataclass(frozen=True, slots=True)
class Head:
    """Where a step is written down, and whether it is being taken back."""

    from_block: int
    to_block: int
    fence: int
    pieces: int
    at: int
    undoing: bool = False


# What a step writes -----------------------------------------------------------------------


def step_of(change: Change, before: Row | None, previous: int, counters: Row, now: int) -> Step:
    """A change as rows; `before` is the position it starts from, whose block is `previous`."""
    state, block = change.after.state, change.position.block
    after = {
        "block": block,
        "hash": change.position.hash.hex(),
        "timestamp": change.position.timestamp,
        "day": state.day,
        "carry": str(state.carry),
        "contribution": str(state.contribution),
        "counters": counters,
    }
    writes = [*_runs(change), *_wallets(change), *_days(change), *_doubts(change)]
    after["totals"] = _totals((before or {}).get("totals", {}), change, writes)
    return Step(previous + 1, block, now, before, after, writes, _marks(change))


def _totals(before: Row, change: Change, writes: list[Write]) -> Row:
    """Tokens, staked tokens and wallets after a change, from those before it."""
    was, becomes = totals(change.before.state), totals(change.after.state)
    found: Row = {
        name: str(int(before.get(name, 0)) + int(becomes[name]) - int(was[name]))
        for name in ("tokens", "staked")
    }
    new = sum(write.table == POINTS and write.before is None for write in writes)
    return found | {"wallets": before.get("wallets", 0) + new}


def _runs(change: Change) -> Iterator[Write]:
    before, after = change.before.state, change.after.state
    old = {(r["part"], r["last"]): r for r in items.run_rows(before.runs, before.wallets.address)}
    new = {(r["part"], r["last"]): r for r in items.run_rows(after.runs, after.wallets.address)}
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield Write(TOKENS, old.get(key), new.get(key))


def _wallets(change: Change) -> Iterator[Write]:
    old, new = change.before.state.wallets, change.after.state.wallets
    differs = np.zeros(len(new), np.bool_)
    for f in fields(Wallets)[1:]:
        other = getattr(old, f.name) != getattr(new, f.name)
        differs |= other.any(axis=(0, 1)) if f.name == "facts" else other
    rows = np.flatnonzero(differs)
    fresh = (old.updated[rows] == 0).tolist()  # nothing had happened to them before
    pairs = zip(items.wallet_rows(old.take(rows)), items.wallet_rows(new.take(rows)), strict=True)
    for (was, now), first in zip(pairs, fresh, strict=True):
        yield Write(POINTS, None if first else was, now)


def _days(change: Change) -> Iterator[Write]:
    address = change.after.state.wallets.address
    for day in change.after.days:
        for row in items.day_rows(day, address, change.position.block):
            yield Write(FEAST_POOL, None, row)


def _doubts(change: Change) -> Iterator[Write]:
    rows = sorted(change.notes)
    concerned = change.events.take(rows)
    named = zip(ids(concerned), concerned.block.tolist(), rows, strict=True)
    for name, block, row in named:
        at = f"{block:0{BLOCK_DIGITS}d}#{name}"
        note = {"block": block, "id": name, "note": change.notes[row]}
        yield Write(CHANGES, None, {"kind": ANOMALY, "at": at, **note})
    block = change.position.block
    for wallet in change.uncertain:
        at = f"{items.hexed(wallet)}#{block:0{BLOCK_DIGITS}d}"
        yield Write(CHANGES, None, {"kind": UNCERTAIN, "at": at, "block": block})


def _marks(change: Change) -> list[Mark]:
    notes = [change.notes.get(row) for row in range(len(change.events))]
    staking = of_stream(change.events, STREAMS[1]).tolist()
    hashes = blobs(change.events.block_hash)
    named = zip(staking, ids(change.events), hashes, notes, strict=True)
    return [Mark(STREAMS[int(s)], name, hash_, note) for s, name, hash_, note in named]


def counted(counters: Row, change: Change) -> Row:
    """The running counters after a change: events of each kind, anomalies."""
    new = dict(counters)
    for kind, number in enumerate(np.bincount(change.events.kind, minlength=len(Kind)).tolist()):
        new[str(kind)] = new.get(str(kind), 0) + number
    new["anomalies"] = new.get("anomalies", 0) + len(change.notes)
    return new


# Writing it down --------------------------------------------------------------------------


def record(dynamo: Dynamo, lease: Lease, step: Step) -> Head:
    """Write a step down; LeaseLostError if the lease is. From then on it will be finished."""
    data = zlib.compress(msgspec.msgpack.encode(step), 6)
    chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    head = Head(step.from_block, step.to_block, lease.fence, len(chunks), step.at)
    ttl = step.at + IMAGE_KEPT
    rows = [{"kind": IMAGE, "at": _piece(head, n), "image": chunk, "ttl": ttl}
            for n, chunk in enumerate(chunks)]  # fmt: skip
    dynamo.each(lambda row: dynamo.put(CHANGES, row), rows)
    if not dynamo.put_while(CHANGES, _row(head), META, LEASE_KEY, lease.holds):
        raise lost(lease)
    return head


def begin_undo(dynamo: Dynamo, lease: Lease, head: Head) -> None:
    """Write down that a step is being taken back; LeaseLostError if the lease is."""
    undoing = _row(replace(head, undoing=True))
    if not dynamo.put_while(CHANGES, undoing, META, LEASE_KEY, lease.holds):
        raise lost(lease)


def heads(dynamo: Dynamo, after: int) -> list[Head]:
    """The steps written down that reach beyond a block."""
    since = Where("#kind = :kind AND #at > :at", {"kind": STEP, "at": _at(after)})
    return [_head(row) for row in dynamo.query(CHANGES, since)]


def first_head(dynamo: Dynamo) -> Head | None:
    """The oldest step that is still written down."""
    rows = dynamo.query(CHANGES, Where("#kind = :kind", {"kind": STEP}), limit=1)
    return next((_head(row) for row in rows), None)


def step_at(dynamo: Dynamo, head: Head) -> Step:
    """A step from its record; StoreError if a part of it is missing or damaged."""
    keys = [{"kind": IMAGE, "at": _piece(head, n)} for n in range(head.pieces)]
    found = {row["at"]: row["image"] for row in dynamo.get_many(CHANGES, keys)}
    try:
        data = b"".join(found[key["at"]] for key in keys)
        return msgspec.msgpack.decode(zlib.decompress(data), type=Step)
    except (KeyError, zlib.error, msgspec.DecodeError) as error:
        raise StoreError(
            f"the change record of block {head.to_block} is damaged or gone: run `ngu rebuild`"
        ) from error


def drop(dynamo: Dynamo, head: Head) -> None:
    """Forget a step, so that it can be neither repeated nor taken back.

    One that a later writer has put in its place stays.
    """
    same = Where("#fence = :fence", {"fence": head.fence})
    dynamo.delete(CHANGES, {"kind": STEP, "at": _at(head.to_block)}, same)
    pieces = [{"kind": IMAGE, "at": _piece(head, n)} for n in range(head.pieces)]
    dynamo.each(lambda key: dynamo.delete(CHANGES, key), pieces)


# Doing it ---------------------------------------------------------------------------------


def write_rows(dynamo: Dynamo, lease: Lease, step: Step, now: int, *, back: bool = False) -> None:
    """Make all rows what the step made of them, or with `back` what they were before it."""

    def one(write: Write) -> None:
        row = write.before if back else write.after
        if row is None:
            known = write.after if back else write.before
            assert known is not None, "a write of nothing over nothing"
            row = {**key_of(write.table, known), "gone": True, "ttl": now + GONE_KEPT}
        if not dynamo.put(write.table, {**row, "fence": lease.fence}, lease.unfenced):
            raise lost(lease)

    dynamo.each(one, step.writes, keeping(dynamo, lease))


def move_position(dynamo: Dynamo, lease: Lease, was: Row | None, becomes: Row | None) -> None:
    """Move the position from one value to another; nothing happens if it is there already."""
    before, after = position_row(was), position_row(becomes)
    known = {"block": before["block"], "fence": lease.fence}
    from_there = f"({lease.unfenced.text}) AND #block = :block"
    if was is None:
        from_there = f"attribute_not_exists(#key) OR ({from_there})"
    row = {**after, "fence": lease.fence}
    if dynamo.put(META, row, Where(from_there, known)):
        return
    found = dynamo.get(META, POSITION_KEY)
    if not found or found["block"] != after["block"] or found["fence"] > lease.fence:
        raise lost(lease)


def position_row(position: Row | None) -> Row:
    """The position's row; before any block its block is -1 and it says nothing else."""
    if position is None:
        return {**POSITION_KEY, "block": -1}
    packed = {name: msgspec.json.encode(position[name]).decode() for name in _PACKED}
    return {**POSITION_KEY, **position, **packed}


def position_of(row: Row | None) -> Row | None:
    """The position without key and fence; None before any block."""
    if row is None or "hash" not in row:
        return None
    rest = {name: value for name, value in row.items() if name not in ("key", "fence")}
    return rest | {name: msgspec.json.decode(row[name]) for name in _PACKED}


def rows_of(dynamo: Dynamo, kind: str) -> Sequence[Row]:
    """The rows of a kind beside the state (`ANOMALY`, `UNCERTAIN`), in order."""
    found = dynamo.query(CHANGES, Where("#kind = :kind", {"kind": kind}))
    return [row for row in found if "gone" not in row]


def _at(block: int) -> str:
    return f"{block:0{BLOCK_DIGITS}d}" if block >= 0 else "-"


def _piece(head: Head, n: int) -> str:
    return f"{_at(head.to_block)}#{head.fence:0{BLOCK_DIGITS}d}#{head.at}#{n:06d}"


def _row(head: Head) -> Row:
    return {
        "kind": STEP,
        "at": _at(head.to_block),
        "fromBlock": head.from_block,
        "toBlock": head.to_block,
        "fence": head.fence,
        "pieces": head.pieces,
        "recordedAt": head.at,
        "undoing": head.undoing,
    }


def _head(row: Row) -> Head:
    names = ("fromBlock", "toBlock", "fence", "pieces", "recordedAt", "undoing")
    return Head(*(row[name] for name in names))
