"""A chain made of the oracle's events, for tests of everything behind the RPC client."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

import oracle
from ngu_points.engine.coverage import Covered, Head
from ngu_points.engine.events import Events, Kind, Rejected, ids_column

KINDS = {"BatchMint": Kind.MINT, "BatchBurn": Kind.BURN, "BatchTransfer": Kind.TRANSFER,
         "Stake": Kind.STAKE, "Unstake": Kind.UNSTAKE}  # fmt: skip
CONTRACT = bytes.fromhex("ab" * 20)


def block_hash(block: int, branch: str = "") -> bytes:
    return hashlib.sha256(f"block {block} {branch}".encode()).digest()


def columns(events: Sequence[oracle.Event], branch: str = "") -> Events:
    """The oracle's events as the decoder would give them; each has a transaction of its own."""
    n = len(events)
    first, ends = [e.first for e in events], [e.first + e.quantity for e in events]

    def addresses(values: Sequence[str]) -> np.ndarray:
        rows = b"".join(bytes.fromhex(v[2:]) if v else bytes(20) for v in values)
        return np.frombuffer(rows, np.uint8).reshape(-1, 20)

    def hashes(values: Sequence[bytes]) -> np.ndarray:
        return np.frombuffer(b"".join(values), np.uint8).reshape(-1, 32)

    return Events(
        kind=np.array([KINDS[e.kind] for e in events], np.uint8),
        block=np.array([e.block for e in events], np.int64),
        tx_index=np.array([e.log_index for e in events], np.int64),
        log_index=np.array([e.log_index for e in events], np.int64),
        timestamp=np.array([e.timestamp for e in events], np.int64),
        sender=addresses([e.sender for e in events]),
        recipient=addresses([e.recipient for e in events]),
        first=ids_column(first, ends=ends),
        quantity=ids_column([e.quantity for e in events], ends=ends),
        contract=addresses(["0x" + CONTRACT.hex()] * n),
        block_hash=hashes([block_hash(e.block, branch) for e in events]),
        tx_hash=hashes([
            hashlib.sha256(f"tx {e.block} {e.log_index} {branch}".encode()).digest()
            for e in events
        ]),
    )  # fmt: skip


@dataclass
class Chain:
    """A `pipeline.interfaces.Chain` with these events; blocks between have the time before."""

    events: list[oracle.Event]
    last_block: int
    last_timestamp: int
    rejected: list[Rejected] = field(default_factory=list)
    span: int = 7

    async def head(self) -> Head:
        return Head(self.last_block, self.last_block, self.last_block)

    async def hash_of(self, block: int) -> bytes | None:
        return block_hash(block) if block <= self.last_block else None

    async def read(self, from_block: int, to_block: int) -> Covered:
        return self.covered(from_block, to_block)

    def timestamp(self, block: int) -> int:
        if block >= self.last_block:
            return self.last_timestamp
        return max((e.timestamp for e in self.events if e.block <= block), default=0)

    def covered(self, from_block: int, to_block: int) -> Covered:
        inside = [e for e in self.events if from_block <= e.block <= to_block]
        return Covered(
            from_block,
            to_block,
            block_hash(from_block - 1),
            block_hash(to_block),
            self.timestamp(to_block),
            columns(inside),
            tuple(r for r in self.rejected if from_block <= r.block <= to_block),
        )
