"""The simulated node over HTTP: requests, filters, limits and errors."""

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from localnode import served
from ngu_points.demo import contract
from ngu_points.demo.blocks import Log, logs_of
from ngu_points.demo.contract import TOPICS, Event
from ngu_points.demo.node import CONTRACT, SimNode
from ngu_points.engine.events import ZERO_ADDRESS, Kind

A, B, OTHER = b"\xaa" * 20, b"\xbb" * 20, b"\xcc" * 20


def hexed(value: bytes) -> str:
    return "0x" + value.hex()


ADDRESS = hexed(CONTRACT)
MINT, STAKE = hexed(TOPICS[Kind.MINT]), hexed(TOPICS[Kind.STAKE])


def history() -> SimNode:
    """Block 1: two mints; 2: a stake and a foreign log; 3: empty; 4: a transfer and bare logs."""
    node = SimNode()
    mints = [Event(Kind.MINT, ZERO_ADDRESS, to, first, 10) for to, first in ((A, 1), (B, 11))]
    stake = Event(Kind.STAKE, A, ZERO_ADDRESS, 3)
    node.mine(mints)
    node.mine_transactions([[stake, Log(OTHER, (TOPICS[Kind.STAKE], b"\x01" * 32), b"")]])
    node.mine()
    node.mine([Event(Kind.TRANSFER, A, B, 1, 2), Log(OTHER, (), b"\x01"), Log(CONTRACT, (), b"")])
    return node


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(history()) as where:
        yield where.url


async def _post(url: str, body: Any) -> Any:
    sending = {"data": body} if isinstance(body, bytes) else {"json": body}
    async with aiohttp.ClientSession() as session, session.post(url, **sending) as response:
        assert response.content_type == "application/json"
        return await response.json()


def ask(url: str, method: str, *params: Any) -> Any:
    """The whole answer to one request."""
    request = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
    answer = asyncio.run(_post(url, request))
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", 7)
    return answer


def places(url: str, **given: Any) -> list[tuple[int, int]]:
    """Block number and log index of the logs that a filter finds in the whole chain."""
    given = {"fromBlock": "0x0", "toBlock": "latest"} | given
    return [
        (int(log["blockNumber"], 16), int(log["logIndex"], 16))
        for log in ask(url, "eth_getLogs", given)["result"]
    ]


EVERY = [(1, 0), (1, 1), (2, 0), (2, 1), (4, 0), (4, 1), (4, 2)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, EVERY),
        ({"topics": []}, EVERY),
        ({"address": []}, EVERY),
        ({"address": ADDRESS}, [(1, 0), (1, 1), (2, 0), (4, 0), (4, 2)]),
        ({"address": [hexed(OTHER)]}, [(2, 1), (4, 1)]),
        ({"address": [ADDRESS, hexed(OTHER)]}, EVERY),
        ({"address": hexed(B)}, []),
        ({"topics": [MINT]}, [(1, 0), (1, 1)]),
        ({"topics": [[MINT, STAKE]]}, [(1, 0), (1, 1), (2, 0), (2, 1)]),
        ({"topics": [STAKE], "address": ADDRESS}, [(2, 0)]),
        ({"topics": [None]}, [(1, 0), (1, 1), (2, 0), (2, 1), (4, 0)]),
        ({"topics": [[]]}, [(1, 0), (1, 1), (2, 0), (2, 1), (4, 0)]),
        ({"topics": [None, hexed(A.rjust(32, b"\0"))]}, [(1, 0), (2, 0), (4, 0)]),
        ({"topics": [MINT, [hexed(B.rjust(32, b"\0"))]]}, [(1, 1)]),
        ({"topics": [None, None, None]}, [(4, 0)]),
        ({"topics": [None, None, None, None]}, []),
        ({"fromBlock": "0x2", "toBlock": "0x3"}, [(2, 0), (2, 1)]),
        ({"fromBlock": "earliest", "toBlock": "finalized"}, []),
        ({"fromBlock": "latest"}, [(4, 0), (4, 1), (4, 2)]),
    ],
)
def test_filters(url: str, given: dict[str, Any], expected: list[tuple[int, int]]) -> None:
    """A filter finds the logs that it describes, all of them, in position order."""
    assert places(url, **given) == expected


