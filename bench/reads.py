"""What answers take in process over a large state: after each block, and under other rates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench import expected
from bench.measure import spread
from bench.scale import Row, Synced
from bench.workloads import CONTRACT, FIRST_BLOCK, SEED, Workload, addresses
from ngu_points.config import Config, SeasonSettings, load, rules_of
from ngu_points.embedded.app import opened
from ngu_points.embedded.replica import Replica
from ngu_points.embedded.store import Store
from ngu_points.errors import NguError
from ngu_points.pipeline.query import View
from ngu_points.web.boards import leaderboard
from ngu_points.web.questions import LeaderboardQuestion, TokenQuestion, WalletQuestion
from ngu_points.web.tokens import token
from ngu_points.web.wallets import wallet

BEST = LeaderboardQuestion(limit=100)


def settings(work: Workload, url: str, db: Path) -> Config:
    """The settings of a pipeline over a workload."""
    return load(None, {}, {
        "chain.rpc": [url], "contract.address": "0x" + CONTRACT.hex(), "contract.kind": work.kind,
        "contract.from_block": FIRST_BLOCK, "store.db": str(db),
    })  # fmt: skip


def rates(done: Synced, runs: int = 5) -> Row:
    """What every wallet has under other rates: read from facts, nothing is folded again.

    A held token earns half a point a day instead of one; nobody stakes in this workload.
    """
    config = settings(done.work, done.url, done.db)
    other = rules_of(Config(season=[SeasonSettings("1", held="0.5", staked=7)]))
    store = Store.open(done.db, rules_of(config))
    try:
        state = store.hot.state
    finally:
        store.close()
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        numerators, denominator = View.of(state, other).points()
        seconds.append(time.perf_counter() - began)
    usual, unit = View.of(state, rules_of(config)).points()
    if not np.array_equal(2 * numerators * unit, usual * denominator):
        raise NguError("bench: half the rate does not give half the points")
    return {"row": "rates", "wallets": len(state.wallets), "seconds": float(np.median(seconds)),
            "all": seconds}  # fmt: skip


def reads(done: Synced, blocks: int) -> list[Row]:
    """The last blocks come in one by one; each question is asked twice after each of them.

    `done` has been synced short of these blocks. `refresh` is how long the copy that answers
    takes to follow a block, in the background of a server.
    """
    config = settings(done.work, done.url, done.db)
    taken = asyncio.run(_asked(done.work, config, done.db, blocks))
    wallets = done.work.wallets
    return [{"row": "read", "what": what, "wallets": wallets, "n": len(seconds), **spread(seconds)}
            for what, seconds in taken.items()]  # fmt: skip


async def _asked(work: Workload, config: Config, db: Path, blocks: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {}
    rng = np.random.default_rng(SEED)
    names = ["0x" + row.tobytes().hex() for row in addresses(work.wallets)]

    def timed(what: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        answer = work()
        taken.setdefault(what, []).append(time.perf_counter() - began)
        return answer

    async with opened(config) as app:
        copy = Replica(db, rules_of(config), lambda: True)
        copy.refresh()
        for block in range(work.last_block - blocks + 1, work.last_block + 1):
            await app.catch_up(block)
            timed("refresh", copy.refresh)
            who = WalletQuestion(wallet=names[rng.integers(work.wallets)])
            which = TokenQuestion(token=str(rng.integers(1, int(work.first.max()))))
            for when in ("first", "after"):
                timed(f"leaderboard {when}", lambda: leaderboard(copy, BEST))
                timed(f"wallet {when}", lambda who=who: wallet(copy, who))  # type: ignore[misc]
                timed(f"token {when}", lambda which=which: token(copy, which))  # type: ignore[misc]
        _verify(work, copy, names)
    return taken


def _verify(work: Workload, copy: Replica, names: list[str]) -> None:
    """Some wallets' seconds after the last block are the replay's."""
    answer = expected.replay(work)
    for number in np.linspace(0, work.wallets - 1, 20, dtype=int).tolist():
        found = wallet(copy, WalletQuestion(wallet=names[number]))
        if int(found.facts.get("held_seconds", 0)) != answer.held[number]:
            raise NguError(f"bench: {names[number]} has {found.facts}, not {answer.held[number]}")
