"""WebSockets that announce heads, drop, stay silent or talk nonsense; never a word on removals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from simulation.nodes import Network

KINDS: Final = ("live", "live", "drops", "silent", "falls silent", "nonsense", "refused")
CLOSED: Final = aiohttp.WSMessage(aiohttp.WSMsgType.CLOSED, None, None)


class Socket:
    """One connection, subscribed to new heads."""

    def __init__(self, network: Network, kind: str) -> None:
        self.network = network
        self.kind = kind
        self.heads = 0
        self.inbox: asyncio.Queue[aiohttp.WSMessage] = asyncio.Queue()

    async def send_str(self, text: str) -> None:
        self._say('{"jsonrpc":"2.0","id":1,"result":"0x1"}')

    async def receive(self, timeout: float) -> aiohttp.WSMessage:  # noqa: ASYNC109 -- as theirs
        async with asyncio.timeout(timeout):
            return await self.inbox.get()

    def announce(self, header: bytes) -> None:
        """The chain has another head; whether this socket says so is another question."""
        self.heads += 1
        if self.kind == "silent" or (self.kind == "falls silent" and self.heads > 2):
            self.network.tally["heads that a socket did not announce"] += 1
        elif self.kind == "nonsense":
            self._say("<html>")
        elif self.kind == "drops" and self.heads > 2:
            self.inbox.put_nowait(CLOSED)
        else:
            part = '{"jsonrpc":"2.0","method":"eth_subscription","params":{"result":'
            self._say(part + header.decode() + "}}")

    def _say(self, text: str) -> None:
        self.inbox.put_nowait(aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, text, None))


class Sockets:
    """All open sockets of a network."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._open: list[Socket] = []

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Socket]:
        kind = "live" if self.network.calm else self.network.rng.choice(KINDS)
        await asyncio.sleep(self.network.rng.random() * self.network.slow)
        self.network.tally[f"sockets: {kind}"] += 1
        if kind == "refused":
            raise aiohttp.ClientOSError(111, "connection refused")
        socket = Socket(self.network, kind)
        self._open.append(socket)
        try:
            yield socket
        finally:
            self._open.remove(socket)

    def announce(self) -> None:
        """Tell the newest head to whoever listens."""
        for socket in self._open:
            socket.announce(self.network.chain.now.blocks[-1].header)

    def close(self) -> None:
        for socket in self._open:
            socket.inbox.put_nowait(CLOSED)
