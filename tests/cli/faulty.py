"""A simulated node behind a server that spoils its answers when told to."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ngu_points.demo.jsonrpc import RpcError
from ngu_points.demo.methods import answer
from ngu_points.demo.node import SimNode

Call = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What goes over the wire; `promised` more bytes than `body` has are announced."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    missing: int = 0


Fault = Callable[[list[Call], bytes], Reply | None]
"""Given what was asked and the right answer: another reply, or None to leave it right."""


@dataclass
class FaultyNode:
    """Where it is served, what it spoils, and which methods it was asked for.

    While it is `away` it hangs up on whoever asks.
    """

    node: SimNode
    fault: Fault | None = None
    url: str = ""
    asked: list[str] = field(default_factory=list)
    away: bool = False

    def reply(self, body: bytes) -> Reply:
        asked = json.loads(body)
        calls = asked if isinstance(asked, list) else [asked]
        self.asked += [call["method"] for call in calls]
        texts = [self._answer(call) for call in calls]
        right = b"[" + b",".join(texts) + b"]" if isinstance(asked, list) else texts[0]
        spoiled = self.fault(calls, right) if self.fault else None
        return spoiled or Reply(right)

    def _answer(self, call: Call) -> bytes:
        head = b'{"jsonrpc":"2.0","id":%d,' % call["id"]
        try:
            result = answer(self.node, call["method"], call["params"])
        except RpcError as error:
            wrong = json.dumps({"code": error.code, "message": str(error)}).encode()
            return head + b'"error":' + wrong + b"}"
        return head + b'"result":' + result + b"}"


@contextlib.contextmanager
def serving(node: SimNode, fault: Fault | None = None, path: str = "") -> Iterator[FaultyNode]:
    """Serve `node` on loopback; change `fault` at any time."""
    faulty = FaultyNode(node, fault)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if faulty.away:
                self.close_connection = True
                return
            reply = faulty.reply(body)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + reply.missing))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(reply.body)
            self.close_connection = bool(reply.missing)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    faulty.url = f"http://127.0.0.1:{server.server_port}{path}"
    try:
        yield faulty
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def on(method: str, spoil: Callable[[bytes], Reply]) -> Fault:
    """Spoil the answers to one method, by itself or in a batch."""

    def fault(calls: list[Call], right: bytes) -> Reply | None:
        return spoil(right) if any(call["method"] == method for call in calls) else None

    return fault


def always(spoil: Callable[[bytes], Reply]) -> Fault:
    """Spoil every answer."""
    return lambda _, right: spoil(right)


def beyond(block: int, spoil: Callable[[bytes], Reply]) -> Fault:
    """Spoil eth_getLogs for ranges that end above a block."""

    def fault(calls: list[Call], right: bytes) -> Reply | None:
        for call in calls:
            if call["method"] == "eth_getLogs" and int(call["params"][0]["toBlock"], 16) > block:
                return spoil(right)
        return None

    return fault
