"""`python -m bench.load`: what a million events cost on AWS, in units, money and time.

Each kind of traffic goes the whole way: records, the simulated Firehose, the endpoint, DynamoDB
as a model in memory that counts (`bench.dynamo`), processing in the function's steps. The state
that is left must have the fingerprint of a fold in memory; there are no numbers without it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from bench import report
from bench.measure import ROOT
from bench.streams import KINDS, SECONDS_PER_BLOCK, Traffic, traffic
from bench.way import CHAIN, STEP, Way
from ngu_points.aws import records
from ngu_points.aws.tables import (
    BATCH_EVENTS,
    OWNER,
    POINTS,
    STAKING_EVENTS,
    TOKENS,
)
from ngu_points.config import Config, rules_of
from ngu_points.engine.coverage import STREAMS, announce, of_stream
from ngu_points.engine.fingerprint import fingerprint, shares_digest
from ngu_points.engine.hot import Hot
from ngu_points.engine.rules import Rules
from ngu_points.engine.state import advance, no_state
from ngu_points.errors import NguError
from ngu_points.pipeline.process import moves_of

BLOCKS = 100
"""Blocks of a range, as a monitor reads them from a node with usual limits."""
PRICES = ROOT / "infra" / "prices.toml"
RESULTS = ROOT / "bench" / "results"
CALL_SECONDS, MEMORY_GB = 0.003, 0.5
"""What a call of DynamoDB takes of a function, and its memory: assumed, not measured."""
EVENTS = {BATCH_EVENTS: 3.0, STAKING_EVENTS: 4.0}
"""Write units of an event over its life that are aimed at, indexes included."""


def measured(name: str, events: int, prices: dict[str, Any], parcel: int = 400) -> dict[str, Any]:
    """All figures of one kind of traffic. NguError where the state is not the expected one."""
    rules = rules_of(Config())
    work = traffic(name, events, parcel)
    way = Way(rules)
    rounded = int(prices["firehose"]["record_bytes"])
    for sequence, covered in enumerate(work.ranges(BLOCKS), 1):
        with way.timing("write"):
            sent = [(d.stream, records.write(d, way.origin)) for d in announce(covered, sequence)]
        for stream, lines in sent:
            way.put(stream, lines, rounded)
        way.wait(BLOCKS * SECONDS_PER_BLOCK)
        way.process()
        way.forget()
    way.wait(60)
    way.process()
    with way.timing("fold"):
        wanted = expected(work, rules)
    figures = _figures(work, way, prices)
    if way.store.fingerprint() != wanted:
        raise NguError(f"load: {name}: the tables hold another state than a fold in memory")
    return figures


def expected(work: Traffic, rules: Rules) -> str:
    """The fingerprint that folding the same events in memory ends in, in steps of the same size."""
    hot, closed, events = Hot(no_state(rules), rules), [], work.events
    for low in range(0, len(events), STEP):
        some = events.take(slice(low, low + STEP))
        address, moves = moves_of(some)
        until, block = int(some.timestamp[-1]), int(some.block[-1])
        part = hot.take(moves.first, moves.end, address, until)
        after = advance(part.state, moves, rules, block, until)
        closed += [(d, shares_digest(d, after.state.wallets.address)) for d in after.days]
        hot.put(part, after.state)
    return fingerprint(hot.state, closed, rules, CHAIN)


def _figures(work: Traffic, way: Way, prices: dict[str, Any]) -> dict[str, Any]:
    events = len(work)
    staking = int(of_stream(work.events, STREAMS[1]).sum())
    rows = _rows(way)
    spent = {kind: sum(row[kind] for row in rows) for kind in ("write", "read")}
    calls = sum(way.client.calls.values())
    return {
        "traffic": work.name,
        "events": events,
        "of": {BATCH_EVENTS: events - staking, STAKING_EVENTS: staking},
        "rows": rows,
        "changed": dict(way.store.changed),
        "calls": dict(way.client.calls),
        "deliveries": way.requests,
        "put": {"records": way.put_records, "bytes": way.put_bytes},
        "rates": {part: round(events / seconds) for part, seconds in way.seconds.items()},
        "cost": _cost(way, spent, calls, prices, 1e6 / events),
        "verified": "the state has the fingerprint of a fold in memory",
    }


def _rows(way: Way) -> list[dict[str, Any]]:
    """Units by table and index."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for (table, place, kind), units in sorted(way.client.units.items()):
        short = table.removeprefix("ngu-").removesuffix("-prod")
        row = found.setdefault((short, place), {"table": short, "index": place})
        row[kind] = units
    return [{"write": 0, "read": 0} | row for row in found.values()]


