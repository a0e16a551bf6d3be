"""The client against nodes on loopback that fail in every way nodes are known to fail."""

import asyncio
import random
from typing import Any

import msgspec
import pytest
from aiohttp import web
from scripted_node import (
    ALL,
    Naps,
    Node,
    Step,
    answer,
    body,
    error,
    half,
    hang_up,
    play,
    says,
    serving,
    stall,
    status,
    wrong_id,
)

from ngu_points.chain.rpc import Rpc
from ngu_points.errors import BadInput, NguError, TransientError, UsageError


async def server_error(http: web.Request, asked: Any) -> web.StreamResponse:
    return web.json_response(answer(asked), status=500)


DEEP = '{"jsonrpc":"2.0","id":1,"result":' + "[" * 100_000
FAILURES = {
    "429": (status(429, headers={"Retry-After": "7"}), "429 too many requests"),
    "503": (status(503, "Service Unavailable"), "503 Service Unavailable"),
    "500": (status(500), "500 internal server error"),
    "500 beside a result": (server_error, "500 internal server error; "),
    "HTML": (body("<!DOCTYPE html><html>Sorry</html>"), "an HTML page instead of JSON"),
    "HTML 502": (status(502, "<html>Bad gateway</html>"), "502 bad gateway"),
    "null body": (body("null"), "an answer that is not JSON-RPC"),
    "no body": (body(""), "an empty answer"),
    "not JSON": (body("hello"), "an answer that is not JSON-RPC"),
    "half JSON": (body('{"jsonrpc":"2.0","id":1,"resu'), "half an answer"),
    "deep list": (body("[" * 100_000), "an answer that is not JSON-RPC"),
    "deep result": (body(DEEP), "an answer that is not JSON-RPC"),
    "half body": (half, "the answer broke off half-way"),
    "hang up": (hang_up, "the connection was closed without an answer"),
    "wrong id": (wrong_id, "an answer to another question (wrong id)"),
    "no result": (body('{"jsonrpc":"2.0","id":1}'), "an answer without a result"),
    "empty list": (body("[]"), "an answer to another question (wrong id)"),
    "null logs": (says(None), "null instead of a list of logs"),
    "logs as text": (says("0x"), "not a list of logs"),
    "error text": (body('{"jsonrpc":"2.0","id":1,"error":"busy"}'), "busy"),
    "server error": (error("internal server error"), "internal server error"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_one_failure_is_survived(failure: str) -> None:
    """After any single failure the same node is asked again, and its right answer is used."""
    node = Node(FAILURES[failure][0])
    page = play(lambda client: client.logs(ALL, 5, 5), node)
    assert (page.from_block, page.to_block) == (5, 5)
    assert msgspec.json.decode(page.raw) == [{"blockNumber": "0x5"}]
    assert len(node.asked) == 2


@pytest.mark.parametrize("failure", FAILURES)
def test_lasting_failure_ends_in_one_line(failure: str) -> None:
    """A node that never recovers is asked a bounded number of times, then named in one line."""
    node = Node(then=FAILURES[failure][0])
    with pytest.raises(TransientError) as caught:
        play(lambda client: client.logs(ALL, 5, 5), node, max_retries=3)
    line = str(caught.value)
    assert line.startswith("127.0.0.1:")
    assert f": eth_getLogs 5..5: {FAILURES[failure][1]}" in line
    assert "\n" not in line
    assert "secretsecretkey" not in line
    assert len(node.asked) == 4


@pytest.mark.parametrize("failure", FAILURES)
def test_another_endpoint_takes_over(failure: str) -> None:
    """When one endpoint fails in any way, the next one answers at once, without waiting."""
    bad, good, naps = Node(then=FAILURES[failure][0]), Node(), Naps()

    async def ask(client: Rpc) -> Any:
        for number in range(5):
            page = await client.logs(ALL, number, number)
            assert msgspec.json.decode(page.raw) == [{"blockNumber": hex(number)}]
        return [(end.requests, end.failures) for end in client.endpoints]

    assert play(ask, bad, good, naps=naps) == [(1, 1), (5, 0)]
    assert naps.seconds == []


def test_time_out_moves_on() -> None:
    """An endpoint that does not answer in time is left for the next one, and its error kept."""

    async def ask(client: Rpc) -> Any:
        return await client.block_number(), client.endpoints[0].last_error

    number, last_error = play(ask, Node(then=stall), Node(), timeout=0.1)
    assert number == 999
    assert last_error == "no answer within 0.1 s"


def test_nobody_listens() -> None:
    """A closed port is named by host and port alone, after bounded retries."""

    async def scene() -> None:
        async with serving(Node()) as url:
            closed = url
        async with Rpc([closed], sleep=Naps(), max_retries=2) as client:
            await client.chain_id()

    with pytest.raises(TransientError, match=r"^127.0.0.1:\d+: eth_chainId: cannot connect; "):
        asyncio.run(scene())


def test_retry_after_is_honoured() -> None:
    """The node's Retry-After, in seconds or as a date, is waited for before it is asked again."""
    dated = {
        "Retry-After": "Thu, 01 Jan 2026 00:00:40 GMT",
        "Date": "Thu, 01 Jan 2026 00:00:00 GMT",
    }
    naps = Naps()
    node = Node(status(429, headers={"Retry-After": "7"}), status(503, headers=dated))
    assert play(lambda client: client.block_number(), node, naps=naps) == 999
    assert naps.seconds == [7, 40]


def test_unbearable_retry_after_is_told() -> None:
    """A node that wants hours of silence ends the request with a line that says so."""
    node = Node(then=status(429, headers={"Retry-After": "86400"}))
    with pytest.raises(TransientError, match=r"told to wait 86400 s \(429 too many requests\)"):
        play(lambda client: client.block_number(), node)
    assert len(node.asked) == 1


def test_backing_off_grows_with_full_jitter() -> None:
    """Waits are drawn between zero and a bound that doubles, up to a minute."""

    class Highest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            assert a == 0
            return b

    naps = Naps()
    node = Node(then=status(500))
    with pytest.raises(TransientError):
        play(lambda client: client.block_number(), node, naps=naps, rng=Highest())
    assert naps.seconds == [1, 2, 4, 8, 16, 32, 60, 60]


def test_rate_limit_error_line() -> None:
    """After the last retry the line says host, range, cause and what can be done."""
    node = Node(then=status(429))
    with pytest.raises(TransientError) as caught:
        play(lambda client: client.logs(ALL, 100, 200), node, max_retries=1)
    assert str(caught.value).partition(": ")[2] == (
        "eth_getLogs 100..200: 429 too many requests; "
        "set chain.requests_per_second lower or add another --rpc"
    )


def test_requests_per_second() -> None:
    """A burst of one second's worth passes; what exceeds it is spread at the set rate."""
    naps = Naps()

    async def ask(client: Rpc) -> None:
        for _ in range(7):
            await client.block_number()

    play(ask, Node(), naps=naps, requests_per_second=4)
    assert naps.seconds == [0.25, 0.25]


def test_endpoint_rests_longer_each_time() -> None:
    """An endpoint that keeps failing is left alone, and the one that works is stayed with."""
    bad, good = Node(then=status(500)), Node()

    async def ask(client: Rpc) -> None:
        for _ in range(20):
            await client.block_number()

    play(ask, bad, good)
    assert (len(bad.asked), len(good.asked)) == (1, 20)


def test_distrust_moves_to_another_endpoint() -> None:
    """After a contradiction the next question goes to another endpoint, and status knows why."""
    first, second = Node(), Node()

    async def ask(client: Rpc) -> Any:
        await client.block_number()
        client.distrust("two hashes for block 7")
        await client.block_number()
        return client.endpoints

    ends = play(ask, first, second)
    assert (len(first.asked), len(second.asked)) == (1, 1)
    assert ends[0].last_error == "two hashes for block 7"
    assert ends[0].host.startswith("127.0.0.1:")
    assert "secretsecretkey" not in repr(ends)


def test_distrust_means_the_one_that_answered() -> None:
    """The endpoint that gave the last answer is blamed, not the one that failed before it."""
    first, second = Node(status(500)), Node()

    async def ask(client: Rpc) -> Any:
        await client.block_number()
        client.distrust("logs without a block")
        await client.block_number()
        return [end.last_error for end in client.endpoints]

    assert play(ask, first, second) == ["500 internal server error", "logs without a block"]
    assert (len(first.asked), len(second.asked)) == (2, 1)


def test_code_and_call() -> None:
    """Byte code and call results are bytes; blocks go out as numbers or tags."""
    node = Node(says("0x6001"), says("0x" + "00" * 31 + "07"))

    async def ask(client: Rpc) -> Any:
        return await client.code(b"\x01" * 20), await client.call(b"\x02" * 20, b"\xab", 16)

    code, value = play(ask, node)
    assert code == b"\x60\x01"
    assert int.from_bytes(value) == 7
    assert node.asked[0]["params"] == ["0x" + "01" * 20, "latest"]
    assert node.asked[1]["params"] == [{"to": "0x" + "02" * 20, "data": "0xab"}, "0x10"]


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (error("execution reverted: rate not found", 3), "execution reverted: rate not found"),
        (says("0x1"), "result is not hex bytes: '0x1'"),
        (error("missing trie node abc"), "no longer has this history: missing trie node abc; use"),
        (status(401), "401 unauthorized; check the --rpc address and its key"),
        (status(301, headers={"Location": "/other"}), "301 moved permanently; check the --rpc"),
    ],
)
def test_what_retries_cannot_cure(step: Step, line: str) -> None:
    """What asking again cannot cure is told at once, without retries or waiting."""
    node, naps = Node(then=step), Naps()
    with pytest.raises(BadInput) as caught:
        play(lambda client: client.call(b"\x02" * 20, b"", "latest"), node, naps=naps)
    assert line in str(caught.value)
    assert len(node.asked) == 1
    assert naps.seconds == []


