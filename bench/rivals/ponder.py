"""Ponder: `ponder start`, with PostgreSQL or with the PGlite that it brings."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from functools import partial
from typing import Any

from bench.rivals import postgres
from bench.rivals.install import folder_of, npm
from bench.rivals.interfaces import Outcome, Rival, Run, Task
from bench.rivals.process import started
from bench.rivals.settings import settings_of

_SETTINGS = "the node's URL 25 times, eth_getLogs over 500 blocks, no telemetry"


def measure(task: Task) -> Outcome:
    """Index everything; it goes on serving then, and says that it is ready."""
    port = postgres.free_port()
    settings = settings_of(task) | {
        "BENCH_DATABASE": task.database or "",
        "BENCH_FOLDER": str(task.folder / "pglite"),
        "PONDER_TELEMETRY_DISABLED": "true",
    }
    here = f"http://127.0.0.1:{port}"
    words = ["node", "node_modules/ponder/dist/esm/bin/ponder.js", "start", "--schema", "bench",
             "--port", str(port), "--hostname", "127.0.0.1", "--log-format", "json"]  # fmt: skip
    with started(words, folder_of("ponder"), task.folder / "ponder.log", settings) as running:
        seconds = running.until(partial(_ready, here))
        rss = running.rss
        with urllib.request.urlopen(here + "/answer", timeout=600) as response:
            answer = json.load(response)
    wallets = {name: (int(held), int(staked)) for name, held, staked in answer["wallets"]}
    return Outcome(seconds, rss, _runs(answer), wallets)


def _ready(here: str) -> bool:
    try:
        with urllib.request.urlopen(here + "/ready", timeout=10):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _runs(answer: dict[str, Any]) -> list[Run]:
    tokens = [(int(token), int(token), owner, None, since)
              for token, owner, since in answer["tokens"]]  # fmt: skip
    return tokens + [tuple(run) for page in answer["pages"] for run in page]


def _rival(database: str, settings: str) -> Rival:
    return Rival("Ponder", "0.16.10", database, settings, lambda: npm("ponder"), measure)


POSTGRES = _rival("PostgreSQL", _SETTINGS + ", synchronous_commit off")
PGLITE = _rival("PGlite", _SETTINGS)