def test_logs_of_one_block_by_hash(url: str) -> None:
    """By block hash come that block's logs, each with the fields of its place."""
    block = history().blocks[2]
    logs = ask(url, "eth_getLogs", {"blockHash": hexed(block.hash)})["result"]
    assert [(log["logIndex"], log["transactionIndex"]) for log in logs] == [
        ("0x0", "0x0"),
        ("0x1", "0x0"),
    ]
    assert {log["transactionHash"] for log in logs} == set(block.tx_hashes)
    assert {log["blockTimestamp"] for log in logs} == {hex(block.timestamp)}
    assert {log["blockHash"] for log in logs} == {hexed(block.hash)}
    assert {log["removed"] for log in logs} == {False}


NOWHERE = "0x" + "22" * 32


@pytest.mark.parametrize(
    ("method", "params", "code", "words"),
    [
        ("eth_getLogs", [{"fromBlock": "0x3", "toBlock": "0x1"}], -32602, "invalid block range"),
        ("eth_getLogs", [{"fromBlock": "0x3", "toBlock": "0x9"}], -32602, "beyond current head"),
        ("eth_getLogs", [{"blockHash": NOWHERE}], -32000, "unknown block"),
        (
            "eth_getLogs",
            [{"blockHash": NOWHERE, "fromBlock": "0x1"}],
            -32602,
            "cannot specify both BlockHash and FromBlock/ToBlock",
        ),
        ("eth_getLogs", [{"address": "0x12"}], -32602, "not 20 bytes"),
        ("eth_getLogs", [{"topics": ["0x12"]}], -32602, "not 32 bytes"),
        ("eth_getLogs", [{"topics": [None] * 5}], -32602, "at most four"),
        ("eth_getLogs", [{"fromBlock": "soon"}], -32602, "is no block"),
        ("eth_getLogs", ["all"], -32602, "must be an object"),
        ("eth_getLogs", [], -32602, "takes 1 to 1"),
        ("eth_getBlockByNumber", ["0x1", True], -32602, "only the hashes"),
        ("eth_call", [{"to": ADDRESS, "data": "0x12345678"}], 3, "execution reverted"),
        ("eth_call", [{"to": ADDRESS, "data": "0xzz"}], -32602, "not hex"),
        ("eth_call", [{"data": "0x"}], -32602, "`to`"),
        ("eth_call", [{"to": ADDRESS}, "0x99"], -32000, "header not found"),
        ("eth_subscribe", ["newHeads"], -32601, "eth_subscribe"),
        ("eth_mine", [], -32601, "the method eth_mine does not exist"),
    ],
)
def test_errors(url: str, method: str, params: list[Any], code: int, words: str) -> None:
    """A request that cannot be served gets the code and the words that real nodes give."""
    error = ask(url, method, *params)["error"]
    assert (error["code"], words in error["message"]) == (code, True), error


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"hello", -32700),
        (b"", -32700),
        (b"[", -32700),
        (b"[" * 100_000, -32700),
        (b"[]", -32600),
        (b'{"id":1}', -32600),
        (b'{"method":"eth_chainId"}', -32600),
        (b"3", -32600),
    ],
)
def test_bodies_that_are_no_requests(url: str, body: bytes, code: int) -> None:
    """What is no JSON-RPC request gets one error without an id."""
    answer = asyncio.run(_post(url, body))
    assert (answer["id"], answer["error"]["code"]) == (None, code)


def test_batches(url: str) -> None:
    """A batch is answered in one list, ids of any type come back, errors stand among results."""
    batch = [
        {"jsonrpc": "2.0", "id": "x", "method": "eth_chainId", "params": []},
        {"jsonrpc": "2.0", "id": 2, "method": "eth_nothing"},
        "no request",
        {"jsonrpc": "2.0", "id": None, "method": "net_version"},
    ]
    answers = asyncio.run(_post(url, batch))
    assert [answer["id"] for answer in answers] == ["x", 2, None, None]
    assert answers[0]["result"] == "0x7a69"
    assert answers[1]["error"]["code"] == -32601
    assert answers[2]["error"]["code"] == -32600
    assert answers[3]["result"] == "31337"


