"""Fold everything again, from the archive and the working queue; or from the archive alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ngu_points.embedded.archive import identity_of, named, read_segment, segment_files
from ngu_points.embedded.history import History
from ngu_points.embedded.retractions import remember, settle
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import Covered, ready_through
from ngu_points.engine.events import Events, ids
from ngu_points.engine.fingerprint import fingerprint, shares_digest
from ngu_points.engine.rules import Rules
from ngu_points.engine.state import State, no_state
from ngu_points.errors import StoreError
from ngu_points.pipeline.interfaces import Position
from ngu_points.pipeline.process import process
from ngu_points.pipeline.query import Refolded, refold

Seen = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Again:
    """A history folded once more, events by kind, and the last block it holds."""

    folded: Refolded
    counters: dict[str, int]
    reached: int


def fold_again(
    history: History, rules: Rules, target: Position, seen: Seen = lambda _: None
) -> Again:
    """Fold everything up to a position (the end of a range) from the beginning.

    `seen` is told each block up to which that is done.
    """
    kinds, reached = np.zeros(5, np.int64), [int(history.store.meta("start_block", 0)) - 1]

    def counted() -> Iterator[Covered]:
        for covered in history.covered():
            if covered.from_block > target.block:
                return
            kept = covered.events.kind[covered.events.block <= target.block]
            kinds[:] += np.bincount(kept, minlength=5)
            seen(reached[0])
            reached[0] = min(covered.to_block, target.block)
            yield covered

    until = (target.block, target.timestamp)
    folded = refold(rules, counted(), no_state(rules), until)
    counters = {str(kind): int(number) for kind, number in enumerate(kinds)}
    return Again(folded, counters | {"anomalies": len(folded.notes)}, reached[0])


def end_below(store: Store, history: History, block: int) -> Position:
    """The last block at or below one at which a range ended or an event happened.

    There hash and time are known.
    """
    end = store.queue.end_at(block)
    if end is not None and end.to_block >= store.archived():
        return Position(end.to_block, end.last_hash, end.timestamp)
    for group in history.checkpoints(block):
        for known in group:
            if known.block <= block:
                return known
    return Position(int(store.meta("start_block", 0)) - 1, bytes(32), 0)


def rebuild(
    store: Store,
    history: History,
    rules: Rules,
    now: int,
    *,
    dry: bool = False,
    seen: Seen = lambda _: None,
) -> dict[str, Any]:
    """Replace the stored state by a new fold of all events, and compare the fingerprints.

    `dry`: fold and compare, and leave everything as it is.
    """
    began = time.monotonic()
    store.check_frozen()
    if not dry:
        history.drop_snapshots()
    with kept(store, not dry):
        recovered = store.meta("position") is None and _recovered(store, history.folder, now)
        changed = store.meta("fold") != rules.fold_key()
        comparable = not (changed or recovered)
        _check_whole(store)
        fold = _compared if dry else _replaced
        found = fold(store, history, rules, now, seen, comparable)
        report = {
            "events": sum(v for k, v in found.counters.items() if k.isdigit()),
            "block": store.position().block,
            "before": found.before,
            "fingerprint": found.after,
            "same": found.after == found.before,
            "waiting": found.waiting,
            "rulesChanged": changed,
            "recovered": recovered,
            "dryRun": dry,
        }
    report["retracted"] = 0 if dry else settle(history, now)
    return report | {"seconds": round(time.monotonic() - began, 3)}


@dataclass(frozen=True, slots=True)
class Found:
    """What a new fold gave, and what was there before."""

    before: str | None  # fingerprint; None where there is none to compare with
    after: str
    counters: dict[str, int]  # events by kind
    waiting: list[str]  # events not yet processed, where they alone make the difference


def _replaced(
    store: Store, history: History, rules: Rules, now: int, seen: Seen, comparable: bool
) -> Found:
    """Put a new fold in the place of the stored state; inside a commit."""
    before = shown_fingerprint(store) if comparable else None
    if before is not None:
        remember(store, int(store.meta("start_block", 0)), "rebuild", now)
    store.queue.mark_known(_waiting(store), now)
    fold_all(store, history, rules, now, seen, None if before is None else store.stored())
    return Found(before, store.fingerprint(), store.meta("counters"), [])


def _compared(
    store: Store, history: History, rules: Rules, now: int, seen: Seen, comparable: bool
) -> Found:
    """Fold everything anew in memory; what the rows say is read beside it, on a second core.

    Inside a commit that is rolled back: what waits is taken for processed there, as a rebuild does.
    """
    waiting = _waiting(store)
    with ThreadPoolExecutor(1, thread_name_prefix="rows") as beside:
        recorded = beside.submit(_recorded, store.path, rules, comparable)
        counters, after = _folded(store, history, rules, seen)
    before, processed = recorded.result(), after
    if len(waiting):
        store.queue.mark_known(waiting, now)
        counters, after = _folded(store, history, rules, seen)
    alone = processed == before != after
    return Found(before, after, counters, ids(waiting) if alone else [])


def _folded(store: Store, history: History, rules: Rules, seen: Seen) -> tuple[dict[str, int], str]:
    """Events by kind and the fingerprint of all that is processed, folded in memory."""
    position = store.position()
    again = fold_again(history, rules, position, seen)
    _check_reached(again, history)
    state = replace(again.folded.hot.state, block=position.block, timestamp=position.timestamp)
    days = [(day, shares_digest(day, state.wallets.address)) for day in again.folded.days]
    return again.counters, fingerprint(state, days, rules, store.chain_id)


def _waiting(store: Store) -> Events:
    """Events at or below the position, behind the archive, that are not noted as processed."""
    found = store.queue.events_until(store.position().block)
    return found.take(found.block > store.archived())


def _recorded(path: Path, rules: Rules, comparable: bool) -> str | None:
    """The fingerprint of what a database holds, over a connection of its own."""
    if not comparable:
        return None
    with closing(Store.open(path, rules)) as reader, suppress(StoreError):
        return reader.fingerprint_once()
    return None


class _Dry(Exception):  # noqa: N818 -- the way out of a transaction that is not to be kept
    """Nothing of it is to stay."""


@contextmanager
def kept(store: Store, keep: bool) -> Iterator[None]:
    """A commit; or, where it is not to be kept, one that is rolled back in the end."""
    with suppress(_Dry), store.commit():
        yield
        if not keep:
            raise _Dry


def fold_all(
    store: Store,
    history: History,
    rules: Rules,
    now: int,
    seen: Seen = lambda _: None,
    rows: State | None = None,
) -> None:
    """Put a new fold of all that is held in the place of the stored state; inside a commit.

    What is not final is folded with before images, so that it can still be undone. `rows` is what
    the rows say, where that has just been read.
    """
    position = store.position()
    final = max(min(store.meta("final", -1), position.block), store.archived())
    target = end_below(store, history, final)
    again = fold_again(history, rules, target, seen)
    _check_reached(again, history)
    store.replace_state(again.folded, again.counters, target, rows)
    store.queue.reopen(target.block)
    while process(store, rules, now, through=position.block):
        pass
    store.clear((), position.block)
    if store.position().block != position.block:
        raise _not_whole(store, store.position().block)


def _check_whole(store: Store) -> None:
    """StoreError unless the tables hold, behind the archive, exactly what was announced."""
    archived, position = store.archived(), store.position().block
    if archived < position:
        reach = ready_through(store.coverage(archived), archived, store.arrived)
        whole = archived if reach is None else reach.to_block
        if whole < position:
            raise _not_whole(store, whole)


def _not_whole(store: Store, block: int) -> StoreError:
    return StoreError(
        f"{store.path} does not hold exactly the events that were announced above block {block}: "
        f"run `ngu rewind {block}`, then `ngu sync`"
    )


def _check_reached(again: Again, history: History) -> None:
    archived = history.store.archived()
    if again.reached < archived:
        raise StoreError(
            f"{history.folder} reaches block {again.reached} of {archived}: the archive is "
            "incomplete; `ngu sync` into a new --db reads the chain again"
        )


def shown_fingerprint(store: Store) -> str | None:
    """None where the stored state, or the archive that it is folded on from, is damaged."""
    try:
        return store.fingerprint()
    except StoreError:
        return None


def _recovered(store: Store, folder: Path, now: int) -> bool:
    """Take over the archive that an empty database finds beside it."""
    found = segment_files(folder)
    if not found:
        raise StoreError(f"{store.path} is empty and {folder} holds no segment: run `ngu sync`")
    store.identify(identity_of(found[0]))
    following, last_hash = named(found[0])[0], b""
    with store.commit():
        store.set_meta("start_block", following)
        for path in found:
            first = named(path)[0]
            if first < following:
                continue  # a remnant of a segment that was written again, larger
            covered = read_segment(path)
            if first > following or (last_hash and covered.parent_hash not in (last_hash, b"")):
                raise StoreError(f"{folder} has no segment for block {following}: `ngu sync` into "
                                 "a new --db reads the chain again")  # fmt: skip
            store.sealed(covered, path.name)
            store.queue.put_rejected(covered.rejected, now)
            following, last_hash = covered.to_block + 1, covered.last_hash
            position = Position(covered.to_block, covered.last_hash, covered.timestamp)
            store.set_position(position, no_state(store.rules))
    return True
