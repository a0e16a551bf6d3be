"""SQD: a batch processor in RPC mode, with PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator

from bench.rivals import postgres
from bench.rivals.install import PROJECTS, folder_of, npm
from bench.rivals.interfaces import Outcome, Rival, Run, Task
from bench.rivals.process import started
from bench.rivals.settings import settings_of
from ngu_points.errors import NguError


def measure(task: Task) -> Outcome:
    """Index everything; it ends by itself at the last block."""
    if task.database is None:
        raise NguError("it needs PostgreSQL")
    postgres.query(task.database, (PROJECTS / "sqd" / "schema.sql").read_text())
    settings = settings_of(task) | {"DB_URL": task.database}
    words = ["node", "--max-old-space-size=4096", "main.mjs"]
    with started(words, folder_of("sqd"), task.folder / "sqd.log", settings) as running:
        seconds = running.finished()
    rows = postgres.query(task.database, "SELECT id, held, staked FROM wallet")
    wallets = {name: (int(held), int(staked)) for name, held, staked in rows}
    return Outcome(seconds, running.rss, list(_runs(task.database)), wallets)


def _runs(database: str) -> Iterator[Run]:
    tokens = "SELECT id, owner, since FROM token WHERE owner IS NOT NULL"
    for token, owner, since in postgres.query(database, tokens):
        yield int(token), int(token), owner, None, int(since)
    for (page,) in postgres.query(database, "SELECT runs FROM page"):
        yield from map(tuple, json.loads(page))


RIVAL = Rival(
    name="SQD",
    version="evm-processor 1.27.3, typeorm-store 1.5.1",
    database="PostgreSQL",
    settings="RPC capacity 50, 1,000 calls a batch, no hot blocks, "
    "loads and upserts once a batch, synchronous_commit off",
    install=lambda: npm("sqd"),
    measure=measure,
)
