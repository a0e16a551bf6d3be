"""From an eth_getLogs answer to events, checking every field of every log (pure).

Two paths give the same result. `scan` reads the many rows of a page that look alike; what it does
not recognise is read here log by log, and so is the whole page whenever anything in it is in
doubt. Only this exact path raises, so a wrong answer is always described by it.
"""

import re
from binascii import unhexlify
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from ngu_points.chain.contract import MAX_TOPICS, Contract, EventShape, Field
from ngu_points.chain.scan import Layouts, Positions, scan
from ngu_points.engine.events import (
    MAX_TOKEN,
    U8,
    ZERO_ADDRESS,
    Events,
    Kind,
    Rejected,
    concat,
    ids_column,
)
from ngu_points.errors import BadInput

ADVICE = "the node is wrong, try another --rpc"
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_BLOCKS = 2**60
_INDICES = 2**28
_SECONDS = 2**60


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What a page holds: events and dead letters, both in position order.

    `slow_rows` is how many logs were read by the exact path.
    """

    events: Events
    rejected: tuple[Rejected, ...]
    slow_rows: int


def decode(raw: bytes, contract: Contract, from_block: int, to_block: int) -> Decoded:
    """Read a JSON array of logs as the node sent it, asked for `from_block` to `to_block`.

    The timestamp is the log's blockTimestamp, or -1 where it has none. Logs that are no event of
    ours are left out; one that claims to be but cannot be becomes a `Rejected`. Raises BadInput,
    naming the log and the field, when the answer itself is wrong: malformed, an address or block
    not asked for, two different logs at one position, two hashes for one block, a removed log.
    """
    fast = _decode_fast(raw, contract, from_block, to_block)
    if fast is not None:
        return fast
    return decode_exactly(raw, contract, from_block, to_block)


def decode_exactly(raw: bytes, contract: Contract, from_block: int, to_block: int) -> Decoded:
    """The same as `decode`, log by log: slower, and the one that says what is wrong."""
    logs = [_checked(at, log) for at, log in enumerate(_parse(raw))]
    _check_asked(logs, contract, from_block, to_block)
    kept = _check_agreement(logs)
    events, refused = _sift([logs[at] for at in kept], contract.layouts())
    texts = _texts(raw) if refused else []
    rejected = tuple(_rejected(log, shape, why, texts[log.at]) for log, shape, why in refused)
    return Decoded(events, rejected, len(logs))


def _decode_fast(raw: bytes, contract: Contract, from_block: int, to_block: int) -> Decoded | None:
    layouts = contract.layouts()
    scanned = scan(raw, layouts)
    if scanned is None:
        return None
    try:
        odd = [_checked(at, _parse_one(text)) for at, text in scanned.odd]
        _check_asked(odd, contract, from_block, to_block)
    except BadInput:
        # The exact path finds the first thing wrong with the page, not with these rows.
        return None
    if not scanned.positions.joined(_positions(odd)).agree(from_block, to_block):
        return None
    events, refused = _sift(odd, layouts)
    texts = dict(scanned.odd)
    rejected = tuple(_rejected(log, shape, why, texts[log.at]) for log, shape, why in refused)
    return Decoded(concat([scanned.events, events]).sorted(), rejected, len(odd))


class _Json(msgspec.Struct, rename="camel", gc=False):
    """A log as the node writes it."""

    address: str
    topics: list[str]
    data: str
    block_number: str
    block_hash: str
    transaction_hash: str
    transaction_index: str
    log_index: str
    block_timestamp: str | int | None = None
    removed: bool | None = None


class _Log(NamedTuple):
    """A log whose every field is well formed. `at` is its place in the answer."""

    at: int
    block: int
    log_index: int
    tx_index: int
    timestamp: int
    tx_hash: bytes
    block_hash: bytes
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


_page = msgspec.json.Decoder(list[_Json])
_one = msgspec.json.Decoder(_Json)
_PATH = re.compile(r" - at `\$(?:\[(\d+)\])?\.?(.*)`$")


def _parse(raw: bytes) -> list[_Json]:
    try:
        return _page.decode(raw)
    except msgspec.ValidationError as error:
        raise _ill_typed(str(error)) from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadInput(f"the eth_getLogs answer is not JSON: {error}; {ADVICE}") from None


def _parse_one(text: bytes) -> _Json:
    try:
        return _one.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadInput(f"not a log: {error}") from None


def _texts(raw: bytes) -> list[bytes]:
    return [bytes(text) for text in msgspec.json.decode(raw, type=list[msgspec.Raw])]


def _ill_typed(said: str) -> BadInput:
    match = _PATH.search(said)
    if match is None or match[1] is None:
        what = said.replace("`", "")
        return BadInput(f"the eth_getLogs answer is no array of logs: {what}; {ADVICE}")
    what = said[: match.start()].replace("`", "")
    return _bad(int(match[1]), f"field {match[2]}: {what}" if match[2] else what)


def _bad(at: int, problem: str, log: _Log | None = None) -> BadInput:
    where = "" if log is None else f" (block {log.block}, log index {log.log_index})"
    return BadInput(f"log {at} of the eth_getLogs answer{where}: {problem}; {ADVICE}")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:76]}...'"


def _bytes(at: int, name: str, value: str, size: int | None) -> bytes:
    try:
        if not value.startswith("0x"):
            raise ValueError
        data = unhexlify(value[2:])
    except ValueError:
        raise _bad(at, f"{name} is not 0x and hex digits: {_shown(value)}") from None
    if size is not None and len(data) != size:
        raise _bad(at, f"{name} has {len(data)} bytes, not {size}")
    return data


def _integer(at: int, name: str, value: str, limit: int) -> int:
    if _QUANTITY.fullmatch(value) is None:
        raise _bad(at, f"{name} is not a hex quantity: {_shown(value)}")
    number = int(value, 16)
    if number >= limit:
        raise _bad(at, f"{name} is out of range: {_shown(value)}")
    return number


def _timestamp(at: int, value: str | int | None) -> int:
    if value is None:
        return -1
    if isinstance(value, str):
        return _integer(at, "blockTimestamp", value, _SECONDS)
    if not 0 <= value < _SECONDS:
        raise _bad(at, f"blockTimestamp is out of range: {_shown(value)}")
    return value


def _checked(at: int, log: _Json) -> _Log:
    if log.removed:
        raise _bad(at, "removed is true, in an answer about the present chain")
    if len(log.topics) > MAX_TOPICS:
        raise _bad(at, f"topics: {len(log.topics)} of them, a log has at most {MAX_TOPICS}")
    return _Log(
        at=at,
        block=_integer(at, "blockNumber", log.block_number, _BLOCKS),
        log_index=_integer(at, "logIndex", log.log_index, _INDICES),
        tx_index=_integer(at, "transactionIndex", log.transaction_index, _INDICES),
        timestamp=_timestamp(at, log.block_timestamp),
        tx_hash=_bytes(at, "transactionHash", log.transaction_hash, 32),
        block_hash=_bytes(at, "blockHash", log.block_hash, 32),
        address=_bytes(at, "address", log.address, 20),
        topics=tuple([_bytes(at, "topics", topic, 32) for topic in log.topics]),
        data=_bytes(at, "data", log.data, None),
    )


def _check_asked(logs: Sequence[_Log], contract: Contract, from_block: int, to_block: int) -> None:
    addresses = frozenset(contract.addresses)
    for log in logs:
        if log.address not in addresses:
            raise _bad(log.at, f"address 0x{log.address.hex()} was not asked for", log)
        if not from_block <= log.block <= to_block:
            asked = f"blocks {from_block} to {to_block} were asked for"
            raise _bad(log.at, f"blockNumber is {log.block}, {asked}", log)


def _check_agreement(logs: Sequence[_Log]) -> list[int]:
    """The places of the logs in position order, exact repeats left out."""
    at_position: dict[tuple[int, int], _Log] = {}
    blocks: dict[int, _Log] = {}
    for log in logs:
        other = at_position.setdefault((log.block, log.log_index), log)
        if other is not log and other[1:] != log[1:]:
            raise _bad(log.at, f"logIndex is that of log {other.at}, which differs", log)
        first = blocks.setdefault(log.block, log)
        if first.block_hash != log.block_hash:
            raise _bad(log.at, f"blockHash is not that of log {first.at}", log)
        if first.timestamp != log.timestamp:
            raise _bad(log.at, f"blockTimestamp is not that of log {first.at}", log)
    return [at_position[position].at for position in sorted(at_position)]


class _Move(NamedTuple):
    kind: Kind
    sender: bytes
    recipient: bytes
    first: int
    quantity: int


class _ImpossibleError(Exception):
    """Why a log of ours cannot be an event."""


def _sift(
    logs: Sequence[_Log], layouts: Layouts
) -> tuple[Events, list[tuple[_Log, EventShape, str]]]:
    """The events among the logs, and the logs that should be but cannot, in position order."""
    rows: list[tuple[_Log, _Move]] = []
    refused: list[tuple[_Log, EventShape, str]] = []
    for log in sorted(logs, key=lambda log: log[1:3]):
        shape = layouts.get((log.address, log.topics[0])) if log.topics else None
        if shape is None or len(log.topics) == shape.foreign_topics:
            continue
        try:
            rows.append((log, _move(log, shape)))
        except _ImpossibleError as reason:
            refused.append((log, shape, str(reason)))
    return _events(rows), refused


def _move(log: _Log, shape: EventShape) -> _Move:
    if len(log.topics) != shape.topics:
        raise _ImpossibleError(f"the number of topics is {len(log.topics)}, not {shape.topics}")
    wanted = 32 * shape.data_words
    if len(log.data) < wanted or (shape.exact and len(log.data) > wanted):
        least = "" if shape.exact else "at least "
        raise _ImpossibleError(f"data has {len(log.data)} bytes instead of {least}{wanted}")
    sender = _wallet(log, shape.sender)
    recipient = _wallet(log, shape.recipient)
    first, quantity = _tokens(log, shape)
    return _Move(_kind(shape, sender, recipient), sender, recipient, first, quantity)


def _word(log: _Log, field: Field) -> int:
    count = len(log.topics)
    if field.word < count:
        word = log.topics[field.word]
    else:
        word = log.data[32 * (field.word - count) : 32 * (field.word - count) + 32]
    value = int.from_bytes(word, "big")
    if value >> field.bits:
        raise _ImpossibleError(f"0x{word.hex()} does not fit in {field.bits} bits")
    return value


def _wallet(log: _Log, field: Field | None) -> bytes:
    return ZERO_ADDRESS if field is None else _word(log, field).to_bytes(20, "big")


def _tokens(log: _Log, shape: EventShape) -> tuple[int, int]:
    first = _word(log, shape.first)
    if shape.last is not None:
        last = _word(log, shape.last)
        if last < first:
            raise _ImpossibleError(f"the last token {last} comes before the first, {first}")
        return first, last - first + 1
    quantity = 1 if shape.quantity is None else _word(log, shape.quantity)
    if quantity == 0:
        raise _ImpossibleError("quantity is 0")
    if first + quantity > MAX_TOKEN + 1:
        raise _ImpossibleError(f"{quantity} tokens from {first} on end past 2**256 - 1")
    return first, quantity


def _kind(shape: EventShape, sender: bytes, recipient: bytes) -> Kind:
    """A transfer from nowhere is a mint, one to nowhere a burn; nobody cannot do anything else."""
    if sender == recipient == ZERO_ADDRESS:
        raise _ImpossibleError("every address is zero")
    if shape.kind is not Kind.TRANSFER:
        return shape.kind
    if sender == ZERO_ADDRESS:
        return Kind.MINT
    return Kind.BURN if recipient == ZERO_ADDRESS else Kind.TRANSFER


def _rejected(log: _Log, shape: EventShape, reason: str, raw: bytes) -> Rejected:
    return Rejected(
        block=log.block,
        log_index=log.log_index,
        tx_index=log.tx_index,
        timestamp=log.timestamp,
        tx_hash=log.tx_hash,
        block_hash=log.block_hash,
        contract=log.address,
        stream=shape.stream,
        reason=f"{shape.name}: {reason}",
        raw=raw,
    )


def _table(rows: Sequence[bytes], width: int) -> U8:
    return np.frombuffer(bytearray().join(rows), np.uint8).reshape(len(rows), width)


def _events(rows: Sequence[tuple[_Log, _Move]]) -> Events:
    logs = [log for log, _ in rows]
    moves = [move for _, move in rows]
    # One end past NARROW widens both columns, whichever of the two made it so.
    ends = [move.first + move.quantity for move in moves]
    return Events(
        kind=np.array([move.kind for move in moves], np.uint8),
        block=np.array([log.block for log in logs], np.int64),
        tx_index=np.array([log.tx_index for log in logs], np.int64),
        log_index=np.array([log.log_index for log in logs], np.int64),
        timestamp=np.array([log.timestamp for log in logs], np.int64),
        sender=_table([move.sender for move in moves], 20),
        recipient=_table([move.recipient for move in moves], 20),
        first=ids_column([move.first for move in moves], ends=ends),
        quantity=ids_column([move.quantity for move in moves], ends=ends),
        contract=_table([log.address for log in logs], 20),
        block_hash=_table([log.block_hash for log in logs], 32),
        tx_hash=_table([log.tx_hash for log in logs], 32),
    )


def _positions(logs: Sequence[_Log]) -> Positions:
    return Positions(
        block=np.array([log.block for log in logs], np.int64),
        log_index=np.array([log.log_index for log in logs], np.int64),
        timestamp=np.array([log.timestamp for log in logs], np.int64),
        block_hash=_table([log.block_hash for log in logs], 32),
    )
