"""Block headers of the simulated chain: their hash and their JSON form (pure).

The hash is the Keccak of the RLP header, as on a real chain, and the receipts root is that of the
receipts. There are no transactions or states behind the other roots: they are digests only.
"""

from dataclasses import dataclass
from typing import Final

from ngu_points.chain.contract import keccak256
from ngu_points.chain.encoding import EMPTY_TRIE, minimal, rlp, rlp_list

_NO_UNCLES: Final = keccak256(b"\xc0")
_NO_REQUESTS: Final = bytes.fromhex(
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)
_GAS_LIMIT: Final = 1_000_000_000
_ZERO_HASH: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Header:
    """What varies from block to block. Hashes and roots are 32 bytes, `bloom` has 2048 bits.

    `branch` stands in `extraData`; it tells apart blocks of equal content on different branches.
    """

    number: int
    parent_hash: bytes
    timestamp: int
    bloom: int
    state_root: bytes
    content: bytes  # digest of the block's logs, in place of the transactions root
    receipts_root: bytes
    gas_used: int
    branch: int


def header_hash(header: Header) -> bytes:
    """The block hash: fields in the order of the Ethereum specification, up to EIP-7685."""
    items = (
        header.parent_hash,
        _NO_UNCLES,
        bytes(20),
        header.state_root,
        header.content,
        header.receipts_root,
        header.bloom.to_bytes(256, "big"),
        b"",
        minimal(header.number),
        minimal(_GAS_LIMIT),
        minimal(header.gas_used),
        minimal(header.timestamp),
        minimal(header.branch),
        _ZERO_HASH,
        bytes(8),
        b"",
        EMPTY_TRIE,
        b"",
        b"",
        _ZERO_HASH,
        _NO_REQUESTS,
    )
    return keccak256(rlp_list(map(rlp, items)))


def header_fields(header: Header, block_hash: bytes) -> dict[str, str]:
    """The fields that nodes show, in anvil's order."""
    return {
        "hash": text(block_hash),
        "parentHash": text(header.parent_hash),
        "sha3Uncles": text(_NO_UNCLES),
        "miner": text(bytes(20)),
        "stateRoot": text(header.state_root),
        "transactionsRoot": text(header.content),
        "receiptsRoot": text(header.receipts_root),
        "logsBloom": f"0x{header.bloom:0512x}",
        "difficulty": "0x0",
        "number": hex(header.number),
        "gasLimit": hex(_GAS_LIMIT),
        "gasUsed": hex(header.gas_used),
        "timestamp": hex(header.timestamp),
        "extraData": text(minimal(header.branch)),
        "mixHash": text(_ZERO_HASH),
        "nonce": text(bytes(8)),
        "baseFeePerGas": "0x0",
        "withdrawalsRoot": text(EMPTY_TRIE),
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": text(_ZERO_HASH),
        "requestsHash": text(_NO_REQUESTS),
    }


def text(value: bytes) -> str:
    """Bytes as JSON-RPC writes them."""
    return "0x" + value.hex()
