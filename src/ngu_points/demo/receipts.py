"""Receipts of the simulated chain, with a root that holds them all, as on a real chain (pure)."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from ngu_points.chain.encoding import minimal, rlp, rlp_list, trie_root

TYPE: Final = 2  # EIP-1559
_SUCCESS: Final = rlp(b"\x01")


def root(
    transactions: Sequence[Sequence[tuple[bytes, tuple[bytes, ...], bytes]]],
    blooms: Sequence[int],
    gas_per_log: int,
) -> bytes:
    """The receipts root over transactions, each the (address, topics, data) of its logs."""
    spent = accumulate(len(logs) * gas_per_log for logs in transactions)
    return trie_root(
        [
            bytes([TYPE])
            + rlp_list(
                (
                    _SUCCESS,
                    rlp(minimal(gas)),
                    rlp(bloom.to_bytes(256, "big")),
                    rlp_list(_log(*log) for log in logs),
                )
            )
            for logs, bloom, gas in zip(transactions, blooms, spent, strict=True)
        ]
    )


def _log(address: bytes, topics: tuple[bytes, ...], data: bytes) -> bytes:
    return rlp_list((rlp(address), rlp_list(map(rlp, topics)), rlp(data)))


def shown(
    place: Mapping[str, str],
    transactions: Sequence[tuple[str, int, list[dict[str, Any]]]],
    gas_per_log: int,
) -> list[dict[str, Any]]:
    """What eth_getBlockReceipts shows of transactions: hash, bloom and logs as eth_getLogs shows.

    `place` has the block's hash and number.
    """
    receipts, spent = [], 0
    for index, (tx_hash, bloom, logs) in enumerate(transactions):
        gas = len(logs) * gas_per_log
        spent += gas
        receipts.append(
            {
                **place,
                "type": hex(TYPE),
                "status": "0x1",
                "cumulativeGasUsed": hex(spent),
                "gasUsed": hex(gas),
                "effectiveGasPrice": "0x0",
                "logsBloom": f"0x{bloom:0512x}",
                "logs": logs,
                "transactionHash": tx_hash,
                "transactionIndex": hex(index),
                "contractAddress": None,
            }
        )
    return receipts
