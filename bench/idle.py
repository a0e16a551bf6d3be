"""`python -m bench.idle`: what a stage takes of DynamoDB while nothing happens on the contract.

The monitor looks every ten seconds and announces empty ranges; each delivery wakes `process`, the
schedule wakes it too, and the jobs run. An hour of that, in virtual time, on the model that
counts (`bench.dynamo`). The last line is JSON: units of a month by table.
"""

from __future__ import annotations

import json
import sys
from collections import Counter

import numpy as np

from bench.streams import FIRST_BLOCK, GENESIS, block_hash
from bench.way import Way
from ngu_points.aws import jobs, records
from ngu_points.aws.monitor import PAUSE
from ngu_points.aws.store import Store
from ngu_points.config import Config, rules_of
from ngu_points.engine.coverage import Covered, announce
from ngu_points.engine.events import empty
from ngu_points.pipeline.process import process
from ngu_points.pipeline.schedule import JOBS

HOURS_A_MONTH = 730
BLOCKS = 5
"""In ten seconds, on Base."""
RECORD = 5_120  # bytes, as Firehose bills


def hour() -> dict[str, float]:
    """Units, records and runs of an hour in which nothing happens, after one like it."""
    rules = rules_of(Config())
    way, block, sequence = Way(rules), FIRST_BLOCK, 0
    before: Counter[str] = Counter()
    way.store.release()
    for minute in range(120):
        if minute == 60:
            before = _counted(way)
        for _ in range(int(60 / PAUSE)):
            sequence += 1
            covered = Covered(block, block + BLOCKS - 1, block_hash(block - 1),
                              block_hash(block + BLOCKS - 1), GENESIS + 2 * (block - FIRST_BLOCK),
                              empty(0))  # fmt: skip
            for delivery in announce(covered, sequence):
                way.put(delivery.stream, records.write(delivery, way.origin), RECORD)
            block += BLOCKS
            delivered = way.requests
            way.wait(PAUSE)
            for _ in range(way.requests - delivered):
                _process(way)
        _process(way)
        for job in JOBS:
            if minute * 60 % job.every == 0 and minute:
                store = Store(way.dynamo, rules)
                on = jobs.Deployment(store, None, lambda _: None, f"idle#{minute}")
                jobs.run(job.name, on, way.now)
    after = _counted(way)
    assert int(way.store.position().block) == block - 1, "everything was processed"
    return {name: after[name] - before[name] for name in sorted(after)}


def _process(way: Way) -> None:
    """One run of the function that finds one step or none."""
    store = Store(way.dynamo, way.rules)
    store.lead(f"idle#{np.random.default_rng().integers(2**60)}", way.now)
    while process(store, way.rules, way.now):
        pass
    store.release()


def _counted(way: Way) -> Counter[str]:
    found: Counter[str] = Counter({"records": way.put_records, "deliveries": way.requests})
    for (table, _, kind), units in way.client.units.items():
        short = table.removeprefix("ngu-").removesuffix("-prod")
        found[f"{short} {kind}"] += units
        found[kind] += units
    return found


def main() -> int:
    """Measure and print."""
    month = {name: round(value * HOURS_A_MONTH) for name, value in hour().items()}
    for name, value in month.items():
        print(f"{name:<24} {value:>14,}")
    print(json.dumps(month))
    return 0


if __name__ == "__main__":
    sys.exit(main())
