"""One workload through the whole pipeline and through each part of it, several times."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from bench import expected, measure
from bench.measure import NGU, Cost
from bench.scale import exported, of
from bench.workloads import FIRST_BLOCK, Workload, workload
from ngu_points.errors import NguError


def measured(kind: str, events: int, runs: int, folder: Path) -> dict[str, Any]:
    """All rows of one workload. NguError where an answer is not the expected one."""
    work = workload(kind, events)
    with measure.node(kind, events) as url:
        startup = [measure.run((*NGU, "--version"), folder).seconds for _ in range(runs)]
        alone = {s: _stage(s, kind, url, runs, folder) for s in ("fetch", "read", "decode", "fold")}
        syncs, rebuilds, node = _pipeline(work, url, runs, folder)
    rows = [
        _row("sync", events, [c.seconds for c in syncs], syncs),
        _row("fetch", events, alone["fetch"]["seconds"]),
        _row("fetch + decode", events, alone["read"]["seconds"]),
        _row("decode alone", events, alone["decode"]["seconds"], size=alone["decode"]["bytes"]),
        _row("fold alone", events, alone["fold"]["seconds"]),
        _row("rebuild", events, [c.seconds for c in rebuilds], rebuilds),
    ]
    return {
        "kind": kind,
        "events": events,
        "runs": runs,
        "rows": rows,
        "node": node,
        "startup": median(startup),
        "state": {k: alone["fold"][k] for k in ("runs", "wallets", "days")},
        "verified": "owners, stakers and token-seconds equal the replay",
    }


def _stage(stage: str, kind: str, url: str, runs: int, folder: Path) -> dict[str, Any]:
    return measure.run(("-m", "bench.stages", stage, kind, url, str(runs)), folder).answer


def _pipeline(
    work: Workload, url: str, runs: int, folder: Path
) -> tuple[list[Cost], list[Cost], dict[str, float]]:
    """Whole syncs and rebuilds, each sync into a database of its own; the first is verified."""
    before = measure.node_cost(url)
    syncs = [
        measure.run((*NGU, "sync", *of(work, folder / f"{number}" / "ngu.db"), "--rpc", url,
                     "--from-block", str(FIRST_BLOCK), "--json"), folder)
        for number in range(runs)
    ]  # fmt: skip
    after = measure.node_cost(url)
    db = folder / "0" / "ngu.db"
    _verify(work, db, syncs, folder)
    again = (*NGU, "rebuild", *of(work, db), "--json")
    rebuilds = [measure.run(again, folder) for _ in range(runs)]
    _same(rebuilds[-1].answer["fingerprint"], syncs)
    return syncs, rebuilds, {name: (after[name] - before.get(name, 0)) / runs for name in after}


def _verify(work: Workload, db: Path, syncs: list[Cost], folder: Path) -> None:
    """The first database answers as the replay does, and all have one fingerprint."""
    if syncs[0].answer["events"] != len(work):
        raise NguError(f"bench: {syncs[0].answer['events']} events instead of {len(work)}")
    expected.check(work, expected.replay(work), *exported(work, db, folder))
    _same(syncs[0].answer["fingerprint"], syncs)


def _same(fingerprint: str, syncs: list[Cost]) -> None:
    if any(cost.answer["fingerprint"] != fingerprint for cost in syncs):
        raise NguError("bench: runs over the same events end in different fingerprints")


def _row(
    name: str, events: int, seconds: list[float], costs: list[Cost] | None = None, size: int = 0
) -> dict[str, Any]:
    """Medians of the runs. `rss` and `megabytes` (a second) are in units of 10^6 bytes."""
    middle = median(seconds)
    row: dict[str, Any] = {"name": name, "seconds": middle, "rate": events / middle, "all": seconds}
    if size:
        row["megabytes"] = size / middle / 1e6
    if costs:
        spent = [cost.cpu for cost in costs if cost.cpu is not None]
        peaks = [cost.rss for cost in costs if cost.rss is not None]
        row["cpu"] = median(spent) if spent else None
        row["rss"] = max(peaks) / 1e6 if peaks else None
    return row
