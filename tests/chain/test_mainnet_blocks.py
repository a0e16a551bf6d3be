"""Whole blocks of Ethereum mainnet: every NFT move is found, and nothing else is taken for one."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from nodelogs import TRANSFER

from ngu_points.chain.contract import Contract, erc721
from ngu_points.chain.decode import Decoded, decode, decode_exactly
from ngu_points.engine.events import Kind

DATA = Path(__file__).parent.parent / "data" / "mainnet-blocks"
ETL = DATA / "ethereum-etl-17173049-50"

Log = dict[str, Any]
Read = Callable[[bytes, Contract, int, int], Decoded]
Move = tuple[str, int, int, str, str, str, int, int]
"""Collection, block, log index, kind, from, to, token, timestamp."""


@pytest.fixture(params=[decode, decode_exactly], ids=["fast", "exact"])
def read(request: pytest.FixtureRequest) -> Read:
    """Each of the two ways to read a page."""
    chosen: Read = request.param
    return chosen


def lines(name: str) -> list[Log]:
    """The rows of one of ethereum-etl's files."""
    with lzma.open(ETL / name, "rt") as file:
        return [json.loads(line) for line in file]


def as_node_log(row: Log) -> Log:
    """A log as ethereum-etl stores it, as a node would have written it."""
    return {
        "address": row["address"],
        "topics": row["topics"],
        "data": row["data"],
        "blockNumber": hex(row["block_number"]),
        "transactionHash": row["transaction_hash"],
        "transactionIndex": hex(row["transaction_index"]),
        "blockHash": row["block_hash"],
        "blockTimestamp": hex(row["block_timestamp"]),
        "logIndex": hex(row["log_index"]),
        "removed": False,
    }


def moves(read: Read, logs: Sequence[Log]) -> list[Move]:
    """The NFT moves of each contract in turn, in position order; dead letters are not expected."""
    by_address: dict[str, list[Log]] = {}
    for one in logs:
        by_address.setdefault(one["address"], []).append(one)
    found = []
    for address, own in by_address.items():
        contract = erc721(bytes.fromhex(address[2:]))
        blocks = [int(one["blockNumber"], 16) for one in own]
        raw = json.dumps(own, separators=(",", ":")).encode()
        decoded = read(raw, contract, min(blocks), max(blocks))
        assert decoded.rejected == ()
        found += [(address, *row) for row in _rows(decoded)]
    return sorted(found, key=lambda move: move[1:3])


def _rows(decoded: Decoded) -> list[tuple[int, int, str, str, str, int, int]]:
    events = decoded.events
    assert events.quantity.tolist() == [1] * len(events)
    return [
        (
            int(events.block[at]),
            int(events.log_index[at]),
            Kind(int(events.kind[at])).name,
            "0x" + events.sender[at].tobytes().hex(),
            "0x" + events.recipient[at].tobytes().hex(),
            int(events.first[at]),
            int(events.timestamp[at]),
        )
        for at in range(len(events))
    ]


def test_nine_of_291_transfers_are_nft_moves(read: Read) -> None:
    """Blocks 17,173,049-50: the nine moves that an independent indexer recorded, field by field."""
    logs = [as_node_log(row) for row in lines("expected_logs.jsonl.xz")]
    assert sum(one["topics"][:1] == [TRANSFER] for one in logs) == 291
    four = {
        (row["block_number"], row["log_index"])
        for row in lines("expected_logs.jsonl.xz")
        if row["topics"][:1] == [TRANSFER] and len(row["topics"]) == 4
    }
    recorded = [
        (row["block_number"], row["log_index"], row["from_address"], row["to_address"],
         int(row["value"]), row["block_timestamp"])
        for row in lines("expected_token_transfers.jsonl.xz")
        if (row["block_number"], row["log_index"]) in four
    ]  # fmt: skip
    found = moves(read, logs)
    assert len(found) == 9
    assert [(*move[1:3], *move[4:]) for move in found] == sorted(recorded)
    minted = [(move[0][:6], move[6]) for move in found if move[3] == "MINT"]
    assert minted[:5] == [("0xb5f7", token) for token in range(894, 899)]
    assert len(minted) == 6
    assert [move[3] for move in found if move[3] != "MINT"] == ["TRANSFER"] * 3


def test_two_nft_moves_in_block_18_million(read: Read) -> None:
    """A node's own answer for block 18,000,000: 291 logs, two of them NFT moves."""
    with lzma.open(DATA / "shovel" / "logs-18000000.json.xz") as file:
        header, logs = (answer["result"] for answer in json.load(file))
    assert [int(one["logIndex"], 16) for one in logs] == list(range(291))
    found = moves(read, logs)
    assert [(move[0][:6], move[0][-4:], move[6]) for move in found] == [
        ("0x3333", "13be", 8924),
        ("0x8d08", "3b62", 83773),
    ]
    # That node did not say the time in its logs; the header has it.
    assert {move[7] for move in found} == {-1}
    assert int(header["timestamp"], 16) == 1_693_066_895


def test_a_block_without_logs(read: Read) -> None:
    """Block 1,000,001 has no logs at all, and that is an answer too."""
    with lzma.open(DATA / "shovel" / "logs-1000001.json.xz") as file:
        _, logs = (answer["result"] for answer in json.load(file))
    assert logs == []
    assert moves(read, logs) == []
