"""Covered events become state, in block order: load what they touch, fold, commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ngu_points.engine.coverage import STREAMS, Coverage, Delivery, cut, digest, ready_through
from ngu_points.engine.events import U8, ZERO_ADDRESS, Events, blobs, concat, ids
from ngu_points.engine.moves import moves_with, named
from ngu_points.engine.rules import Rules
from ngu_points.engine.runs import NOBODY, Anomalies, Anomaly, Moves
from ngu_points.engine.state import advance
from ngu_points.pipeline.interfaces import Change, Position, Store
from ngu_points.pipeline.persist import persist, validate

EVENTS_MAX = 50_000
"""Events that one step takes at most; a single block with more is still one step."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What one step did."""

    position: Position
    events: Events
    anomalies: int
    days: int  # feast days that closed


def process(
    store: Store, rules: Rules, now: int, limit: int = EVENTS_MAX, through: int | None = None
) -> Step | None:
    """Fold what is covered beyond the position, about `limit` events; None if nothing is.

    `through` is the end of a range beyond which nothing is folded now.
    """
    store.settle(now)
    position = store.position().block
    records = store.coverage(position)
    if through is not None:
        records = [record for record in records if record.to_block <= through]
    reach = ready_through(records, position, store.arrived, limit)
    if reach is None:
        return None
    record = cut(records, position, reach, limit)
    with store.commit():
        return _step(store, store.pending(record.to_block), record, rules, now)


def ingest(store: Store, deliveries: Sequence[Delivery], rules: Rules, now: int) -> Iterator[Step]:
    """Persist and process: in one commit if the deliveries are whole and next in line.

    Otherwise (late, twice, out of order) they are persisted, and what is ready is processed.
    Each step is committed when it is yielded.
    """
    record = in_line(deliveries, store.position().block)
    if record is None:
        persist(store, deliveries, now)
        while step := process(store, rules, now):
            yield step
        return
    for delivery in deliveries:
        validate(delivery)
    events = concat([d.events for d in deliveries]).sorted()
    with store.commit():
        _set_aside_others(store, events, record, now)
        store.put(deliveries, now, processed=True)
        step = _step(store, events, record, rules, now)
    yield step


def _set_aside_others(store: Store, events: Events, record: Coverage, now: int) -> None:
    """What waits in these blocks and is not among their events was left there by a lost branch."""
    waiting = store.pending(record.to_block)
    if len(waiting):
        known = set(ids(events))
        others = [row for row, id_ in enumerate(ids(waiting)) if id_ not in known]
        store.set_aside(waiting.take(others), now)


def in_line(deliveries: Sequence[Delivery], position: int) -> Coverage | None:
    """The last record, if the deliveries are all that lies right behind the position, in order."""
    ends = []
    for stream in STREAMS:
        mine = [d for d in deliveries if d.stream == stream]
        block = position
        for delivery in mine:
            if len(delivery.coverage) != 1 or delivery.coverage[0].from_block != block + 1:
                return None
            record = delivery.coverage[0]
            if record.digest != digest(delivery.events, delivery.rejected):
                return None
            block = record.to_block
        if not mine:
            return None
        ends.append(mine[-1].coverage[0])
    return ends[0] if ends[0].to_block == ends[1].to_block else None


def _step(store: Store, events: Events, record: Coverage, rules: Rules, now: int) -> Step:
    address, moves = moves_of(events)
    before = store.load(moves.first, moves.end, address, record.timestamp)
    after = advance(before.state, moves, rules, record.to_block, record.timestamp)
    position = Position(record.to_block, record.last_hash, record.timestamp)
    known = after.state.wallets.address
    notes, uncertain = explain(after.anomalies, events, known)
    store.apply(Change(before, after, position, events, notes, uncertain), now)
    return Step(position, events, len(notes), len(after.days))


def moves_of(events: Events) -> tuple[U8, Moves]:
    """The distinct wallets of the events, and the events in terms of them."""
    address, index = named(events)
    return address, moves_with(events, index)


NOTED = 20
"""Ranges that the error note of one event names at most."""


def explain(
    anomalies: Anomalies, events: Events, address: U8
) -> tuple[dict[int, str], tuple[bytes, ...]]:
    """The error note of each contradicted event, and the wallets concerned."""
    parts: dict[int, list[str]] = {}
    for i, row in enumerate(anomalies.event.tolist()):
        said = parts.setdefault(row, [])
        said.append(_note(anomalies, i, address) if len(said) < NOTED else "")
    notes = {}
    for row, said in parts.items():
        more = f"; and {len(said) - NOTED} more ranges" if len(said) > NOTED else ""
        notes[row] = "; ".join(said[:NOTED]) + more
    recorded = np.unique(np.concatenate([anomalies.owner, anomalies.staker]))
    wallets = {address[w].tobytes() for w in recorded if w != NOBODY}
    concerned = events.take(sorted(notes))
    wallets |= {*blobs(concerned.sender), *blobs(concerned.recipient)}
    return notes, tuple(sorted(wallets - {ZERO_ADDRESS}))


def _note(anomalies: Anomalies, i: int, address: U8) -> str:
    names = "+".join(str(c.name) for c in Anomaly(int(anomalies.code[i])))
    first, last = int(anomalies.first[i]), int(anomalies.end[i]) - 1
    tokens = f"token {first}" if first == last else f"tokens {first}-{last}"
    known = [
        f"{word} 0x{address[wallet].tobytes().hex()}"
        for word, wallet in (("owner", anomalies.owner[i]), ("staker", anomalies.staker[i]))
        if wallet != NOBODY
    ]
    return f"{names} {tokens} (recorded: {', '.join(known) or 'nothing'})"
