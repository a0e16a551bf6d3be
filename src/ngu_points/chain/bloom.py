"""Ask a block's logsBloom whether a contract may have logged in it (pure).

A bloom forgets what it was made of but denies nothing that went in: "no" is a proof, "yes" is a
chance that grows with the share of bits that are set.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from ngu_points.chain.contract import keccak256
from ngu_points.engine.events import U8, Bool

SIZE: Final = 256
"""Bytes of a bloom."""


def may_log(bloom: bytes, address: bytes, topics0: Sequence[bytes]) -> bool:
    """Whether the block may hold a log of `address` with one of `topics0` (none given: with any).

    False is certain. Raises ValueError for a bloom that is not 256 bytes.
    """
    return bool(may_log_many(np.frombuffer(bloom, np.uint8)[None], address, topics0)[0])


def may_log_many(blooms: U8, address: bytes, topics0: Sequence[bytes]) -> Bool:
    """The same for n blooms at once: uint8[n, 256] to bool[n]."""
    if blooms.ndim != 2 or blooms.shape[1] != SIZE:
        raise ValueError(f"blooms must have the shape [n, {SIZE}], not {blooms.shape}")
    found = _holds(blooms, address)
    if topics0:
        found &= np.logical_or.reduce([_holds(blooms, topic) for topic in topics0])
    return found


def saturation(blooms: U8) -> npt.NDArray[np.float64]:
    """The share of bits that are set, 0 to 1: uint8[n, 256] to float64[n]."""
    set_bits = np.bitwise_count(blooms).sum(axis=1, dtype=np.int64)
    return np.asarray(set_bits / (8 * SIZE), np.float64)


def false_hit(share: float, addresses: int) -> float:
    """The chance that a bloom with this share of bits set shows one of the addresses for nothing.

    It is their three bits each alone: common first topics stand in every busy block's bloom.
    """
    return 1 - (1 - float(share) ** 3) ** addresses


def _holds(blooms: U8, value: bytes) -> Bool:
    found: Bool = np.ones(len(blooms), np.bool_)
    for byte, bit in _places(value):
        found &= (blooms[:, byte] & bit) != 0
    return found


@lru_cache(maxsize=1024)
def _places(value: bytes) -> tuple[tuple[int, int], ...]:
    """Byte and bit of each of the three marks: 11 bits of the digest each (section 4.3.1)."""
    digest = keccak256(value)
    marks = (int.from_bytes(digest[at : at + 2], "big") % (8 * SIZE) for at in (0, 2, 4))
    return tuple((SIZE - 1 - mark // 8, 1 << mark % 8) for mark in marks)
