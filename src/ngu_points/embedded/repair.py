"""Going back and looking at what is missing: rewind, gaps, dead letters."""

from __future__ import annotations

import time
from typing import Any

from ngu_points.embedded.history import History
from ngu_points.embedded.rebuild import anomalies, end_below, fold_again
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import gaps
from ngu_points.engine.rules import Rules
from ngu_points.errors import UsageError
from ngu_points.pipeline.process import process


def rewind(store: Store, history: History, rules: Rules, block: int, now: int) -> dict[str, Any]:
    """Go back to the last range end at or below a block; what lay above is read again.

    Steps with before images are undone; below them the state is folded anew from the archive.
    """
    began = time.monotonic()
    before = store.position()
    if block >= before.block:
        raise UsageError(f"{block} is not below the last covered block, {before.block}")
    target = end_below(store, history, block)
    history.drop_snapshots(min(target.block, store.archived()))
    with store.commit():
        reach = store.undo_reach()
        if reach is not None and store.archived() <= reach <= target.block:
            store.undo(target.block)
        else:
            again = fold_again(history, rules, target)
            store.replace_state(again.state, again.days, target)
            noted = {"anomalies": anomalies(store, target.block)}
            store.set_meta("counters", again.counters | noted)
        store.queue.forget(target.block)
        store.unseal(target.block)
    while process(store, rules, now):
        pass  # steps are undone whole: fold again what lay between
    history.recall()
    return {
        "from": before.block,
        "block": store.position().block,
        "fingerprint": store.fingerprint(),
        "seconds": round(time.monotonic() - began, 3),
    }


def missing(store: Store) -> list[dict[str, Any]]:
    """Block ranges between the start and the newest covered block that nothing covers."""
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
        if not store.arrived(r)
    ]
    return found + late + _unarchived(store)


def _unarchived(store: Store) -> list[dict[str, Any]]:
    """Holes between the archive's files."""
    following, found = int(store.meta("start_block", 0)), []
    for segment in store.segments():
        if segment.from_block > following:
            hole = {"stream": "archive", "from": following, "to": segment.from_block - 1}
            found.append(hole | {"why": "no segment"})
        following = segment.to_block + 1
    return found


def dead_letters(store: Store) -> list[dict[str, Any]]:
    """The logs that could not become events, oldest first."""
    columns = ("id", "stream", "blockNumber", "logIndex", "timestamp", "reason", "raw")
    found = store.db.execute(
        f"SELECT {', '.join(columns)} FROM dead_letters ORDER BY blockNumber, logIndex"
    )
    rows = [dict(zip(columns, row, strict=True)) for row in found]
    return [row | {"raw": row["raw"].decode("utf-8", "replace")} for row in rows]