def test_blocks_by_tag_number_and_hash(url: str) -> None:
    """Tags, numbers and hashes name the same blocks; one above the head is null."""
    chain = history()
    for given, number in (("latest", 4), ("safe", 0), ("finalized", 0), ("earliest", 0)):
        assert ask(url, "eth_getBlockByNumber", given, False)["result"]["number"] == hex(number)
    for block in chain.blocks:
        by_number = ask(url, "eth_getBlockByNumber", hex(block.number))["result"]
        assert by_number == ask(url, "eth_getBlockByHash", by_number["hash"], False)["result"]
        assert by_number["transactions"] == list(block.tx_hashes)
    assert ask(url, "eth_getBlockByNumber", "0x5", False)["result"] is None
    assert ask(url, "eth_getBlockByHash", NOWHERE)["result"] is None


def test_code_is_there_from_the_first_block(url: str) -> None:
    """The contract has code from block 1 on; other addresses have none."""
    codes = [ask(url, "eth_getCode", ADDRESS, hex(number))["result"] for number in range(3)]
    assert codes == ["0x", contract.artifact("ngu").runtime, contract.artifact("ngu").runtime]
    assert ask(url, "eth_getCode", hexed(OTHER), "latest")["result"] == "0x"


def test_views(url: str) -> None:
    """The views answer from the events up to the asked block, and fail as the contract does."""

    def view(data: str, block: Any = "latest") -> Any:
        return ask(url, "eth_call", {"to": ADDRESS, "data": data}, block)

    assert contract.read_address(view(contract.owner_of(1))["result"]) == B
    assert contract.read_address(view(contract.owner_of(1), "0x3")["result"]) == A
    assert contract.read_address(view(contract.staker_of(3))["result"]) == A
    assert contract.read_integer(view(contract.total_supply())["result"]) == 20
    assert contract.read_integer(view(contract.next_token_id())["result"]) == 21
    owners, stakers = contract.read_holdings(view(contract.holdings(2, 3))["result"])
    assert (owners, stakers) == ([B, A, A], [ZERO_ADDRESS, A, ZERO_ADDRESS])
    by_hash = {"blockHash": hexed(history().blocks[1].hash)}
    assert contract.read_address(view(contract.owner_of(1), by_hash)["result"]) == A
    refused = view(contract.owner_of(99))["error"]
    assert refused["data"] == contract.call("NoSuchToken(uint256)", 99)
    assert view(contract.total_supply(), "0x0")["result"] == "0x"


def test_limits() -> None:
    """Too many results come with a smaller range that works; so does every single block."""
    node = SimNode(max_results=5, max_span=3)
    for number in range(4):
        node.mine([Log(A, (), bytes([number, index])) for index in range(3)])
    node.mine([Log(A, (), bytes([index])) for index in range(9)])
    with served(node) as where:
        refused = ask(where.url, "eth_getLogs", {"fromBlock": "0x2", "toBlock": "0x4"})["error"]
        assert refused["code"] == -32005
        assert refused["message"] == (
            "query returned more than 5 results. Try with this block range [0x2, 0x2]."
        )
        assert len(places(where.url, fromBlock="0x2", toBlock="0x2")) == 3
        assert len(places(where.url, fromBlock="0x5", toBlock="0x5")) == 9
        too_wide = ask(where.url, "eth_getLogs", {"fromBlock": "0x0", "toBlock": "0x3"})["error"]
        assert too_wide["message"] == "exceed maximum block range: 3"


def test_ten_thousand_logs_in_one_answer() -> None:
    """A large answer is complete and in order, and a filter on part of it too."""
    node = SimNode()
    for number in range(50):
        node.mine(
            [Event(Kind.STAKE, A if log % 2 else B, A, number * 200 + log) for log in range(200)]
        )
    with served(node) as where:
        assert places(where.url) == [(block, log) for block in range(1, 51) for log in range(200)]
        half = places(where.url, topics=[STAKE, hexed(A.rjust(32, b"\0"))])
        assert half == [(block, log) for block in range(1, 51) for log in range(1, 200, 2)]


def test_a_chain_may_change_while_it_is_served() -> None:
    """What is mined, dropped or replaced from outside is seen by the next request."""
    node = history()
    with served(node) as where:
        node.mine([Event(Kind.BURN, B, ZERO_ADDRESS, 11, 1)])
        assert places(where.url)[-1] == (5, 0)
        lost = node.head
        node.reorg(1)
        assert places(where.url) == EVERY
        assert ask(where.url, "eth_getBlockByHash", hexed(lost.hash))["result"] is None
        node.rollback(2)
        assert ask(where.url, "eth_blockNumber")["result"] == "0x3"
        assert len(logs_of(lost)) == 1
