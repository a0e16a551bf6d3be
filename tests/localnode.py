"""Local nodes for tests: the real one where this machine can have it, the simulated one always."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import pytest

from ngu_points.demo.anvil import Anvil, find_anvil
from ngu_points.demo.fetch import Reason
from ngu_points.demo.node import SimNode
from ngu_points.demo.server import Served, serving

GENESIS = 1_700_000_000


@contextlib.contextmanager
def local_anvil(
    *, timestamp: int | None = GENESIS, seconds_per_block: int | None = 12
) -> Iterator[Anvil]:
    """A fresh anvil that mines when told; skips the test, with the reason, where there is none."""
    binary = find_anvil(fetch=True)
    if isinstance(binary, Reason):
        pytest.skip(binary)
    with Anvil(binary, timestamp=timestamp, seconds_per_block=seconds_per_block) as anvil:
        yield anvil


@contextlib.contextmanager
def served(node: SimNode) -> Iterator[Served]:
    """`node` served from a thread, so that the test itself may block; it may change it too."""
    ready: list[Served] = []
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with serving(node) as where:
            ready.append(where)
            started.set()
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            started.set()
            loop.close()

    thread = threading.Thread(target=run, name="simulated node")
    thread.start()
    started.wait()
    try:
        assert ready, "the simulated node could not be served"
        yield ready[0]
    finally:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)
        thread.join()