def _cost(
    way: Way, spent: dict[str, float], calls: int, prices: dict[str, Any], scale: float
) -> dict[str, float]:
    """USD for a million events, from counted units and list prices."""
    invocations = way.requests + calls / 20_000  # of persist; and of process, some minutes each
    seconds = calls * CALL_SECONDS
    cost = {
        "DynamoDB writes": spent["write"] / 1e6 * prices["dynamodb"]["write_million"],
        "DynamoDB reads": spent["read"] / 1e6 * prices["dynamodb"]["read_million"],
        "Firehose": way.put_bytes / 2**30 * prices["firehose"]["gb"],
        "Lambda": invocations / 1e6 * prices["lambda"]["request_million"]
        + seconds * MEMORY_GB * prices["lambda"]["gb_second"],
        "S3": way.requests / 1e3 * prices["s3"]["put_thousand"],
    }
    scaled = {name: round(usd * scale, 4) for name, usd in cost.items()}
    return scaled | {"total": round(sum(cost.values()) * scale, 4)}


def missed(found: dict[str, Any]) -> list[str]:
    """The targets that figures do not meet, each as a line."""
    lines = []
    for table, most in EVENTS.items():
        units = sum(row["write"] for row in found["rows"] if row["table"] == table)
        events = found["of"][table]
        if units > most * events:
            lines.append(f"{table}: {units / events:.3f} write units an event, {most} aimed at")
    changed = found["changed"]
    for table, index in ((TOKENS, ""), (TOKENS, OWNER), (POINTS, "")):
        units = sum(r["write"] for r in found["rows"] if (r["table"], r["index"]) == (table, index))
        rows = changed.get(index or table, 0)
        if units > rows:
            lines.append(f"{table} {index}: {units} write units for {rows} changed rows")
    return lines


def table(found: dict[str, Any]) -> str:
    """The figures of one kind of traffic as text."""
    events = found["events"]
    lines = [
        f"{found['traffic']}: {events:,} events",
        f"  {'table':<16} {'index':<18} {'write units':>12} {'an event':>9} {'read units':>12}",
    ]
    for row in found["rows"]:
        lines.append(
            f"  {row['table']:<16} {row['index']:<18} {row['write']:>12,.0f}"
            f" {row['write'] / events:>9.3f} {row['read']:>12,.1f}"
        )
    changed = ", ".join(f"{name} {rows:,}" for name, rows in sorted(found["changed"].items()))
    rates = ", ".join(f"{part} {rate:,}" for part, rate in found["rates"].items())
    cost = ", ".join(f"{name} {usd:.2f}" for name, usd in found["cost"].items())
    lines += [
        f"  rows changed, step by step: {changed}",
        f"  events a processor second, pure parts: {rates}",
        f"  {found['deliveries']:,} deliveries, {sum(found['calls'].values()):,} calls of DynamoDB",
        f"  USD for a million events: {cost}",
    ]
    return "\n".join(lines + [f"  MISSED {line}" for line in missed(found)])


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.load", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="events of each kind")
    parser.add_argument("--traffic", choices=KINDS, action="append", help="only this kind")
    parser.add_argument("--parcel", type=int, default=400, help="tokens of a mint")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the results go")
    given = parser.parse_args(words)
    if given.events < 100 or given.parcel < 1:
        parser.error("--events takes numbers from 100 on, --parcel from 1")
    return given


def main(words: list[str]) -> int:
    """Measure, print, write; 0 done, 1 where a state is wrong or a target is missed."""
    given, began = _arguments(words), time.time()
    prices = tomllib.loads(PRICES.read_text(encoding="utf-8"))
    results: dict[str, Any] = {
        "machine": report.machine(began), "prices": prices["date"], "traffic": [],
    }  # fmt: skip
    try:
        for name in given.traffic or KINDS:
            results["traffic"].append(measured(name, given.events, prices, given.parcel))
            print(table(results["traffic"][-1]) + "\n", flush=True)
    except NguError as error:
        print(error, file=sys.stderr)
        return 1
    results["seconds"] = round(time.time() - began, 1)
    path = given.json or RESULTS / time.strftime("load-%Y%m%d-%H%M%S.json", time.gmtime(began))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"results: {path}")
    return int(any(missed(found) for found in results["traffic"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
