"""The web server beside a pipeline: a process of its own, which only reads.

`beside` starts it for `ngu run` and `ngu demo`. It gets its settings and a listening socket from
there, has less priority than the pipeline, hears of each commit, and ends when its standard input
does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ngu_points.config import Config, WebSettings
from ngu_points.errors import UsageError
from ngu_points.logs import configure_logging

if TYPE_CHECKING:
    from ngu_points.embedded.app import App

log = logging.getLogger("ngu")
BACKLOG = 256
RESTARTS = 5.0  # seconds between two starts of a server that ended by itself
PATIENCE = 5.0


class Orders(msgspec.Struct, frozen=True):
    """What the server is told: its settings and its socket."""

    config: Config
    handle: int


def listening(web: WebSettings) -> socket.socket:
    """A socket at the host and port; UsageError if it is taken or is not ours to have."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            web.host, web.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"web.host: {web.host!r} is no address here: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"port {web.port} on {web.host} cannot be had ({error.strerror}): name another with "
            "--port (0: any that is free), or leave the web server out with --no-web"
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = listener.getsockname()[:2]
    name = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"


@asynccontextmanager
async def beside(app: App, listener: socket.socket | None) -> AsyncIterator[None]:
    """Serve what an app writes while the block runs; nothing without a listener."""
    if listener is None:
        yield
        return
    keeping = asyncio.create_task(_kept_running(app, listener))
    try:
        yield
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
        listener.close()


async def _kept_running(app: App, listener: socket.socket) -> None:
    """Start the server, and again if it ends: the pipeline does not depend on it."""
    while True:
        handle = listener.fileno()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ngu_points.embedded.web",
            stdin=asyncio.subprocess.PIPE, pass_fds=(handle,), start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        try:
            process.stdin.write(msgspec.json.encode(Orders(app.config, handle)) + b"\n")
            app.committed = partial(_tell, process.stdin)
            code = await process.wait()
        finally:
            await _ended(process)
        log.error("the web server ended, starting it again", extra={"fields": {"code": code}})
        await asyncio.sleep(RESTARTS)


def _tell(server: asyncio.StreamWriter) -> None:
    """Say that there is news, unless the server has yet to hear the last."""
    if not server.transport.get_write_buffer_size() and not server.is_closing():
        server.write(b"\n")


async def _ended(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def main() -> None:
    """The server's process: orders come as one line, and end with the input."""
    from ngu_points.embedded.serve import serve  # the pipeline's process need not load it

    configure_logging(os.environ.get("LOG_LEVEL", "info"))
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    with contextlib.suppress(OSError):
        os.nice(19)
    asyncio.run(serve(orders.config, socket.socket(fileno=orders.handle)))


if __name__ == "__main__":
    main()
