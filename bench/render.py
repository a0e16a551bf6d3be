"""A workload as the JSON that a node writes: logs in one go by NumPy, headers one by one (pure).

Hashes are seeded noise: nothing here is proven by them, and a client can only compare them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.workloads import (
    CONTRACT,
    FIRST_BLOCK,
    GENESIS,
    LOGS_PER_BLOCK,
    SECONDS_PER_BLOCK,
    SEED,
    Workload,
    addresses,
)
from ngu_points.chain.contract import keccak256
from ngu_points.engine.events import I64, TYPES, U8, Kind
from ngu_points.engine.runs import NOBODY

CHUNK_BLOCKS = 2_500
"""Blocks with logs rendered at once; 50,000 logs keep the work in some tens of megabytes."""

_ERC721 = "Transfer(address,address,uint256)"
_NGU = {
    Kind.MINT: "address,uint256,uint256",
    Kind.BURN: "address,uint256,uint256",
    Kind.TRANSFER: "address,address,uint256,uint256",
    Kind.STAKE: "address,uint256",
    Kind.UNSTAKE: "address,uint256",
}
_HEX = np.frombuffer("".join(f"{i:02x}" for i in range(256)).encode(), np.uint8).reshape(256, 2)
_WORD = "0x" + "00" * 32
_UNUSED = {
    "nonce": "0x" + "00" * 8, "sha3Uncles": _WORD, "transactionsRoot": _WORD, "stateRoot": _WORD,
    "receiptsRoot": _WORD, "miner": "0x" + "00" * 20, "difficulty": "0x0", "totalDifficulty": "0x0",
    "extraData": "0x", "size": "0x220", "gasLimit": "0x1c9c380", "gasUsed": "0x0",
    "mixHash": _WORD, "baseFeePerGas": "0x7", "uncles": [],
}  # fmt: skip
_TRANSACTION = {
    "from": "0x" + "11" * 20, "to": "0x" + CONTRACT.hex(), "input": "0x", "value": "0x0",
    "nonce": "0x0", "gas": "0x5208", "gasPrice": "0x7", "maxFeePerGas": "0x7",
    "maxPriorityFeePerGas": "0x0", "type": "0x2", "chainId": "0x7a6a", "accessList": [],
    "v": "0x0", "r": "0x1", "s": "0x1", "yParity": "0x0",
}  # fmt: skip
"""What a header and a transaction must have and no client here looks at."""
_PADDING = 0  # marks what is left out; no JSON text holds it


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """A chain's logs as text. A chunk holds `CHUNK_BLOCKS` blocks; each log ends with a comma."""

    chunks: tuple[bytes, ...]
    starts: tuple[I64, ...]  # of each block with logs in its chunk, and the chunk's length
    block_hash: U8  # [blocks + 1, 32]; first that of the parent of FIRST_BLOCK
    every: int = 1  # blocks for one with logs

    @property
    def last_block(self) -> int:
        """The newest block."""
        return FIRST_BLOCK + len(self.block_hash) - 2

    @property
    def logged(self) -> int:
        """How many blocks have logs."""
        return sum(len(starts) - 1 for starts in self.starts)

    def among(self, from_block: int, to_block: int) -> range:
        """The blocks with logs in a range, numbered from 0 on."""
        low, high = max(from_block - FIRST_BLOCK, 0), to_block - FIRST_BLOCK
        return range(-(-low // self.every), min(high // self.every, self.logged - 1) + 1)

    def logs(self, from_block: int, to_block: int) -> list[memoryview]:
        """The logs of a block range, without brackets, in pieces; no comma after the last."""
        pieces, found = [], self.among(from_block, to_block)
        if not found:
            return []
        for at in range(found[0] // CHUNK_BLOCKS, found[-1] // CHUNK_BLOCKS + 1):
            starts, base = self.starts[at], at * CHUNK_BLOCKS
            begin = starts[max(found[0] - base, 0)]
            end = starts[min(found[-1] + 1 - base, len(starts) - 1)]
            pieces.append(memoryview(self.chunks[at])[begin:end])
        pieces[-1] = pieces[-1][:-1]
        return pieces


def render(work: Workload, tail: int = 0) -> Rendered:
    """All logs of a workload, and so many blocks without logs after them."""
    rng = np.random.default_rng(SEED + 2)
    blocks = work.last_block - FIRST_BLOCK + 1 + tail
    hashes = rng.integers(0, 256, (blocks + 1, 32), np.uint8)
    size = CHUNK_BLOCKS * LOGS_PER_BLOCK
    chunks, starts = [], []
    names = addresses(work.wallets)
    for low in range(0, len(work), size):
        rows = slice(low, min(low + size, len(work)))
        text = _rows(work, rows, names, hashes)
        used = text != _PADDING
        ends = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
        chunks.append(text[used].tobytes())
        starts.append(ends[np.r_[0 : len(ends) - 1 : LOGS_PER_BLOCK, len(ends) - 1]])
    return Rendered(tuple(chunks), tuple(starts), hashes, work.every)


def signatures(kind: str) -> list[str]:
    """The signatures of a workload's events, as their topics are hashed from."""
    if kind == "erc721":
        return [_ERC721]
    return [f"{TYPES[effect]}({fields})" for effect, fields in _NGU.items()]


def header(rendered: Rendered, block: int, *, whole: bool = False) -> dict[str, Any] | None:
    """A block as eth_getBlockByNumber shows it, from the parent of FIRST_BLOCK on; else None.

    Its transactions are there only where the whole block is asked for: one for each log.
    """
    at = block - FIRST_BLOCK + 1
    if not 0 <= at < len(rendered.block_hash):
        return None
    own = "0x" + rendered.block_hash[at].tobytes().hex()
    parent = "0x" + rendered.block_hash[at - 1].tobytes().hex() if at else _WORD
    logged = bool(rendered.among(block, block))
    return {
        "number": hex(block),
        "hash": own,
        "parentHash": parent,
        "timestamp": hex(GENESIS + (at - 1) * SECONDS_PER_BLOCK),
        "logsBloom": "0x" + ("ff" if logged else "00") * 256,
        "transactions": _transactions(rendered, block, own) if whole else [],
        **_UNUSED,
    }


def _transactions(rendered: Rendered, block: int, block_hash: str) -> list[dict[str, Any]]:
    """What the logs of a block were written by; nobody here looks into them."""
    found = rendered.among(block, block)
    rows = np.arange(len(found) * LOGS_PER_BLOCK) + found.start * LOGS_PER_BLOCK
    place = {"blockHash": block_hash, "blockNumber": hex(block)}
    return [
        {**_TRANSACTION, **place, "hash": "0x" + row.tobytes().hex(), "transactionIndex": hex(at)}
        for at, row in enumerate(_noise(rows))
    ]


def _rows(work: Workload, rows: slice, names: U8, hashes: U8) -> U8:
    """Logs as text, uint8[rows, width], with `_PADDING` wherever a shorter one has no character."""
    effect = work.effect[rows]
    parts = []
    for kind in np.unique(effect).tolist():
        mine = np.flatnonzero(effect == kind) + rows.start
        parts.append((mine - rows.start, _alike(work, Kind(kind), mine, names, hashes)))
    text = np.full((len(effect), max(part.shape[1] for _, part in parts)), _PADDING, np.uint8)
    for at, part in parts:
        text[at, : part.shape[1]] = part
    return text


def _alike(work: Workload, kind: Kind, rows: I64, names: U8, hashes: U8) -> U8:
    """Logs of one event."""
    topics, data = _words(work, kind, rows, names)
    block = work.block[rows]
    index = rows % LOGS_PER_BLOCK
    pieces: list[bytes | U8] = [b'{"address":"0x' + CONTRACT.hex().encode() + b'","topics":["0x']
    for at, topic in enumerate(topics):
        pieces += [b'","0x' if at else b"", _hex(topic)]
    pieces += [b'"],"data":"0x', *map(_hex, data)]
    pieces += [b'","blockHash":"0x', _hex(hashes[block - FIRST_BLOCK + 1])]
    pieces += [b'","blockNumber":"0x', _quantity(block)]
    pieces += [b'","blockTimestamp":"0x', _quantity(work.timestamp[rows])]
    pieces += [b'","transactionHash":"0x', _hex(_noise(rows))]
    pieces += [b'","transactionIndex":"0x', _quantity(index)]
    pieces += [b'","logIndex":"0x', _quantity(index), b'","removed":false},']
    return np.concatenate([_column(piece, len(rows)) for piece in pieces], axis=1)


def _words(work: Workload, kind: Kind, rows: I64, names: U8) -> tuple[list[U8], list[U8]]:
    """The topics and the data of one event, each uint8[rows, 32]."""
    first, quantity = _word(work.first[rows]), _word(work.quantity[rows])
    sender, recipient = _wallet(work.sender[rows], names), _wallet(work.recipient[rows], names)
    if work.kind == "erc721":
        return [_topic(_ERC721, len(rows)), sender, recipient, first], []
    topic = _topic(f"{TYPES[kind]}({_NGU[kind]})", len(rows))
    if kind is Kind.TRANSFER:
        return [topic, sender, recipient], [first, quantity]
    party = recipient if kind is Kind.MINT else sender
    return [topic, party], [first] if kind >= Kind.STAKE else [first, quantity]


def _topic(signature: str, n: int) -> U8:
    return np.tile(np.frombuffer(keccak256(signature.encode()), np.uint8), (n, 1))


def _word(values: I64) -> U8:
    word = np.zeros((len(values), 32), np.uint8)
    word[:, 24:] = values.astype(">i8").view(np.uint8).reshape(-1, 8)
    return word


def _wallet(wallet: I64, names: U8) -> U8:
    word = np.zeros((len(wallet), 32), np.uint8)
    known = wallet != NOBODY
    word[known, 12:] = names[wallet[known]]
    return word


def _noise(rows: I64) -> U8:
    """A transaction hash for each event, the same in whatever chunk it is rendered."""
    lanes = rows.astype(np.uint64)[:, None] * np.uint64(0x9E3779B97F4A7C15)
    lanes = lanes + np.arange(1, 5, dtype=np.uint64) * np.uint64(0xBF58476D1CE4E5B9)
    lanes ^= lanes >> np.uint64(31)
    lanes *= np.uint64(0x94D049BB133111EB)
    lanes ^= lanes >> np.uint64(29)
    return lanes.view(np.uint8)


def _hex(data: U8) -> U8:
    return _HEX[data].reshape(len(data), -1)


def _quantity(values: I64) -> U8:
    """Hex digits without leading zeros, `_PADDING` in their place."""
    digits = _hex(values.astype(">i8").view(np.uint8).reshape(-1, 8))
    leading = np.logical_and.accumulate(digits == ord("0"), axis=1)
    leading[:, -1] = False
    digits[leading] = _PADDING
    return digits


def _column(piece: bytes | U8, n: int) -> U8:
    if isinstance(piece, bytes):
        return np.tile(np.frombuffer(piece, np.uint8), (n, 1))
    return piece
