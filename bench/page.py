"""`python -m bench.page`: tables and plots of docs/performance.md, from docs/performance.json."""

from __future__ import annotations

import json
import sys
from typing import Any

from bench.measure import ROOT
from bench.plots import plots
from bench.report import HEADINGS, number
from bench.report import cells as workload_cells
from bench.scaling import Row, written
from bench.targets import TARGETS, Results, rate, ratio
from ngu_points.errors import NguError

PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "docs" / "performance.json"
IMAGES = ROOT / "docs" / "images"
PLOTS = {
    "rates": "Events a second of ngu sync, of its floors and of the other indexers",
    "growth": "Time per event and peak memory as the history grows",
}
WORDS = {
    "growth": "time per event, the largest history against the smallest",
    "rates": "what every wallet has under other rates",
    "drop": "tokens minted in ranges of 10,000",
    "sparse": "catching up where one of 432 blocks has events",
}
UNITS = {"seconds": "s", "rss": "MB", "p50": "ms", "p99": "ms", "perEvent": "µs", "rate": ""}


def tables(results: Results) -> dict[str, list[Row]]:
    """All tables, by their names in the page. NguError for results that are no full run."""
    if results["scale"] != 1:
        raise NguError(f"bench: these results are at {results['scale']:g} of the full sizes")
    if any("failed" in row for row in results["rivals"]):
        raise NguError("bench: another indexer failed or gave another answer: run it again")
    found = {
        "machine": [{"what": what, "value": _text(v)} for what, v in results["machine"].items()],
        "targets": [_target(target, results) for target in TARGETS],
        "growth": [_growth(row) for row in results["rows"] if row["row"] in ("size", "rebuild")],
        "reads": [_spread(row) for row in results["rows"] if row["row"] in ("read", "live")],
        "others": [_other(row) for row in results["rows"]
                   if row["row"] in ("growth", "rates", "drop", "sparse")],
        "rivals": [_rival(row, results) for row in results["rivals"]],
    }  # fmt: skip
    for work in results["workloads"]:
        found[work["kind"]] = [
            dict(zip(HEADINGS, line, strict=True)) for line in workload_cells(work)
        ]
    missing = [name for name, rows in found.items() if not rows]
    if missing or len(results["workloads"]) < 2:
        raise NguError(f"bench: these results lack {', '.join(missing) or 'a workload'}")
    return found


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _target(target: Any, results: Results) -> Row:
    figure, reached = target.found(results), target.reached(results)
    word = {None: "not measured", True: "reached", False: "**missed**"}[reached]
    sign = "at most" if target.at_most else "at least"
    return {
        "target": target.what,
        "bound": f"{sign} {number(target.bound)} {target.unit}",
        "measured": "" if figure is None else f"{number(figure)} {target.unit}",
        "": word,
    }


def _growth(row: Row) -> Row:
    return {
        "what": "sync" if row["row"] == "size" else "fold from the archive",
        "events": row["events"],
        "seconds": number(row["seconds"]),
        "events/s": number(row["rate"]),
        "µs an event": number(row.get("perEvent", 1e6 / row["rate"])),
        "peak MB": number(row["rss"]),
    }


def _spread(row: Row) -> Row:
    what = row["what"] if row["row"] == "read" else f"live: head seen to {row['what']}"
    count = row.get("n", row.get("blocks"))
    return {"what": what, "times": count, "p50, ms": number(row["p50"]),
            "p99, ms": number(row["p99"])}  # fmt: skip


def _other(row: Row) -> Row:
    fields = [f"{name} {number(value)} {UNITS.get(name, '')}".strip()
              for name, value in row.items() if name not in ("row", "all")]  # fmt: skip
    return {"what": WORDS[row["row"]], "measured": ", ".join(fields)}


def _rival(row: Row, results: Results) -> Row:
    times = ratio(rate(results, row["kind"], "sync"), row.get("rate"))
    shown = [number(row[name]) for name in ("seconds", "rate", "rss", "requests") if name in row]
    seconds, each, rss, requests = shown or [f"not measured: {row['missing']}", "", "", ""]
    return {
        "workload": row["kind"], "indexer": f"{row['name']} {row['version']}",
        "database": row["database"], "settings": row["settings"], "s": seconds, "events/s": each,
        "peak MB": rss, "requests": requests,
        "`ngu sync` is": "" if times is None else f"{times:.0f} times as fast",
    }  # fmt: skip


def made(page: str, results: Results) -> str:
    """The page with the tables and plots of these results."""
    page = written(page, tables(results))
    for name, title in PLOTS.items():
        begin, end = f"<!-- plot of {name} -->", f"<!-- /plot of {name} -->"
        head, tail = page.split(begin)[0], page.split(end)[1]
        page = f"{head}{begin}\n![{title}](images/{name}.svg)\n{end}{tail}"
    return page


def main() -> int:
    """Write the page and its plots; 1 where there are no results to write them from."""
    try:
        results: Results = json.loads(RESULTS.read_text(encoding="utf-8"))
        page = made(PAGE.read_text(encoding="utf-8"), results)
        for name, image in plots(results).items():
            (IMAGES / f"{name}.svg").write_text(image, encoding="utf-8")
    except (OSError, NguError) as error:
        print(error, file=sys.stderr)
        return 1
    PAGE.write_text(page, encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)} and its plots")
    return 0


if __name__ == "__main__":
    sys.exit(main())
