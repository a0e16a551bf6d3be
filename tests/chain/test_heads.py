"""New heads: woken by a WebSocket, by polling where it drops, refuses or falls silent."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer
from scripted_node import Naps

from ngu_points.chain import heads
from ngu_points.chain.rpc import Rpc

HEAD = '{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"0x1","result":{}}}'
HOURS = 3_600.0


@dataclass
class Watch:
    """How often the caller was woken, and how many sockets the client opened."""

    woken: int = 0
    sockets: int = 0


Talk = Callable[[web.WebSocketResponse, Watch], Awaitable[None]]


def watch(talk: Talk | None, poll_interval: float, enough: Callable[[Watch], bool]) -> Watch:
    """Follow the heads until enough was seen; `talk` is what the node does on each socket."""
    seen = Watch()

    async def handle(http: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(http)
        message = await socket.receive()
        assert message.type is WSMsgType.TEXT
        assert '"newHeads"' in message.data
        assert talk is not None
        seen.sockets += 1
        await talk(socket, seen)
        return socket

    async def scene() -> None:
        app = web.Application()
        app.router.add_get("/", handle)
        async with TestServer(app) as server:
            urls = ["http://127.0.0.1:1"]
            if talk is not None:
                urls.append(str(server.make_url("/")).replace("http", "ws"))
            async with Rpc(urls, sleep=Naps(), timeout=0.3) as client, asyncio.timeout(10):
                stream = client.heads(poll_interval)
                while not enough(seen):
                    await anext(stream)
                    seen.woken += 1
                await stream.aclose()

    asyncio.run(scene())
    return seen


async def until_closed(socket: web.WebSocketResponse) -> None:
    while not socket.closed:
        await socket.receive()


def test_heads_poll_without_a_socket() -> None:
    """Without a WebSocket the caller is woken at every poll interval, and once at the start."""
    assert watch(None, 0.01, lambda seen: seen.woken == 4).sockets == 0
    assert watch(None, HOURS, lambda seen: seen.woken == 1).sockets == 0


def test_heads_wake_at_new_heads() -> None:
    """With a WebSocket each new head wakes the caller long before the next poll."""

    async def talk(socket: web.WebSocketResponse, seen: Watch) -> None:
        await socket.send_str('{"jsonrpc":"2.0","id":1,"result":"0x1"}')
        while not socket.closed:
            await socket.send_str(HEAD)
            with contextlib.suppress(TimeoutError):
                await socket.receive(timeout=0.1)

    assert watch(talk, HOURS, lambda seen: seen.woken == 6).sockets == 1


def test_heads_do_not_poll_beside_a_live_socket() -> None:
    """While heads come in on the socket, the caller is not woken in between."""
    woken: list[int] = []

    async def talk(socket: web.WebSocketResponse, seen: Watch) -> None:
        for _ in range(4):
            await socket.send_str(HEAD)
            await asyncio.sleep(0.1)
            woken.append(seen.woken)
        await socket.send_str(HEAD)
        await until_closed(socket)

    watch(talk, 0.01, lambda seen: len(woken) == 4)
    assert woken[3] - woken[0] == 3


@pytest.mark.parametrize(
    "last_words", [None, HEAD, '{"jsonrpc":"2.0","id":1,"error":{"code":-32601}}', "<html>"]
)
def test_heads_survive_a_dropped_socket(last_words: str | None) -> None:
    """A socket that drops, refuses or talks nonsense is opened again, and the caller is woken."""

    async def talk(socket: web.WebSocketResponse, seen: Watch) -> None:
        if seen.sockets < 3:
            if last_words is not None:
                await socket.send_str(last_words)
            await socket.close()
            return
        await socket.send_str(HEAD)
        await until_closed(socket)

    watch(talk, HOURS, lambda seen: seen.woken >= 3 and seen.sockets >= 3)


def test_heads_poll_when_the_socket_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that stays open but says nothing any more gives way to polling and a new one."""
    monkeypatch.setattr(heads, "SILENT_AFTER", 0.05)

    async def talk(socket: web.WebSocketResponse, seen: Watch) -> None:
        await socket.send_str(HEAD)
        await until_closed(socket)

    watch(talk, 0.02, lambda seen: seen.woken >= 8 and seen.sockets >= 2)


def test_heads_poll_at_once_when_the_socket_drops() -> None:
    """When a socket that was alive drops and the next one says nothing, polling goes on."""

    async def talk(socket: web.WebSocketResponse, seen: Watch) -> None:
        if seen.sockets == 1:
            await socket.send_str(HEAD)
            await socket.close()
        await until_closed(socket)

    watch(talk, 0.02, lambda seen: seen.woken >= 8 and seen.sockets >= 2)


def test_heads_poll_when_no_socket_opens() -> None:
    """Where the WebSocket cannot be opened at all, polling goes on."""

    async def scene() -> None:
        urls = ["http://127.0.0.1:1", "ws://127.0.0.1:1"]
        async with Rpc(urls) as client, asyncio.timeout(10):
            stream = client.heads(0.01)
            for _ in range(5):
                await anext(stream)
            await stream.aclose()

    asyncio.run(scene())
