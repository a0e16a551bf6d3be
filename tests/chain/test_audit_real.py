"""Blocks of real chains, and a real node: all that can be proven is."""

from __future__ import annotations

import asyncio
import copy
import json
import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from audited_node import audit, names
from scripted_node import Node

from localnode import local_anvil
from ngu_points.chain.audit import Examined, examine
from ngu_points.chain.contract import Contract, EventShape, Field, erc721, ngu
from ngu_points.chain.decode import Decoded, decode
from ngu_points.chain.proof import Verdict
from ngu_points.chain.receipts import logs_of
from ngu_points.chain.rpc import Filter, Rpc
from ngu_points.demo.drive import bulk_on_anvil
from ngu_points.engine.events import Kind

DATA = Path(__file__).parent.parent / "data"
SHOVEL = DATA / "mainnet-blocks" / "shovel"
Fields = dict[str, Any]


def shelf(
    headers: Sequence[Fields],
    logs: Sequence[Fields] = (),
    receipts: Mapping[str, list[Fields]] | None = None,
) -> Node:
    """A node that has these blocks, logs and (by block hash) receipts, and nothing else."""
    by_number = {int(header["number"], 16): header for header in headers}

    def told(call: Fields) -> Fields:
        envelope = {"jsonrpc": "2.0", "id": call["id"]}
        match call["method"], call["params"]:
            case "eth_getBlockByNumber", [number, _]:
                return envelope | {"result": by_number.get(int(number, 16))}
            case "eth_getLogs", [where]:
                first, last = int(where["fromBlock"], 16), int(where["toBlock"], 16)
                found = [
                    log
                    for log in logs
                    if first <= int(log["blockNumber"], 16) <= last
                    and log["address"] in where["address"]
                    and log["topics"][0] in where["topics"][0]
                ]
                return envelope | {"result": found}
            case "eth_getBlockReceipts", [block_hash] if receipts is not None:
                return envelope | {"result": receipts[block_hash]}
        return envelope | {"error": {"code": -32601, "message": "method not found"}}

    async def step(http: web.Request, asked: Any) -> web.StreamResponse:
        found = [told(call) for call in asked] if isinstance(asked, list) else told(asked)
        return web.json_response(found)

    return Node(then=step)


def mainnet(name: str) -> Any:
    """The results in one of the answers of a mainnet node."""
    answers = json.loads(lzma.decompress((SHOVEL / f"{name}.json.xz").read_bytes()))
    return [answer["result"] for answer in answers]


def reading(logs: Sequence[Fields], contract: Contract) -> Any:
    """Holds what can be decoded of these logs."""
    own = [log for log in logs if bytes.fromhex(log["address"][2:]) in contract.addresses]

    def held(first: int, last: int) -> Decoded:
        return decode(json.dumps(own).encode(), contract, first, last)

    return held


MOVED = [("0x33333333333371718a3c2bb63e5f3b94c9bc13be", 8924),
         ("0x8d0802559775c70fb505f22988a4fd4a4f6d3b62", 83773)]  # fmt: skip


@pytest.mark.parametrize(("collection", "token"), MOVED)
@pytest.mark.parametrize("kept", [True, False], ids=["held", "left out"])
def test_a_real_move_in_block_18_million(collection: str, token: int, kept: bool) -> None:
    """A node without receipts shows the move under the real hash; it is found if it was not held.

    The time comes from the header: that node did not tell it in its logs.
    """
    (header, *_), logs = mainnet("block-18000000"), mainnet("logs-18000000")[1]
    contract = erc721(bytes.fromhex(collection[2:]))
    told = [log | {"blockTimestamp": header["timestamp"]} for log in logs]
    held = reading(told if kept else [], contract)
    first = last = 18_000_000
    found = audit(shelf([header], logs), held=held, first=first, last=last, chain_id=1, of=contract)
    assert found.parts[0].headers_doubt is None
    assert found.parts[0].last_hash.hex().startswith("95b198e154ac")
    assert found.parts[0].timestamp == 1_693_066_895
    finding = found.findings[first]
    if kept:
        assert (finding.verdict, finding.true) == (Verdict.CONSISTENT, None)
        return
    assert finding.verdict is Verdict.SUSPECT
    assert finding.true is not None
    assert finding.true.events.first.tolist() == [token]
    assert finding.true.events.timestamp.tolist() == [1_693_066_895]


def test_real_blocks_without_the_contract_are_proven_silent() -> None:
    """The blooms of two linked blocks of mainnet exclude a contract by themselves."""
    headers = mainnet("block-18000000")
    node = shelf(headers)
    held = reading([], erc721(b"\x01" * 20))
    found = audit(
        node, held=held, first=18_000_000, last=18_000_001, chain_id=1, of=erc721(b"\x01" * 20)
    )
    assert {finding.verdict for finding in found.findings.values()} == {Verdict.PROVEN_EMPTY}
    assert len(node.asked) == 1


