"""Whatever comes over the wire, the client soon ends with a value or one line that has no key."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from unittest.mock import patch

import msgspec
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from chain.nodelogs import CONTRACTS, MINT, log, wallet
from chain.scripted_node import ALL, Naps, Node, answer, play
from fuzz.anything import EDITS, HEX, JSON, TEXTS, assert_one_line, edited, often, written
from ngu_points.chain import reader
from ngu_points.chain.reader import Reader, creation_block
from ngu_points.chain.rpc import Header, LogPage, Rpc
from ngu_points.engine.coverage import Covered, Head
from ngu_points.errors import NguError

KEY = "secretsecretkey"
RETRIES = 2
MOST_REQUESTS = 150
LONGEST = 3 * 600.0  # seconds of pauses: a node may ask for ten minutes, once a retry
Ask = Callable[[Rpc], Awaitable[Any]]

QUESTIONS: dict[str, tuple[Ask, Callable[[Any], bool]]] = {
    "chain id": (lambda c: c.chain_id(), lambda v: isinstance(v, int) and 0 <= v < 2**63),
    "head": (lambda c: c.block_number(), lambda v: isinstance(v, int) and 0 <= v < 2**63),
    "header": (lambda c: c.header(5), lambda v: v is None or v.number == 5),
    "tag": (lambda c: c.header("finalized"), lambda v: v is None or isinstance(v, Header)),
    "headers": (lambda c: c.headers([5, 6, 9]), lambda v: [h.number for h in v] == [5, 6, 9]),
    "logs": (lambda c: c.logs(ALL, 5, 900), lambda v: isinstance(v, LogPage) and v.from_block == 5),
    "logs by hash": (lambda c: c.logs_in(ALL, bytes(32)), lambda v: v[:1] == b"["),
    "code": (lambda c: c.code(bytes(20)), lambda v: isinstance(v, bytes)),
    "call": (lambda c: c.call(bytes(20), b"\x01", "latest"), lambda v: isinstance(v, bytes)),
    "other": (lambda c: c.request("web3_clientVersion", []), lambda _: True),
    "finality": (
        lambda c: Reader(c, CONTRACTS["ngu"], "safe").head(),
        lambda v: isinstance(v, Head) and -1 <= v.final <= v.newest,
    ),
    "range": (
        lambda c: Reader(c, CONTRACTS["ngu"], 0).read(5, 40),
        lambda v: isinstance(v, Covered) and v.from_block == 5 <= v.to_block <= 40,
    ),
    "creation": (lambda c: creation_block(c, bytes(20)), lambda v: 0 <= v < 2**63),
}
ASKED = st.sampled_from(sorted(QUESTIONS))


async def ended(client: Rpc, question: str) -> str:
    """Ask, and say how it ended; anything but a fitting value or one line is a failure."""
    ask, fits = QUESTIONS[question]
    try:
        with patch.object(reader, "ATTEMPTS", 2):
            value = await asyncio.wait_for(ask(client), 20)
    except NguError as error:
        line = str(error)
        assert_one_line(line)
        assert KEY not in line
        assert "://" not in line
        return "refused"
    assert fits(value), value
    return "answered"


def asked(question: str, node: Node) -> str:
    """How one question to one node ends, in bounded time."""
    naps = Naps()
    how: str = play(
        lambda client: ended(client, question), node, naps=naps, max_retries=RETRIES, timeout=2.0
    )
    assert len(node.asked) <= MOST_REQUESTS
    assert sum(naps.seconds) <= LONGEST * MOST_REQUESTS ** (question == "creation")
    return how


STATUSES = st.sampled_from([200] * 6 + [204, 299, 301, 400, 401, 403, 404, 408, 413, 429, 500, 503])
HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "Date", "Content-Type", "Location", "X-Odd"]),
    st.sampled_from(
        ["0", "7", "-1", "1e9", "999999999", "Wed, 21 Oct 2099 07:28:00 GMT", "text/html",
         "Thu, 01 Jan 1970 00:00:00 -9999", "application/json; charset=utf-99", "/", "\xff"]
    ),
    max_size=3,
)  # fmt: skip
MESSAGES = TEXTS | st.sampled_from(
    [
        "block range too large, try [0x5, 0x6]",
        "block range too large, try [0x5, 0x384]",
        "query returned more than 10000 results",
        "limited to 0 blocks",
        "up to 99999999999999999999999k blocks",
        "maximum is 1 block",
        "retry in 999999 s",
        "retry after 0.000001 s",
        "header not found",
        "execution reverted",
        f"http://127.0.0.1/v3/{KEY} is over its limit",
    ]
)
ERRORS = JSON | st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from([3, 4444, -32000, -32005, -32600, -32601, -32602, 2**70, "x", 1.5]),
        "message": MESSAGES | JSON,
        "data": MESSAGES | JSON,
    },
)
BLOCK_FIELDS = st.sampled_from(["number", "hash", "parentHash", "timestamp", "logsBloom", "x"])
LOGS = st.lists(
    st.dictionaries(
        st.sampled_from(list(log(MINT, []))), HEX | JSON, max_size=3
    ).map(lambda changes: log(MINT, [wallet(1)], [1, 2]) | {"blockNumber": "0x5"} | changes),
    max_size=3,
)  # fmt: skip


@st.composite
def envelopes(draw: st.DrawFn, call: dict[str, Any]) -> Any:
    """An answer to one call: the right one, one with another result, with an error, or neither."""
    right = answer(call)
    match draw(st.sampled_from(["right", "result", "field", "logs", "error", "both", "any"])):
        case "result":
            return right | {"result": draw(HEX | JSON)}
        case "field" if isinstance(right["result"], dict):
            return right | {"result": right["result"] | {draw(BLOCK_FIELDS): draw(HEX | JSON)}}
        case "logs" if call["method"] == "eth_getLogs":
            return right | {"result": draw(LOGS)}
        case "error":
            return {"jsonrpc": "2.0", "id": call["id"], "error": draw(ERRORS)}
        case "both":
            return right | {"error": draw(ERRORS), "id": draw(st.just(call["id"]) | JSON)}
        case "any":
            return draw(JSON)
    return right


def node_of(data: st.DataObject) -> Node:
    """A node whose every answer is drawn."""

    async def step(http: web.Request, asked: Any) -> web.StreamResponse:
        calls = asked if isinstance(asked, list) else [asked]
        members = [data.draw(envelopes(call)) for call in calls]
        body = written(members if isinstance(asked, list) else members[0])
        if data.draw(st.integers(0, 5)) == 0:
            body = edited(body, data.draw(EDITS))
        status, headers = data.draw(STATUSES), data.draw(HEADERS)
        return web.Response(body=body if status != 204 else None, status=status, headers=headers)

    return Node(then=step)


@often(3)
@given(ASKED, st.data())
def test_any_answers_end_in_a_value_or_one_line(question: str, data: st.DataObject) -> None:
    """Every answer of a conversation may be anything: the question ends, soon, without the key."""
    asked(question, node_of(data))


@contextlib.asynccontextmanager
async def saying(raw: bytes) -> AsyncIterator[str]:
    """A server that answers any request with these bytes, whatever HTTP thinks of them."""

    async def talk(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reading.readuntil(b"\r\n\r\n")
            writing.write(raw)
            await writing.drain()
        writing.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v3/{KEY}"


BODY = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "result": "0x2105"})
HEAD_LINES = st.lists(
    st.sampled_from(
        [b"Content-Length: 43", b"Content-Length: 5", b"Content-Length: 99999999999",
         b"Content-Length: -1", b"Transfer-Encoding: chunked", b"Content-Encoding: gzip",
         b"Content-Encoding: br", b"Content-Encoding: nonsense", b"Retry-After: 1", b"no colon",
         b": no name", b"Content-Type: application/json", b"X: " + b"y" * 9_000, b"X:\xff\xfe",
         b"Connection: upgrade", b"Set-Cookie: a=b; Path=/", b"Location: http://[::bad"]
    ),
    max_size=3,
)  # fmt: skip
START_LINES = st.sampled_from(
    [b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 ?",
     b"HTTP/9.9 200 OK",
     b"HTTP/1.1 100 Continue", b"HTTP/1.1 101 Switching Protocols", b"HTTP/1.1 302 Found",
     b"HTTP/1.1 429 Slow", b"ICY 200 OK", b"HTTP/1.1 200 \xff\x00", b""]
)  # fmt: skip


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    """A reply that may be HTTP."""
    head = b"\r\n".join([draw(START_LINES), *draw(HEAD_LINES)])
    raw = (
        head
        + b"\r\n\r\n"
        + draw(st.sampled_from([BODY, b"", b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n"]))
    )
    return edited(raw, draw(EDITS)) if draw(st.booleans()) else raw


@often(2)
@given(replies() | st.binary(max_size=60))
def test_replies_that_are_no_http_end_in_one_line(raw: bytes) -> None:
    """Status lines, headers and bodies that no server should send do no harm."""

    async def scene() -> None:
        async with (
            saying(raw) as url,
            Rpc([url], sleep=Naps(), max_retries=1, timeout=0.3, rng=random.Random(1)) as client,
        ):
            await ended(client, "chain id")

    asyncio.run(scene())
