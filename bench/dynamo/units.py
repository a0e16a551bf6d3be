"""What is written and read in capacity units, by AWS's rules (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from bench.dynamo.expressions import Item

WRITE_BYTES, READ_BYTES = 1024, 4096


class Row(dict[str, Mapping[str, Any]]):
    """An item that remembers its size; it is never changed."""

    __slots__ = ("bytes",)
    bytes: int


def size(item: Item) -> int:
    """Bytes of an item: names and values."""
    if not isinstance(item, Row):
        return _size(item)
    try:
        return item.bytes
    except AttributeError:
        item.bytes = _size(item)
        return item.bytes


def _size(item: Item) -> int:
    total = 0
    for name, typed in item.items():
        total += len(name)
        for kind, content in typed.items():
            if kind == "S":
                total += len(content) if content.isascii() else len(content.encode())
            elif kind == "N":
                total += _number_size(content)
            else:
                total += len(content) if kind == "B" else 1
    return total


@lru_cache(1 << 16)
def _number_size(text: str) -> int:
    """Pairs of digits without zeros at the ends, aligned at the point, and one more byte."""
    digits = text.lstrip("-0")
    kept = digits.rstrip("0")
    if not kept:
        return 1
    odd_zeros = (len(digits) - len(kept)) % 2
    return 1 + (len(kept) + odd_zeros + 1) // 2 + text.startswith("-")


def write_units(size_before: int, size_after: int) -> int:
    """A write of a row of these sizes; 0 for one that is not there."""
    return max(1, -(-max(size_before, size_after) // WRITE_BYTES))


def entry_units(before: Item | None, after: Item | None, keys: tuple[str, ...]) -> int:
    """What a write costs an index: its entry before and after it, and its key attributes.

    Nothing where the entry stays as it is; a delete and a write where its key changes.
    """
    if before == after:
        return 0
    if before is None or after is None:
        entry = after or before
        return write_units(0, size(entry)) if entry else 0
    sizes = size(before), size(after)
    if any(before[key] != after[key] for key in keys):
        return write_units(0, sizes[0]) + write_units(0, sizes[1])
    return write_units(*sizes)


def read_units(sizes: int, *, consistent: bool) -> float:
    """A read of so many bytes, of one item or of one page."""
    units = max(1, -(-sizes // READ_BYTES))
    return float(units) if consistent else units / 2
