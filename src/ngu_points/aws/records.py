"""What travels on a stream: events, dead letters, coverage records, each a line of JSON (pure).

Lines, because Firehose's backup in S3 is nothing but its records one after the other. Field names
of events are the specification's. Every record says which deployment it is of, so that one that
strays is seen: stage, chain, contract. Token ids and quantities are decimal text (uint256).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from ngu_points.engine.coverage import BATCH, STAKING, Coverage, Delivery
from ngu_points.engine.events import (
    MAX_TOKEN,
    TYPES,
    U8,
    ZERO_ADDRESS,
    Events,
    Kind,
    Rejected,
    empty,
    event_id,
    ids,
    ids_column,
)
from ngu_points.errors import LONGEST, BadInput, one_line
from ngu_points.pipeline.persist import HIGHEST, INDICES, validate

VERSION = 1
LONGEST_RAW = 256 << 10
"""Bytes of a dead letter's log that travel and can be stored; of a longer one only its place."""

_Hash = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-f]{64}\Z")]
_Address = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-f]{40}\Z")]
_Decimal = Annotated[str, msgspec.Meta(pattern=r"^(0|[1-9][0-9]{0,77})\Z")]
_Number = Annotated[int, msgspec.Meta(ge=0, lt=HIGHEST)]
_Index = Annotated[int, msgspec.Meta(ge=0, lt=INDICES)]
_Stream = Literal["batch", "staking"]
_NOWHERE = "0x" + ZERO_ADDRESS.hex()


