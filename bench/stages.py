"""Parts of a sync, each alone in a process: `python -m bench.stages STAGE KIND URL RUNS`.

Prints one JSON object: the seconds of each run, and what the stage moved. `fetch` and `read` use
the client and the look-ahead that `ngu sync` uses; `decode` and `fold` work on pages and events
that are in memory before the clock starts.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from bench.workloads import CONTRACT, FIRST_BLOCK
from ngu_points.chain.contract import Contract, erc721, ngu
from ngu_points.chain.decode import decode
from ngu_points.chain.reader import Reader
from ngu_points.chain.rpc import LogPage, Rpc
from ngu_points.config import Config, rules_of
from ngu_points.engine.coverage import Covered, Head
from ngu_points.engine.events import concat, empty
from ngu_points.engine.state import no_state
from ngu_points.pipeline.interfaces import Position
from ngu_points.pipeline.monitor import cover
from ngu_points.pipeline.query import refold

CONTRACTS: dict[str, Callable[[bytes], Contract]] = {"erc721": erc721, "ngu": ngu}
_START = Position(FIRST_BLOCK - 1, bytes(32), 0)


class Fetcher:
    """A `pipeline.interfaces.Chain` that reads pages and looks at nothing in them."""

    def __init__(self, reader: Reader, *, keep: bool) -> None:
        self.reader = reader
        self.pages: list[LogPage] = []
        self.keep = keep

    @property
    def span(self) -> int:
        return self.reader.span

    async def head(self) -> Head:
        return await self.reader.head()

    async def hash_of(self, block: int) -> bytes | None:
        return await self.reader.hash_of(block)

    async def read(self, from_block: int, to_block: int) -> Covered:
        page = await self.reader.rpc.logs(self.reader.filter, from_block, to_block)
        if self.keep:
            self.pages.append(page)
        return Covered(from_block, page.to_block, bytes(32), bytes(32), 0, empty())


async def fetch(reader: Reader) -> dict[str, int]:
    """Every page, thrown away: the floor under any client of this kind."""
    async for _ in cover(Fetcher(reader, keep=False), _START, (await reader.head()).readable):
        pass
    return {}


async def read(reader: Reader) -> dict[str, int]:
    """Every page, decoded to columns and checked against the headers, then thrown away."""
    events = 0
    async for covered in cover(reader, _START, (await reader.head()).readable):
        events += len(covered.events)
    return {"events": events}


def decoding(pages: list[LogPage], contract: Contract) -> dict[str, int]:
    """All pages to columns."""
    slow = sum(decode(p.raw, contract, p.from_block, p.to_block).slow_rows for p in pages)
    return {"bytes": sum(len(p.raw) for p in pages), "slow_rows": slow}


def folding(covered: Covered) -> dict[str, int]:
    """All events to runs and facts, in batches as rebuild makes them."""
    rules = rules_of(Config())
    again = refold(rules, [covered], no_state(rules))
    state = again.hot.state
    return {"events": len(covered.events), "runs": len(state.runs),
            "wallets": len(state.wallets), "days": len(again.days)}  # fmt: skip


async def _pages(reader: Reader) -> list[LogPage]:
    fetcher = Fetcher(reader, keep=True)
    async for _ in cover(fetcher, _START, (await reader.head()).readable):
        pass
    return sorted(fetcher.pages, key=lambda page: page.from_block)


async def _all(reader: Reader) -> Covered:
    parts = [c async for c in cover(reader, _START, (await reader.head()).readable)]
    return replace(parts[-1], from_block=FIRST_BLOCK, events=concat([p.events for p in parts]))


async def _measured(stage: str, kind: str, url: str, runs: int) -> dict[str, Any]:
    contract = CONTRACTS[kind](CONTRACT)
    seconds: list[float] = []
    found: dict[str, int] = {}

    async def timed(work: Callable[[], Awaitable[dict[str, int]]]) -> None:
        nonlocal found
        for _ in range(runs):
            began = time.perf_counter()
            found = await work()
            seconds.append(time.perf_counter() - began)

    async def now(work: Callable[[], dict[str, int]]) -> dict[str, int]:
        return work()

    async with Rpc([url]) as rpc:
        reader = Reader(rpc, contract, "finalized")
        if stage in ("fetch", "read"):
            await timed(lambda: {"fetch": fetch, "read": read}[stage](reader))
        elif stage == "decode":
            pages = await _pages(reader)
            await timed(lambda: now(lambda: decoding(pages, contract)))
        else:
            covered = await _all(reader)
            await timed(lambda: now(lambda: folding(covered)))
    return {"seconds": seconds, **found}


def main(stage: str, kind: str, url: str, runs: int) -> None:
    """Run one stage and print what it took."""
    print(json.dumps(asyncio.run(_measured(stage, kind, url, runs))))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
