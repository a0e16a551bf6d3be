"""The simulated node over WebSocket: requests and subscriptions on the HTTP port."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from ngu_points.demo.contract import Event
from ngu_points.demo.node import CONTRACT, SimNode
from ngu_points.demo.server import serving
from ngu_points.engine.events import ZERO_ADDRESS, Kind

A, B = b"\xaa" * 20, b"\xbb" * 20


class Socket:
    """A connection that asks and listens."""

    def __init__(self, stream: aiohttp.ClientWebSocketResponse) -> None:
        self.stream = stream

    async def ask(self, method: str, *params: Any) -> Any:
        await self.stream.send_json({"id": 1, "method": method, "params": list(params)})
        answer = await self.hear()
        return answer.get("result", answer.get("error"))

    async def hear(self) -> Any:
        return await self.stream.receive_json(timeout=10)

    async def heads(self, count: int) -> list[int]:
        notices = [await self.hear() for _ in range(count)]
        return [int(notice["params"]["result"]["number"], 16) for notice in notices]


def talk(node: SimNode, script: Callable[[Socket], Awaitable[None]]) -> None:
    async def run() -> None:
        async with (
            serving(node) as where,
            aiohttp.ClientSession() as session,
            session.ws_connect(where.ws_url) as stream,
        ):
            await script(Socket(stream))

    asyncio.run(run())


def mint(first: int, to: bytes = A) -> Event:
    return Event(Kind.MINT, ZERO_ADDRESS, to, first, 1)


def test_new_heads() -> None:
    """Every mined block is announced once, in order, with its header and its subscription."""
    node = SimNode()

    async def script(socket: Socket) -> None:
        name = await socket.ask("eth_subscribe", "newHeads")
        blocks = [node.mine([mint(1)]), node.mine(), node.mine()]
        for block in blocks:
            notice = await socket.hear()
            assert notice["method"] == "eth_subscription"
            assert notice["params"]["subscription"] == name
            head = notice["params"]["result"]
            assert head["hash"] == "0x" + block.hash.hex()
            assert head["parentHash"] == "0x" + block.header.parent_hash.hex()
            assert "transactions" not in head

    talk(node, script)


def test_requests_on_the_same_socket() -> None:
    """Ordinary requests are answered on a socket as over HTTP, errors included."""

    async def script(socket: Socket) -> None:
        assert await socket.ask("eth_blockNumber") == "0x0"
        assert (await socket.ask("eth_nothing"))["code"] == -32601
        await socket.stream.send_str("hello")
        assert (await socket.hear())["error"]["code"] == -32700

    talk(SimNode(), script)


def test_unsubscribing() -> None:
    """After unsubscribing nothing more comes; an unknown subscription is not one."""
    node = SimNode()

    async def script(socket: Socket) -> None:
        first = await socket.ask("eth_subscribe", "newHeads")
        second = await socket.ask("eth_subscribe", "newHeads")
        assert first != second
        assert await socket.ask("eth_unsubscribe", first) is True
        assert await socket.ask("eth_unsubscribe", first) is False
        node.mine()
        node.mine()
        notices = [await socket.hear(), await socket.hear()]
        assert {notice["params"]["subscription"] for notice in notices} == {second}
        assert (await socket.ask("eth_subscribe", "syncing"))["code"] == -32602

    talk(node, script)


def test_logs_of_a_reorg() -> None:
    """A filter on logs hears of lost ones, marked removed, newest first, and then of new ones."""
    node = SimNode()
    node.mine([mint(1), mint(2)])
    node.mine([mint(3), mint(4, to=B)])

    async def script(socket: Socket) -> None:
        to_a = "0x" + A.rjust(32, b"\0").hex()
        given = {"address": "0x" + CONTRACT.hex(), "topics": [None, to_a]}
        await socket.ask("eth_subscribe", "logs", given)
        node.reorg(2, [[mint(1)], [mint(9, to=B)], [mint(5)]])
        heard = [(await socket.hear())["params"]["result"] for _ in range(5)]
        assert [(int(log["data"][2:66], 16), log["removed"]) for log in heard] == [
            (3, True),
            (2, True),
            (1, True),
            (1, False),
            (5, False),
        ]

    talk(node, script)


def test_heads_of_a_reorg_and_of_a_rollback() -> None:
    """A reorg announces the new branch from its lowest block; a rollback says nothing."""
    node = SimNode()
    for _ in range(5):
        node.mine()

    async def script(socket: Socket) -> None:
        await socket.ask("eth_subscribe", "newHeads")
        node.reorg(2)
        assert await socket.heads(2) == [4, 5]
        node.rollback(3)
        node.mine()
        assert await socket.heads(1) == [3]

    talk(node, script)
