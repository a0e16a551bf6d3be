"""Going back and looking at what is missing: rewind, gaps, dead letters."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ngu_points.chain.contract import Contract
from ngu_points.chain.decode import Decoded, decode
from ngu_points.embedded.archive import named, read_segment, segment_files, write_segment
from ngu_points.embedded.history import History
from ngu_points.embedded.mend import mend
from ngu_points.embedded.rebuild import end_below, fold_again
from ngu_points.embedded.retractions import remember
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import Covered, gaps
from ngu_points.engine.events import Events, Rejected, concat
from ngu_points.engine.rules import Rules
from ngu_points.errors import BadInput
from ngu_points.pipeline.interfaces import Position
from ngu_points.pipeline.process import EVENTS_MAX, process

DAMAGED = "the file is damaged or gone"
DERIVED = {"not announced", "events outstanding", "no segment", "no file"}
"""Reasons that can be seen in the tables at any time, so that they also end there."""


def rewind(
    store: Store, history: History, rules: Rules, block: int, now: int, *, dry: bool = False
) -> dict[str, Any]:
    """Go back to the last range end at or below a block; what lay above is read again.

    Steps with before images are undone; below them the state is folded anew from the archive.
    Where nothing lies above the block, nothing is done: so a command can be repeated.
    `dry`: only say where that would lead.
    """
    began = time.monotonic()
    before = store.position()
    if block >= before.block:
        report = {"from": before.block, "block": before.block, "eventsDropped": 0, "dryRun": dry}
        return report if dry else report | {"fingerprint": store.fingerprint(), "seconds": 0.0}
    target = end_below(store, history, block)
    dropped = len(history.between(target.block + 1, before.block).events)
    report = {"from": before.block, "block": target.block, "eventsDropped": dropped, "dryRun": dry}
    if dry:
        return report
    history.drop_snapshots(min(target.block, store.archived()))
    cut = _cut(history, target)
    with store.commit():
        remember(store, target.block + 1, f"rewind to block {target.block}", now)
        if target.block >= store.archived() and store.undoable(target.block):
            store.undo(target.block)
        else:
            again = fold_again(history, rules, target)
            store.replace_state(again.folded, again.counters, target)
        store.forget(target.block)
        store.unseal(target.block)
        if cut is not None:
            store.sealed(*cut)
    while process(store, rules, now):
        pass  # steps are undone whole: fold again what lay between
    for path in segment_files(history.folder):
        if named(path)[1] > target.block:
            path.unlink(missing_ok=True)  # a database made from the archive must not find it
    history.recall()
    return report | {
        "block": store.position().block,
        "fingerprint": store.fingerprint(),
        "seconds": round(time.monotonic() - began, 3),
    }


def _cut(history: History, target: Position) -> tuple[Covered, str] | None:
    """The part up to a block of the segment that reaches beyond it, as a segment of its own."""
    for segment in history.store.segments():
        if segment.from_block <= target.block < segment.to_block:
            whole = read_segment(history.folder / segment.name)
            part = replace(
                whole,
                to_block=target.block,
                last_hash=target.hash,
                timestamp=target.timestamp,
                events=whole.events.take(whole.events.block <= target.block),
                rejected=tuple(r for r in whole.rejected if r.block <= target.block),
            )
            return part, write_segment(history.folder, part, history.store.identity())
    return None


def missing(store: Store) -> list[dict[str, Any]]:
    """What is known to be missing: stream, block range, why, and since when it has been noticed.

    Blocks that nothing covers, events that were announced and have not come, holes in the
    archive, and blocks that differ from the chain's.
    """
    noted = {(s, a, b, why): since for s, a, b, why, since in _noted(store)}
    for gap in _found(store):
        noted.setdefault((gap["stream"], gap["from"], gap["to"], gap["why"]), None)
    return [
        {"stream": s, "from": a, "to": b, "why": why, "since": since}
        for (s, a, b, why), since in sorted(noted.items(), key=lambda n: n[0][1:])
    ]


def note_missing(store: Store, now: int) -> list[dict[str, Any]]:
    """Bring the ledger of gaps up to date: what is new gets a date, what was filled goes."""
    found = {(g["stream"], g["from"], g["to"], g["why"]) for g in _found(store)}
    with store.commit():
        for *gap, _ in _noted(store):
            if gap[3] in DERIVED and tuple(gap) not in found:
                store.db.execute(
                    "DELETE FROM gaps WHERE (stream, fromBlock, toBlock, why) = (?, ?, ?, ?)", gap
                )
        store.db.executemany(
            "INSERT OR IGNORE INTO gaps VALUES (?, ?, ?, ?, ?)", [(*gap, now) for gap in found]
        )
    return missing(store)


def _noted(store: Store) -> list[tuple[str, int, int, str, int | None]]:
    return store.db.execute("SELECT * FROM gaps").fetchall()


def _found(store: Store) -> list[dict[str, Any]]:
    position = store.position().block
    records = store.coverage(position)
    end = max((r.to_block for r in records), default=position)
    found = [
        {"stream": s, "from": a, "to": b, "why": "not announced"}
        for s, a, b in gaps(records, position + 1, end)
    ]
    late = [
        {"stream": r.stream, "from": r.from_block, "to": r.to_block, "why": "events outstanding"}
        for r in records
        if store.queue.outstanding(r)
    ]
    return found + late + _unarchived(store)


def _unarchived(store: Store) -> list[dict[str, Any]]:
    """Holes between the archive's files, and files that are gone."""
    following, found = int(store.meta("start_block", 0)), []
    for segment in store.segments():
        if segment.from_block > following:
            hole = {"stream": "archive", "from": following, "to": segment.from_block - 1}
            found.append(hole | {"why": "no segment"})
        if not (store.archive / segment.name).exists():
            gone = {"stream": "archive", "from": segment.from_block, "to": segment.to_block}
            found.append(gone | {"why": "no file"})
        following = segment.to_block + 1
    return found


