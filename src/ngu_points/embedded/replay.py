"""Replay: read a block range from the chain once more, and put right whatever differs."""

from __future__ import annotations

from typing import Any

from ngu_points.embedded import jobs
from ngu_points.embedded.app import App
from ngu_points.embedded.certify import (
    LISTED,
    PROOFS,
    Comparison,
    Seen,
    checked_range,
    compare,
    described,
    note,
)
from ngu_points.embedded.mend import Truth, mend
from ngu_points.embedded.rebuild import shown_fingerprint
from ngu_points.embedded.repair import note_damage
from ngu_points.engine.coverage import Covered
from ngu_points.engine.events import empty
from ngu_points.pipeline.segments import Segment


async def replay(
    app: App, first: int, last: int, *, receipts: int | None, dry: bool, seen: Seen
) -> dict[str, Any]:
    """Cover what is missing of a range, compare all of it with the chain, repair, compare again.

    Archive files of the range that are damaged or gone are made anew, if the chain tells all that
    they held. `dry`: only say what would be done. The report is for people and machines.
    """
    now, history = int(app.now()), app.history
    if last > app.store.position().block and not dry:
        await app.catch_up(last, again=True)
    missing = max(last - max(first - 1, app.store.position().block), 0)
    if dry and missing > last - first:
        nothing = {"notCovered": missing, "differing": 0, "doubtful": 0, "dryRun": True}
        return {"from": first, "to": last} | nothing
    first, last = checked_range(app.store, first, last)
    lost = await _lost(app, first, last)
    first = min([first, *(c.from_block for c in lost.values())])
    last = max([last, *(c.to_block for c in lost.values())])
    found = await compare(app.reader, history, first, last, receipts, seen)
    unsure = _unsure(app.store.segments(), lost, found)
    for name in unsure:
        _leave(found, lost.pop(name))
    true = {f.block: f.true for f in found.differences if f.true is not None}
    shown = [described(f, history.between(f.block, f.block)) for f in found.differences[:LISTED]]
    report = found.summary() | {"differences": shown, "dryRun": dry, "repaired": 0}
    report |= {"lostSegments": sorted(lost), "notRemade": unsure, "stillDiffering": []}
    mark = await app.on_worker(shown_fingerprint, app.store)
    report |= {"notCovered": missing, "fingerprint": mark}
    if not dry:
        report |= await _repair(app, found, true, lost, now)
        report["metrics"] = await app.on_worker(jobs.publish, history, now)
    history.lost = set()
    return report


async def _repair(
    app: App, found: Comparison, true: Truth, lost: dict[str, Covered], now: int
) -> dict[str, Any]:
    report: dict[str, Any] = {"repaired": len(true), "stillDiffering": []}
    if true or lost:
        why = f"replay of blocks {found.first}..{found.last}"
        report |= await app.on_worker(mend, app.history, app.rules, true, why, now, lost)
        app.mended()
        again = [await compare(app.reader, app.history, b, b, None, lambda _: None) for b in true]
        report["stillDiffering"] = [c.first for c in again if c.differences]
    repaired = true.keys() - set(report["stillDiffering"])
    await app.on_worker(note, app.history, found, now, repaired)
    await app.on_worker(note_damage, app.history, now)
    return report


async def _lost(app: App, first: int, last: int) -> dict[str, Covered]:
    """The unreadable segments of a range, as ranges that nothing is held of."""
    lost = {}
    for segment in await app.on_worker(app.history.damaged, first, last):
        ends = await app.reader.rpc.headers(sorted({segment.from_block, segment.to_block}))
        lost[segment.name] = Covered(
            segment.from_block,
            segment.to_block,
            ends[0].parent_hash,
            ends[-1].hash,
            ends[-1].timestamp,
            empty(),
        )
    app.history.lost = set(lost)
    return lost


def _unsure(segments: list[Segment], lost: dict[str, Covered], found: Comparison) -> list[str]:
    """The lost segments of which the chain did not tell all, by name.

    Without proof of every block the number of events must be the one that the file had.
    """
    names = []
    for segment in segments:
        if segment.name not in lost:
            continue
        first, last = segment.from_block, segment.to_block
        verdicts = {v for a, b, v in found.runs if a <= last and b >= first}
        doubts = [f for f in found.doubts if first <= f.block <= last]
        told = [f.true for f in found.differences if first <= f.block <= last and f.true]
        events = sum(len(true.events) for true in told)
        if not verdicts <= PROOFS and (doubts or events != segment.events):
            names.append(segment.name)
    return names


def _leave(found: Comparison, lost: Covered) -> None:
    """Forget what was found of a segment that stays as it is."""
    found.differences = [
        f for f in found.differences if not lost.from_block <= f.block <= lost.to_block
    ]