@dataclass(frozen=True, slots=True)
class Origin:
    """The deployment that records are of: its stage, chain and contracts, the token's first."""

    stage: str
    chain_id: int
    contracts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that is none of ours or of no use: why, and as it came."""

    reason: str  # one line
    raw: bytes


class _Record(
    msgspec.Struct,
    tag_field="kind",
    rename="camel",
    forbid_unknown_fields=True,
    kw_only=True,
):
    version: Literal[1]
    stage: str
    chain_id: int
    contract: _Address


class _Log(_Record):
    id: str
    block_number: _Number
    transaction_hash: _Hash
    transaction_index: _Index
    log_index: _Decimal
    block_hash: _Hash


class _BatchEvent(_Log, tag="batchEvent"):
    type: Literal["BatchMint", "BatchBurn", "BatchTransfer"]
    start_token_id: _Decimal
    quantity: _Decimal
    to: _Address
    timestamp: _Number
    sender: _Address | msgspec.UnsetType = msgspec.field(name="from", default=msgspec.UNSET)


class _StakingEvent(_Log, tag="stakingEvent"):
    type: Literal["Stake", "Unstake"]
    token_id: _Decimal
    staker: _Address
    timestamp: _Number


class _DeadLetter(_Log, tag="deadLetter"):
    stream: _Stream
    reason: Annotated[str, msgspec.Meta(max_length=LONGEST)]
    raw: Annotated[bytes, msgspec.Meta(max_length=LONGEST_RAW)]
    timestamp: Annotated[int, msgspec.Meta(ge=-1, lt=HIGHEST)]


class _Coverage(_Record, tag="coverage"):
    stream: _Stream
    sequence: _Number
    from_block: _Number
    to_block: _Number
    parent_hash: _Hash
    last_hash: _Hash
    timestamp: _Number
    count: _Number
    digest: _Hash


_Any = _BatchEvent | _StakingEvent | _DeadLetter | _Coverage
_decoder: msgspec.json.Decoder[_Any] = msgspec.json.Decoder(_Any)


def write(delivery: Delivery, origin: Origin) -> list[bytes]:
    """A delivery as records: its events, its dead letters, then its coverage records.

    A dead letter's log of more than `LONGEST_RAW` bytes is left out, and its reason says so.
    Raises BadInput for a delivery that no monitor sends or that is of other contracts: no reader
    would take it.
    """
    validate(delivery)
    _of_origin(delivery, origin)
    records = [
        *_event_records(delivery.events, origin),
        *(_letter_record(r, origin) for r in delivery.rejected),
        *(_coverage_record(c, origin) for c in delivery.coverage),
    ]
    return [msgspec.json.encode(record) + b"\n" for record in records]


def read(
    records: Sequence[bytes], stream: str, expected: Origin
) -> tuple[list[Delivery], list[Poison]]:
    """What a stream brought, as at most one delivery in the order of the records.

    What is not exactly a record of this stream and deployment comes back as poison, with the
    reason; no record raises and none spoils another. The delivery passes `persist.validate`.
    """
    events: list[_BatchEvent | _StakingEvent] = []
    rejected: list[Rejected] = []
    coverage: list[Coverage] = []
    poison: list[Poison] = []
    for raw in records:
        try:
            record = _decoder.decode(raw)
            _check(record, stream, expected)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadInput) as error:
            poison.append(Poison(one_line(f"no record of the {stream} stream: {error}"), raw))
            continue
        match record:
            case _Coverage():
                coverage.append(_as_coverage(record))
            case _DeadLetter():
                rejected.append(_as_rejected(record))
            case _:
                events.append(record)
    if not (events or rejected or coverage):
        return [], poison
    return [Delivery(stream, _columns(events), tuple(rejected), tuple(coverage))], poison


def _of_origin(delivery: Delivery, origin: Origin) -> None:
    found = set(_hex(delivery.events.contract)) | {_text(r.contract) for r in delivery.rejected}
    for contract in found - {_text(c) for c in origin.contracts}:
        raise BadInput(f"a log of {contract} cannot be sent: it is no contract of this deployment")


def _event_records(events: Events, origin: Origin) -> Iterator[dict[str, Any]]:
    rows = zip(
        ids(events),
        events.kind.tolist(),
        events.first.tolist(),
        events.quantity.tolist(),
        _hex(events.sender),
        _hex(events.recipient),
        _hex(events.contract),
        events.timestamp.tolist(),
        events.block.tolist(),
        _hex(events.tx_hash),
        events.tx_index.tolist(),
        events.log_index.tolist(),
        _hex(events.block_hash),
        strict=True,
    )
    for (
        name,
        kind,
        first,
        quantity,
        sender,
        to,
        contract,
        time,
        block,
        tx,
        tx_at,
        at,
        hash_,
    ) in rows:
        head = _head("stakingEvent" if kind >= Kind.STAKE else "batchEvent", origin, contract)
        yield {
            **head,
            "id": name,
            "type": TYPES[kind],
            **_moves(kind, first, quantity, sender, to),
            "timestamp": time,
            **_place(block, tx, tx_at, at, hash_),
        }


def _moves(kind: int, first: int, quantity: int, sender: str, to: str) -> dict[str, str]:
    """The fields in which batch events and staking events differ."""
    if kind >= Kind.STAKE:
        return {"tokenId": str(first), "staker": sender}
    moved = {"startTokenId": str(first), "quantity": str(quantity)}
    return moved | ({"to": to} if kind == Kind.MINT else {"from": sender, "to": to})


def _letter_record(letter: Rejected, origin: Origin) -> dict[str, Any]:
    reason, raw = letter.reason, letter.raw
    if len(raw) > LONGEST_RAW:
        reason = f"{reason} (the log, {len(raw):,} bytes, is too long to travel)"
        raw = b""
    tx, hash_ = _text(letter.tx_hash), _text(letter.block_hash)
    return {
        **_head("deadLetter", origin, _text(letter.contract)),
        "stream": letter.stream,
        "id": event_id(letter.block, letter.tx_hash, letter.log_index),
        "reason": reason[:LONGEST].encode("utf-8", "replace").decode(),
        "raw": raw,
        "timestamp": letter.timestamp,
        **_place(letter.block, tx, letter.tx_index, letter.log_index, hash_),
    }


def _coverage_record(record: Coverage, origin: Origin) -> dict[str, Any]:
    return {
        **_head("coverage", origin, _text(origin.contracts[0])),
        "stream": record.stream,
        "sequence": record.sequence,
        "fromBlock": record.from_block,
        "toBlock": record.to_block,
        "parentHash": _text(record.parent_hash),
        "lastHash": _text(record.last_hash),
        "timestamp": record.timestamp,
        "count": record.count,
        "digest": _text(record.digest),
    }


def _head(kind: str, origin: Origin, contract: str) -> dict[str, Any]:
    """What every record begins with."""
    return {
        "kind": kind,
        "version": VERSION,
        "stage": origin.stage,
        "chainId": origin.chain_id,
        "contract": contract,
    }


def _place(block: int, tx: str, tx_index: int, log_index: int, block_hash: str) -> dict[str, Any]:
    """Where a log is."""
    return {
        "blockNumber": block,
        "transactionHash": tx,
        "transactionIndex": tx_index,
        "logIndex": str(log_index),
        "blockHash": block_hash,
    }


def _check(record: _Any, stream: str, expected: Origin) -> None:
    """Raise BadInput, with the reason, where fields are right by themselves and wrong together."""
    if record.stage != expected.stage:
        raise BadInput(f"it is of stage {record.stage!r}, this is {expected.stage!r}")
    if record.chain_id != expected.chain_id:
        raise BadInput(f"it is of chain {record.chain_id}, this is {expected.chain_id}")
    contracts = expected.contracts[:1] if isinstance(record, _Coverage) else expected.contracts
    if _bytes(record.contract) not in contracts:
        raise BadInput(f"it is of contract {record.contract}, which this deployment does not have")
    if _stream_of(record) != stream:
        raise BadInput(f"it belongs to the {_stream_of(record)} stream")
    if isinstance(record, _Coverage):
        if record.from_block > record.to_block:
            raise BadInput(f"its range is reversed: {record.from_block} to {record.to_block}")
        return
    if int(record.log_index) >= INDICES:
        raise BadInput(f"its logIndex {record.log_index} is impossible")
    named = f"{record.block_number}-{record.transaction_hash}-{record.log_index}"
    if record.id != named:
        raise BadInput(f"its id is {record.id[:200]!r}, its position says {named}")
    if isinstance(record, _BatchEvent):
        _check_batch(record)
    elif isinstance(record, _StakingEvent) and int(record.token_id) > MAX_TOKEN:
        raise BadInput("its tokenId is not a uint256")


def _check_batch(event: _BatchEvent) -> None:
    first, quantity = int(event.start_token_id), int(event.quantity)
    if quantity < 1 or first + quantity - 1 > MAX_TOKEN:
        raise BadInput(f"its token range is impossible: {quantity} tokens from {first}")
    if (event.sender is msgspec.UNSET) != (event.type == "BatchMint"):
        raise BadInput("from is absent on a BatchMint, and there on all others")
    if event.type == "BatchBurn" and event.to != _NOWHERE:
        raise BadInput("to is the zero address on a BatchBurn")


def _stream_of(record: _Any) -> str:
    match record:
        case _BatchEvent():
            return BATCH
        case _StakingEvent():
            return STAKING
    return record.stream


def _columns(events: Sequence[_BatchEvent | _StakingEvent]) -> Events:
    if not events:
        return empty()
    first, quantity, sender, recipient = zip(*map(_moved, events), strict=True)
    ends = [f + q for f, q in zip(first, quantity, strict=True)]
    return Events(
        kind=np.array([TYPES.index(e.type) for e in events], np.uint8),
        block=np.array([e.block_number for e in events], np.int64),
        tx_index=np.array([e.transaction_index for e in events], np.int64),
        log_index=np.array([int(e.log_index) for e in events], np.int64),
        timestamp=np.array([e.timestamp for e in events], np.int64),
        sender=_rows(sender),
        recipient=_rows(recipient),
        first=ids_column(first, ends=ends),
        quantity=ids_column(quantity, ends=ends),
        contract=_rows([e.contract for e in events]),
        block_hash=_rows([e.block_hash for e in events]),
        tx_hash=_rows([e.transaction_hash for e in events]),
    )


def _moved(event: _BatchEvent | _StakingEvent) -> tuple[int, int, str, str]:
    """First token, how many, from whom, to whom."""
    if isinstance(event, _StakingEvent):
        return int(event.token_id), 1, event.staker, _NOWHERE
    sender = _NOWHERE if event.sender is msgspec.UNSET else event.sender
    return int(event.start_token_id), int(event.quantity), sender, event.to


def _as_rejected(letter: _DeadLetter) -> Rejected:
    return Rejected(
        block=letter.block_number,
        log_index=int(letter.log_index),
        tx_index=letter.transaction_index,
        timestamp=letter.timestamp,
        tx_hash=_bytes(letter.transaction_hash),
        block_hash=_bytes(letter.block_hash),
        contract=_bytes(letter.contract),
        stream=letter.stream,
        reason=letter.reason,
        raw=letter.raw,
    )


def _as_coverage(record: _Coverage) -> Coverage:
    return Coverage(
        stream=record.stream,
        sequence=record.sequence,
        from_block=record.from_block,
        to_block=record.to_block,
        parent_hash=_bytes(record.parent_hash),
        last_hash=_bytes(record.last_hash),
        timestamp=record.timestamp,
        count=record.count,
        digest=_bytes(record.digest),
    )


def _text(value: bytes) -> str:
    return "0x" + value.hex()


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def _hex(rows: U8) -> list[str]:
    """uint8[n, k] as n texts."""
    width, packed = 2 * rows.shape[1], rows.tobytes().hex()
    return ["0x" + packed[i : i + width] for i in range(0, len(packed), width)]


def _rows(texts: Sequence[str]) -> U8:
    """Texts of one length as uint8[n, k], writable."""
    joined = bytes.fromhex("".join(text[2:] for text in texts))
    return np.frombuffer(joined, np.uint8).reshape(len(texts), -1).copy()
