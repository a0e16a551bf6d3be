"""Every block of a real node with real transactions is proven, and every omission shows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from localnode import local_anvil
from ngu_points.chain.proof import Verdict, header_doubt, judge, judge_receipts, linked
from ngu_points.chain.receipts import logs_of
from ngu_points.demo.drive import bulk_on_anvil
from ngu_points.demo.wire import Call, Wire

CHAIN_ID = 31337
Block = tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]
"""Header, receipts, logs as eth_getLogs gives them."""


async def read_all(wire: Wire, last: int) -> list[Block]:
    numbers = [hex(number) for number in range(last + 1)]
    headers = await wire.batch([Call("eth_getBlockByNumber", (n, False)) for n in numbers])
    receipts = await wire.batch([Call("eth_getBlockReceipts", (n,)) for n in numbers])
    spans = [{"fromBlock": n, "toBlock": n} for n in numbers]
    logs = await wire.batch([Call("eth_getLogs", (span,)) for span in spans])
    return list(zip(headers, receipts, logs, strict=True))


@pytest.fixture(scope="module")
def played() -> tuple[bytes, list[Block]]:
    """An NGU contract and all blocks of a chain on which 600 transactions were sent to it."""

    async def play() -> tuple[bytes, list[Block]]:
        with local_anvil() as anvil:
            done = await bulk_on_anvil(anvil, 600, seed=11)
            async with Wire(anvil.url) as wire:
                for _ in range(3):  # blocks without transactions
                    await wire.call("evm_mine")
                return done.contract, await read_all(wire, done.last_block + 3)

    return asyncio.run(play())


def test_headers_are_linked(played: tuple[bytes, list[Block]]) -> None:
    """The chain from genesis to head hashes to its own hashes, block by block."""
    headers = [header for header, _, _ in played[1]]
    assert len(headers) > 5
    assert linked(headers) is None
    cut = linked(headers[:3] + headers[4:])
    assert cut is not None
    assert cut.at == 3


def test_all_receipts_are_proven(played: tuple[bytes, list[Block]]) -> None:
    """The receipts of every block have its root, and their logs are those of eth_getLogs."""
    for header, receipts, logs in played[1]:
        assert judge_receipts(header, receipts, CHAIN_ID).verdict is Verdict.PROVEN
        assert logs_of(receipts) == logs
    assert sum(len(logs) for _, _, logs in played[1]) > 600


def test_every_block_gets_the_verdict_it_deserves(played: tuple[bytes, list[Block]]) -> None:
    """With all logs in hand blocks are consistent or empty; a block left out is always suspect."""
    contract, blocks = played
    for header, _, logs in blocks:
        assert header_doubt(header) is None
        topics = sorted({bytes.fromhex(log["topics"][0][2:]) for log in logs})
        with_logs = judge(header, len(logs), [contract], topics, CHAIN_ID)
        without = judge(header, 0, [contract], topics, CHAIN_ID)
        if logs:
            assert with_logs.verdict is Verdict.CONSISTENT
            assert without.verdict is Verdict.SUSPECT
        else:
            assert without.verdict is Verdict.PROVEN_EMPTY


def test_a_partial_omission_shows_in_receipts_only(played: tuple[bytes, list[Block]]) -> None:
    """One log left out of many is past any bloom, and the receipts root finds it."""
    contract, blocks = played
    header, receipts, logs = max(blocks, key=lambda block: len(block[2]))
    assert judge(header, len(logs) - 1, [contract], [], CHAIN_ID).verdict is Verdict.CONSISTENT
    at = next(index for index, receipt in enumerate(receipts) if receipt["logs"])
    short = {**receipts[at], "logs": receipts[at]["logs"][:-1]}
    cut = [*receipts[:at], short, *receipts[at + 1 :]]
    assert judge_receipts(header, cut, CHAIN_ID).verdict is Verdict.SUSPECT
