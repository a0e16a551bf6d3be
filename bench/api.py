"""`python -m bench.api`: what the API function takes, on the model of DynamoDB that counts.

A collection of 10,000 tokens, single transfers at random; the copy of its tables is made, followed
by one more minute of events, and asked. The last line is JSON: read units of a look at the tables,
milliseconds of an answer, seconds until a new process can answer, its memory.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from bench.streams import COLLECTION, CONTRACT, traffic
from bench.way import Way
from ngu_points.aws import records
from ngu_points.aws.environment import environment
from ngu_points.config import Config, ContractSettings, rules_of
from ngu_points.engine.coverage import announce
from ngu_points.mirror import function
from ngu_points.mirror.deployment import Deployment

EVENTS = 20_000
LATEST = 20
"""Ranges that come after the copy was made."""
ASKED = 200
PATHS = ("/api/status", "/api/leaderboard", "/api/wallets/{wallet}", "/api/tokens/5", "/index.html")


def measured(folder: Path, events: int = EVENTS, asked: int = ASKED) -> dict[str, Any]:
    """Make, follow and ask a copy."""
    config = Config(contract=ContractSettings("0x" + CONTRACT.hex()))
    way = Way(rules_of(config))
    ranges = list(traffic("transfers", events).ranges(10))
    env = environment({"SERVICE": "ngu", "NODE_ENV": "prod", "AWS_REGION": "us-east-1",
                       "ARCHIVE_BUCKET": "b"})  # fmt: skip
    site = function.Site(env, config, folder / "copy.db")
    found: dict[str, Any] = {"tokens": COLLECTION, "events": events}

    def deployment(*_: Any) -> Deployment:
        on = Deployment(env, config)
        on.__dict__["store"] = way.store
        on.__dict__["parameters"] = SimpleNamespace(position=lambda: None)
        return on

    with patch.object(function, "Deployment", deployment):
        for name, some in (("first", ranges[:-LATEST]), ("next", ranges[-LATEST:])):
            _deliver(way, some)
            before, began = _reads(way), time.perf_counter()
            site._follow()
            found[f"{name} look, read units"] = round(_reads(way) - before)
            found[f"{name} look, seconds"] = round(time.perf_counter() - began, 2)
    seen = site.replica.newest()
    assert seen is not None
    found["runs"], found["wallets"] = len(seen.view.state.runs), len(seen.view.state.wallets)
    wallet = "0x" + seen.view.state.wallets.address[0].tobytes().hex()
    for path in PATHS:
        found[f"{path}, ms"] = _asked(site, path.format(wallet=wallet), asked)
    return found


def _deliver(way: Way, some: Any) -> None:
    for covered in some:
        for delivery in announce(covered, covered.to_block):
            way.put(delivery.stream, records.write(delivery, way.origin), 5_120)
        way.wait(1.0)
    way.wait(120.0)
    way.process()
    way.store.release()
    way.store.lead("load", way.now)


def _reads(way: Way) -> float:
    return sum(units for (_, _, kind), units in way.client.units.items() if kind == "read")


def _asked(site: function.Site, path: str, times: int) -> float:
    """Milliseconds of processor for an answer."""
    payload = {
        "version": "2.0", "rawPath": path, "rawQueryString": "", "headers": {"host": "x"},
        "requestContext": {"http": {"method": "GET", "path": path, "sourceIp": "192.0.2.1"}},
    }  # fmt: skip
    began = time.process_time()
    for number in range(times):
        payload["requestContext"]["http"]["sourceIp"] = f"192.0.2.{number}"  # type: ignore[index]
        assert site.answer(dict(payload), SimpleNamespace())["statusCode"] == 200
    return round(1_000 * (time.process_time() - began) / times, 2)


def _start() -> float:
    """Seconds until a new process has imported the function; the best of some."""
    command = [sys.executable, "-c", "import ngu_points.mirror.function, boto3"]
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(command, check=True)
        times.append(time.perf_counter() - began)
    return round(min(times), 2)


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder))
    found["start, seconds"] = _start()
    found["memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    for name, value in found.items():
        print(f"{name:<28} {value:>12,}")
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
