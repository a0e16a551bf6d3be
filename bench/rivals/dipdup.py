"""DipDup: one index that ends at the last block, with SQLite, on the node alone."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.rivals.install import PROJECTS, folder_of, python
from bench.rivals.interfaces import Outcome, Rival, Run, Task
from bench.rivals.process import started
from bench.rivals.settings import settings_of
from bench.workloads import KINDS
from ngu_points.errors import NguError

_NO_THROTTLE = 3_600.0  # seconds; an answer that takes longer halves its pace
_AS_INSTALLED = 1.0


def install() -> None:
    """Packages, and the code that DipDup writes for the events of each workload."""
    python("dipdup")
    folder = folder_of("dipdup")
    shutil.copytree(PROJECTS / "dipdup", folder, dirs_exist_ok=True)
    nothing = {"BENCH_URL": "http://127.0.0.1:1", "BENCH_CONTRACT": "0x" + "00" * 20,
               "BENCH_FROM": "1", "BENCH_TO": "2"}  # fmt: skip
    for kind in KINDS:
        if (folder / "collection" / "types" / kind).exists():
            continue
        settings = nothing | {"BENCH_KIND": kind} | _local(folder, _AS_INSTALLED)
        done = subprocess.run([*_words(folder, kind), "init"], cwd=folder, env=settings,
                              capture_output=True, text=True, check=False)  # fmt: skip
        if done.returncode:
            raise NguError(f"dipdup init failed: {done.stderr.strip()[-300:]}")


def measure(task: Task) -> Outcome:
    """Index everything; it ends by itself at the last block."""
    folder = folder_of("dipdup")
    throttle = _NO_THROTTLE if task.tuned else _AS_INSTALLED
    settings = settings_of(task) | _local(task.folder, throttle)
    words = [*_words(folder, task.work.kind), "run"]
    with started(words, folder, task.folder / "dipdup.log", settings) as running:
        seconds = running.finished()
    with contextlib.closing(sqlite3.connect(settings["BENCH_DATABASE"])) as database:
        found = database.execute("SELECT id, held, staked FROM wallet")
        wallets = {name: (held, staked) for name, held, staked in found}
        return Outcome(seconds, running.rss, list(_runs(database)), wallets)


def _words(folder: Path, kind: str) -> list[str]:
    # Not the script beside it: that names the folder in which it was installed.
    interpreter = str(folder / "venv" / "bin" / "python")
    return [interpreter, "-m", "dipdup", "-c", "dipdup.yaml", "-c", f"{kind}.yaml"]


def _local(folder: Path, throttle: float) -> dict[str, str]:
    """Its files in a folder of ours, its reports to nobody."""
    return {
        "HOME": str(folder),
        "BENCH_DATABASE": str(folder / "dipdup.sqlite"),
        "BENCH_RATELIMIT_SLEEP": str(throttle),
        "DIPDUP_NO_VERSION_CHECK": "1",
    }


def _runs(database: sqlite3.Connection) -> Iterator[Run]:
    tokens = "SELECT id, owner, since FROM token WHERE owner IS NOT NULL"
    for token, owner, since in database.execute(tokens):
        yield token, token, owner, None, since
    for (page,) in database.execute("SELECT runs FROM page"):
        yield from map(tuple, json.loads(page))


RIVAL = Rival(
    name="DipDup",
    version="7.5.10",
    database="SQLite",
    settings="evm.node alone, no latency throttle, no rollback, all models cached",
    install=install,
    measure=measure,
)
