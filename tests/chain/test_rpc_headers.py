"""Headers through the client: strict fields, batches, and what to do without batches."""

from typing import Any

import pytest
from aiohttp import web
from scripted_node import Node, Step, answer, block, body, error, half, healthy, play, says, status

from ngu_points.chain.rpc import Header, Rpc
from ngu_points.errors import BadInput, TransientError


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("number", "17", "number is not a hex number: '17'"),
        ("number", "0x12", "number is 18, asked for was 17"),
        ("number", None, "number is not a hex number: None"),
        ("timestamp", 5, "timestamp is not a hex number: 5"),
        ("timestamp", "0x" + "f" * 16, "timestamp is 2\\*\\*63 or more"),
        ("hash", "0x12", "hash is not a 32-byte hash: '0x12'"),
        ("hash", "0x" + "g" * 64, "hash is not a 32-byte hash"),
        ("parentHash", None, "parentHash is not a 32-byte hash: None"),
    ],
)
def test_impossible_headers(field: str, value: Any, line: str) -> None:
    """A header with an impossible field is asked of another endpoint, and named if all agree."""
    bad = says({**block(17), field: value})
    header = play(lambda client: client.header(17), Node(then=bad), Node())
    assert header == Header(17, (17).to_bytes(32), (16).to_bytes(32), 1_034)
    node = Node(then=bad)
    with pytest.raises(BadInput, match=r"^127.0.0.1:\d+: eth_getBlockByNumber 17: " + line):
        play(lambda client: client.header(17), node)
    assert len(node.asked) == 1


def test_absent_headers() -> None:
    """An unknown block is None, whether the node says null or an error."""
    assert play(lambda client: client.header(5_000), Node()) is None
    node = Node(then=error("finalized block not found", -39001))
    assert play(lambda client: client.header("finalized"), node) is None
    assert node.asked[0]["params"] == ["finalized", False]


def test_headers_in_batches() -> None:
    """Many headers come in batches of a hundred, in the order asked for."""
    numbers = [*range(250), 7, 3]
    node = Node()
    found = play(lambda client: client.headers(numbers), node)
    assert [header.number for header in found] == numbers
    assert [len(asked) for asked in node.asked] == [100, 100, 52]
    assert play(lambda client: client.headers([]), node) == []


def no_batch_over(size: int, refusal: Step) -> Step:
    async def step(http: web.Request, asked: Any) -> web.StreamResponse:
        refused = isinstance(asked, list) and len(asked) > size
        return await (refusal if refused else healthy)(http, asked)

    return step


@pytest.mark.parametrize(
    "refusal",
    [
        error("batch requests are not supported", -32600),
        error("batch too large", -32600, http_status=413),
        status(400, "bad request"),
        status(405),
    ],
)
@pytest.mark.parametrize(("size", "most"), [(0, 52), (20, 6)])
def test_batches_refused(refusal: Step, size: int, most: int) -> None:
    """Where batches are refused, smaller ones are tried, then single requests; and remembered."""
    node = Node(then=no_batch_over(size, refusal))

    async def ask(client: Rpc) -> Any:
        return [*await client.headers(range(40)), *await client.headers(range(10))]

    found = play(ask, node)
    assert [header.number for header in found] == [*range(40), *range(10)]
    assert len(node.asked) <= most


@pytest.mark.parametrize("failure", [status(429), status(503), half, body("<html>"), body("[]")])
def test_batches_survive_failures(failure: Step) -> None:
    """A failure in a batch is retried as a batch, elsewhere where that is possible."""
    node = Node(failure)
    found = play(lambda client: client.headers(range(100)), node)
    assert len(found) == 100
    assert [len(asked) for asked in node.asked] == [100, 100]


def test_missing_header_is_named() -> None:
    """A block that the node lacks is named in a TransientError, not left out of the list."""
    with pytest.raises(TransientError, match="the node has no block 1000 "):
        play(lambda client: client.headers([998, 999, 1_000, 1_001]), Node())


def test_bad_header_in_a_batch_is_named() -> None:
    """One impossible header among many ends in a line that names the block and the field."""

    async def bad_17(http: web.Request, asked: Any) -> web.StreamResponse:
        calls = asked if isinstance(asked, list) else [asked]
        answers = [answer(call) for call in calls]
        for reply in answers:
            if reply["result"]["number"] == "0x11":
                reply["result"]["hash"] = "0x"
        return web.json_response(answers)

    with pytest.raises(BadInput, match="eth_getBlockByNumber 17: hash is not a 32-byte hash"):
        play(lambda client: client.headers(range(40)), Node(then=bad_17))
