"""The demo: a local chain with traffic, the whole pipeline following its head, a live view.

It runs on anvil, a real EVM node, where one can be had; else on a simulated node that speaks the
same JSON-RPC. At the end every token is compared with what the contract itself says.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from ngu_points.config import (
    ChainSettings,
    Config,
    ContractSettings,
    PointsSettings,
    StoreSettings,
    TierSettings,
)
from ngu_points.demo import contract as ngu
from ngu_points.demo.anvil import Anvil, find_anvil
from ngu_points.demo.drive import Played, deploy_on_anvil, run_on_anvil, run_on_node
from ngu_points.demo.fetch import Reason
from ngu_points.demo.node import SimNode
from ngu_points.demo.server import serving
from ngu_points.embedded import jobs
from ngu_points.embedded.app import App, opened
from ngu_points.embedded.picture import Frame, frame, picture
from ngu_points.embedded.run import follow
from ngu_points.embedded.web import beside, url_of
from ngu_points.engine.runs import NOBODY
from ngu_points.errors import NguError

RATE = 20.0  # transactions a second
SECONDS_PER_BLOCK = 3600  # block time runs ahead, so that days and feasts close while one watches
STARTS = 1_767_225_600  # 2026-01-01T00:00:00Z
CHECKED_AT_ONCE = 400
PLAIN_EVERY = 2.0  # seconds between lines where there is no terminal


@dataclass(frozen=True, slots=True)
class Local:
    """A chain to watch: where it is, what the contract is, how traffic gets onto it."""

    name: str
    urls: list[str]
    contract: bytes
    traffic: Callable[[asyncio.Event], Awaitable[Played]]


async def show(
    stop: asyncio.Event, *, simulated: bool, quiet: bool, listener: socket.socket | None = None
) -> dict[str, Any]:
    """Run the demo until `stop`; returns the summary. NguError if the contract disagrees.

    The dashboard is served on `listener`.
    """
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="ngu-demo-") as folder:
        async with _local(simulated, console, quiet) as local:
            config = Config(
                chain=ChainSettings(rpc=local.urls, finality=0, poll_interval=0.2),
                contract=ContractSettings(address="0x" + local.contract.hex(), from_block=0),
                store=StoreSettings(db=str(Path(folder) / "demo.db")),
                points=PointsSettings(tiers=[TierSettings(1, "1.5")]),
            )
            if listener is not None and not quiet:
                console.print(f"dashboard: {url_of(listener)}")
            async with opened(config) as app, beside(app, listener):
                return await _watched(app, local, stop, console, quiet)


@asynccontextmanager
async def _local(simulated: bool, console: Console, quiet: bool) -> AsyncIterator[Local]:
    """anvil if it can be had, else the simulated node; says which."""
    found: Path | Reason = Reason("asked for the simulated node")
    if not simulated:
        found = await asyncio.to_thread(find_anvil, True)
    if isinstance(found, Reason):
        if not quiet:
            console.print(f"chain: simulated node (no anvil: {found})")
        node = SimNode(timestamp=STARTS, seconds_per_block=SECONDS_PER_BLOCK)
        node.mine()
        async with serving(node) as served:
            yield Local("simulated node", [served.url, served.ws_url], node.contract,
                        lambda stop: run_on_node(node, RATE, stop))  # fmt: skip
        return
    if not quiet:
        console.print(f"chain: anvil, a real EVM node ({found})")
    with Anvil(found, timestamp=STARTS, seconds_per_block=SECONDS_PER_BLOCK) as anvil:
        address = await deploy_on_anvil(anvil)
        yield Local("anvil", [anvil.url, anvil.ws_url], address,
                    lambda stop: run_on_anvil(anvil, address, RATE, stop))  # fmt: skip


async def _watched(
    app: App, local: Local, stop: asyncio.Event, console: Console, quiet: bool
) -> dict[str, Any]:
    over = asyncio.Event()
    pipeline = asyncio.create_task(follow(app, over))
    traffic = asyncio.ensure_future(local.traffic(stop))
    view = asyncio.create_task(_view(app, local, console, quiet))
    try:
        await asyncio.wait([pipeline, traffic], return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        played = await traffic
        over.set()
        await pipeline
    finally:
        stop.set()
        over.set()
        view.cancel()
        await asyncio.gather(view, pipeline, traffic, return_exceptions=True)
    await app.catch_up()
    await app.on_worker(jobs.catch_up, app.history, int(app.now()))
    return await _summary(app, local, played)


async def _view(app: App, local: Local, console: Console, quiet: bool) -> None:
    if quiet:
        return
    if not console.is_terminal:
        while True:
            await asyncio.sleep(PLAIN_EVERY)
            now = await app.on_worker(_frame, app, local)
            console.print(
                f"block {now.block}/{now.head}  {now.events:,} events  "
                f"{now.tokens:,} tokens, {now.share:.0%} staked  feasts held: {now.days}"
            )
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        while True:
            live.update(picture(await app.on_worker(_frame, app, local)))
            await asyncio.sleep(0.2)


def _frame(app: App, local: Local) -> Frame:
    """What the picture shows; on the worker thread."""
    head = app.progress.head.newest if app.progress.head else None
    return frame(app.store, app.rules, local.name, head)


async def _summary(app: App, local: Local, played: Played) -> dict[str, Any]:
    checked = await _compared(app, local)
    last = await app.on_worker(_frame, app, local)
    return {
        "chain": local.name,
        "contract": "0x" + local.contract.hex(),
        "transactions": played.transactions,
        "block": last.block,
        "events": last.events,
        "counts": dict(zip(("BatchMint", "BatchBurn", "BatchTransfer", "Stake", "Unstake"),
                           last.counts, strict=True)),
        "tokens": last.tokens,
        "staked": last.staked,
        "feasts": last.days,
        "tokensEqualToContract": checked,
        "fingerprint": await app.on_worker(app.store.fingerprint),
        "leaderboard": last.leaders,
    }  # fmt: skip


async def _compared(app: App, local: Local) -> int:
    """Compare owner and staker of every id with the contract at our block; how many exist."""
    state, block = app.store.state(), app.store.position().block
    names = [a.tobytes() for a in state.wallets.address] + [bytes(20)]
    assert NOBODY == -1, "the last name stands for nobody"
    owners: dict[int, tuple[bytes, bytes]] = {}
    runs = state.runs
    for i in range(len(runs)):
        who = (names[runs.owner[i]], names[runs.staker[i]])
        owners |= dict.fromkeys(range(int(runs.first[i]), int(runs.end[i])), who)

    async def asked(data: str) -> str:
        answer = await app.reader.rpc.call(local.contract, bytes.fromhex(data[2:]), block)
        return "0x" + answer.hex()

    beyond = ngu.read_integer(await asked(ngu.next_token_id()))
    for first in range(1, beyond, CHECKED_AT_ONCE):
        ids = range(first, min(first + CHECKED_AT_ONCE, beyond))
        theirs = ngu.read_holdings(await asked(ngu.holdings(first, len(ids))))
        for token, owner, staker in zip(ids, *theirs, strict=True):
            if owners.get(token, (bytes(20), bytes(20))) != (owner, staker):
                raise NguError(f"token {token} differs from the contract at block {block}")
    return len(owners)


async def for_a_while(stop: asyncio.Event, seconds: float | None) -> None:
    """Set `stop` after some seconds, or never."""
    if seconds is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()
        stop.set()
