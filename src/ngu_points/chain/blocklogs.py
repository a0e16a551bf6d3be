"""What one block logged: told apart, joined, and read from receipts that prove it (pure)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
import numpy as np

from ngu_points.chain.answers import Header
from ngu_points.chain.contract import Contract
from ngu_points.chain.decode import Decoded, decode
from ngu_points.chain.receipts import logs_of
from ngu_points.engine.events import blobs, concat, empty

NOTHING: Final = Decoded(empty(), (), 0)

Key = tuple[Any, ...]
"""A log: its index, its transaction's hash, and all that has an effect on the state."""


def by_block(found: Decoded) -> dict[int, Decoded]:
    """The logs of each block that has any; rows may come in any order."""
    events = found.events.sorted()
    blocks, starts = np.unique(events.block, return_index=True)
    ends = [*starts.tolist(), len(events)][1:]
    parts = {
        block: Decoded(events.take(slice(start, end)), (), 0)
        for block, start, end in zip(blocks.tolist(), starts.tolist(), ends, strict=True)
    }
    for letter in found.rejected:
        part = parts.get(letter.block, NOTHING)
        parts[letter.block] = replace(part, rejected=(*part.rejected, letter))
    return parts


def keys(found: Decoded) -> frozenset[Key]:
    """The logs as a set: two are equal if their place and their effect are.

    Of a dead letter only the place counts: it has no effect.
    """
    e = found.events
    rows = zip(
        e.log_index.tolist(),
        blobs(e.tx_hash),
        blobs(e.block_hash),
        blobs(e.contract),
        e.timestamp.tolist(),
        e.kind.tolist(),
        blobs(e.sender),
        blobs(e.recipient),
        e.first.tolist(),
        e.quantity.tolist(),
        strict=True,
    )
    letters = ((r.log_index, r.tx_hash, r.block_hash, r.contract) for r in found.rejected)
    return frozenset((*rows, *letters))


def unnamed(logs: Collection[Key]) -> frozenset[Key]:
    """The same without transaction hashes, which receipts do not prove."""
    return frozenset((index, *rest) for index, _, *rest in logs)


def under(found: Decoded, header: Header) -> Decoded:
    """Those of a block's logs that carry its header's hash, with the header's time."""
    own = found.events.block_hash == np.frombuffer(header.hash, np.uint8)
    events = found.events.take(own.all(axis=1))
    events = replace(events, timestamp=np.full(len(events), header.timestamp, np.int64))
    letters = tuple(
        replace(letter, timestamp=header.timestamp)
        for letter in found.rejected
        if letter.block_hash == header.hash
    )
    return Decoded(events, letters, 0)


def count(found: Decoded) -> int:
    """How many logs there are, dead letters included."""
    return len(found.events) + len(found.rejected)


def joined(parts: Sequence[Decoded]) -> Decoded | None:
    """Every log of one block that any part shows; None if two parts differ on a log."""
    events, letters = NOTHING.events, NOTHING.rejected
    known: frozenset[Key] = frozenset()
    for part in parts:
        if len({key[0] for key in keys(part) | known}) < len(keys(part) | known):
            return None
        seen = {key[0] for key in known}
        new = [index not in seen for index in part.events.log_index.tolist()]
        events = concat([events, part.events.take(np.array(new, np.bool_))])
        letters += tuple(r for r in part.rejected if r.log_index not in seen)
        known |= keys(part)
    in_order = tuple(sorted(letters, key=lambda letter: letter.log_index))
    return Decoded(events.sorted(), in_order, 0)


def proven(receipts: Sequence[Mapping[str, Any]], contract: Contract, header: Header) -> Decoded:
    """What a block logged of ours, from receipts whose root is the header's.

    Transaction hashes are the node's word. BadInput or Unprovable where they cannot be read.
    """
    ours = {"0x" + address.hex() for address in contract.addresses}
    place = {
        "blockNumber": hex(header.number),
        "blockHash": "0x" + header.hash.hex(),
        "blockTimestamp": hex(header.timestamp),
        "removed": False,
    }
    logs = [log | place for log in logs_of(receipts) if log["address"].lower() in ours]
    return decode(msgspec.json.encode(logs), contract, header.number, header.number)
