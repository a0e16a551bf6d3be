"""`python -m bench`: measure this machine, print tables, write JSON."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench import live, measure, pipeline, reads, report, scale
from bench.rivals.__main__ import RIVALS, failures
from bench.rivals.__main__ import measured as rivals
from bench.workloads import KINDS
from ngu_points.errors import NguError

RESULTS = measure.ROOT / "bench" / "results"
EVENTS = 1_000_000
GROWTH = (100_000, 1_000_000, 10_000_000)
READ_BLOCKS = 200
MINTS = 10_000
SPARSE_EVENTS = 2_000
LIVE_BLOCKS, LIVE_EVENTS = 500, 50
RIVAL_EVENTS = 100_000
LEAST = 200  # events, however small the scale
Results = dict[str, Any]


def _sync(given: argparse.Namespace, results: Results) -> None:
    for kind in KINDS:
        with _folder() as folder:
            work = pipeline.measured(kind, _size(given, EVENTS), given.runs, folder)
        results["workloads"].append(work)
        print(report.table(work) + "\n", flush=True)


def _growth(given: argparse.Namespace, results: Results) -> None:
    sizes = [_size(given, events) for events in GROWTH]
    blocks = min(READ_BLOCKS, sizes[-1] // 40)
    with _folder() as folder:
        results["rows"] += scale.growth(sizes, folder, partial(_reads, blocks), blocks)


def _reads(blocks: int, done: scale.Synced) -> list[scale.Row]:
    return [*reads.reads(done, blocks), reads.rates(done)]


def _drop(given: argparse.Namespace, results: Results) -> None:
    with _folder() as folder:
        results["rows"] += scale.drop(_size(given, MINTS), folder)


def _sparse(_: argparse.Namespace, results: Results) -> None:
    with _folder() as folder:
        results["rows"] += scale.sparse(SPARSE_EVENTS, folder)


def _live(given: argparse.Namespace, results: Results) -> None:
    with _folder() as folder:
        blocks = max(int(LIVE_BLOCKS * given.scale), 10)
        results["rows"] += live.live(blocks, LIVE_EVENTS, folder)


def _rivals(given: argparse.Namespace, results: Results) -> None:
    events = _size(given, RIVAL_EVENTS)
    results["rivals"] += rivals(tuple(RIVALS), KINDS, events, tuned=True)
    if given.as_installed:
        results["rivals"] += rivals(("ponder-pglite",), ("erc721",), events, tuned=False)
    failed = failures(results["rivals"])
    if failed:
        raise NguError("; ".join(failed))


PARTS: dict[str, Callable[[argparse.Namespace, Results], None]] = {
    "sync": _sync,
    "growth": _growth,
    "drop": _drop,
    "sparse": _sparse,
    "live": _live,
    "rivals": _rivals,
}


def _size(given: argparse.Namespace, full: int) -> int:
    return max(int(full * given.scale), LEAST)


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder for one part, on the disk of the checkout: a /tmp in memory makes commits free."""
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULTS) as name:
        yield Path(name)


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs that a median is of")
    parser.add_argument("--part", choices=tuple(PARTS), action="append", help="only this one")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full sizes, 0.01 say")
    parser.add_argument("--as-installed", action="store_true",
                        help="measure Ponder with untouched settings too")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the results go")
    given = parser.parse_args(words)
    if given.runs < 1 or not 0 < given.scale <= 1:
        parser.error("--runs takes numbers from 1 on, --scale takes a part of 1")
    given.part = given.part or list(PARTS)
    return given


def main(words: list[str]) -> int:
    """Measure, print, write; 0 done, 1 where an answer is wrong: what was right is kept."""
    given = _arguments(words)
    began, code = time.time(), 0
    results: Results = {
        "machine": report.machine(began), "scale": given.scale,
        "workloads": [], "rows": [], "rivals": [],
    }  # fmt: skip
    for part in given.part:
        try:
            PARTS[part](given, results)
        except NguError as error:
            print(f"{part}: {error}", file=sys.stderr, flush=True)
            code = 1
    results["seconds"] = round(time.time() - began, 1)
    print(report.all_of(results))
    path = given.json or RESULTS / time.strftime("%Y%m%d-%H%M%S.json", time.gmtime(began))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"results: {path}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
