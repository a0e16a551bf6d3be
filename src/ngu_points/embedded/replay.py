"""Replay: read a block range from the chain once more, and put right whatever differs."""

from __future__ import annotations

from typing import Any

from ngu_points.embedded import jobs
from ngu_points.embedded.app import App
from ngu_points.embedded.certify import LISTED, Seen, checked_range, compare, described, note
from ngu_points.embedded.mend import mend
from ngu_points.engine.coverage import Covered
from ngu_points.engine.events import empty


async def replay(
    app: App, first: int, last: int, *, receipts: int | None, dry: bool, seen: Seen
) -> dict[str, Any]:
    """Cover what is missing of a range, compare all of it with the chain, repair, compare again.

    Archive files of the range that are damaged or gone are made anew. `dry`: only say what would
    be done. The report is for people and machines.
    """
    now, history = int(app.now()), app.history
    position = app.store.position().block
    if last > position and not dry:
        await app.catch_up(last, again=True)
    if dry and first > position:
        missing = {"notCovered": last - first + 1, "differing": 0, "dryRun": True}
        return {"from": first, "to": last} | missing
    last_wanted = last
    first, last = checked_range(app.store, first, last)
    lost = await _lost(app, first, last)
    first = min([first, *(c.from_block for c in lost.values())])
    last = max([last, *(c.to_block for c in lost.values())])
    found = await compare(app.reader, history, first, last, receipts, seen)
    true = {f.block: f.true for f in found.differences if f.true is not None}
    shown = [described(f, history.between(f.block, f.block)) for f in found.differences[:LISTED]]
    report = found.summary() | {"differences": shown, "dryRun": dry, "repaired": 0}
    report |= {"lostSegments": sorted(lost), "stillDiffering": []}
    report["notCovered"] = max(last_wanted - app.store.position().block, 0)
    report["fingerprint"] = await app.on_worker(app.store.fingerprint)
    if dry:
        return report
    if true or lost:
        why = f"replay of blocks {first}..{last}"
        report |= await app.on_worker(mend, history, app.rules, true, why, now, lost)
        app.mended()
        again = [await compare(app.reader, history, b, b, None, lambda _: None) for b in true]
        report["stillDiffering"] = [c.first for c in again if c.differences]
        report["repaired"] = len(true)
    repaired = true.keys() - set(report["stillDiffering"])
    await app.on_worker(note, history, found, now, repaired)
    report["metrics"] = await app.on_worker(jobs.publish, history, now)
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
