"""Encode what block hashes commit to: JSON fields as RLP, lists as Merkle-Patricia roots (pure).

Headers and receipts need so little of the Ethereum libraries (strings, flat lists, a trie that is
built once and never changed) that these lines replace some fifteen packages.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from ngu_points.chain.contract import keccak256

EMPTY_TRIE: Final = keccak256(b"\x80")
"""The root over no items at all."""

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_BYTES = re.compile(r"0x(?:[0-9a-fA-F]{2})*")

Leaf = tuple[str, bytes]
"""The digits of a key, and the value that stands there."""


class Unprovable(Exception):  # noqa: N818 -- a finding, reported as such; nothing went wrong
    """What the hash is made of is not all here; the text is one line that says what is missing."""


def minimal(number: int) -> bytes:
    """A number big-endian without leading zeros; 0 is no bytes at all."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def rlp(item: bytes) -> bytes:
    """RLP of a string of bytes (Yellow Paper, appendix B)."""
    if len(item) == 1 and item[0] < 0x80:
        return item
    return _prefix(0x80, len(item)) + item


def rlp_list(parts: Iterable[bytes]) -> bytes:
    """RLP of a list whose items are RLP already."""
    payload = b"".join(parts)
    return _prefix(0xC0, len(payload)) + payload


def _prefix(offset: int, length: int) -> bytes:
    if length < 56:
        return bytes([offset + length])
    size = minimal(length)
    return bytes([offset + 55 + len(size)]) + size


def trie_root(values: Sequence[bytes]) -> bytes:
    """The root of the trie that maps the RLP of each index to its value (appendix D)."""
    if not values:
        return EMPTY_TRIE
    leaves = sorted((rlp(minimal(at)).hex(), value) for at, value in enumerate(values))
    return keccak256(_node(leaves, 0))


def _node(leaves: Sequence[Leaf], depth: int) -> bytes:
    """The node over sorted leaves that agree in their first `depth` digits.

    No key is the beginning of another (RLP is prefix-free), so branches hold no value.
    """
    first, last = leaves[0][0], leaves[-1][0]
    if len(leaves) == 1:
        return rlp_list((rlp(_path("2", first[depth:])), rlp(leaves[0][1])))
    fork = depth
    while first[fork] == last[fork]:
        fork += 1
    if fork > depth:
        return rlp_list((rlp(_path("0", first[depth:fork])), _child(leaves, fork)))
    groups = groupby(leaves, key=lambda leaf: int(leaf[0][depth], 16))
    children = {digit: _child(list(group), depth + 1) for digit, group in groups}
    return rlp_list(children.get(digit, b"\x80") for digit in range(17))


def _child(leaves: Sequence[Leaf], depth: int) -> bytes:
    node = _node(leaves, depth)
    return node if len(node) < 32 else rlp(keccak256(node))


def _path(flag: str, digits: str) -> bytes:
    """The digits of a path in whole bytes; `flag` is 2 for a leaf, 0 for an extension."""
    return bytes.fromhex(f"{int(flag) + 1}{digits}" if len(digits) % 2 else f"{flag}0{digits}")


def quantity(fields: Mapping[str, Any], name: str) -> int:
    """A field that is a number in hex, below 2**256. Raises Unprovable."""
    value = fields.get(name)
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise _not_a("hex number", fields, name)
    return int(value, 16)


def data(fields: Mapping[str, Any], name: str, size: int | None = None) -> bytes:
    """A field that is bytes in hex, `size` of them or any number. Raises Unprovable."""
    value = fields.get(name)
    if not isinstance(value, str) or not _BYTES.fullmatch(value):
        raise _not_a("hex string", fields, name)
    read = bytes.fromhex(value[2:])
    if size is not None and len(read) != size:
        raise Unprovable(f"{name} has {len(read)} bytes, not {size}")
    return read


def _not_a(what: str, fields: Mapping[str, Any], name: str) -> Unprovable:
    if fields.get(name) is None:
        return Unprovable(f"{name} is missing")
    return Unprovable(f"{name} is not a {what}: {ascii(fields[name])[:60]}")
