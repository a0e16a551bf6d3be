"""`python -m bench.web`: what readers wait for the API, and what they cost the sync beside it.

Three kinds of runs take turns over the same events, so that whatever else the machine does falls
on all of them: `ngu run` without a web server, with one, and with one that 50 readers ask. A
reader asks, waits for the answer, and asks again after a pause (--pause). Readers run with the
least priority, as they would on other machines.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import aiohttp
import msgspec

from bench import measure
from bench.workloads import CONTRACT, FIRST_BLOCK, Workload, workload
from ngu_points.config import Config, rules_of
from ngu_points.embedded.replica import Replica
from ngu_points.errors import NguError
from ngu_points.pipeline.query import View
from ngu_points.web.questions import asked
from ngu_points.web.routes import ROUTES, Route

READERS = 50
LONGEST = 5.0  # seconds for one kind of answer in process
PATIENCE = 600.0
KINDS_OF_RUNS = ("no web server", "web server", f"{READERS} readers")


def paths(wallets: list[str], tokens: int, rng: random.Random) -> list[str]:
    """One question of each kind, about somebody."""
    wallet, token = rng.choice(wallets), rng.randrange(1, tokens)
    return [
        "/api/leaderboard?limit=100",
        f"/api/wallets/{wallet}",
        f"/api/wallets/{wallet}/holdings",
        f"/api/tokens/{token}",
        "/api/status",
        "/api/feasts",
        "/api/events?limit=50",
    ]


@contextlib.contextmanager
def running(work: Workload, node: str, db: Path, *words: str) -> Iterator[tuple[Any, str]]:
    """`ngu run`, and where its web server is (empty without one)."""
    command = (
        sys.executable, *measure.NGU, "run", "--contract", "0x" + CONTRACT.hex(), "--kind",
        work.kind, "--db", str(db), "--rpc", node, "--from-block", str(FIRST_BLOCK), *words,
    )  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NGU_")}
    environment |= {"NGU_WEB_REQUESTS_PER_SECOND": "1000000", "PYTHONPATH": str(measure.ROOT)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        url = ""
        if "--no-web" not in words:
            line = process.stderr.readline()
            found = re.search(r'"url": "([^"]+)"', line)
            if found is None:
                raise NguError(f"bench: the web server did not start: {line.strip()}")
            url = found[1]
        yield process, url
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def synced(db: Path, events: int) -> None:
    """Wait until all events are in the state."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with (
            contextlib.suppress(sqlite3.OperationalError),
            contextlib.closing(sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True)) as opened,
        ):
            found = opened.execute("SELECT value FROM meta WHERE key = 'counters'").fetchone()
            counters = json.loads(found[0]) if found else {}
            if sum(n for name, n in counters.items() if name.isdigit()) >= events:
                return
        time.sleep(0.05)
    raise NguError("bench: the sync did not end")


def measured(work: Workload, node: str, folder: Path, kind: str, pause: float) -> dict[str, Any]:
    """One run of a kind: seconds until all events are in, and what readers waited meanwhile."""
    db = folder / f"{kind.replace(' ', '-')}-{time.monotonic_ns()}" / "ngu.db"
    words = ("--no-web",) if kind == KINDS_OF_RUNS[0] else ("--port", "0")
    began = time.perf_counter()
    with running(work, node, db, *words) as (process, url):
        reading = None
        if kind == KINDS_OF_RUNS[2]:
            reading = _readers(url, pause)
        synced(db, len(work))
        seconds = time.perf_counter() - began
        cpu = _cpu(process.pid)
        served = sum(_cpu(int(child)) for child in _children(process.pid))
        during = {} if reading is None else _ended(reading)
        after = _ended(_readers(url, pause), after=5.0) if reading is not None else {}
    return {"kind": kind, "seconds": seconds, "cpu": cpu, "served": served,
            "during": during, "after": after}  # fmt: skip


