"""Recompute a block's receiptsRoot from its receipts, and read the logs that it proves (pure).

The root commits to every log's address, topics, data and place in the block, and to their number:
none can be left out, added, changed or moved. It does not commit to transaction hashes.
"""

from collections.abc import Mapping
from typing import Any, Final

from ngu_points.chain.bloom import SIZE
from ngu_points.chain.contract import MAX_TOPICS
from ngu_points.chain.encoding import Unprovable, data, minimal, quantity, rlp, rlp_list, trie_root

_LAST_TYPE: Final = 4  # EIP-2718 types: 1 EIP-2930, 2 EIP-1559, 3 EIP-4844, 4 EIP-7702
_DEPOSIT: Final = 0x7E  # of OP-stack chains such as Base


def receipts_root(receipts: Any) -> bytes | None:
    """The root over the receipts of a block, 32 bytes; None if it cannot be recomputed.

    `receipts` is the result of eth_getBlockReceipts, in the block's order. Known are the types 0
    to 4 and the deposits of OP-stack chains. `receipts_doubt` tells the reason for None.
    """
    try:
        return root_of(receipts)
    except Unprovable:
        return None


def receipts_doubt(receipts: Any) -> str | None:
    """Why the receipts have no recomputable root, in one line; None if they have."""
    try:
        root_of(receipts)
    except Unprovable as doubt:
        return str(doubt)
    return None


def root_of(receipts: Any) -> bytes:
    """The root over the receipts of a block. Raises Unprovable."""
    encoded = []
    for at, receipt in enumerate(_objects(receipts)):
        try:
            encoded.append(_encoded(receipt))
        except Unprovable as doubt:
            raise Unprovable(f"receipt {at}: {doubt}") from None
    return trie_root(encoded)


def logs_of(receipts: Any) -> list[dict[str, Any]]:
    """The logs of a block in the form of eth_getLogs, for receipts whose root is the header's.

    logIndex and transactionIndex are those that the root proves, whatever the node says; every
    other field of the place is the node's word. Raises Unprovable for what are no receipts.
    """
    logs: list[dict[str, Any]] = []
    for index, receipt in enumerate(_objects(receipts)):
        for log in _objects(receipt.get("logs"), "logs"):
            place = {"logIndex": hex(len(logs)), "transactionIndex": hex(index)}
            logs.append({**log, **place})
    return logs


def _encoded(receipt: Mapping[str, Any]) -> bytes:
    # Nodes of the time before typed transactions say nothing about a type.
    kind = quantity(receipt, "type") if receipt.get("type") is not None else 0
    if kind > _LAST_TYPE and kind != _DEPOSIT:
        raise Unprovable(f"transaction type {kind:#x} is not known")
    parts = [
        rlp(_outcome(receipt)),
        rlp(minimal(quantity(receipt, "cumulativeGasUsed"))),
        rlp(data(receipt, "logsBloom", SIZE)),
        rlp_list([_log(log) for log in _objects(receipt.get("logs"), "logs")]),
    ]
    if kind == _DEPOSIT:
        parts += _deposit(receipt)
    body = rlp_list(parts)
    return bytes([kind]) + body if kind else body


def _outcome(receipt: Mapping[str, Any]) -> bytes:
    """Success or failure (EIP-658); before Byzantium the state root after the transaction."""
    if receipt.get("status") is None:
        return data(receipt, "root", 32)
    status = quantity(receipt, "status")
    if status > 1:
        raise Unprovable(f"status is {status}, neither 0 nor 1")
    return minimal(status)


def _deposit(receipt: Mapping[str, Any]) -> list[bytes]:
    """What deposits add: nonce and version since Canyon, when receipts got a version.

    Between Regolith and Canyon nodes tell the nonce, but the root does not hold it.
    """
    if receipt.get("depositReceiptVersion") is None:
        return []
    names = ("depositNonce", "depositReceiptVersion")
    return [rlp(minimal(quantity(receipt, name))) for name in names]


def _log(log: Mapping[str, Any]) -> bytes:
    topics = log.get("topics")
    if not isinstance(topics, list) or len(topics) > MAX_TOPICS:
        raise Unprovable(f"the topics of a log are not a list of up to {MAX_TOPICS}")
    encoded = rlp_list([rlp(data({"topic": topic}, "topic", 32)) for topic in topics])
    return rlp_list((rlp(data(log, "address", 20)), encoded, rlp(data(log, "data"))))


def _objects(value: Any, name: str = "receipts") -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Unprovable(f"{name} are not a list of objects")
    return value
