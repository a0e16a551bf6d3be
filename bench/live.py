"""From a head that is seen to points that are answered, block by block.

`python -m bench.live EVENTS` is the chain: it serves a simulated node in a process of its own,
prints its port, and mines a block of so many events for each line that it reads.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench import measure
from bench.measure import spread
from bench.scale import Row
from bench.soak import Crowd
from ngu_points.config import load, rules_of
from ngu_points.demo.node import CONTRACT, SimNode
from ngu_points.demo.server import serving
from ngu_points.demo.traffic import wallets
from ngu_points.embedded.app import App, opened
from ngu_points.embedded.replica import Replica
from ngu_points.errors import NguError
from ngu_points.web.questions import WalletQuestion
from ngu_points.web.wallets import wallet


def live(blocks: int, events: int, folder: Path) -> list[Row]:
    """`commit`: in the database, for every reader. `answer`: given by the copy that the API asks.

    Both are counted from the moment at which the new head is known to the process that follows.
    """
    taken = asyncio.run(_followed(blocks, events, folder))
    return [{"row": "live", "what": what, "blocks": blocks, "events": events, **spread(seconds)}
            for what, seconds in taken.items()]  # fmt: skip


async def _followed(blocks: int, events: int, folder: Path) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {"commit": [], "answer": []}
    crowd = wallets(300)
    async with _chain(events) as (process, port):
        config = load(None, {}, {
            "chain.rpc": [f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"],
            "chain.finality": 0, "contract.address": "0x" + CONTRACT.hex(), "contract.kind": "ngu",
            "contract.from_block": 1, "store.db": str(folder / "live" / "ngu.db"),
        })  # fmt: skip
        async with opened(config) as app:
            copy = Replica(config.db, rules_of(config), lambda: True)
            heads = app.reader.rpc.heads(60.0)
            await anext(heads)
            await app.catch_up()
            for number in range(2, blocks + 2):  # the first block is there, and empty
                assert process.stdin is not None
                process.stdin.write(b"\n")
                seen = await _caught_up(app, heads, number)
                taken["commit"].append(time.perf_counter() - seen)
                copy.refresh()
                who = WalletQuestion(wallet="0x" + crowd[number % len(crowd)].hex())
                if wallet(copy, who).valid.block != number:
                    raise NguError(f"bench: block {number} is not in the answer")
                taken["answer"].append(time.perf_counter() - seen)
            followed = await app.on_worker(app.store.fingerprint)
        await _verify(port, blocks + 1, followed, folder)
    return taken


async def _caught_up(app: App, heads: AsyncIterator[None], number: int) -> float:
    """When the head was seen with which a block came in."""
    while True:
        await anext(heads)
        seen = time.perf_counter()
        await app.catch_up()
        if app.store.position().block >= number:
            return seen


async def _verify(port: int, last: int, followed: str, folder: Path) -> None:
    """A fresh sync of the same chain must end in the same fingerprint."""
    words = (*measure.NGU, "sync", "--rpc", f"http://127.0.0.1:{port}", "--contract",
             "0x" + CONTRACT.hex(), "--kind", "ngu", "--from-block", "1", "--finality", "0",
             "--db", str(folder / "fresh" / "ngu.db"), "--to-block", str(last),
             "--json")  # fmt: skip
    cost = await asyncio.to_thread(measure.run, words, folder)
    if cost.answer["fingerprint"] != followed:
        raise NguError("bench: following and a fresh sync end in different fingerprints")


@asynccontextmanager
async def _chain(events: int) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.live", str(events), cwd=measure.ROOT,
        env=measure.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, int(await process.stdout.readline())
    finally:
        process.stdin.close()
        await process.wait()


async def serve(events: int) -> None:
    """Be the chain, until standard input ends."""
    node, crowd = SimNode(), Crowd()
    async with serving(node) as where:
        node.mine()
        print(where.port, flush=True)
        while await asyncio.to_thread(sys.stdin.buffer.readline):
            node.mine(crowd.take(events))


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