def test_a_revert_is_not_the_endpoints_fault() -> None:
    """A contract that refuses a call is no failure of the endpoint, and no other is asked."""

    async def ask(client: Rpc) -> Any:
        with pytest.raises(BadInput, match="reverted"):
            await client.call(b"\x02" * 20, b"", 5)
        return [(end.requests, end.failures) for end in client.endpoints]

    assert play(ask, Node(then=error("execution reverted", 3)), Node()) == [(1, 0), (0, 0)]


def test_keys_stay_secret() -> None:
    """A node that repeats our URL with its key in an error does not get it into our lines."""
    text = "no access to https://user:pw@rpc.example.org/v3/secretsecretkey?k=1 (secretsecretkey)"
    node = Node(then=error(text, -32600))
    with pytest.raises(NguError) as caught:
        play(lambda client: client.request("eth_syncing", []), node)
    assert "no access to https://rpc.example.org" in str(caught.value)
    assert not any(secret in str(caught.value) for secret in ("secretsecretkey", "pw", "k=1"))


@pytest.mark.parametrize(
    ("urls", "line"),
    [
        ([], "an http:// or https:// URL is needed; add one"),
        (["wss://node.example/key"], "an http:// or https:// URL is needed beside node.example"),
        (["https://a.example", "ftp://b.example/key"], "URL number 2 is no http"),
        (["https:///key"], "URL number 1 is no http"),
        (["http://a.example:port/key"], "URL number 1 is no http"),
        (["not a url with key"], "URL number 1 is no http"),
    ],
)
def test_unusable_urls(urls: list[str], line: str) -> None:
    """URLs that cannot do are refused before anything is asked, without being shown."""
    with pytest.raises(UsageError) as caught:
        Rpc(urls)
    assert line in str(caught.value)
    assert "key" not in str(caught.value)
