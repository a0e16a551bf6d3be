"""A node that does nothing but send what was rendered before: `python -m bench.node KIND EVENTS`.

It runs in a process of its own, prints its port, and serves until its standard input ends. All
its logs are of the one contract and of events that every client here asks for, so filters are
not looked at. `bench_cost` tells what serving has cost so far.
"""

from __future__ import annotations

import contextlib
import re
import socketserver
import sys
import threading
import time
from typing import Any

import msgspec

from bench.render import Rendered, header, render
from bench.workloads import LOGS_PER_BLOCK, workload

MAX_RESULTS = 10_000
CHAIN_ID = 31_338

_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
Pieces = list[bytes | memoryview]


class Node:
    """A chain and what it has cost to serve it."""

    def __init__(self, rendered: Rendered) -> None:
        self.rendered = rendered
        self.requests = 0
        self.bytes = 0
        self.lock = threading.Lock()

    def cost(self) -> dict[str, float]:
        """CPU seconds of this process, HTTP requests and bytes of answers so far."""
        return {"cpu": time.process_time(), "requests": self.requests, "bytes": self.bytes}

    def answer(self, body: bytes) -> Pieces:
        """The answer to one request or to a batch of them."""
        asked = msgspec.json.decode(body)
        if not isinstance(asked, list):
            return self._one(asked)
        pieces: Pieces = [b"["]
        for at, call in enumerate(asked):
            pieces += [b"," if at else b"", *self._one(call)]
        return [*pieces, b"]"]

    def _one(self, call: dict[str, Any]) -> Pieces:
        start = b'{"jsonrpc":"2.0","id":%d,' % call["id"]
        method, params = call["method"], call.get("params") or []
        if method == "eth_getLogs":
            low, high = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
            if (high - low + 1) * LOGS_PER_BLOCK > MAX_RESULTS:
                return [start, b'"error":', _too_many(low), b"}"]
            return [start, b'"result":[', *self.rendered.logs(low, high), b"]}"]
        return [start, b'"result":', msgspec.json.encode(self._small(method, params)), b"}"]

    def _small(self, method: str, params: list[Any]) -> Any:
        last = self.rendered.last_block
        match method:
            case "eth_chainId":
                return hex(CHAIN_ID)
            case "eth_blockNumber":
                return hex(last)
            case "eth_getBlockByNumber":
                named = params[0] in ("latest", "safe", "finalized")
                return header(self.rendered, last if named else int(params[0], 16))
            case "eth_getCode":
                return "0x60"
            case "bench_cost":
                return self.cost()
        raise ValueError(f"the bench node does not know {method}")


def _too_many(low: int) -> bytes:
    high = low + MAX_RESULTS // LOGS_PER_BLOCK - 1
    text = f"query returned more than {MAX_RESULTS} results. Try with this block range"
    return msgspec.json.encode({"code": -32005, "message": f"{text} [0x{low:X}, 0x{high:X}]."})


class _Connection(socketserver.StreamRequestHandler):
    """HTTP/1.1 with keep-alive, as little of it as JSON-RPC clients need."""

    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while (body := self._request()) is not None:
                pieces = self.server.node.answer(body)
                size = sum(map(len, pieces))
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d"
                self.connection.sendall(head % size + b"\r\n\r\n" + _joined_if_small(pieces, size))
                if size >= _SMALL:
                    for piece in pieces:
                        self.connection.sendall(piece)
                with self.server.node.lock:
                    self.server.node.requests += 1
                    self.server.node.bytes += size

    def _request(self) -> bytes | None:
        """The next request's body; None when the client is gone."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return None
            head += line
        length = _LENGTH.search(head)
        return self.rfile.read(int(length[1])) if length else b""


_SMALL = 1 << 16


def _joined_if_small(pieces: Pieces, size: int) -> bytes:
    return b"".join(pieces) if size < _SMALL else b""


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, node: Node) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.node = node


def main(kind: str, events: int) -> None:
    """Serve a workload until standard input ends."""
    with _Server(Node(render(workload(kind, events)))) as server:
        print(server.server_address[1], flush=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
