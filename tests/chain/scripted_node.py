"""A node on loopback that follows a script of failures, and what a client gets from it."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from unittest.mock import patch

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from ngu_points.chain import rpc
from ngu_points.chain.rpc import Filter, Rpc

ALL = Filter((), ())
Call = dict[str, Any]
Step = Callable[[web.Request, Any], Awaitable[web.StreamResponse]]


def block_hash(number: int) -> str:
    return "0x" + f"{number:064x}"


def block(number: int) -> dict[str, str]:
    parent = block_hash(max(0, number - 1))
    times = {"number": hex(number), "timestamp": hex(1_000 + 2 * number)}
    return {"hash": block_hash(number), "parentHash": parent, **times}


def result(call: Call) -> Any:
    """A healthy chain of 1000 blocks with one little log in each."""
    params = call["params"]
    match call["method"]:
        case "eth_blockNumber":
            return "0x3e7"
        case "eth_chainId":
            return "0x2105"
        case "eth_getBlockByNumber":
            number = 999 if params[0] == "latest" else int(params[0], 16)
            return block(number) if number < 1_000 else None
        case "eth_getLogs":
            first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
            return [{"blockNumber": hex(number)} for number in range(first, last + 1)]
    return "0x"


def answer(call: Call) -> Call:
    return {"jsonrpc": "2.0", "id": call["id"], "result": result(call)}


async def healthy(http: web.Request, asked: Any) -> web.StreamResponse:
    if isinstance(asked, list):
        # Members of a batch may come back in any order.
        return web.json_response([answer(call) for call in reversed(asked)])
    return web.json_response(answer(asked))


def status(code: int, text: str = "", headers: dict[str, str] | None = None) -> Step:
    async def step(http: web.Request, asked: Any) -> web.StreamResponse:
        return web.Response(status=code, text=text, headers=headers)

    return step


def error(message: str, code: int = -32000, data: Any = None, http_status: int = 200) -> Step:
    async def step(http: web.Request, asked: Any) -> web.StreamResponse:
        id_ = None if isinstance(asked, list) else asked["id"]
        wrong = {"code": code, "message": message, "data": data}
        return web.json_response({"jsonrpc": "2.0", "id": id_, "error": wrong}, status=http_status)

    return step


def says(value: Any) -> Step:
    async def step(http: web.Request, asked: Any) -> web.StreamResponse:
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": value})

    return step


def body(text: str) -> Step:
    async def step(http: web.Request, asked: Any) -> web.StreamResponse:
        return web.Response(text=text)

    return step


async def half(http: web.Request, asked: Any) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(http)
    await response.write(b'{"jsonrpc":"2.0","id":1,"result":[{"address"')
    assert http.transport is not None
    http.transport.close()
    return response


async def hang_up(http: web.Request, asked: Any) -> web.StreamResponse:
    assert http.transport is not None
    http.transport.close()
    return web.Response()


async def stall(http: web.Request, asked: Any) -> web.StreamResponse:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(30)
    return web.Response()


async def wrong_id(http: web.Request, asked: Any) -> web.StreamResponse:
    return web.json_response({**answer(asked), "id": asked["id"] + 1})


class Node:
    """A node that plays its script, then answers as `then` does; remembers what it was asked."""

    def __init__(self, *script: Step, then: Step = healthy) -> None:
        self.script = list(script)
        self.then = then
        self.asked: list[Any] = []

    async def handle(self, http: web.Request) -> web.StreamResponse:
        asked = msgspec.json.decode(await http.read())
        self.asked.append(asked)
        step = self.script.pop(0) if self.script else self.then
        return await step(http, asked)

    @property
    def ranges(self) -> list[tuple[int, int]]:
        calls = [call["params"][0] for call in self.asked if call["method"] == "eth_getLogs"]
        return [(int(call["fromBlock"], 16), int(call["toBlock"], 16)) for call in calls]


@contextlib.asynccontextmanager
async def serving(node: Node, path: str = "/v3/secretsecretkey") -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post(path, node.handle)
    server = TestServer(app)
    async with server:
        yield str(server.make_url(path))


class Naps:
    """Stands in for asyncio.sleep and the clock: time passes only in naps, and takes none."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.now = 1_000.0

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def clock(self) -> float:
        return self.now


def play(
    ask: Callable[[Rpc], Awaitable[Any]], *nodes: Node, naps: Naps | None = None, **settings: Any
) -> Any:
    """What the client gets from these nodes; `settings` go to Rpc."""

    sleep = naps or Naps()

    async def scene() -> Any:
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(patch.object(rpc, "monotonic", sleep.clock))
            urls = [await stack.enter_async_context(serving(node)) for node in nodes]
            settings.setdefault("rng", random.Random(1))
            client = await stack.enter_async_context(Rpc(urls, sleep=sleep, **settings))
            return await ask(client)

    return asyncio.run(scene())
