"""Wallets by number: addresses in the order in which they were first seen, found by the thousand.

An open hash table in arrays: a step looks up all of its addresses in a few passes over columns.
A slot is the upper bits of an address's mix, and `distinct` gives addresses in the order of their
mix: looked up like that they go through the table from one end to the other, not to and fro.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ngu_points.engine.events import I64, U8, Bool

U64 = npt.NDArray[np.uint64]
UNKNOWN = -1
_SMALLEST = 1 << 10
_MIX = np.uint64(0x9E3779B97F4A7C15)


class Numbers:
    """The number of each address that was added, from 0 on."""

    def __init__(self, address: U8) -> None:
        self._address: U8 = np.zeros((0, 20), np.uint8)  # by number, with room to spare
        self._slots = np.full(_SMALLEST, UNKNOWN, np.int32)
        self._count = 0
        self.add(address)

    def __len__(self) -> int:
        return self._count

    def find(self, address: U8) -> I64:
        """The number of each of n addresses uint8[n, 20], or `UNKNOWN`."""
        found = np.full(len(address), UNKNOWN, np.int64)
        if not self._count:
            return found
        rows, slot = np.arange(len(address)), self._first_slot(address)
        while len(rows):
            number = self._slots[slot].astype(np.int64)
            taken = number != UNKNOWN
            same = taken & _equal(self._address.take(number, axis=0), address)
            found[rows] = np.where(same, number, UNKNOWN)
            on = np.flatnonzero(taken & ~same)
            rows, slot, address = rows[on], (slot[on] + 1) & (len(self._slots) - 1), address[on]
        return found

    def add(self, address: U8) -> None:
        """Number addresses that are not known yet, all of them distinct, in their order."""
        first, self._count = self._count, self._count + len(address)
        if self._count > len(self._address):
            self._address = _grown(self._address, max(2 * len(self._address), self._count))
        self._address[first : self._count] = address
        if 2 * self._count > len(self._slots):
            size = 1 << (2 * self._count - 1).bit_length()
            self._slots = np.full(2 * size, UNKNOWN, np.int32)
            first = 0
        self._place(first)

    def _place(self, first: int) -> None:
        """Put the numbers from `first` on into their slots."""
        number = np.arange(first, self._count)
        slot = self._first_slot(self._address[first : self._count])
        while len(number):
            free = self._slots[slot] == UNKNOWN
            self._slots[slot[free]] = number[free]  # of those that meet in a slot one stays
            left = self._slots[slot] != number
            number, slot = number[left], (slot[left] + 1) & (len(self._slots) - 1)

    def _first_slot(self, address: U8) -> I64:
        bits = len(self._slots).bit_length() - 1
        return (mixed(address) >> np.uint64(64 - bits)).astype(np.int64)


def distinct(address: U8) -> tuple[U8, I64]:
    """The distinct rows of uint8[n, 20] in the order of their mix, and for each row its index.

    That costs one integer sort; should two addresses share a mix, whole rows are sorted instead.
    """
    key = mixed(address)
    order = np.argsort(key)
    starts = np.ones(len(key), np.bool_)
    starts[1:] = key[order[1:]] != key[order[:-1]]
    index = np.empty(len(key), np.int64)
    index[order] = np.cumsum(starts) - 1
    rows = address.take(order[starts], axis=0)
    if not _equal(rows.take(index, axis=0), address).all():
        rows, index = np.unique(address, axis=0, return_inverse=True)
    return rows, index.reshape(-1).astype(np.int64)


def by_address(address: U8) -> I64:
    """Rows of uint8[n, 20] from the lowest address to the highest; of equals the first first."""
    words = np.zeros((3, len(address)), np.uint64)
    for word, start in zip(words, (0, 8, 12), strict=True):
        word[:] = np.ascontiguousarray(address[:, start : start + 8]).view(">u8")[:, 0]
    order: I64 = np.argsort(words[0])
    head = words[0][order]
    if (head[1:] == head[:-1]).any():
        order = np.lexsort(words[::-1])
    return order


def _equal(one: U8, two: U8) -> Bool:
    """Which rows of two uint8[n, 20] are equal, four bytes at a time."""
    a, b = (np.ascontiguousarray(x).view(np.uint32) for x in (one, two))
    equal: Bool = a[:, 0] == b[:, 0]
    for column in range(1, 5):
        equal &= a[:, column] == b[:, column]
    return equal


def mixed(address: U8) -> U64:
    """A 64-bit mix of each address uint8[n, 20]; two addresses may share one."""
    words = np.zeros((len(address), 24), np.uint8)
    words[:, :20] = address
    parts = words.view(np.uint64)
    key: U64 = (parts[:, 0] * _MIX ^ parts[:, 1] ^ (parts[:, 2] << np.uint64(32))) * _MIX
    return key ^ (key >> np.uint64(29))


def _grown(column: Any, room: int) -> Any:
    """The column with room for so many rows."""
    out = np.zeros((room, *column.shape[1:]), column.dtype)
    out[: len(column)] = column
    return out
