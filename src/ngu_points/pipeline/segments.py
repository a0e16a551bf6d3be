"""A segment of the archive: all events of one block range as checksummed bytes.

Rows name their block, wallets and contract by index into the segment's own tables, so that what
repeats is kept once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

import numpy as np

from ngu_points.engine.coverage import Covered
from ngu_points.engine.events import I64, U8, Indexed, Rejected, concat
from ngu_points.engine.moves import indexed
from ngu_points.engine.state import among
from ngu_points.errors import StoreError
from ngu_points.pipeline.pack import Columns, pack, unpack

HEAD = ("chainId", "contract", "kind", "fromBlock", "toBlock", "parentHash", "lastHash",
        "timestamp", "events")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Identity:
    """What a store or an archive is of; one of something else is refused."""

    chain_id: int
    contract: str
    kind: str


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the archive."""

    from_block: int
    to_block: int
    events: int
    name: str


def segment_name(from_block: int, to_block: int, revision: int = 0) -> str:
    """A segment that was mended has a revision, and is another file than the one before."""
    revised = f"-{revision}" if revision else ""
    return f"{from_block:012d}-{to_block:012d}{revised}.npz"


def named(name: str) -> tuple[int, int, int]:
    """First block, last block and revision, from a segment's name."""
    first, last, revision = [*name.removesuffix(".npz").split("-"), "0"][:3]
    return int(first), int(last), int(revision)


def joined(one: Covered, two: Covered) -> Covered:
    """Two ranges, the second right behind the first, as one."""
    assert two.from_block == one.to_block + 1, "the ranges adjoin"
    return replace(
        two,
        from_block=one.from_block,
        parent_hash=one.parent_hash,
        events=concat([one.events, two.events]),
        rejected=(*one.rejected, *two.rejected),
    )


def encoded(covered: Covered, identity: Identity) -> bytes:
    """A range and its events as the bytes of a segment."""
    return pack(_columns(covered, identity))


def decoded(data: bytes, where: str, name: str) -> Covered:
    """The range in a segment's bytes; StoreError naming `where` if it is not the one of `name`."""
    columns = _unpacked(data, where, name)
    head = _head(columns)
    _check_range(head, where, name)
    try:
        return _covered(columns, head)
    except (LookupError, TypeError, ValueError) as error:
        raise StoreError(f"{where} is no segment that was written here: {remedy(name)}") from error


def check(data: bytes, where: str, name: str) -> None:
    """StoreError if the bytes are not those that were written under this name."""
    _check_range(_head(_unpacked(data, where, name, "head")), where, name)


def _check_range(head: Mapping[str, Any], where: str, name: str) -> None:
    if named(name)[:2] != (head["fromBlock"], head["toBlock"]):
        raise StoreError(
            f"{where} holds blocks {head['fromBlock']}..{head['toBlock']}, not those of its name: "
            f"{remedy(name)}"
        )


def identity_in(data: bytes, where: str, name: str) -> Identity:
    """What the archive that a segment belongs to is of."""
    head = _head(_unpacked(data, where, name, "head"))
    return Identity(head["chainId"], head["contract"], head["kind"])


def remedy(name: str) -> str:
    first, last, _ = named(name)
    return f"bring the file back, or `ngu replay {first} {last}` makes it anew from the chain"


def _unpacked(data: bytes, where: str, name: str, only: str | None = None) -> dict[str, Any]:
    try:
        return unpack(data, where, only)
    except StoreError as error:
        raise StoreError(f"{error}: {remedy(name)}") from error


def events_of(columns: Mapping[str, Any] | Columns, rows: I64 | None = None) -> Indexed:
    """The events in some rows of a segment, in its order; all of them by default."""

    def part(name: str) -> Any:
        column = columns[name]
        return column if rows is None else column.take(rows, axis=0)

    at = part("block_row")
    sender, recipient, contract = part("sender"), part("recipient"), part("contract")
    address = columns["address"]
    return Indexed(
        kind=part("kind"),
        block=columns["block"][at],
        tx_index=part("tx_index").astype(np.int64),
        log_index=part("log_index").astype(np.int64),
        timestamp=columns["timestamp"][at],
        sender=address.take(sender, axis=0),
        recipient=address.take(recipient, axis=0),
        first=part("first"),
        quantity=part("quantity"),
        contract=address.take(contract, axis=0),
        block_hash=columns["block_hash"].take(at, axis=0),
        tx_hash=part("tx_hash"),
        table=address,
        sender_at=sender,
        recipient_at=recipient,
        contract_at=contract,
    )


def naming(columns: Columns, wallet: bytes) -> I64:
    """Rows of a segment's events that name a wallet."""
    known = np.flatnonzero(among(columns["address"], frozenset({wallet})))
    if not len(known):
        return known
    number = known[0]  # addresses are there once
    return np.flatnonzero((columns["sender"] == number) | (columns["recipient"] == number))


def _covered(columns: dict[str, Any], head: dict[str, Any]) -> Covered:
    return Covered(
        head["fromBlock"],
        head["toBlock"],
        bytes.fromhex(head["parentHash"]),
        bytes.fromhex(head["lastHash"]),
        head["timestamp"],
        events_of(columns),
        _rejected(columns["letters"]) if "letters" in columns else (),
    )


def _head(columns: dict[str, Any]) -> dict[str, Any]:
    try:
        head: dict[str, Any] = json.loads(columns["head"].tobytes())
        return {key: head[key] for key in HEAD}
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise StoreError("a segment without its head: bring the archive's file back") from error


def _columns(covered: Covered, identity: Identity) -> dict[str, object]:
    events = indexed(covered.events)
    head = {
        "format": 1,
        "chainId": identity.chain_id,
        "contract": identity.contract,
        "kind": identity.kind,
        "fromBlock": covered.from_block,
        "toBlock": covered.to_block,
        "parentHash": covered.parent_hash.hex(),
        "lastHash": covered.last_hash.hex(),
        "timestamp": covered.timestamp,
        "events": len(events),
    }
    first_row = np.flatnonzero(np.diff(events.block, prepend=-1))  # they are in block order
    block = events.block[first_row]
    block_row = np.repeat(np.arange(len(block)), np.diff(first_row, append=len(events)))
    letters = {"letters": _letters(covered.rejected)} if covered.rejected else {}
    return letters | {
        "head": np.frombuffer(json.dumps(head).encode(), np.uint8),
        "kind": events.kind,
        "block_row": block_row.astype(np.uint32),
        "block": block,
        "timestamp": events.timestamp[first_row],
        "block_hash": events.block_hash[first_row],
        "tx_index": events.tx_index.astype(np.uint32),
        "log_index": events.log_index.astype(np.uint32),
        "address": events.table,
        "sender": events.sender_at,
        "recipient": events.recipient_at,
        "contract": events.contract_at,
        "first": events.first,
        "quantity": events.quantity,
        "tx_hash": events.tx_hash,
    }


def _letters(rejected: Sequence[Rejected]) -> U8:
    """Dead letters as JSON, their bytes in hex."""
    rows = [[v.hex() if isinstance(v, bytes) else v for v in astuple(r)] for r in rejected]
    return np.frombuffer(json.dumps(rows).encode(), np.uint8)


def _rejected(letters: U8) -> tuple[Rejected, ...]:
    types = [field.type for field in fields(Rejected)]
    rows = json.loads(letters.tobytes())
    return tuple(Rejected(*map(_value, types, row)) for row in rows)


def _value(kind: Any, value: Any) -> Any:
    return bytes.fromhex(value) if kind == "bytes" else value
