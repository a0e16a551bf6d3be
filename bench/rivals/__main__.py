"""`python -m bench.rivals`: other indexers over the same events of the same node, each once."""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import expected, measure, report
from bench.rivals import dipdup, ponder, postgres, sqd
from bench.rivals.answer import check
from bench.rivals.interfaces import Rival, Task
from bench.workloads import KINDS, Workload, workload
from ngu_points.errors import NguError

RESULTS = measure.ROOT / "bench" / "results"
RIVALS = {
    "sqd": sqd.RIVAL,
    "ponder": ponder.POSTGRES,
    "ponder-pglite": ponder.PGLITE,
    "dipdup": dipdup.RIVAL,
}
EVENTS = 100_000
TAIL = 100  # blocks after the last final one, so that none reads the end as live blocks


def measured(names: Sequence[str], kinds: Sequence[str], events: int, *, tuned: bool) -> list[Any]:
    """One row for each rival and workload; it says why where there is nothing to measure."""
    rows = []
    for kind in kinds:
        work = workload(kind, events)
        answer = expected.replay(work)
        with measure.node(kind, events, TAIL) as url:
            for name in names:
                rows.append(_row(RIVALS[name], work, answer, url, tuned=tuned))
                print(line(rows[-1]), flush=True)
    return rows


def _row(
    rival: Rival, work: Workload, answer: expected.Answer, url: str, *, tuned: bool
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": rival.name, "version": rival.version, "database": rival.database,
        "settings": rival.settings if tuned else "as installed", "tuned": tuned,
        "kind": work.kind, "events": len(work),
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    missing = _missing(rival)
    if missing:
        return row | {"missing": missing}
    try:
        with (
            tempfile.TemporaryDirectory(dir=RESULTS) as name,
            _database(rival, Path(name)) as database,
        ):
            before = measure.node_cost(url)
            outcome = rival.measure(Task(work, url, Path(name), database, tuned))
            requests = measure.node_cost(url)["requests"] - before["requests"]
            check(work, answer, outcome.runs, outcome.wallets)
    except (NguError, OSError, sqlite3.Error) as error:
        return row | {"failed": str(error)}
    return row | {
        "seconds": outcome.seconds, "rate": len(work) / outcome.seconds,
        "rss": outcome.rss / 1e6, "requests": requests - 1,
    }  # fmt: skip


def _missing(rival: Rival) -> str | None:
    """Why a rival cannot be had on this machine; None if it can."""
    if rival.database == "PostgreSQL" and postgres.programs() is None:
        return "PostgreSQL is not installed"
    try:
        rival.install()
    except NguError as error:
        return str(error)
    return None


def failures(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rivals that were there and failed, or gave another answer."""
    return [line(row) for row in rows if "failed" in row]


def _database(rival: Rival, folder: Path) -> contextlib.AbstractContextManager[str | None]:
    if rival.database == "PostgreSQL":
        return postgres.server(folder)
    return contextlib.nullcontext(None)


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    name = f"{row['kind']:7} {row['name']} ({row['database']})"
    if "missing" in row:
        return f"{name:30} not measured: {row['missing']}"
    if "failed" in row:
        return f"{name:30} FAILED: {row['failed']}"
    return (
        f"{name:30} {row['seconds']:8.1f} s  {row['rate']:8,.0f} events/s  "
        f"{row['rss']:6,.0f} MB  {row['requests']:6.0f} requests"
    )


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.rivals", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="events of each workload")
    parser.add_argument("--workload", choices=KINDS, action="append", help="only this one")
    parser.add_argument("--rival", choices=tuple(RIVALS), action="append", help="only this one")
    parser.add_argument("--as-installed", action="store_true", help="with untouched settings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the results go")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Measure, print, write; 1 where a rival that is there fails or gives another answer."""
    given = _arguments(words)
    began = time.time()
    rows = measured(
        given.rival or tuple(RIVALS), given.workload or KINDS, given.events,
        tuned=not given.as_installed,
    )  # fmt: skip
    path = given.json or RESULTS / "rivals.json"
    found = {"machine": report.machine(began), "rivals": rows}
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"results: {path}")
    return 1 if failures(rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
