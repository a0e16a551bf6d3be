"""RLP and tries are what the Ethereum libraries make of the same input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ngu_points.chain.encoding import (
    EMPTY_TRIE,
    Unprovable,
    data,
    minimal,
    quantity,
    rlp,
    rlp_list,
    trie_root,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "data" / "proofs" / "vectors.json").read_text()
)


def filled(length: int, first: int) -> bytes:
    return bytes((first + 7 * at) % 256 for at in range(length))


def item(index: int, span: int) -> bytes:
    return bytes((31 * index + at) % 256 for at in range(1 + 7 * index % span))


def test_strings_are_rlp() -> None:
    """Strings of every kind of length have the head and the length that the library gives them."""
    for vector in VECTORS["strings"]:
        text = filled(vector["length"], vector["first"])
        encoded = rlp(text)
        assert "0x" + encoded[:5].hex() == vector["rlp_head"]
        assert len(encoded) == vector["rlp_length"]
        assert encoded.endswith(text)


def test_lists_are_rlp() -> None:
    """Lists are encoded as the library does it, whatever their length."""
    for vector in VECTORS["lists"]:
        parts = [rlp(filled(length, length)) for length in vector["lengths"]]
        assert "0x" + rlp_list(parts).hex() == vector["rlp"]


def test_numbers_have_no_leading_zeros() -> None:
    """A number is encoded in as few bytes as it needs, and 0 in none."""
    for vector in VECTORS["numbers"]:
        assert "0x" + rlp(minimal(int(vector["number"], 16))).hex() == vector["rlp"]


def test_trie_roots() -> None:
    """Tries of 0 to 400 items, items so short that nodes nest included, have the right root."""
    for vector in VECTORS["tries"]:
        values = [item(index, vector["span"]) for index in range(vector["count"])]
        assert "0x" + trie_root(values).hex() == vector["root"], vector


def test_no_items_have_the_empty_root() -> None:
    """The root over nothing is the one that empty blocks show."""
    known = "56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
    assert trie_root([]).hex() == EMPTY_TRIE.hex() == known


@pytest.mark.parametrize(
    "value", ["", "0x", "0xg", " 0x1", "0x1 ", "1", "0x" + "f" * 65, 1, True, []]
)
def test_what_is_no_number(value: object) -> None:
    """A number in another form is refused, and the refusal names the field."""
    with pytest.raises(Unprovable, match=r"^gasUsed is not a hex number"):
        quantity({"gasUsed": value}, "gasUsed")


@pytest.mark.parametrize("value", ["", "0x1", "0x0g", "0x 00", "0x00\n", 7, {}])
def test_what_is_no_hex(value: object) -> None:
    """Bytes in another form are refused, and the refusal names the field."""
    with pytest.raises(Unprovable, match=r"^extraData is not a hex string"):
        data({"extraData": value}, "extraData")


def test_sizes_and_absence() -> None:
    """A field of the wrong size and one that is not there are told apart."""
    with pytest.raises(Unprovable, match=r"^nonce has 7 bytes, not 8$"):
        data({"nonce": "0x" + "00" * 7}, "nonce", 8)
    for fields in ({}, {"nonce": None}):
        with pytest.raises(Unprovable, match=r"^nonce is missing$"):
            data(fields, "nonce", 8)