def note_damage(history: History, now: int) -> int:
    """Read every file of the archive; those that are not as they were written are gaps."""
    store = history.store
    damaged = history.damaged(0, store.archived())
    with store.commit():
        store.db.execute("DELETE FROM gaps WHERE why = ?", (DAMAGED,))
        store.db.executemany(
            "INSERT INTO gaps VALUES ('archive', ?, ?, ?, ?)",
            [(s.from_block, s.to_block, DAMAGED, now) for s in damaged],
        )
    return len(damaged)


def retry(
    history: History, rules: Rules, contract: Contract, now: int, *, dry: bool = False
) -> dict[str, Any]:
    """Decode the dead letters once more; those that are events now take their place in order."""
    store = history.store
    now_events: dict[int, list[Events]] = {}
    letters = store.queue.letters(0, store.position().block)
    for letter in letters:
        event = _decoded(letter, contract)
        if event is not None:
            now_events.setdefault(letter.block, []).append(event)
    report: dict[str, Any] = {"tried": len(letters), "dryRun": dry}
    report["recovered"] = sum(map(len, now_events.values()))
    if dry or not now_events:
        return report
    true = {b: _without_letters(history.between(b, b), new) for b, new in now_events.items()}
    return report | mend(history, rules, true, "retry of dead letters", now)


def _decoded(letter: Rejected, contract: Contract) -> Events | None:
    """The event that a letter turns out to be; None if it still cannot be one."""
    try:
        found = decode(b"[" + letter.raw + b"]", contract, letter.block, letter.block)
    except BadInput:
        return None
    if not len(found.events):
        return None
    return replace(found.events, timestamp=np.array([letter.timestamp], np.int64))


def _without_letters(held: Decoded, new: list[Events]) -> Decoded:
    events = concat([held.events, *new]).sorted()
    found = set(zip(events.block.tolist(), events.log_index.tolist(), strict=True))
    left = tuple(r for r in held.rejected if (r.block, r.log_index) not in found)
    return Decoded(events, left, 0)


@dataclass(frozen=True, slots=True)
class Generous:
    """The limits of one machine while a backlog is cleared: larger steps, a larger cache."""

    store: Store
    events: int = 10 * EVENTS_MAX
    cache: int = -262_144  # KiB

    @contextmanager
    def raised(self) -> Iterator[int]:
        before = self.store.db.execute("PRAGMA cache_size").fetchone()[0]
        self.store.db.execute(f"PRAGMA cache_size = {self.cache}")
        try:
            yield self.events
        finally:
            self.store.db.execute(f"PRAGMA cache_size = {before}")


def dead_letters(store: Store) -> list[dict[str, Any]]:
    """The logs that could not become events, oldest first."""
    columns = ("id", "stream", "blockNumber", "logIndex", "timestamp", "reason", "raw")
    found = store.db.execute(
        f"SELECT {', '.join(columns)} FROM dead_letters ORDER BY blockNumber, logIndex"
    )
    rows = [dict(zip(columns, row, strict=True)) for row in found]
    return [row | {"raw": row["raw"].decode("utf-8", "replace")} for row in rows]
