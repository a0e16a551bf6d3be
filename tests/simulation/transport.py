"""HTTP in virtual time: in the place of `aiohttp.ClientSession`, with all that can go wrong."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import aiohttp
import msgspec

from simulation.answers import Answers, Refused
from simulation.machine import Machine
from simulation.nodes import Node
from simulation.sockets import Sockets

JSON = {"Content-Type": "application/json"}
HTML = b"<html><body><h1>Bad gateway</h1></body></html>"

FAULTS = {
    "timeouts": 6,
    "connections refused": 8,
    "connections cut": 8,
    "429": 8,
    "429 with Retry-After": 6,
    "too many requests, as a JSON-RPC error": 6,
    "5xx": 10,
    "HTML pages": 8,
    "answers that break off": 8,
    "half answers": 8,
    "wrong ids": 8,
    "single answers to batches": 8,
    "results that are null": 5,
    "internal errors": 6,
    "403": 1,
}
"""What goes wrong, and how often in proportion."""
HOPELESS = ("403", "results that are null")
"""What Rpc may take for a reason not to ask again."""


@dataclass
class Response:
    """As much of `aiohttp.ClientResponse` as there is need of; it is its own body."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: JSON)
    broken: bool = False

    @property
    def content_length(self) -> int | None:
        return len(self.body)

    @property
    def content(self) -> Response:
        return self

    async def iter_any(self) -> AsyncIterator[bytes]:
        half = len(self.body) // 2
        yield self.body[:half]
        if self.broken:
            raise aiohttp.ClientPayloadError
        yield self.body[half:]


class Session:
    """Stands for `aiohttp.ClientSession`; every request may be the machine's last."""

    def __init__(self, machine: Machine, sockets: Sockets, timeout: float) -> None:
        self.machine = machine
        self.sockets = sockets
        self.network = sockets.network
        self.rng = self.network.rng
        self.answers = Answers(self.network)
        self.timeout = timeout

    @asynccontextmanager
    async def post(
        self, url: str, *, data: bytes, allow_redirects: bool
    ) -> AsyncIterator[Response]:
        node = self.network.at(url)
        self.machine.io("rpc")
        await asyncio.sleep(self.rng.random() * self.network.slow)
        self.machine.io("rpc")
        asked = msgspec.json.decode(data)
        fault = self._fault(node, asked)
        if fault is None:
            yield Response(200, self._answered(node, asked))
        else:
            self.network.tally[fault] += 1
            yield await self._gone_wrong(fault, node, asked)

    def ws_connect(self, url: str, **_: Any) -> Any:
        return self.sockets.connect()

    async def close(self) -> None:
        self.sockets.close()

    def _fault(self, node: Node, asked: Any) -> str | None:
        if self.network.calm or self.rng.random() >= node.failing:
            return None
        fault = self.rng.choices(list(FAULTS), list(FAULTS.values()))[0]
        single = fault == "single answers to batches"
        return "connections cut" if single and not isinstance(asked, list) else fault

    async def _gone_wrong(self, fault: str, node: Node, asked: Any) -> Response:
        """What comes in the place of the answer; raises where nothing comes."""
        match fault:
            case "timeouts":
                await asyncio.sleep(self.timeout)
                raise TimeoutError
            case "connections refused":
                raise aiohttp.ClientOSError(111, "connection refused")
            case "connections cut":
                raise aiohttp.ServerDisconnectedError
            case "429":
                return Response(429, b"", {})
            case "429 with Retry-After":
                wait = self.rng.choice([1, 2, 5, 20, 1000])
                return Response(429, b"slow down", {"Retry-After": str(wait)})
            case "5xx":
                return Response(self.rng.choice([500, 502, 503, 504]), b"", {})
            case "HTML pages":
                return Response(self.rng.choice([200, 502]), HTML, {"Content-Type": "text/html"})
            case "403":
                return Response(403, b"")
        return self._spoilt(fault, node, asked)

    def _spoilt(self, fault: str, node: Node, asked: Any) -> Response:
        """An answer that is no good."""
        match fault:
            case "too many requests, as a JSON-RPC error":
                return Response(200, _refusal(asked, -32005, "rate limit exceeded"))
            case "internal errors":
                return Response(200, _refusal(asked, -32603, "internal error"))
            case "results that are null":
                calls = asked if isinstance(asked, list) else [asked]
                envelopes = [_envelope(call, b"null") for call in calls]
                return Response(200, _joined(asked, envelopes))
            case "single answers to batches":
                return Response(200, _envelope(asked[0], self._batch(node, asked)[0]))
            case "wrong ids":
                calls = asked if isinstance(asked, list) else [asked]
                other = [call | {"id": call["id"] + 1} for call in calls]
                return Response(200, self._answered(node, other if asked is calls else other[0]))
        answer = self._answered(node, asked)
        if fault == "answers that break off":
            return Response(200, answer, broken=True)
        return Response(200, answer[: max(1, len(answer) // 2)])

    def _answered(self, node: Node, asked: Any) -> bytes:
        if isinstance(asked, list):
            texts = self._batch(node, asked)
            pairs = list(zip(asked, texts, strict=True))
            self.rng.shuffle(pairs)
            return _joined(asked, [_envelope(call, text) for call, text in pairs])
        try:
            return _envelope(asked, self.answers.one(node, asked["method"], asked["params"]))
        except Refused as refused:
            return _refusal(asked, refused.code, str(refused))

    def _batch(self, node: Node, asked: list[Any]) -> list[bytes]:
        assert all(call["method"] == "eth_getBlockByNumber" for call in asked)
        return self.answers.headers(node, [int(call["params"][0], 16) for call in asked])


def _joined(asked: Any, envelopes: list[bytes]) -> bytes:
    return b"[" + b",".join(envelopes) + b"]" if isinstance(asked, list) else envelopes[0]


def _envelope(call: Any, result: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (call["id"], result)


def _refusal(asked: Any, code: int, message: str) -> bytes:
    id_ = None if isinstance(asked, list) else asked["id"]
    error = {"code": code, "message": message}
    return msgspec.json.encode({"jsonrpc": "2.0", "id": id_, "error": error})


@contextmanager
def installed(machine: Machine, sockets: Sockets, clock: SimpleNamespace) -> Iterator[None]:
    """Let all of `ngu_points.chain` speak to the simulated nodes, by the simulated clock."""

    def session(*, timeout: aiohttp.ClientTimeout, **_: Any) -> Session:
        return Session(machine, sockets, timeout.total or 0.0)

    there = {"ClientSession": session, "TCPConnector": lambda **_: None}
    stands_for = {
        "aiohttp": SimpleNamespace(**vars(aiohttp) | there),
        "monotonic": clock.monotonic,
        "time": clock,
    }
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            for attribute in stands_for if name.startswith("ngu_points.chain.") else ():
                if hasattr(module, attribute):
                    stack.enter_context(patch.object(module, attribute, stands_for[attribute]))
        yield
