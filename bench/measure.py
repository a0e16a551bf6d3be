"""Processes and what they cost: wall time, processor time, peak memory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np

from ngu_points.errors import NguError

ROOT = Path(__file__).resolve().parents[1]
NGU = ("-m", "ngu_points")
_LOOK = 0.01  # seconds between looks at a process's memory


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took; None where the system does not tell."""

    seconds: float  # from its start to its end
    cpu: float | None  # seconds, user and system
    rss: int | None  # peak, bytes
    answer: dict[str, Any]  # the JSON object on its last line; empty if there is none


def run(arguments: Sequence[str], folder: Path) -> Cost:
    """Run `python ARGUMENTS` in a folder to its end. NguError where it fails."""
    words = [sys.executable, *arguments]
    began = time.perf_counter()
    with subprocess.Popen(
        words, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        memory = _Memory(process.pid)
        memory.start()
        out, err = process.communicate()
        seconds = time.perf_counter() - began
        memory.join()
    if process.returncode:
        last = err.decode().strip().rpartition("\n")[2]
        shown = " ".join(arguments[:3])
        raise NguError(f"bench: `{shown} …` ended with exit code {process.returncode}: {last}")
    return Cost(seconds, memory.cpu, memory.peak, _answer(out))


class _Memory(threading.Thread):
    """Watches a process while it lives; its peak only grows, so the last look is the peak."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.folder = Path("/proc") / str(pid)
        self.peak: int | None = None
        self.cpu: float | None = None

    def run(self) -> None:
        ticks = os.sysconf("SC_CLK_TCK")
        with contextlib.suppress(OSError):
            while True:
                fields = (self.folder / "stat").read_text().rpartition(")")[2].split()
                self.cpu = (int(fields[11]) + int(fields[12])) / ticks
                status = (self.folder / "status").read_text()
                found = [line for line in status.splitlines() if line.startswith("VmHWM:")]
                if not found:
                    return
                self.peak = int(found[0].split()[1]) * 1024
                time.sleep(_LOOK)


@contextlib.contextmanager
def node(kind: str, events: int, tail: int = 0) -> Iterator[str]:
    """A bench node in a process of its own, ready to serve; yields its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.node", kind, str(events), str(tail)],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        if not port:
            raise NguError("bench: the node did not start; its own message stands above")
        yield f"http://127.0.0.1:{int(port)}"
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds, the latter a value that occurred."""
    p50, p99 = np.quantile(seconds, (0.5, 0.99), method="higher").tolist()
    return {"p50": p50 * 1e3, "p99": p99 * 1e3}


def node_cost(url: str) -> dict[str, float]:
    """What the node has spent so far: `cpu` seconds, `requests`, `bytes`, calls by method."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "bench_cost", "params": []})
    with urlopen(url, body.encode(), timeout=10) as response:
        result: dict[str, float] = json.load(response)["result"]
    return result


def environment() -> dict[str, str]:
    """The variables of a process that runs this checkout, without settings from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NGU_")}
    path = os.pathsep.join((str(ROOT), str(ROOT / "src")))
    return kept | {"PYTHONPATH": path, "LOG_LEVEL": "warn"}


def _answer(out: bytes) -> dict[str, Any]:
    last = out.decode().strip().rpartition("\n")[2]
    if not last.startswith("{"):
        return {}
    answer: dict[str, Any] = json.loads(last)
    return answer
