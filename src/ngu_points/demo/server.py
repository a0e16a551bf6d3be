"""Serve a simulated node on loopback: HTTP and WebSocket on one port, as anvil does."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from ngu_points.demo.blocks import header_json
from ngu_points.demo.filters import Filter, matching, read_filter
from ngu_points.demo.jsonrpc import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, RpcError
from ngu_points.demo.methods import answer
from ngu_points.demo.node import Change, SimNode

_MAX_REQUEST = 16 << 20
_MAX_WAITING = 10_000


class _Request(msgspec.Struct):
    method: str
    id: msgspec.Raw
    params: list[Any] = []


_requests = msgspec.json.Decoder(_Request)
_raws = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Served:
    """Where a node is served."""

    port: int

    @property
    def url(self) -> str:
        """The HTTP endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """The WebSocket endpoint."""
        return f"ws://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def serving(node: SimNode, port: int = 0) -> AsyncIterator[Served]:
    """Serve `node` while the context lasts; 0 is any free port."""
    sockets: set[web.WebSocketResponse] = set()

    async def respond(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await _converse(node, request, sockets)
        body = await _answer_text(node, await request.read())
        return web.Response(body=body, content_type="application/json")

    app = web.Application(client_max_size=_MAX_REQUEST)
    app.router.add_route("*", "/{path:.*}", respond)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    try:
        await site.start()
        yield Served(runner.addresses[0][1])
    finally:
        for socket in list(sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY)
        await runner.cleanup()


async def _answer_text(node: SimNode, text: bytes, socket: "_Socket | None" = None) -> bytes:
    """The answer to one request or to a batch of them."""
    if not text.lstrip().startswith(b"["):
        return _answer_one(node, text, socket)
    try:
        requests = _raws.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return _failure(b"null", RpcError(PARSE_ERROR, "parse error"))
    if not requests:
        return _failure(b"null", RpcError(INVALID_REQUEST, "empty batch"))
    answers = []
    for request in requests:
        answers.append(_answer_one(node, bytes(request), socket))
        await asyncio.sleep(0)
    return b"[" + b",".join(answers) + b"]"


def _answer_one(node: SimNode, text: bytes, socket: "_Socket | None") -> bytes:
    try:
        request = _requests.decode(text)
    except msgspec.ValidationError:
        return _failure(b"null", RpcError(INVALID_REQUEST, "invalid request"))
    except (msgspec.DecodeError, RecursionError):
        return _failure(b"null", RpcError(PARSE_ERROR, "parse error"))
    number = bytes(request.id)
    try:
        if socket is not None and request.method in _SUBSCRIBING:
            result = _SUBSCRIBING[request.method](socket, request.params)
        else:
            result = answer(node, request.method, request.params)
    except RpcError as error:
        return _failure(number, error)
    return b"".join((b'{"jsonrpc":"2.0","id":', number, b',"result":', result, b"}"))


def _failure(number: bytes, error: RpcError) -> bytes:
    shown: dict[str, Any] = {"code": error.code, "message": str(error)}
    if error.data is not None:
        shown["data"] = error.data
    body = msgspec.json.encode(shown)
    return b"".join((b'{"jsonrpc":"2.0","id":', number, b',"error":', body, b"}"))


@dataclass(slots=True, eq=False)
class _Socket:
    """One listener: its subscriptions (None for newHeads) and what it has yet to be told."""

    subscriptions: dict[str, Filter | None] = field(default_factory=dict)
    waiting: asyncio.Queue[Change] = field(
        default_factory=lambda: asyncio.Queue(maxsize=_MAX_WAITING)
    )
    names: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))


def _subscribe(socket: _Socket, params: list[Any]) -> bytes:
    match params:
        case ["newHeads"]:
            wanted = None
        case ["logs"]:
            wanted = read_filter({})
        case ["logs", given]:
            wanted = read_filter(given)
        case _:
            raise RpcError(INVALID_PARAMS, "only newHeads and logs can be subscribed to")
    name = f"{next(socket.names):#034x}"
    socket.subscriptions[name] = wanted
    return msgspec.json.encode(name)


def _unsubscribe(socket: _Socket, params: list[Any]) -> bytes:
    match params:
        case [str(name)]:
            missing = object()
            known = socket.subscriptions.pop(name, missing) is not missing
            return b"true" if known else b"false"
    raise RpcError(INVALID_PARAMS, "eth_unsubscribe takes the id of one subscription")


_SUBSCRIBING = {"eth_subscribe": _subscribe, "eth_unsubscribe": _unsubscribe}


async def _converse(
    node: SimNode, request: web.Request, sockets: set[web.WebSocketResponse]
) -> web.WebSocketResponse:
    stream = web.WebSocketResponse(max_msg_size=_MAX_REQUEST)
    await stream.prepare(request)
    socket = _Socket()
    loop = asyncio.get_running_loop()
    # Changes may come from another thread.
    stop = node.watch(lambda change: _hand_over(loop, socket, change))
    telling = asyncio.create_task(_tell(stream, socket))
    sockets.add(stream)
    try:
        async for message in stream:
            if message.type is WSMsgType.TEXT:
                text = await _answer_text(node, message.data.encode(), socket)
                await stream.send_str(text.decode())
    finally:
        stop()
        sockets.discard(stream)
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling
    return stream


def _hand_over(loop: asyncio.AbstractEventLoop, socket: _Socket, change: Change) -> None:
    # A closed loop and a listener that reads nothing have in common that nobody is listening.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_enqueue, socket, change)


def _enqueue(socket: _Socket, change: Change) -> None:
    with contextlib.suppress(asyncio.QueueFull):
        socket.waiting.put_nowait(change)


async def _tell(stream: web.WebSocketResponse, socket: _Socket) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            change = await socket.waiting.get()
            for name, wanted in list(socket.subscriptions.items()):
                for news in _news(change, wanted):
                    await stream.send_str(_notice(name, news))


def _news(change: Change, wanted: Filter | None) -> list[bytes]:
    """What a subscription says of a change: new headers, or lost logs and then new ones."""
    if wanted is None:
        return [header_json(block) for block in change.added]
    lost = [log for block in change.removed for log in reversed(_each(matching(block, wanted)))]
    new = [log for block in change.added for log in _each(matching(block, wanted))]
    return [log.replace(b'"removed":false', b'"removed":true') for log in lost] + new


def _each(texts: list[bytes]) -> list[bytes]:
    return [bytes(log) for log in _raws.decode(b"[" + b",".join(texts) + b"]")]


def _notice(name: str, news: bytes) -> str:
    params = f'{{"subscription":"{name}","result":{news.decode()}}}'
    return f'{{"jsonrpc":"2.0","method":"eth_subscription","params":{params}}}'
