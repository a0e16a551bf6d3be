"""A node that does nothing but send what was rendered before: `python -m bench.node KIND EVENTS`.

It runs in a process of its own, prints its port, and serves until its standard input ends. All
its logs are of the one contract and of events that every client here asks for, so filters are
not looked at, but for one block by its hash. A third argument is how many blocks without logs
follow the last that is final: some indexers read the newest blocks in another way. `bench_cost`
tells what serving has cost so far.
"""

from __future__ import annotations

import contextlib
import re
import socketserver
import sys
import threading
import time
from collections import Counter
from functools import cached_property
from typing import Any

import msgspec

from bench.render import Rendered, header, render
from bench.workloads import FIRST_BLOCK, LOGS_PER_BLOCK, workload

MAX_RESULTS = 10_000
CHAIN_ID = 31_338

_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
Pieces = list[bytes | memoryview]


class Node:
    """A chain and what it has cost to serve it."""

    def __init__(self, rendered: Rendered, tail: int = 0) -> None:
        self.rendered = rendered
        self.final = rendered.last_block - tail
        self.requests = 0
        self.calls: Counter[str] = Counter()
        self.bytes = 0
        self.lock = threading.Lock()

    @cached_property
    def number(self) -> dict[bytes, int]:
        """The number of each block by its hash; made when somebody asks that way."""
        hashes = enumerate(self.rendered.block_hash, FIRST_BLOCK - 1)
        return {row.tobytes(): number for number, row in hashes}

    def cost(self) -> dict[str, float]:
        """CPU seconds of this process, HTTP requests, bytes of answers, and calls by method."""
        spent = {"cpu": time.process_time(), "requests": self.requests, "bytes": self.bytes}
        return spent | self.calls

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
        start = b'{"jsonrpc":"2.0","id":%s,' % msgspec.json.encode(call["id"])
        method, params = call["method"], call.get("params") or []
        self.calls[method] += 1
        if method == "eth_getLogs":
            low, high = self._range(params[0])
            if len(self.rendered.among(low, high)) * LOGS_PER_BLOCK > MAX_RESULTS:
                return [start, b'"error":', self._too_many(low), b"}"]
            return [start, b'"result":[', *self.rendered.logs(low, high), b"]}"]
        try:
            result = self._small(method, params)
        except LookupError as error:
            fault = {"code": -32601, "message": str(error)}
            return [start, b'"error":', msgspec.json.encode(fault), b"}"]
        return [start, b'"result":', msgspec.json.encode(result), b"}"]

    def _too_many(self, low: int) -> bytes:
        high = low + MAX_RESULTS // LOGS_PER_BLOCK * self.rendered.every - 1
        text = f"query returned more than {MAX_RESULTS} results. Try with this block range"
        return msgspec.json.encode({"code": -32005, "message": f"{text} [0x{low:X}, 0x{high:X}]."})

    def _range(self, asked: dict[str, str]) -> tuple[int, int]:
        """The blocks that a filter names, by number or by the hash of one."""
        if "blockHash" in asked:
            block = self.number[bytes.fromhex(asked["blockHash"][2:])]
            return block, block
        return self._block(asked["fromBlock"]), self._block(asked["toBlock"])

    def _block(self, name: str) -> int:
        if name == "latest":
            return self.rendered.last_block
        return self.final if name in ("safe", "finalized") else int(name, 16)

    def _small(self, method: str, params: list[Any]) -> Any:
        match method:
            case "eth_chainId":
                return hex(CHAIN_ID)
            case "net_version":
                return str(CHAIN_ID)
            case "web3_clientVersion":
                return "ngu-points/bench"
            case "eth_syncing":
                return False
            case "eth_blockNumber":
                return hex(self.rendered.last_block)
            case "eth_getBlockByNumber":
                return header(self.rendered, self._block(params[0]), whole=params[1])
            case "eth_getBlockByHash":
                number = self.number.get(bytes.fromhex(params[0][2:]), -1)
                return header(self.rendered, number, whole=params[1])
            case "eth_getCode":
                return "0x60"
            case "bench_cost":
                return self.cost()
        raise LookupError(f"the bench node does not know {method}")


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


def main(kind: str, events: int, tail: int = 0) -> None:
    """Serve a workload until standard input ends."""
    with _Server(Node(render(workload(kind, events), tail), tail)) as server:
        print(server.server_address[1], flush=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