def _cpu(pid: int) -> float:
    """Processor seconds of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _readers(url: str, pause: float) -> Any:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.web", "--read", url, "--pause", str(pause)],
        cwd=measure.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        preexec_fn=_idle,
    )  # fmt: skip


def _idle() -> None:
    """Run only where nobody else would: what readers do, they would do on other machines."""
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(19)


def _ended(process: Any, after: float = 0.0) -> dict[str, list[float]]:
    time.sleep(after)
    out, _ = process.communicate()
    found: dict[str, list[float]] = json.loads(out.splitlines()[-1])
    return found


# In this process ---------------------------------------------------------------------------


def alone(db: Path, times: int = 200) -> dict[str, list[float]]:
    """Processor seconds of each kind of answer, one after the other, without HTTP."""
    replica = Replica(db, rules_of(Config()))
    began = time.process_time()
    replica.refresh()
    taken = {"load the state": [time.process_time() - began]}
    state = _newest(replica).state
    print(f"{len(state.wallets):,} wallets, {len(state.runs):,} runs of tokens")
    wallets = [a.tobytes().hex() for a in state.wallets.address]
    rng = random.Random(1)
    for route in ROUTES:
        end = time.monotonic() + LONGEST
        for number in range(times):
            if number >= 5 and time.monotonic() > end:
                break
            began = time.process_time()
            _answer(replica, route, wallets, rng)
            taken.setdefault(route.path, []).append(time.process_time() - began)
    return taken


def _newest(replica: Replica) -> View:
    seen = replica.newest()
    if seen is None:
        raise NguError("bench: the database holds nothing")
    return seen.view


def _answer(replica: Replica, route: Route, wallets: list[str], rng: random.Random) -> None:
    given = {
        "wallet": "0x" + rng.choice(wallets), "token": str(rng.randrange(1, 10_000)),
        "day": "today",
    }  # fmt: skip
    path = {name: value for name, value in given.items() if f"{{{name}}}" in route.path}
    msgspec.json.encode(route.handle(replica, asked(route.question, path, [])))


# The readers' process ---------------------------------------------------------------------


async def read(url: str, pause: float) -> dict[str, list[float]]:
    """Ask until the input ends; the seconds that each kind of question took."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, over.set)
    taken: dict[str, list[float]] = {}
    connector = aiohttp.TCPConnector(limit=READERS)
    async with aiohttp.ClientSession(connector=connector) as session:
        wallets, tokens = await _somebody(session, url, over)
        readers = [
            _reader(session, url, (wallets, tokens), pause, taken, over, random.Random(n))
            for n in range(READERS)
        ]
        await asyncio.gather(*readers)
    return taken


async def _somebody(
    session: aiohttp.ClientSession, url: str, over: asyncio.Event
) -> tuple[list[str], int]:
    while not over.is_set():
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(f"{url}/api/leaderboard?limit=1000") as answer:
                if answer.status == 200:
                    rows = (await answer.json())["wallets"]
                    if rows:
                        return [row["wallet"] for row in rows], 10_000
        await asyncio.sleep(0.1)
    return ["0x" + "11" * 20], 10_000


async def _reader(
    session: aiohttp.ClientSession,
    url: str,
    somebody: tuple[list[str], int],
    pause: float,
    taken: dict[str, list[float]],
    over: asyncio.Event,
    rng: random.Random,
) -> None:
    await asyncio.sleep(rng.random() * pause)
    while not over.is_set():
        path = rng.choice(paths(*somebody, rng))
        began = time.perf_counter()
        async with session.get(url + path) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise NguError(f"bench: {path}: {answer.status} {body[:200]!r}")
        name = re.sub(r"0x[0-9a-f]{40}|(?<=tokens/)\d+", "…", path).partition("?")[0]
        taken.setdefault(name, []).append(time.perf_counter() - began)
        await asyncio.sleep(pause)


# The report -------------------------------------------------------------------------------


def report(runs: list[dict[str, Any]], events: int) -> None:
    """Two tables: what the sync took, and what readers waited."""
    base = median(r["seconds"] for r in runs if r["kind"] == KINDS_OF_RUNS[0])
    print(f"sync of {events:,} events, medians")
    for kind in KINDS_OF_RUNS:
        seconds = [r["seconds"] for r in runs if r["kind"] == kind]
        cpu, served = (median(r[what] for r in runs if r["kind"] == kind) for what in
                       ("cpu", "served"))  # fmt: skip
        each = ", ".join(f"{s:.2f}" for s in seconds)
        print(f"  {kind:14} {median(seconds):7.2f} s  {median(seconds) / base - 1:+6.1%}  ({each})"
              f"  processor: pipeline {cpu:.2f} s, web server {served:.2f} s")  # fmt: skip
    for when in ("during", "after"):
        print(f"answers {when} the sync, milliseconds")
        for name, waits in sorted(_joined(runs, when).items()):
            _line(name, waits)


def _line(name: str, waits: list[float]) -> None:
    cuts = quantiles([*waits, *waits], n=100, method="inclusive")
    print(f"  {name:36} p50 {cuts[49] * 1e3:8.2f}  p99 {cuts[98] * 1e3:8.2f}  n {len(waits)}")


def _joined(runs: list[dict[str, Any]], when: str) -> dict[str, list[float]]:
    joined: dict[str, list[float]] = {}
    for run in runs:
        for name, waits in run[when].items():
            joined.setdefault(name, []).extend(waits)
    return joined


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.web", description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two questions")
    parser.add_argument("--read", metavar="URL", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        print(json.dumps(asyncio.run(read(given.read, given.pause))))
        return
    work = workload("ngu", given.events)
    results = measure.ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    runs = []
    with (
        measure.node("ngu", given.events) as node,
        tempfile.TemporaryDirectory(dir=results) as name,
    ):
        for _ in range(given.runs):
            for kind in KINDS_OF_RUNS:
                runs.append(measured(work, node, Path(name), kind, given.pause))
        by_itself = alone(max(Path(name).glob("*/ngu.db"), key=lambda db: db.stat().st_mtime))
    report(runs, given.events)
    print("answers in process, processor milliseconds")
    for what, waits in by_itself.items():
        _line(what, waits)
    (results / "web.json").write_text(json.dumps({"events": given.events, "runs": runs}))


if __name__ == "__main__":
    main()
