"""What was wrong is counted against whoever said it, also while several questions are out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from audited_node import chain, contract, node, omits
from scripted_node import Node, error, healthy, play, says, status

from ngu_points.chain.reader import Reader
from ngu_points.chain.rpc import Rpc
from ngu_points.errors import BadInput, TransientError


def scores(client: Rpc) -> list[tuple[int, str | None]]:
    return [(one.contradictions, one.last_contradiction) for one in client.endpoints]


def test_blame_stays_in_its_task() -> None:
    """Of two readers at once, each blames the endpoint that answered it, whoever came last."""

    async def ask(client: Rpc) -> Any:
        first, second = client.endpoints
        both = asyncio.Event()

        async def early() -> None:
            await client.only(second).block_number()
            await both.wait()
            client.distrust("the early answer")

        async def late() -> None:
            await asyncio.sleep(0)
            await client.only(first).block_number()
            both.set()

        await asyncio.gather(early(), late())
        return scores(client)

    assert play(ask, Node(), Node()) == [(0, None), (1, "the early answer")]


def test_blame_reaches_through_single_headers() -> None:
    """Headers that had to be asked for one by one are still the answers of this task."""

    async def single(http: web.Request, asked: Any) -> web.StreamResponse:
        if isinstance(asked, list):
            return await error("batches are not supported", -32600)(http, asked)
        return await healthy(http, asked)

    async def ask(client: Rpc) -> Any:
        first, second = client.endpoints
        await client.only(second).block_number()
        await client.only(first).headers(range(5))
        client.distrust("two hashes for block 4")
        return scores(client)

    assert play(ask, Node(then=single), Node()) == [(1, "two hashes for block 4"), (0, None)]


def test_one_endpoint_can_be_asked_alone() -> None:
    """A failure of the endpoint that was named is its own: no other one answers for it."""

    async def ask(client: Rpc) -> Any:
        with pytest.raises(TransientError):
            await client.only(client.endpoints[0]).block_number()
        return await client.only(client.endpoints[1]).block_number()

    bad, good = Node(then=status(500)), Node()
    assert play(ask, bad, good) == 999
    assert len(bad.asked) == 4
    assert len(good.asked) == 1


def test_receipts_are_asked_for_by_hash() -> None:
    """The block is named by its hash, and what comes back is a list of objects or is refused."""
    receipts = [{"status": "0x1"}]
    node = Node(says(receipts))
    assert play(lambda client: client.receipts(b"\x01" * 32), node) == receipts
    assert node.asked[0]["method"] == "eth_getBlockReceipts"
    assert node.asked[0]["params"] == ["0x" + "01" * 32]
    refused: list[Any] = [None, {}, "0x", [1]]
    for wrong in refused:
        with pytest.raises(BadInput, match="result is not a list of receipts"):
            play(lambda client: client.receipts(b"\x01" * 32), Node(then=says(wrong)))


def test_header_fields_are_checked_and_whole() -> None:
    """Every field comes back, in the order asked for; a block that is not there is an error."""
    fields = play(lambda client: client.header_fields([5, 3]), Node())
    assert [int(one["number"], 16) for one in fields] == [5, 3]
    assert fields[0].keys() == {"number", "hash", "parentHash", "timestamp"}
    with pytest.raises(TransientError, match="the node has no block 1000"):
        play(lambda client: client.header_fields([1_000]), Node())


def read(client: Rpc) -> Any:
    async def reading() -> Any:
        reader = Reader(client, contract(), 0)
        covered = await reader.read(1, 10)
        return sorted(set(covered.events.block.tolist())), scores(client)

    return reading()


def test_an_omission_near_the_head_is_its_endpoints() -> None:
    """The endpoint that left logs out of a range is counted, and the other one is read from."""

    def astray(method: str, params: list[Any], result: Any) -> Any:
        wrong = method == "eth_getLogs" and "blockHash" not in params[0]
        return [log for log in result if log["blockNumber"] != "0x5"] if wrong else result

    blocks, found = play(read, node(astray), node())
    assert blocks == [3, 5, 7]
    assert found == [(1, "logs of block 5 were left out of its range"), (0, None)]


def test_an_omission_is_not_blamed_on_who_revealed_it() -> None:
    """One endpoint gave the range, another headers and the logs by hash: the first is wrong."""

    def only_ranges(method: str, params: list[Any], result: Any) -> Any:
        if method != "eth_getLogs" or "blockHash" in params[0]:
            raise AssertionError(method)
        return result

    async def step(http: web.Request, asked: Any) -> web.StreamResponse:
        plain = not isinstance(asked, list) and "fromBlock" in str(asked["params"])
        return await (liar.then(http, asked) if plain else status(500)(http, asked))

    liar = node(omits(5), only_ranges)
    blocks, found = play(read, Node(then=step), node())
    assert blocks == [3, 5, 7]
    assert found == [(1, "logs of block 5 were left out of its range"), (0, None)]
    assert chain().head.number >= 10
