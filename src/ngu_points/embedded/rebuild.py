"""Fold everything again, from the archive and the working queue; or from the archive alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ngu_points.embedded.archive import identity_of, read_segment
from ngu_points.embedded.history import History
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import Covered
from ngu_points.engine.feast import FeastDay
from ngu_points.engine.rules import Rules
from ngu_points.engine.state import State, no_state
from ngu_points.errors import StoreError
from ngu_points.pipeline.interfaces import Position
from ngu_points.pipeline.process import process
from ngu_points.pipeline.query import refold


@dataclass(frozen=True, slots=True, eq=False)
class Again:
    """A history folded once more: the state, the feast days, events by kind, the last block."""

    state: State
    days: list[FeastDay]
    counters: dict[str, int]
    reached: int


def fold_again(history: History, rules: Rules, target: Position) -> Again:
    """Fold everything up to a position (the end of a range) from the beginning."""
    kinds, reached = np.zeros(5, np.int64), [int(history.store.meta("start_block", 0)) - 1]

    def counted() -> Iterator[Covered]:
        for covered in history.covered():
            if covered.from_block > target.block:
                return
            kept = covered.events.kind[covered.events.block <= target.block]
            kinds[:] += np.bincount(kept, minlength=5)
            reached[0] = min(covered.to_block, target.block)
            yield covered

    until = (target.block, target.timestamp)
    hot, days = refold(rules, counted(), no_state(rules), until)
    counters = {str(kind): int(number) for kind, number in enumerate(kinds)}
    return Again(hot.state, days, counters, reached[0])


def end_below(store: Store, history: History, block: int) -> Position:
    """The last end of a covered range at or below a block: there hash and time are known."""
    end = store.queue.end_at(block)
    if end is not None and end.to_block >= store.archived():
        return Position(end.to_block, end.last_hash, end.timestamp)
    for segment in reversed(store.segments()):
        if segment.to_block <= block:
            last = read_segment(history.folder / segment.name)
            return Position(last.to_block, last.last_hash, last.timestamp)
    return Position(int(store.meta("start_block", 0)) - 1, bytes(32), 0)


def rebuild(store: Store, history: History, rules: Rules, now: int) -> dict[str, Any]:
    """Replace the stored state by a new fold of all events, and compare the fingerprints."""
    began = time.monotonic()
    store.check_frozen()
    recovered = store.meta("position") is None and _recovered(store, history.folder)
    changed = store.meta("fold") != rules.fold_key()
    before = None if changed or recovered else _fingerprint(store)
    position = store.position()
    final = max(min(store.meta("final", -1), position.block), store.archived())
    target = end_below(store, history, final)
    again = fold_again(history, rules, target)
    if again.reached < store.archived():
        raise StoreError(
            f"{history.folder} reaches block {again.reached} of {store.archived()}: the archive is "
            "incomplete; `ngu sync` into a new --db reads the chain again"
        )
    history.drop_snapshots()
    with store.commit():
        store.replace_state(again.state, again.days, target)
        store.set_meta("counters", again.counters | {"anomalies": anomalies(store, target.block)})
        store.queue.reopen(target.block)
        while process(store, rules, now):
            pass  # what is not final is folded with before images, so that it can be undone
        if store.position().block != position.block:
            raise StoreError(
                f"{store.path} has not all events up to block {position.block}: run "
                f"`ngu rewind {store.position().block}`, then `ngu sync`"
            )
    after = store.fingerprint()
    return {
        "events": sum(v for k, v in store.meta("counters").items() if k.isdigit()),
        "block": position.block,
        "seconds": round(time.monotonic() - began, 3),
        "before": before,
        "fingerprint": after,
        "same": after == before,
        "rulesChanged": changed,
        "recovered": recovered,
    }


def anomalies(store: Store, block: int) -> int:
    """Recorded contradictions up to a block."""
    found = store.db.execute("SELECT count(*) FROM anomalies WHERE blockNumber <= ?", (block,))
    return int(found.fetchone()[0])


def _fingerprint(store: Store) -> str | None:
    """None where the stored state is too damaged to have one."""
    try:
        return store.fingerprint()
    except StoreError:
        return None


def _recovered(store: Store, folder: Path) -> bool:
    """Take over the archive that an empty database finds beside it."""
    found = sorted(
        (int(first), -int(last), path)
        for path in folder.glob("[0-9]*-[0-9]*.npz")
        for first, last in [path.stem.split("-")]
    )
    if not found:
        raise StoreError(f"{store.path} is empty and {folder} holds no segment: run `ngu sync`")
    store.identify(identity_of(found[0][2]))
    following, last_hash = found[0][0], b""
    with store.commit():
        store.set_meta("start_block", following)
        for first, _, path in found:
            if first < following:
                continue  # a remnant of a segment that was written again, larger
            covered = read_segment(path)
            if first > following or (last_hash and covered.parent_hash not in (last_hash, b"")):
                raise StoreError(f"{folder} has no segment for block {following}: `ngu sync` into "
                                 "a new --db reads the chain again")  # fmt: skip
            store.sealed(covered, path.name)
            following, last_hash = covered.to_block + 1, covered.last_hash
            position = Position(covered.to_block, covered.last_hash, covered.timestamp)
            store.set_position(position, no_state(store.rules))
    return True
