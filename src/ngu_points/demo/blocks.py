"""Blocks of the simulated chain: real hashes and blooms, logs rendered once (pure).

Equal content gives equal hashes, on every machine. Transactions exist as hashes only.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from ngu_points.chain.contract import keccak256
from ngu_points.chain.encoding import EMPTY_TRIE
from ngu_points.demo import receipts
from ngu_points.demo.headers import Header, header_fields, header_hash, text

_GAS_PER_LOG = 2_000


class Log(NamedTuple):
    """What a contract emits: an address of 20 bytes, topics of 32, any data."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


class Key(NamedTuple):
    """What most filters ask for; the topic is None in a log without topics."""

    address: bytes
    topic0: bytes | None


@dataclass(frozen=True, slots=True)
class Block:
    """A block and its logs: the JSON text of each, joined by commas, as eth_getLogs shows them."""

    header: Header
    hash: bytes
    tx_hashes: tuple[str, ...]
    count: int  # of logs
    keys: frozenset[Key]  # of the logs
    logs: bytes

    @property
    def number(self) -> int:
        """The height."""
        return self.header.number

    @property
    def timestamp(self) -> int:
        """The block time in seconds."""
        return self.header.timestamp


def genesis(timestamp: int) -> Block:
    """Block 0, without logs."""
    return _block(0, bytes(32), bytes(32), (), timestamp, 0)


def child(
    parent: Block, transactions: Sequence[Sequence[Log]], timestamp: int, branch: int = 0
) -> Block:
    """The next block, each transaction being the logs that it emits.

    A transaction's hash depends on its height, place and logs, and on nothing else: mined again
    at its old place on another branch, it keeps its hash.
    """
    state = parent.header.state_root
    return _block(parent.number + 1, parent.hash, state, transactions, timestamp, branch)


def header_json(block: Block) -> bytes:
    """The header as newHeads announces it."""
    return msgspec.json.encode(_shown(block))


def block_json(block: Block) -> bytes:
    """The block as eth_getBlockByNumber shows it, with the hashes of its transactions."""
    lists = {"uncles": [], "transactions": block.tx_hashes, "withdrawals": []}
    return msgspec.json.encode(_shown(block) | lists)


def receipts_json(block: Block) -> bytes:
    """All receipts of the block, as eth_getBlockReceipts shows them."""
    logs: list[list[dict[str, Any]]] = [[] for _ in block.tx_hashes]
    for log in msgspec.json.decode(b"[" + block.logs + b"]"):
        logs[int(log["transactionIndex"], 16)].append(log)
    blooms = [_bloom([_log(msgspec.convert(log, _ShownLog)) for log in part]) for part in logs]
    place = {"blockHash": text(block.hash), "blockNumber": hex(block.number)}
    transactions = list(zip(block.tx_hashes, blooms, logs, strict=True))
    return msgspec.json.encode(receipts.shown(place, transactions, _GAS_PER_LOG))


def logs_of(block: Block) -> list[Log]:
    """The logs, read back from their text."""
    return [_log(shown) for shown in _decode_logs(b"[" + block.logs + b"]")]


def logs_where(block: Block, wanted: Callable[[Log], bool]) -> list[bytes]:
    """The text of each log that is wanted."""
    return [
        bytes(raw)
        for raw in _decode_raws(b"[" + block.logs + b"]")
        if wanted(_log(_decode_log(raw)))
    ]


class _ShownLog(msgspec.Struct):
    address: str
    topics: list[str]
    data: str


_decode_logs = msgspec.json.Decoder(list[_ShownLog]).decode
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_log = msgspec.json.Decoder(_ShownLog).decode


def _log(shown: _ShownLog) -> Log:
    topics = tuple(bytes.fromhex(topic[2:]) for topic in shown.topics)
    return Log(bytes.fromhex(shown.address[2:]), topics, bytes.fromhex(shown.data[2:]))


def _shown(block: Block) -> dict[str, object]:
    own = {"totalDifficulty": "0x0", "size": hex(600 + len(block.logs) // 3)}
    return {**header_fields(block.header, block.hash), **own}


def _block(
    number: int,
    parent_hash: bytes,
    parent_state: bytes,
    transactions: Sequence[Sequence[Log]],
    timestamp: int,
    branch: int,
) -> Block:
    contents = [_content(logs) for logs in transactions]
    content = keccak256(b"".join(contents)) if contents else EMPTY_TRIE
    logs = [log for transaction in transactions for log in transaction]
    blooms = [_bloom(transaction) for transaction in transactions]
    header = Header(
        number=number,
        parent_hash=parent_hash,
        timestamp=timestamp,
        bloom=functools.reduce(operator.or_, blooms, 0),
        state_root=keccak256(parent_state + content),
        content=content,
        receipts_root=receipts.root(transactions, blooms, _GAS_PER_LOG),
        gas_used=len(logs) * _GAS_PER_LOG,
        branch=branch,
    )
    block_hash = header_hash(header)
    hashes = _tx_hashes(number, contents)
    return Block(
        header=header,
        hash=block_hash,
        tx_hashes=hashes,
        count=len(logs),
        keys=frozenset(Key(log.address, log.topics[0] if log.topics else None) for log in logs),
        logs=_render(header, block_hash, transactions, hashes),
    )


def _content(logs: Sequence[Log]) -> bytes:
    parts: list[bytes] = []
    for log in logs:
        parts += (log.address, *log.topics, len(log.data).to_bytes(4, "big"), log.data)
    return b"".join(parts)


def _tx_hashes(number: int, contents: Sequence[bytes]) -> tuple[str, ...]:
    height = number.to_bytes(8, "big")
    return tuple(
        text(keccak256(height + index.to_bytes(4, "big") + content))
        for index, content in enumerate(contents)
    )


def _render(
    header: Header,
    block_hash: bytes,
    transactions: Sequence[Sequence[Log]],
    hashes: Sequence[str],
) -> bytes:
    where = (
        f'"blockHash":"{text(block_hash)}","blockNumber":"{header.number:#x}",'
        f'"blockTimestamp":"{header.timestamp:#x}"'
    )
    texts: list[str] = []
    for index, logs in enumerate(transactions):
        which = f'{where},"transactionHash":"{hashes[index]}","transactionIndex":"{index:#x}"'
        for log in logs:
            topics = ",".join([f'"0x{topic.hex()}"' for topic in log.topics])
            texts.append(
                f'{{"address":"0x{log.address.hex()}","topics":[{topics}],'
                f'"data":"0x{log.data.hex()}",{which},"logIndex":"{len(texts):#x}",'
                '"removed":false}'
            )
    return ",".join(texts).encode()


def _bloom(logs: Sequence[Log]) -> int:
    bloom = 0
    for value in {value for log in logs for value in (log.address, *log.topics)}:
        bloom |= _bloom_bits(value)
    return bloom


@functools.lru_cache(maxsize=1 << 16)
def _bloom_bits(value: bytes) -> int:
    """Three of 2048 bits: the low 11 bits of the first three 16-bit words of the digest."""
    digest = keccak256(value)
    bits = 0
    for at in (0, 2, 4):
        bits |= 1 << (int.from_bytes(digest[at : at + 2], "big") & 2047)
    return bits
