"""Put right what is held of some blocks: archive, event tables and coverage, then all that follows.

Mended segments are new files, and one transaction makes them, the tables and the new fold valid
together: a crash leaves either the old record or the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ngu_points.chain.decode import Decoded
from ngu_points.embedded.archive import read_segment, write_segment
from ngu_points.embedded.history import History
from ngu_points.embedded.rebuild import fold_all, shown_fingerprint
from ngu_points.embedded.retractions import remember, settle
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import Covered, announced
from ngu_points.engine.events import concat
from ngu_points.engine.rules import Rules
from ngu_points.pipeline.segments import Segment

Truth = Mapping[int, Decoded]
"""All logs of some blocks, as the chain has them."""


def mend(
    history: History,
    rules: Rules,
    true: Truth,
    why: str,
    now: int,
    lost: Mapping[str, Covered] | None = None,
) -> dict[str, Any]:
    """Take `true` as what these blocks logged, and fold everything again.

    The blocks are at or below the position. `lost` are segments whose files cannot be read, by
    name, each as a range without events. Points that this takes back and published feast days
    that it changes are listed (see `retractions`).
    """
    store, lost = history.store, lost or {}
    before = shown_fingerprint(store)
    first = min([*true, *(c.from_block for c in lost.values())])
    revised = [
        (segment, *_revise(history, segment, lost.get(segment.name), true))
        for segment in store.segments()
        if segment.name in lost
        or any(segment.from_block <= block <= segment.to_block for block in true)
    ]
    history.drop_snapshots(first - 1)  # before: they must not outlive the change
    with store.commit():
        remember(store, first, why, now)
        for segment, name, events in revised:
            store.revised(segment, name, events)
        history.lost -= set(lost)
        store.queue.replace(true, now, store.chain_id)
        _announce_again(history, true)
        fold_all(store, history, rules, now)
        _close(store, true)
        for covered in lost.values():
            store.db.execute(
                "DELETE FROM gaps WHERE stream = 'archive' AND fromBlock = ?", (covered.from_block,)
            )
            store.db.execute(
                "DELETE FROM certificates WHERE fromBlock <= ? AND toBlock >= ?",
                (covered.to_block, covered.from_block),
            )
    history.recall()
    return {
        "mended": sorted(true),
        "segments": [name for _, name, _ in revised],
        "before": before,
        "fingerprint": store.fingerprint(),
        "retracted": settle(history, now),
        "feastDaysCorrected": store.feasts.corrected(now),
    }


def _revise(
    history: History, segment: Segment, lost: Covered | None, true: Truth
) -> tuple[str, int]:
    """Write a segment's next revision; its name and how many events it has."""
    path = history.folder / segment.name
    covered = _mended(lost or read_segment(path), true)
    return write_segment(history.folder, covered, history.store.identity()), len(covered.events)


def _mended(covered: Covered, true: Truth) -> Covered:
    blocks = [b for b in true if covered.from_block <= b <= covered.to_block]
    kept = covered.events.take(~np.isin(covered.events.block, blocks))
    letters = [r for r in covered.rejected if r.block not in true]
    letters += [r for b in blocks for r in true[b].rejected]
    return replace(
        covered,
        events=concat([kept, *(true[b].events for b in blocks)]).sorted(),
        rejected=tuple(sorted(letters, key=lambda r: (r.block, r.log_index))),
    )


def _announce_again(history: History, true: Truth) -> None:
    """The records of the ranges concerned say what is there now, so that it counts as arrived."""
    queue = history.store.queue
    if not true:
        return
    for record in queue.coverage(min(true) - 1):
        if any(record.from_block <= block <= record.to_block for block in true):
            held = history.between(record.from_block, record.to_block)
            covered = Covered(record.from_block, record.to_block, record.parent_hash,
                              record.last_hash, record.timestamp, held.events,
                              held.rejected)  # fmt: skip
            told = announced(covered, 0).records
            new = next(one for one in told if one.stream == record.stream)
            queue.announce_again(record, new.count, new.digest)


def _close(store: Store, true: Truth) -> None:
    """What was known to be wrong with these blocks is so no more."""
    for block in true:
        within = "fromBlock <= ? AND toBlock >= ?"
        store.db.execute(f"DELETE FROM certificates WHERE {within}", (block, block))
        store.db.execute("DELETE FROM gaps WHERE fromBlock = ? AND toBlock = ?", (block, block))
