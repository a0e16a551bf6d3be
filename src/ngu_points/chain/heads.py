"""Listen for new heads on a WebSocket: a hint to look at the chain, never a source of truth."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import msgspec

SILENT_AFTER = 30.0
"""Seconds without a new head after which a socket is no longer believed to be alive."""

_SUBSCRIBE = '{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}'


class _Notice(msgspec.Struct):
    method: str | None = None
    error: Any = None


_notice = msgspec.json.Decoder(_Notice)


class Listener:
    """Wakes `waiting` at each new head that one of the URLs announces."""

    def __init__(self, session: aiohttp.ClientSession, urls: Sequence[str]) -> None:
        self._session = session
        self._urls = urls
        self._wake = asyncio.Event()
        self._believed_until = 0.0

    async def wait(self, poll_interval: float) -> None:
        """Return at the next new head, or after `poll_interval` seconds without a live socket."""
        quiet = max(poll_interval, self._believed_until - time.monotonic())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(quiet):  # wait_for of Python 3.11 may swallow a stop
                await self._wake.wait()
        self._wake.clear()

    async def listen(self, pause: Callable[[int], Awaitable[None]]) -> None:
        """Run until cancelled; `pause(n)` waits before connecting again after n failures."""
        failures = 0
        while self._urls:
            url = self._urls[failures % len(self._urls)]
            with contextlib.suppress(
                aiohttp.ClientError, OSError, msgspec.DecodeError, RecursionError
            ):
                async for _ in self._new_heads(url):
                    failures = 0
                    self._believed_until = time.monotonic() + SILENT_AFTER
                    self._wake.set()
            # The head may move while nobody is listening: look now, then poll.
            self._believed_until = 0.0
            self._wake.set()
            failures += 1
            await pause(failures)

    async def _new_heads(self, url: str) -> AsyncIterator[None]:
        connect = self._session.ws_connect(url, heartbeat=15.0, max_msg_size=1 << 20)
        async with connect as socket:
            await socket.send_str(_SUBSCRIBE)
            while True:
                message = await socket.receive(timeout=SILENT_AFTER)
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return
                notice = _notice.decode(message.data)
                if notice.error is not None:
                    return
                if notice.method == "eth_subscription":
                    yield
