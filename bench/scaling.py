"""`python -m bench.scaling`: what buffer and capacity settings do, in virtual time.

The real code writes and processes; Firehose and DynamoDB are simulated (`bench.way`). What is
told is therefore how the pieces work on each other under AWS's published limits, not how fast AWS
is: a call takes 5 ms, a function writes with 16 threads. `--write FILE` puts the tables into a
page.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.dynamo.client import Client
from bench.dynamo.throughput import admit, writes
from bench.load import PRICES, expected
from bench.simulator import Clock
from bench.streams import GENESIS, Traffic, traffic
from bench.way import Way
from ngu_points.aws import records
from ngu_points.aws.dynamo import ATTEMPTS, LONGEST, SHORTEST, THREADS
from ngu_points.aws.sender import RECORDS_A_SECOND, Pace
from ngu_points.config import Config, rules_of
from ngu_points.engine.coverage import announce
from ngu_points.errors import NguError

CALL_SECONDS = 0.005
BLOCKS = 5
LIVE = 20
"""Events a second of live traffic: one range of `BLOCKS` blocks in five seconds."""
SETTINGS = ((1, 60), (1, 10), (1, 300), (4, 60), (4, 300))
"""Sizes in MB and seconds, as a deployment takes them."""
MAXIMA = (500, 1_000, 4_000)
FULL_SPEED = 5_000.0
"""Records a second without a pace: what a node and a monitor give."""

Row = dict[str, Any]


def live(size_mb: float, interval: float, seconds: int, prices: Row) -> Row:
    """Steady traffic through buffers of one size; how late it is written and processed."""
    work = traffic("transfers", LIVE * seconds)
    way = _way(int(size_mb * 2**20), interval)
    put: dict[int, float] = {}
    late: list[float] = []
    for sequence, covered in enumerate(work.ranges(BLOCKS), 1):
        _put(way, covered, sequence)
        put[covered.to_block] = way.clock.now
        way.wait(len(covered.events) / LIVE)
        late += _processed(way, put)
    while put:
        way.wait(5)
        late += _processed(way, put)
    _same(way, work)
    deliveries = way.requests * 1e6 / len(work)
    per_call = prices["lambda"]["request_million"] / 1e6 + prices["s3"]["put_thousand"] / 1e3
    return {
        "buffer": f"{size_mb:g} MB, {interval:.0f} s",
        "written after, median s": round(median(way.written), 1),
        "most": round(max(way.written), 1),
        "processed after, median s": round(median(late), 1),
        "most ": round(max(late), 1),
        "deliveries a million events": round(deliveries),
        "of them, USD": round(deliveries * per_call, 2),
    }


def backfill(events: int, maximum: int, rate: float | None) -> Row:
    """So many events of one type at once, under a table maximum; until all is processed."""
    work = traffic("mints", events)
    way = _way(1 << 20, 60.0)
    way.bound(maximum)
    began, pace = way.clock.now, Pace(rate or FULL_SPEED)
    for sequence, covered in enumerate(work.ranges(100), 1):
        way.wait(pace.wait(len(covered.events), way.clock.now))
        _put(way, covered, sequence)
    sent = way.clock.now
    while way.store.position().block < int(work.events.block[-1]):
        way.wait(5)
        way.process()
        if way.clock.now - began > 86_400:
            raise NguError("scaling: a day was not enough to clear a backlog")
    _same(way, work)
    calls = sum(way.client.calls[name] for name in ("put_item", "update_item"))
    refused = sum(n for (table, _), n in way.client.throttled.items() if "events" in table)
    return {
        "table maximum": maximum,
        "sent at": f"{rate:,.0f}/s" if rate else "full speed",
        "sent after, s": round(sent - began),
        "all processed after, s": round(way.clock.now - began),
        "throttled calls": refused,
        "of all writes, %": round(100 * refused / calls, 1),
        "deliveries that came again": way.refused,
    }


def contention(deliveries: int, rows: int, rate: float) -> Row:
    """Deliveries that write at once into one index partition, row by row with retries.

    `rate` is how many rows a second arrive, in deliveries of `rows`; each has its own threads.
    """
    rng, index = random.Random(1), writes("Index")
    gap = rows / rate
    agenda: list[tuple[float, int, int]] = []  # when, delivery, attempt
    left = [rows] * deliveries
    for number in range(deliveries):
        agenda += [((number + 1) * gap, number, 0)] * THREADS
    heapq.heapify(agenda)
    done = throttled = failed = 0
    end = 0.0
    while agenda:
        now, number, attempt = heapq.heappop(agenda)
        if left[number] == 0:
            continue
        if not admit([(index, "Stake", 1.0)], now):
            done, end = done + 1, now
            left[number] -= 1
            heapq.heappush(agenda, (now + CALL_SECONDS, number, 0))
            continue
        throttled += 1
        if attempt + 1 == ATTEMPTS:  # the delivery ends, and comes again as a whole
            failed += 1
            attempt = 0
        wait = rng.uniform(0, min(LONGEST, SHORTEST * 2**attempt))
        heapq.heappush(agenda, (now + CALL_SECONDS + wait, number, attempt + 1))
    return {
        "rows arrive at": f"{rate:,.0f}/s",
        "rows": done,
        "written after, s": round(end - gap, 1),
        "rows a second": round(done / (end - gap)),
        "throttled, % of all attempts": round(100 * throttled / (done + throttled), 1),
        "rows given up at first": failed,
    }


def _way(size: int, interval: float) -> Way:
    clock = Clock(float(GENESIS))
    client = Client(clock, CALL_SECONDS / THREADS)
    return Way(rules_of(Config()), clock, client, size, interval)


def _put(way: Way, covered: Any, sequence: int) -> None:
    for delivery in announce(covered, sequence):
        way.put(delivery.stream, records.write(delivery, way.origin), 5_120)


def _processed(way: Way, put: dict[int, float]) -> list[float]:
    """Seconds from put to processed of what has just been processed."""
    way.process()
    position = way.store.position().block
    return [way.clock.now - put.pop(block) for block in list(put) if block <= position]


def _same(way: Way, work: Traffic) -> None:
    """Nothing is lost: the tables hold what a fold in memory gives."""
    way.client.clock, clock = None, way.client.clock
    if way.store.fingerprint() != expected(work, way.rules):
        raise NguError("scaling: the tables hold another state than a fold in memory")
    way.client.clock = clock


def tables(seconds: int, events: int) -> dict[str, list[Row]]:
    """All tables, by their names in the page."""
    prices = tomllib.loads(PRICES.read_text(encoding="utf-8"))
    rates = (RECORDS_A_SECOND, 2 * RECORDS_A_SECOND, FULL_SPEED)
    return {
        "buffers": [live(size, every, seconds, prices) for size, every in SETTINGS],
        "backfill": [
            backfill(events, maximum, rate)
            for maximum in MAXIMA
            for rate in (RECORDS_A_SECOND, None)
        ],
        "contention": [contention(10, 1_700, rate) for rate in rates],
    }


def markdown(rows: Sequence[Row]) -> str:
    """Rows with the same names as a table."""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [
        [f"{v:,}" if isinstance(v, int | float) else str(v) for v in r.values()] for r in rows
    ]
    return "\n".join(f"| {' | '.join(cell.strip() for cell in line)} |" for line in lines)


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def written(page: str, found: dict[str, list[Row]]) -> str:
    """A page with its tables replaced: they stand between two comments with their name."""
    for name, rows in found.items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        if begin not in page or end not in page:
            raise NguError(f"scaling: the page has no place for the table {name!r}")
        head, tail = page.split(begin)[0], page.split(end)[1]
        page = head + begin + markdown(rows) + end + tail
    return page


def main(words: list[str]) -> int:
    """Compute, print, write; 0 done, 1 where something is lost."""
    parser = argparse.ArgumentParser("python -m bench.scaling", description=__doc__)
    parser.add_argument("--seconds", type=int, default=300, help="of live traffic")
    parser.add_argument("--events", type=int, default=10_000, help="of a backfill")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the page to put tables into")
    given = parser.parse_args(words)
    try:
        found = tables(given.seconds, given.events)
        for name, rows in found.items():
            print(f"{name}\n{markdown(rows)}\n")
        if given.write:
            page = written(given.write.read_text(encoding="utf-8"), found)
            given.write.write_text(page, encoding="utf-8")
    except NguError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
