"""eth_getLogs through the client: untouched bytes, bounded bodies, ranges that adapt."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web
from scripted_node import (
    ALL,
    Node,
    Step,
    answer,
    error,
    healthy,
    play,
    status,
)

from ngu_points.chain import rpc
from ngu_points.chain.rpc import Filter, Rpc
from ngu_points.errors import BadInput


def test_logs_bytes_and_request() -> None:
    """The filter is sent in hex and the answer's bytes are returned untouched, spaces and all."""
    raw = '[ {"odd" :  1.50, "x":"\\u00e9"} ]'

    async def odd(http: web.Request, asked: Any) -> web.StreamResponse:
        return web.Response(text=f'{{"id":{asked["id"]}, "result": {raw} ,"jsonrpc":"2.0"}}')

    node = Node(then=odd)
    where = Filter((b"\x01" * 20, b"\x02" * 20), (b"\x03" * 32,))
    page = play(lambda client: client.logs(where, 16, 17), node)
    assert page.raw == raw.encode()
    assert node.asked[0]["params"] == [
        {
            "address": ["0x" + "01" * 20, "0x" + "02" * 20],
            "topics": [["0x" + "03" * 32]],
            "fromBlock": "0x10",
            "toBlock": "0x11",
        }
    ]


def test_compressed_answers() -> None:
    """Answers may come packed: the client says so and unpacks them."""

    async def packed(http: web.Request, asked: Any) -> web.StreamResponse:
        assert "gzip" in http.headers["Accept-Encoding"]
        response = web.json_response(answer(asked))
        response.enable_compression(web.ContentCoding.gzip)
        return response

    page = play(lambda client: client.logs(ALL, 0, 500), Node(then=packed))
    assert len(msgspec.json.decode(page.raw)) == 501


