"""What a block shows to the world: receipts, bloom, roots, and a hash that proves all of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from ngu_points.chain.contract import Contract, EventShape, keccak256, ngu
from ngu_points.chain.proof import header_hash
from ngu_points.chain.receipts import receipts_root

TOKEN = bytes.fromhex("5fbdb2315678afecb367f032d93f642f64180aa3")
CONTRACT: Contract = ngu(TOKEN)
SHAPES: dict[str, EventShape] = {shape.name: shape for shape in CONTRACT.shapes}
ADDRESS = "0x" + TOKEN.hex()
STRANGER = "0x" + "5e" * 20
EMPTY_BLOOM = "0x" + "00" * 256

Log = dict[str, Any]
"""What a contract logs: address, topics, data."""


@dataclass(frozen=True)
class Sealed:
    """A block as it is told; `header` and `receipts` are what a node's answers are made of."""

    hash: bytes
    header: dict[str, Any]
    receipts: list[dict[str, Any]]


@cache
def bits(item: str) -> int:
    """The bits that an address or a topic sets in a logs bloom (Ethereum yellow paper, M3:2048)."""
    digest = keccak256(bytes.fromhex(item[2:]))
    return sum({1 << (int.from_bytes(digest[i : i + 2], "big") & 2047) for i in (0, 2, 4)})


@cache
def _setting(bit: int) -> str:
    """A topic that sets one bit of a bloom, among others."""
    topics = (f"0x{number:064x}" for number in range(1 << 20))
    return next(topic for topic in topics if bits(topic) & bit)


@cache
def noise() -> Log:
    """A log that has nothing to do with us."""
    return {"address": STRANGER, "topics": ["0x" + "11" * 32], "data": "0x"}


@cache
def look_alike() -> Log:
    """A stranger's log that sets all the bits of the bloom that one of ours would."""
    ours = bits(ADDRESS)
    single = [1 << place for place in range(2048) if ours >> place & 1]
    topics = ["0x" + CONTRACT.topics[0].hex(), *map(_setting, single)]
    return {"address": STRANGER, "topics": topics, "data": "0x"}


def move_log(kind: str, wallets: Iterable[str], words: Sequence[int]) -> Log:
    """One event of our contract."""
    topics = ["0x" + SHAPES[kind].topic0.hex()]
    topics += ["0x" + "00" * 12 + wallet[2:] for wallet in wallets if wallet]
    return {
        "address": ADDRESS,
        "topics": topics,
        "data": "0x" + "".join(f"{word:064x}" for word in words),
    }


def seal(
    place: dict[str, Any], transactions: Sequence[tuple[bytes, list[Log]]], *, timed: bool
) -> Sealed:
    """Close a block over the logs of its transactions.

    `place` holds number, parentHash, timestamp and stateRoot, as nodes write them. `timed`: logs
    carry blockTimestamp.
    """
    receipts = [
        _receipt(at, "0x" + tx_hash.hex(), logs) for at, (tx_hash, logs) in enumerate(transactions)
    ]
    bloom = 0
    for receipt in receipts:
        bloom |= int(receipt["logsBloom"], 16)
    root = receipts_root(receipts)
    assert root is not None
    header = HEADER | place | {"receiptsRoot": "0x" + root.hex(), "logsBloom": _hex(bloom)}
    found = header_hash(header)
    assert found is not None
    header["hash"] = "0x" + found.hex()
    _placed(receipts, header, timed=timed)
    return Sealed(found, header, receipts)


def _receipt(at: int, tx_hash: str, logs: Sequence[Log]) -> dict[str, Any]:
    bloom = 0
    for log in logs:
        for item in (log["address"], *log["topics"]):
            bloom |= bits(item)
    place = {"transactionHash": tx_hash, "transactionIndex": hex(at)}
    return {
        **place,
        "type": "0x2",
        "status": "0x1",
        "cumulativeGasUsed": hex(21_000 * (at + 1)),
        "logsBloom": _hex(bloom),
        "logs": [log | place for log in logs],
    }


def _placed(receipts: list[dict[str, Any]], header: Mapping[str, Any], *, timed: bool) -> None:
    """Write into receipts and logs where they stand; their root does not depend on it."""
    block = {"blockHash": header["hash"], "blockNumber": header["number"]}
    time = {"blockTimestamp": header["timestamp"]} if timed else {}
    index = 0
    for receipt in receipts:
        receipt.update(block)
        for log in receipt["logs"]:
            log.update(block, **time, logIndex=hex(index), removed=False)
            index += 1


def ours(receipts: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """Our contract's logs as a node writes them, in order."""
    logs = (log for receipt in receipts for log in receipt["logs"])
    return [msgspec.json.encode(log) for log in logs if log["address"] == ADDRESS]


def _hex(bloom: int) -> str:
    return f"0x{bloom:0512x}" if bloom else EMPTY_BLOOM


HEADER: dict[str, Any] = {
    "sha3Uncles": "0x" + keccak256(b"\xc0").hex(),
    "miner": "0x" + "4b" * 20,
    "transactionsRoot": "0x" + "2c" * 32,
    "difficulty": "0x0",
    "gasLimit": "0x1c9c380",
    "gasUsed": "0x5208",
    "extraData": "0x",
    "mixHash": "0x" + "00" * 32,
    "nonce": "0x" + "00" * 8,
    "baseFeePerGas": "0x7",
    "withdrawalsRoot": "0x" + "3d" * 32,
}
"""The fields of a header that never matter here."""