def of_oracle(topic0: str, source: str) -> Contract:
    """A contract whose event has one word, which is read as the account and as the token."""
    shape = EventShape(
        "Asked", Kind.STAKE, bytes.fromhex(topic0[2:]), 1, 1, True, Field(1, 160), None,
        Field(1, 256), None, None, None, (bytes.fromhex(source[2:]),),
    )  # fmt: skip
    return Contract("custom", bytes.fromhex(source[2:]), (), False, (shape,))


def real_blocks() -> dict[str, tuple[int, Fields, list[Fields]]]:
    """Blocks with all their receipts: chain id, header, receipts."""
    op_stack = json.loads((DATA / "proofs" / "unichain-sepolia-35535698.json").read_text())
    exchanges = DATA / "execution-apis"
    found = []
    for name in (
        "eth_getBlockByNumber/get-latest",
        "eth_getBlockReceipts/get-block-receipts-latest",
    ):
        lines = (exchanges / f"{name}.io").read_text().splitlines()
        found.append(json.loads(next(one for one in lines if one.startswith("<<"))[3:])["result"])
    return {
        "OP stack": (1301, op_stack["header"], op_stack["receipts"]),
        "reference client": (1, found[0], found[1]),
    }


@pytest.mark.parametrize("name", ["OP stack", "reference client"])
@pytest.mark.parametrize("kept", ["all", "some", "none"])
def test_real_receipts_prove_real_logs(name: str, kept: str) -> None:
    """All logs of one event are proven by a real block's receipts, whatever of them was held."""
    chain_id, header, receipts = real_blocks()[name]
    logs = logs_of(copy.deepcopy(receipts))
    contract = of_oracle(logs[0]["topics"][0], logs[0]["address"])
    place = {"blockTimestamp": header["timestamp"], "removed": False}
    ours = [log | place for log in logs if log["topics"][:1] == logs[0]["topics"][:1]]
    mine = {"all": ours, "some": ours[1:], "none": []}[kept]
    number = int(header["number"], 16)
    found = audit(
        shelf([header], [], {header["hash"]: receipts}),
        held=reading(mine, contract),
        first=number,
        last=number,
        chain_id=chain_id,
        of=contract,
    )
    finding = found.findings[number]
    assert finding.verdict is Verdict.PROVEN
    assert found.parts[0].receipts == 1
    if kept == "all":
        assert finding.true is None
    else:
        assert names(finding.true) == names(reading(ours, contract)(number, number))


def test_all_of_a_real_node_is_proven() -> None:
    """Every block of anvil with real transactions is proven, and every omission is found."""

    async def parts(rpc: Rpc, contract: Contract, held: Any, last: int) -> list[Examined]:
        return [part async for part in examine(rpc, contract, 31337, held, 0, last)]

    async def play() -> None:
        with local_anvil() as anvil:
            done = await bulk_on_anvil(anvil, 400, seed=7)
            contract = ngu(done.contract)
            async with Rpc([anvil.url]) as rpc:
                where = Filter(contract.addresses, contract.topics)
                page = await rpc.logs(where, 0, done.last_block)
                logs = json.loads(page.raw)
                whole = await parts(rpc, contract, part_of(logs, contract), done.last_block)
                short = await parts(rpc, contract, part_of(logs[1::2], contract), done.last_block)
        check(whole, short, logs)

    def part_of(logs: list[Fields], contract: Contract) -> Any:
        def held(first: int, last: int) -> Decoded:
            own = [log for log in logs if first <= int(log["blockNumber"], 16) <= last]
            return decode(json.dumps(own).encode(), contract, first, last)

        return held

    def check(whole: list[Examined], short: list[Examined], logs: list[Fields]) -> None:
        found = [finding for part in whole for finding in part.findings]
        logged = {int(log["blockNumber"], 16) for log in logs}
        assert {f.block for f in found if f.verdict is Verdict.PROVEN} >= logged
        assert {f.verdict for f in found} <= {Verdict.PROVEN, Verdict.PROVEN_EMPTY}
        assert [f.block for f in found if f.true is not None] == []
        assert whole[0].headers_doubt is None
        again = [f for part in short for f in part.findings if f.true is not None]
        left_out = {int(log["blockNumber"], 16) for log in logs[::2]}
        assert {f.block for f in again} == left_out
        assert sum(len(f.true.events) for f in again if f.true is not None) == sum(
            int(log["blockNumber"], 16) in left_out for log in logs
        )

    asyncio.run(play())