def test_thirty_megabytes_are_taken() -> None:
    """A 30 MB answer is within the bound and arrives complete; the next request is smaller."""
    page_of = "[" + ",".join(['"' + "x" * 999_997 + '"'] * 30) + "]"

    async def large(http: web.Request, asked: Any) -> web.StreamResponse:
        return web.Response(text=f'{{"id":{asked["id"]},"result":{page_of}}}')

    async def ask(client: Rpc) -> Any:
        return await client.logs(ALL, 0, 1_999), client.span

    page, span = play(ask, Node(then=large))
    assert len(page.raw) == len(page_of) > 29_000_000
    assert span == 1_000


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_past_the_bound_is_halved(announced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body past the bound is not read to its end: fewer blocks are asked for instead."""
    monkeypatch.setattr(rpc, "MAX_BODY", 1 << 20)

    async def flood(http: web.Request, asked: Any) -> web.StreamResponse:
        if asked["params"][0]["toBlock"] == "0x63":
            return await healthy(http, asked)
        headers = {"Content-Length": str(30 << 20)} if announced else {}
        response = web.StreamResponse(headers=headers)
        await response.prepare(http)
        with contextlib.suppress(ConnectionError):
            for _ in range(30):
                await response.write(b" " * (1 << 20))
        return response

    node = Node(then=flood)
    page = play(lambda client: client.logs(ALL, 0, 399), node)
    assert page.to_block == 99
    assert node.ranges == [(0, 399), (0, 199), (0, 99)]


def limited(message: Callable[[int, int], str | None], code: int = -32005) -> Step:
    """A node that refuses ranges for which `message` has words."""

    async def step(http: web.Request, asked: Any) -> web.StreamResponse:
        where = asked["params"][0]
        text = message(int(where["fromBlock"], 16), int(where["toBlock"], 16))
        return await (healthy if text is None else error(text, code))(http, asked)

    return step


def walk(client: Rpc, first: int, last: int) -> Awaitable[list[str]]:
    """Read a range page by page, as the monitor does; the block numbers of all logs."""

    async def pages() -> list[str]:
        found: list[str] = []
        block = first
        while block <= last:
            page = await client.logs(ALL, block, min(last, block + client.span - 1))
            assert page.from_block == block
            assert block <= page.to_block <= last
            found += [log["blockNumber"] for log in msgspec.json.decode(page.raw)]
            block = page.to_block + 1
        return found

    return pages()


@pytest.mark.parametrize(
    ("message", "most"),
    [
        (lambda a, b: "Max range: 100" if b - a > 99 else None, 16),
        (lambda a, b: "block range exceeds 100" if b - a > 100 else None, 16),
        (lambda a, b: "block range exceeds 100" if b - a > 98 else None, 45),
        (lambda a, b: "query returned more than 10 results" if b - a > 9 else None, 220),
        (lambda a, b: f"too many; this block range should work: [{a:#x}, {a + 30:#x}]"
         if b - a > 30 else None, 60),
        (lambda a, b: f"this block range should work: [{b:#x}, {a:#x}]; query returned more than 1 "
         "results" if b - a > 30 else None, 70),
        (lambda a, b: "Block range limit exceeded." if b - a > 109 else None, 21),
    ],
)  # fmt: skip
def test_ranges_adapt(message: Callable[[int, int], str | None], most: int) -> None:
    """Whatever the limit and its wording, every block is read once, with few vain requests."""
    node = Node(then=limited(message))
    found = play(lambda client: walk(client, 0, 999), node, max_retries=0)
    assert found == [hex(number) for number in range(1_000)]
    assert len(node.asked) <= most


def test_creeping_suggestions_are_cut_short() -> None:
    """A node that always suggests one block less does not keep the client busy for ever."""
    node = Node(then=limited(lambda a, b: f"try [{a:#x}, {b - 1:#x}]" if b > a else None))
    page = play(lambda client: client.logs(ALL, 0, 1_999), node)
    assert page.to_block == 0
    assert len(node.asked) < 25


def test_one_block_too_large_for_all() -> None:
    """A block that no endpoint can deliver ends in a line that names it; each was asked."""
    nodes = [Node(then=error("query returned more than 10000 results", -32005)) for _ in range(2)]
    with pytest.raises(BadInput, match="block 70 alone is too large"):
        play(lambda client: client.logs(ALL, 70, 79), *nodes)
    assert all(node.ranges[-1] == (70, 70) for node in nodes)
    assert sum(len(node.asked) for node in nodes) < 10


def test_error_inside_an_array() -> None:
    """An error that comes wrapped in a list of one is understood as well."""

    async def wrapped(http: web.Request, asked: Any) -> web.StreamResponse:
        if asked["params"][0]["toBlock"] == "0x4":
            return web.json_response([answer(asked)])
        return web.json_response([{"id": None, "error": {"message": "block range too high"}}])

    assert play(lambda client: client.logs(ALL, 0, 9), Node(then=wrapped)).to_block == 4


def test_outage_leaves_the_span_alone() -> None:
    """A passing 503 on a small range at the head does not make later ranges small."""

    async def ask(client: Rpc) -> Any:
        page = await client.logs(ALL, 990, 993)
        return page.to_block, client.span

    assert play(ask, Node(status(503))) == (991, 2_000)


def test_a_guess_that_helped_is_remembered() -> None:
    """Where only smaller ranges get past a 503, the next page asks for no more than worked."""

    async def heavy(http: web.Request, asked: Any) -> web.StreamResponse:
        where = asked["params"][0]
        blocks = int(where["toBlock"], 16) - int(where["fromBlock"], 16) + 1
        return await (healthy if blocks <= 500 else status(503))(http, asked)

    async def ask(client: Rpc) -> Any:
        first = await client.logs(ALL, 0, 1_999)
        second = await client.logs(ALL, 500, 1_999)
        return first.to_block, second.to_block

    node = Node(then=heavy)
    assert play(ask, node) == (499, 999)
    assert node.ranges == [(0, 1_999), (0, 999), (0, 499), (500, 999)]


def test_reversed_range_is_refused() -> None:
    """A reversed range is a caller's mistake, and no request is sent."""
    node = Node()
    with pytest.raises(ValueError, match=r"no block range: 9\.\.8"):
        play(lambda client: client.logs(ALL, 9, 8), node)
    assert node.asked == []
