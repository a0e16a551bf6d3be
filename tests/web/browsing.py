"""A chain under traffic, and the program that follows it and serves the dashboard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import oracle
from cli.program import COMMAND, KEPT
from cli.truth import asked, events_on, told
from end_to_end.live import PER_BLOCK, SECONDS_PER_BLOCK, Chain
from localnode import served
from ngu_points.demo.anvil import Anvil, find_anvil
from ngu_points.demo.drive import deploy_on_anvil
from ngu_points.demo.fetch import Reason
from ngu_points.demo.node import SimNode
from ngu_points.demo.traffic import Traffic, events_of, wallets

STARTS = 1_767_225_600  # 2026-01-01T00:00:00Z
PATIENCE = 60.0


class Growing(Protocol):
    """A chain that mines when told."""

    @property
    def url(self) -> str: ...
    @property
    def contract(self) -> str: ...
    def grow(self, blocks: int) -> None: ...


@dataclass
class Simulated:
    """The same traffic on a simulated node, where anvil cannot run."""

    node: SimNode
    url: str
    traffic: Traffic

    @property
    def contract(self) -> str:
        return "0x" + self.node.contract.hex()

    def grow(self, blocks: int) -> None:
        for _ in range(blocks):
            self.node.mine_transactions([events_of(a) for a in self.traffic.take(PER_BLOCK)])


@contextlib.contextmanager
def chain() -> Iterator[Growing]:
    """A fresh chain: anvil where it can be had, else a simulated node."""
    binary = find_anvil(fetch=True)
    if isinstance(binary, Reason):
        node = SimNode(timestamp=STARTS, seconds_per_block=SECONDS_PER_BLOCK)
        node.mine()
        with served(node) as where:
            yield Simulated(node, where.url, Traffic(1, wallets(8)))
        return
    with Anvil(binary, timestamp=STARTS, seconds_per_block=SECONDS_PER_BLOCK) as anvil:
        address = asyncio.run(deploy_on_anvil(anvil))
        yield Chain(anvil, "0x" + address.hex(), random.Random(1))


@dataclass
class Site:
    """`ngu run` on a chain, and where its dashboard is."""

    chain: Growing
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the program and wait until it has read the whole chain."""
        place = ["--rpc", self.chain.url, "--contract", self.chain.contract, "--from-block", 1]
        words = [
            "run",
            *place,
            "--db",
            self.folder / "site.db",
            "--finality",
            0,
            "--port",
            self.port,
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, *map(str, words)],
                env={**KEPT, "NGU_CHAIN_POLL_INTERVAL": "0.05"},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self.wait()

    def stop(self) -> None:
        """End it as a person would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE)
            self.process = None

    def grow(self, blocks: int = 1) -> int:
        """Mine blocks with traffic and wait until they are served; the newest."""
        self.chain.grow(blocks)
        return self.wait()

    def wait(self) -> int:
        """Until the newest block is served; its number."""
        height, deadline = self.height, time.monotonic() + PATIENCE
        while (seen := self._block()) != height:
            said = (self.folder / "log").read_text(encoding="utf-8")[-2000:]
            assert self.process is not None
            assert self.process.poll() is None, said
            assert time.monotonic() < deadline, f"{seen} instead of {height}: {said}"
            time.sleep(0.05)
        return height

    @property
    def height(self) -> int:
        return int(asked(self.chain.url, "eth_blockNumber"), 16)

    def _block(self) -> int | None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            valid = self.ask("status")["valid"]
            return None if valid is None else int(valid["block"])
        return None

    def ask(self, path: str) -> Any:
        """An answer of the API."""
        with urllib.request.urlopen(f"{self.url}/api/{path}", timeout=10) as response:
            return json.load(response)

    def truth(self, block: int) -> oracle.View:
        """What the oracle says at a block, from the node's own logs."""
        when = int(
            asked(self.chain.url, "eth_getBlockByNumber", hex(block), False)["timestamp"], 16
        )
        return told(events_on(self.chain.url, self.chain.contract, block), when)


@contextlib.contextmanager
def site(folder: Path, blocks: int = 60) -> Iterator[Site]:
    """A dashboard over a chain with two and a half days of traffic."""
    with chain() as growing:
        growing.grow(blocks)
        running = Site(growing, folder, free_port())
        try:
            running.start()
            yield running
        finally:
            running.stop()


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
