"""Events as typed columns: what the chain said, one row an event, in position order.

Token ids are uint256. A column of ids is int64 while every id and every end of a range stays
below 2**62 (`NARROW`), so that sums of two cannot wrap; one wider value makes the whole column
an object column of Python integers. Every algorithm of the engine takes both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Ints = npt.NDArray[Any]  # int64, or object holding Python integers
"""A column of token ids or quantities: int64, or object where one value needs more."""

NARROW = 2**62
MAX_TOKEN = 2**256 - 1
ZERO_ADDRESS = bytes(20)


class Kind(IntEnum):
    """What an event does to a range of tokens."""

    MINT = 0
    BURN = 1
    TRANSFER = 2
    STAKE = 3
    UNSTAKE = 4


TYPES = ("BatchMint", "BatchBurn", "BatchTransfer", "Stake", "Unstake")
"""The specification's name of each `Kind`."""


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """n events. Addresses are uint8[n, 20], hashes uint8[n, 32], the rest has shape [n]."""

    kind: U8
    block: I64
    tx_index: I64
    log_index: I64  # block-wide
    timestamp: I64  # block time, seconds
    sender: U8  # from; the account of a stake or unstake; zero on a mint
    recipient: U8  # to; zero on a burn, a stake and an unstake
    first: Ints
    quantity: Ints  # at least 1
    contract: U8
    block_hash: U8
    tx_hash: U8

    def __len__(self) -> int:
        return len(self.block)

    def take(self, rows: Any) -> Events:
        """The rows that an index array, a mask or a slice selects."""
        return Events(*(getattr(self, f.name)[rows] for f in fields(self)))

    def sorted(self) -> Events:
        """In position order: block, then log index."""
        on, next_ = np.diff(self.block), np.diff(self.log_index)
        if ((on > 0) | ((on == 0) & (next_ >= 0))).all():
            return self
        return self.take(np.lexsort((self.log_index, self.block)))


@dataclass(frozen=True, slots=True, eq=False)
class Indexed(Events):
    """Events that also say by index which of a table of distinct addresses are theirs."""

    table: U8  # uint8[m, 20]; others than these may stand in it
    sender_at: npt.NDArray[Any]  # unsigned integers, shape [n]
    recipient_at: npt.NDArray[Any]
    contract_at: npt.NDArray[Any]

    def take(self, rows: Any) -> Indexed:
        columns = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "table"}
        return Indexed(table=self.table, **columns)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A real log of a configured event that cannot be an event: a dead letter, with its reason."""

    block: int
    log_index: int
    tx_index: int
    timestamp: int
    tx_hash: bytes
    block_hash: bytes
    contract: bytes
    stream: str  # "batch" or "staking"
    reason: str
    raw: bytes  # the log as the node sent it


def concat(parts: Sequence[Events]) -> Events:
    """One after the other, wide if one part is wide; the part itself where no other has any."""
    some = [part for part in parts if len(part)]
    if len(some) < 2:
        return some[0] if some else empty()
    parts = some
    return Events(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Events)))


def empty(n: int = 0) -> Events:
    """n rows of zeros (none by default), to be filled in."""
    i64 = np.zeros(n, np.int64)
    return Events(
        kind=np.zeros(n, np.uint8),
        block=i64.copy(),
        tx_index=i64.copy(),
        log_index=i64.copy(),
        timestamp=i64.copy(),
        sender=np.zeros((n, 20), np.uint8),
        recipient=np.zeros((n, 20), np.uint8),
        first=i64.copy(),
        quantity=i64.copy(),
        contract=np.zeros((n, 20), np.uint8),
        block_hash=np.zeros((n, 32), np.uint8),
        tx_hash=np.zeros((n, 32), np.uint8),
    )


def nobody(address: U8) -> Bool:
    """Which rows of uint8[n, 20] are the zero address.

    Column by column of four bytes: NumPy takes several times as long for short rows.
    """
    words = np.ascontiguousarray(address).view(np.uint32)
    found = words[:, 0].copy()
    for column in range(1, 5):
        found |= words[:, column]
    zero: Bool = found == 0
    return zero


def ids_column(values: Sequence[int], *, ends: Sequence[int] = ()) -> Ints:
    """A column of `values`: int64 if they and `ends` all stay below `NARROW`, else object."""
    wide = any(v >= NARROW for v in values) or any(v >= NARROW for v in ends)
    if wide:
        column = np.empty(len(values), object)
        column[:] = values
        return column
    return np.array(values, np.int64)


def event_id(block: int, tx_hash: bytes, log_index: int) -> str:
    """`{blockNumber}-{txHash}-{logIndex}`, the specification's id."""
    return f"{block}-0x{tx_hash.hex()}-{log_index}"


def ids(events: Events) -> list[str]:
    """The id of each event."""
    packed = events.tx_hash.tobytes().hex()
    return [
        f"{block}-0x{packed[64 * row : 64 * row + 64]}-{log}"
        for row, (block, log) in enumerate(
            zip(events.block.tolist(), events.log_index.tolist(), strict=True)
        )
    ]


def blobs(rows: U8) -> list[bytes]:
    """uint8[n, k] as n byte strings."""
    width = rows.shape[1]
    data = rows.tobytes()
    return [data[i : i + width] for i in range(0, len(data), width)]
