"""Many views in one eth_call without a deployed contract: encoded, run by real nodes, halved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.faulty import Call, Fault, Reply, serving
from cli.program import busy_chain
from localnode import local_anvil
from ngu_points.chain.contract import keccak256, selector
from ngu_points.chain.multicall import (
    ANSWERED,
    HUNGRY,
    OWNER_OF,
    PAIRS,
    REVERTED,
    Multicall,
    Request,
    Row,
    address_in,
    at_block,
    at_number,
    encoded,
    read_answers,
    read_request,
)
from ngu_points.chain.rpc import Rpc
from ngu_points.demo.anvil import Anvil
from ngu_points.demo.contract import read_holdings
from ngu_points.demo.drive import bulk_on_anvil
from ngu_points.demo.node import SimNode
from ngu_points.errors import BadInput, NguError, TransientError, UsageError

OWNER, STAKER = selector(OWNER_OF), selector("stakerOf(uint256)")
SPENDER = bytes([0x5B] * 20)
SPENDS = "0x6004358060011660125760005260206000f35bfe"
"""Code that returns an even id and spends all of its gas on an odd one."""
NEEDS = "0x624c4b405a1060145760043560005260206000f35bfe"
"""Code that returns the id where it has 5,000,000 gas, and spends what it has where it has less."""


@given(st.binary(min_size=20, max_size=20), st.lists(st.binary(min_size=4, max_size=4), max_size=3),
       st.lists(st.integers(0, 2**256 - 1), max_size=5))  # fmt: skip
def test_a_request_can_be_read_back(target: bytes, views: list[bytes], ids: list[int]) -> None:
    """What is encoded is the creation code with the same request behind it."""
    request = Request(target, tuple(views), tuple(ids))
    assert read_request(encoded(request)) == request
    assert read_request(encoded(request)[:-1]) is None
    assert read_request(b"\0" + encoded(request)) is None


def test_requests_and_answers_fit_the_limits_of_nodes() -> None:
    """A full call stays below 49,152 bytes of creation code and 24,576 bytes of code."""
    full = Request(bytes(20), (OWNER,), tuple(range(PAIRS)))
    assert len(encoded(full)) <= 49_152
    assert PAIRS * 33 <= 24_576


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("stakerOf(uint256)", "stakerOf(uint256)"),
        (" stakerOf ( uint tokenId ) ", "stakerOf(uint256)"),
        ("stakes(uint64)", "stakes(uint64)"),
    ],
)
def test_views_as_people_write_them(text: str, same: str) -> None:
    """Spaces, names and the short name of uint256 make no difference."""
    assert selector(text) == keccak256(same.encode())[:4]


@pytest.mark.parametrize(
    "text", ["stakerOf", "stakerOf()", "stakerOf(address)", "f(uint256,uint256)", "f(uint7)", "("]
)
def test_what_is_no_view_of_a_token(text: str) -> None:
    """Anything else is refused in one line that shows how to write it."""
    with pytest.raises(UsageError, match=r"staking\.view: .*stakerOf\(uint256\)$"):
        selector(text)


def test_words_that_are_no_addresses() -> None:
    """Zero is nobody; more than 20 bytes is not taken for an address."""
    assert address_in(None) is address_in(bytes(32)) is None
    assert address_in(bytes(12) + b"\1" * 20) == b"\1" * 20
    with pytest.raises(BadInput, match="no address: check"):
        address_in(b"\1" * 32)


# On a real node ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played() -> Iterator[tuple[Anvil, bytes, int]]:
    """An anvil with an NGU on it, where that is, and the newest block."""
    with local_anvil() as anvil:
        done = asyncio.run(bulk_on_anvil(anvil, 600))
        yield anvil, done.contract, done.last_block


def test_a_real_node_answers_as_to_single_calls(played: tuple[Anvil, bytes, int]) -> None:
    """Owners and stakers of minted, burned and unknown ids are those of the contract's own view,
    at the newest block and before the contract was there, in as many calls as it takes."""
    anvil, contract, last = played
    tokens = tuple(range(1, 1001))

    async def scene() -> tuple[list[Row], list[Row], str]:
        async with Rpc([anvil.url]) as rpc:
            header = await rpc.header(last)
            assert header
            calls = await at_block(rpc, last, header.hash, contract)
            now = await calls.ask(Request(contract, (OWNER, STAKER), tokens))
            early = await at_number(rpc, 0).ask(Request(contract, (OWNER, STAKER), tokens[:9]))
            view = keccak256(b"holdings(uint256,uint256)")[:4]
            words = (1).to_bytes(32, "big") + len(tokens).to_bytes(32, "big")
            return now, early, "0x" + (await calls.call(contract, view + words)).hex()

    now, early, truth = asyncio.run(scene())
    found = [tuple((address_in(word) or bytes(20)) for word in row) for row in now]
    assert found == list(zip(*read_holdings(truth), strict=True))
    assert {row[1] is None for row in now} == {False}
    assert {row[0] is None for row in now} == {False, True}
    assert early == [(None, None)] * 9


@pytest.mark.parametrize("gas", [300_000, 3_000_000, 12_000_000, 40_000_000])
def test_too_little_gas_is_never_an_answer(gas: int, played: tuple[Anvil, bytes, int]) -> None:
    """With less gas a call fails as a whole or says which answers are missing: none changes."""
    anvil, contract, last = played
    request = Request(contract, (OWNER, STAKER), tuple(range(1, 301)))

    async def scene() -> tuple[list[Row], list[list[tuple[int, bytes]]] | None]:
        async with Rpc([anvil.url], max_retries=0) as rpc:
            right = await at_number(rpc, last).ask(request)
            call = {"data": "0x" + encoded(request).hex(), "gas": hex(gas)}
            try:
                raw = await rpc.request("eth_call", [call, hex(last)])
            except NguError:
                return right, None
            return right, read_answers(bytes.fromhex(raw[2:]), request)

    right, found = asyncio.run(scene())
    assert (found is None) == (gas < 12_000_000)
    for row, expected in zip(found or [], right, strict=found is not None):
        for (status, word), truth in zip(row, expected, strict=True):
            assert status == HUNGRY or (word if status == ANSWERED else None) == truth


def test_a_view_that_spends_all_gas_does_not_starve_the_others(
    played: tuple[Anvil, bytes, int],
) -> None:
    """Ids whose view fails by spending everything are asked again in smaller calls, then given
    up; the others have their answers, and calls go on at full size."""
    anvil, _, last = played

    async def scene() -> tuple[list[Row], int, list[list[tuple[int, bytes]]]]:
        async with Rpc([anvil.url]) as rpc:
            await rpc.request("anvil_setCode", ["0x" + SPENDER.hex(), SPENDS])
            request = Request(SPENDER, (OWNER,), tuple(range(40)))
            raw = await rpc.call(None, encoded(request), "latest")
            calls = Multicall(rpc, last, None, by_number=True)
            return await calls.ask(request), calls.room(1), read_answers(raw, request)

    rows, room, once = asyncio.run(scene())
    assert rows == [(None if n % 2 else n.to_bytes(32, "big"),) for n in range(40)]
    assert room == PAIRS
    assert [row[0][0] for row in once] == [ANSWERED, HUNGRY] * 20


def test_a_view_that_needs_more_than_its_share_of_gas(played: tuple[Anvil, bytes, int]) -> None:
    """What a full call leaves too little gas for is answered by smaller ones."""
    anvil, _, last = played

    async def scene() -> tuple[list[Row], set[int]]:
        async with Rpc([anvil.url]) as rpc:
            await rpc.request("anvil_setCode", ["0x" + SPENDER.hex(), NEEDS])
            request = Request(SPENDER, (OWNER,), tuple(range(PAIRS)))
            raw = await rpc.call(None, encoded(request), "latest")
            rows = await Multicall(rpc, last, None, by_number=True).ask(request)
            return rows, {row[0][0] for row in read_answers(raw, request)}

    rows, once = asyncio.run(scene())
    assert HUNGRY in once
    assert rows == [(n.to_bytes(32, "big"),) for n in range(PAIRS)]


# On a node that refuses -------------------------------------------------------------------


def asking(node: SimNode, fault: Fault, ids: int = 40) -> tuple[list[Row], Multicall]:
    """The rows of the first ids at the head of a node whose answers a fault spoils."""

    async def scene() -> tuple[list[Row], Multicall]:
        with serving(node, fault) as served:
            async with Rpc([served.url], max_retries=0) as rpc:
                calls = await at_block(rpc, node.head.number, node.head.hash, node.contract)
                request = Request(node.contract, (OWNER, STAKER), tuple(range(ids)))
                return await calls.ask(request), calls

    return asyncio.run(scene())


def refusing(wanted: Callable[[list[Any]], bool], code: int, message: str) -> Fault:
    """Answer the eth_calls with certain parameters by an error."""

    def fault(calls: list[Call], right: bytes) -> Reply | None:
        for call in calls:
            if call["method"] == "eth_call" and wanted(call["params"]):
                error = {"code": code, "message": message}
                body = {"jsonrpc": "2.0", "id": call["id"], "error": error}
                return Reply(json.dumps(body).encode())
        return None

    return fault


def pairs(params: list[Any]) -> int:
    request = read_request(bytes.fromhex(params[0]["data"][2:]))
    return request.pairs if request else 0


def test_calls_too_large_for_a_node_are_halved() -> None:
    """A node that takes 16 answers at a time gives all of them, and is asked for less from then
    on; one that takes 1 does, too."""
    node = busy_chain(10)
    right, _ = asking(node, lambda *_: None)
    assert any(row[0] for row in right)
    for limit in (16, 1):
        fault = refusing(lambda params, most=limit: pairs(params) > most, 3, "execution reverted")
        rows, calls = asking(node, fault)
        assert rows == right
        assert calls.room(1) <= limit


def test_a_node_that_knows_no_block_hashes_is_asked_by_number() -> None:
    """Where EIP-1898 is not known the answers are the same, and the hash is looked at after."""
    node = busy_chain(10)
    fault = refusing(lambda params: isinstance(params[1], dict), -32602, "invalid argument 1")
    assert asking(node, fault)[0] == asking(node, lambda *_: None)[0]


def test_a_fork_while_asking_by_number_is_noticed() -> None:
    """Answers of another block than the one meant are not used."""
    node = busy_chain(10)
    refuse = refusing(lambda params: isinstance(params[1], dict), -32602, "invalid argument 1")
    seen: list[int] = []

    def fault(calls: list[Call], right: bytes) -> Reply | None:
        if calls[0]["method"] == "eth_call" and refuse(calls, right) is None:
            seen.append(1)
            if len(seen) == 2:
                node.reorg(3)
        return refuse(calls, right)

    with pytest.raises(TransientError, match="block 11 is another one now"):
        asking(node, fault)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda node: node.reorg(1), "block 11 is another one now: the chain has forked"),
        (lambda node: node.rollback(1), "the node has no block 11 \\(yet\\)"),
    ],
)
def test_another_chain_than_ours(change: Callable[[SimNode], object], line: str) -> None:
    """A fork or a lagging node is told in one line before anything is asked."""
    node = busy_chain(10)
    block = node.head
    change(node)

    async def scene() -> None:
        with serving(node) as served:
            async with Rpc([served.url], max_retries=0) as rpc:
                await at_block(rpc, block.number, block.hash, node.contract)

    with pytest.raises(TransientError, match=line):
        asyncio.run(scene())


@pytest.mark.parametrize(
    "fault",
    [
        refusing(lambda _: True, -32000, "missing trie node 1f2e (path ) state is not available"),
        lambda calls, _: (
            Reply(b'{"jsonrpc":"2.0","id":%d,"result":"0x"}' % calls[0]["id"])
            if calls[0]["method"] == "eth_call"
            else None
        ),
    ],
)
def test_a_node_that_cannot_answer(fault: Fault) -> None:
    """Without the state of that block, or the will to run creation code, one line says so."""
    with pytest.raises(BadInput, match=r"cannot be asked at block 11: .* archive node\)$") as told:
        asking(busy_chain(10), fault)
    assert "\n" not in str(told.value)


def test_the_statuses_are_the_contracts() -> None:
    """What the simulated node answers is read as the compiled contract's answers are."""
    request = Request(bytes(20), (OWNER,), (7, 8, 9))
    word = (5).to_bytes(32, "big")
    raw = bytes([ANSWERED]) + word + bytes([REVERTED]) + bytes(32) + bytes([HUNGRY]) + bytes(32)
    assert read_answers(raw, request) == [[(1, word)], [(0, bytes(32))], [(2, bytes(32))]]
    with pytest.raises(BadInput, match="answered 98 bytes"):
        read_answers(raw[:-1], request)
