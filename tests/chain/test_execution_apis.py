"""The reference exchanges of ethereum/execution-apis, served to the real client."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ngu_points.chain.rpc import Filter, Rpc
from ngu_points.errors import BadInput, NguError, TransientError

DATA = Path(__file__).parent.parent / "data" / "execution-apis"
EXCHANGES = sorted(path.relative_to(DATA).as_posix() for path in DATA.glob("*/*.io"))
ERRORS = {
    "eth_getLogs/filter-error-future-block-range.io": (TransientError, "beyond current head"),
    "eth_getLogs/filter-error-invalid-blockHash-and-range.io": (BadInput, "cannot specify both"),
    "eth_getLogs/filter-error-reversed-block-range.io": (BadInput, "invalid block range params"),
}
RANGES = [
    "eth_getLogs/contract-addr.io",
    "eth_getLogs/topic-exact-match.io",
    "eth_getLogs/topic-null-wildcard.io",
    "eth_getLogs/topic-wildcard.io",
]


def exchange(name: str) -> tuple[dict[str, Any], bytes]:
    """The request, decoded, and the answer's bytes."""
    lines = (DATA / name).read_bytes().splitlines()
    asked = [line[3:] for line in lines if line.startswith(b">> ")]
    answered = [line[3:] for line in lines if line.startswith(b"<< ")]
    assert len(asked) == len(answered) == 1
    return msgspec.json.decode(asked[0]), answered[0]


def serve(name: str, ask: Callable[[Rpc], Awaitable[Any]], same_params: bool = True) -> Any:
    """What the client makes of the recorded answer, given by a node that checks the request."""
    request, answer = exchange(name)
    wanted = {"jsonrpc": "2.0", "id": 1, "params": [], **request}

    async def handle(http: web.Request) -> web.Response:
        got = msgspec.json.decode(await http.read())
        keys = ("jsonrpc", "method", "params") if same_params else ("jsonrpc", "method")
        if any(got[key] != wanted[key] for key in keys):
            return web.Response(status=400, text=f"unexpected request: {got}")
        # Only the id is ours: retries count on.
        body = answer.replace(b'"id":1,', b'"id":%d,' % got["id"], 1)
        return web.Response(body=body, content_type="application/json")

    async def no_wait(seconds: float) -> None:
        await asyncio.sleep(0)

    async def scene() -> Any:
        app = web.Application()
        app.router.add_post("/", handle)
        async with (
            TestServer(app) as server,
            Rpc([str(server.make_url("/"))], max_retries=2, sleep=no_wait) as rpc,
        ):
            return await ask(rpc)

    return asyncio.run(scene())


def test_all_files_are_here() -> None:
    """The copy is complete: every exchange that SOURCE.md counts is found."""
    assert len(EXCHANGES) == 42
    assert set(ERRORS) | set(RANGES) <= set(EXCHANGES)


@pytest.mark.parametrize("name", [name for name in EXCHANGES if name not in ERRORS])
def test_results_come_through(name: str) -> None:
    """Every recorded result is returned exactly as it stands in the answer, null included."""
    request, answer = exchange(name)
    got = serve(name, lambda rpc: rpc.request(request["method"], request.get("params", [])))
    assert got == msgspec.json.decode(answer)["result"]


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_understood(name: str) -> None:
    """Each recorded error becomes the right kind of error, in one line with the node's words."""
    request, _ = exchange(name)
    kind, words = ERRORS[name]
    with pytest.raises(NguError, match=words) as caught:
        serve(name, lambda rpc: rpc.request(request["method"], request["params"]))
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in EXCHANGES if "BlockByNumber" in name])
def test_headers_are_read(name: str) -> None:
    """Number, hashes and timestamp of each recorded block are read; an unknown one is None."""
    request, answer = exchange(name)
    tag = request["params"][0]
    block = int(tag, 16) if tag.startswith("0x") else tag
    header = serve(name, lambda rpc: rpc.header(block), same_params=False)
    result = msgspec.json.decode(answer)["result"]
    if result is None:
        assert header is None
        return
    assert header.number == int(result["number"], 16)
    assert "0x" + header.hash.hex() == result["hash"]
    assert "0x" + header.parent_hash.hex() == result["parentHash"]
    assert header.timestamp == int(result["timestamp"], 16)


@pytest.mark.parametrize("name", RANGES)
def test_logs_keep_their_bytes(name: str) -> None:
    """The array of logs reaches the caller byte for byte as the node wrote it."""
    request, answer = exchange(name)
    where = request["params"][0]
    first, last = int(where["fromBlock"], 16), int(where["toBlock"], 16)
    page = serve(name, lambda rpc: rpc.logs(Filter((), ()), first, last), same_params=False)
    assert (page.from_block, page.to_block) == (first, last)
    assert len(page.raw) > 100
    assert b'"result":' + page.raw + b"}" in answer


def test_filter_is_the_reference_request() -> None:
    """Address and range are asked for exactly in the form of the reference request."""
    name = "eth_getLogs/contract-addr.io"
    address = bytes.fromhex(exchange(name)[0]["params"][0]["address"][0][2:])
    page = serve(name, lambda rpc: rpc.logs(Filter((address,), ()), 1, 4))
    assert page.to_block == 4


def test_simple_numbers() -> None:
    """Chain id and head are read as the numbers that they are."""
    assert serve("eth_chainId/get-chain-id.io", lambda rpc: rpc.chain_id()) == 0xC72DD9D5E883E
    answer = msgspec.json.decode(exchange("eth_blockNumber/simple-test.io")[1])
    head = serve("eth_blockNumber/simple-test.io", lambda rpc: rpc.block_number())
    assert head == int(answer["result"], 16)
