"""Play many worlds: `python -m simulation --seeds 10000 --first 0`, from the folder `tests`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from simulation.knobs import DEFAULT, Knobs, Report
from simulation.world import play

AT_ONCE = 20


def main() -> int:
    """Prints what was injected and what broke; 1 if a guarantee did."""
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first")
    for name in vars(DEFAULT):
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            action=argparse.BooleanOptionalAction,
            default=getattr(DEFAULT, name),
            help="see knobs.py",
        )
    given = vars(parser.parse_args())
    seeds = range(given["first"], given["first"] + given["seeds"])
    chosen = Knobs(**{name: given[name] for name in vars(DEFAULT)})
    began = time.monotonic()
    faults, stops, broken = Counter[str](), Counter[str](), 0
    with ProcessPoolExecutor(os.cpu_count(), initializer=quiet) as pool:
        for report in pool.map(partial(play, knobs=chosen), seeds, chunksize=AT_ONCE):
            faults.update(report.faults)
            stops.update(report.stops)
            broken += report.violation is not None
            tell(report, len(seeds))
    summary(faults, stops)
    seconds = time.monotonic() - began
    print(f"{len(seeds)} seeds, {broken} violations, {seconds:.0f} s")  # noqa: T201
    return 1 if broken else 0


def quiet() -> None:
    """The worlds are full of warnings."""
    logging.disable(logging.CRITICAL)


def tell(report: Report, seeds: int) -> None:
    """A violation with the seed that shows it again; all of the report if it is the only one."""
    if report.violation is not None or seeds == 1:
        print(f"seed {report.seed}: {report.violation or 'no violation'}", flush=True)  # noqa: T201


def summary(faults: Counter[str], stops: Counter[str]) -> None:
    print("\nwhat happened")  # noqa: T201
    for kind, count in (+faults).most_common():
        print(f"{count:9,}  {kind}")  # noqa: T201
    print("\nlives that ended with a message")  # noqa: T201
    for text, count in stops.most_common():
        print(f"{count:9,}  {text}")  # noqa: T201
    print()  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
