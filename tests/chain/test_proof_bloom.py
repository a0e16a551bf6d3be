"""A bloom never denies what was logged, on whole blocks of mainnet and on invented ones."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from Crypto.Hash import keccak
from hypothesis import given
from hypothesis import strategies as st

from ngu_points.chain.bloom import false_hit, may_log, may_log_many, saturation

DATA = Path(__file__).parent.parent / "data"
VECTORS: dict[str, Any] = json.loads((DATA / "proofs" / "vectors.json").read_text())
NOTHING = bytes(256)
FULL = b"\xff" * 256

addresses = st.binary(min_size=20, max_size=20)
topics = st.binary(min_size=32, max_size=32)
logs = st.tuples(addresses, st.lists(topics, max_size=4))


def plain_bloom(values: Iterable[bytes]) -> bytes:
    """Three bits a value: 11 bits each of the first three pairs of digest bytes."""
    bits = 0
    for value in values:
        digest = keccak.new(digest_bits=256, data=value).digest()
        for place in (0, 2, 4):
            bits |= 1 << int.from_bytes(digest[place : place + 2], "big") % 2048
    return bits.to_bytes(256, "big")


def bloom_of(found: Sequence[tuple[bytes, Sequence[bytes]]]) -> bytes:
    return plain_bloom(value for address, topics in found for value in (address, *topics))


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lzma.decompress(file.read_bytes()).splitlines()]


def mainnet_block(number: int) -> tuple[bytes, list[tuple[bytes, list[bytes]]]]:
    """The bloom of a mainnet block's header, and all its logs' addresses and topics."""
    if number == 18_000_000:
        folder = DATA / "mainnet-blocks" / "shovel"
        header, logs = json.loads(lzma.decompress((folder / "logs-18000000.json.xz").read_bytes()))
        bloom, rows = header["result"]["logsBloom"], logs["result"]
    else:
        folder = DATA / "mainnet-blocks" / "ethereum-etl-17173049-50"
        blocks = rows_of(folder / "expected_blocks.jsonl.xz")
        bloom = next(row["logs_bloom"] for row in blocks if row["number"] == number)
        every = rows_of(folder / "expected_logs.jsonl.xz")
        rows = [row for row in every if row["block_number"] == number]
    as_bytes = [
        (bytes.fromhex(row["address"][2:]), [bytes.fromhex(topic[2:]) for topic in row["topics"]])
        for row in rows
    ]
    return bytes.fromhex(bloom[2:]), as_bytes


@pytest.mark.parametrize("number", [17_173_049, 17_173_050, 18_000_000])
def test_mainnet_blooms(number: int) -> None:
    """A mainnet block's bloom allows for each of its logs, and excludes most other addresses."""
    bloom, found = mainnet_block(number)
    assert len(found) > 100
    assert bloom_of(found) == bloom
    for address, topics in found:
        assert may_log(bloom, address, topics[:1])
    others = [keccak.new(digest_bits=256, data=b"%d" % at).digest()[:20] for at in range(400)]
    allowed = sum(may_log(bloom, other, []) for other in others)
    share = float(saturation(np.frombuffer(bloom, np.uint8)[None])[0])
    assert allowed < 400 * false_hit(share, 1) * 2 + 4


def test_blooms_of_the_library() -> None:
    """Every value that the library put into a bloom is seen there, and the bits are the same."""
    for vector in VECTORS["blooms"]:
        values = [bytes.fromhex(value[2:]) for value in vector["values"]]
        bloom = bytes.fromhex(vector["bloom"][2:])
        assert plain_bloom(values) == bloom
        assert all(may_log(bloom, value, []) for value in values)


@given(st.lists(logs, min_size=1, max_size=30), st.data())
def test_no_log_is_denied(found: list[tuple[bytes, list[bytes]]], draw: st.DataObject) -> None:
    """Whatever else a block logged, its bloom allows for each log, by one topic or several."""
    bloom = bloom_of(found)
    address, own = draw.draw(st.sampled_from(found))
    assert may_log(bloom, address, [])
    if own:
        assert may_log(bloom, address, own[:1])
        assert may_log(bloom, address, [*draw.draw(st.lists(topics, max_size=3)), own[0]])


@given(st.lists(st.lists(logs, max_size=12), min_size=1, max_size=12), addresses, topics)
def test_many_blooms_at_once(
    blocks: list[list[tuple[bytes, list[bytes]]]], address: bytes, topic: bytes
) -> None:
    """Asking for many blooms at once gives what asking for each gives, by the definition."""
    who, what = blocks[0][0][0] if blocks[0] else address, topic
    blooms = [bloom_of(found) for found in blocks]
    table = np.frombuffer(b"".join(blooms), np.uint8).reshape(-1, 256)

    def held(bloom: bytes, value: bytes) -> bool:
        wanted = int.from_bytes(plain_bloom([value]), "big")
        return int.from_bytes(bloom, "big") & wanted == wanted

    for topics0 in ([], [what], [what, topic[::-1]]):
        expected = [
            held(bloom, who) and (not topics0 or any(held(bloom, one) for one in topics0))
            for bloom in blooms
        ]
        assert may_log_many(table, who, topics0).tolist() == expected
        assert [may_log(bloom, who, topics0) for bloom in blooms] == expected


def test_the_ends() -> None:
    """An empty bloom denies everything, a full one nothing; no blocks give no answers."""
    address, topic = bytes(20), bytes(32)
    assert not may_log(NOTHING, address, [])
    assert may_log(FULL, address, [topic])
    assert may_log_many(np.empty((0, 256), np.uint8), address, [topic]).tolist() == []
    with pytest.raises(ValueError, match=r"\[n, 256\]"):
        may_log(bytes(255), address, [])


def test_an_address_alone_is_not_enough() -> None:
    """A block in which we logged something else than what is asked for is excluded."""
    ours, other, sought = bytes(20), b"\1" * 32, b"\2" * 32
    bloom = bloom_of([(ours, [other])])
    assert may_log(bloom, ours, [])
    assert not may_log(bloom, ours, [sought])


@given(st.lists(st.binary(min_size=256, max_size=256), max_size=5))
def test_saturation_counts_bits(blooms: list[bytes]) -> None:
    """The share of bits set is counted block by block."""
    table = np.frombuffer(b"".join(blooms), np.uint8).reshape(-1, 256)
    expected = [int.from_bytes(bloom, "big").bit_count() / 2048 for bloom in blooms]
    assert saturation(table).tolist() == expected


def test_false_hits_grow_with_saturation() -> None:
    """A full bloom tells nothing, an empty one everything; more addresses, more false hits."""
    assert false_hit(0.0, 3) == 0.0
    assert false_hit(1.0, 1) == 1.0
    assert false_hit(0.5, 1) == 0.125
    assert 0.125 < false_hit(0.5, 2) < 0.25
