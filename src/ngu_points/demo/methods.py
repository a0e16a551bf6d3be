"""What the simulated node answers to each JSON-RPC method, as JSON text (pure).

Errors have the words and codes of common nodes: geth's for ranges, Infura's for too many results.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ngu_points.chain.multicall import read_request
from ngu_points.demo.blocks import Block, block_json, receipts_json
from ngu_points.demo.contract import artifact
from ngu_points.demo.filters import matching, read_filter
from ngu_points.demo.jsonrpc import (
    INVALID_PARAMS,
    LIMIT_EXCEEDED,
    NO_METHOD,
    SERVER_ERROR,
    RpcError,
    hex_bytes,
)
from ngu_points.demo.node import SimNode
from ngu_points.demo.views import view, views


def answer(node: SimNode, method: str, params: Sequence[Any]) -> bytes:
    """The result as JSON text. Raises RpcError."""
    known = _METHODS.get(method)
    if known is None:
        raise RpcError(NO_METHOD, f"the method {method} does not exist/is not available")
    least, most, respond = known
    if not least <= len(params) <= most:
        raise RpcError(INVALID_PARAMS, f"{method} takes {least} to {most} parameters")
    return respond(node, *params)


def _number(node: SimNode, given: Any) -> int:
    """The height that a block tag or number names; it may be above the head."""
    tags = {
        "latest": node.head.number,
        "pending": node.head.number,
        "safe": node.safe,
        "finalized": node.finalized,
        "earliest": 0,
    }
    if given is None or given in tags:
        return tags[given or "latest"]
    try:
        return int(given.removeprefix("0x"), 16)
    except (AttributeError, ValueError):
        raise RpcError(INVALID_PARAMS, f"invalid argument: {given!r} is no block") from None


def _existing(node: SimNode, given: Any) -> int:
    if isinstance(given, dict) and "blockHash" in given:
        block = node.by_hash.get(hex_bytes(given["blockHash"], 32))
    else:
        block = node.block(_number(node, given))
    if block is None:
        raise RpcError(SERVER_ERROR, "header not found")
    return block.number


def _chain_id(node: SimNode) -> bytes:
    return _json(hex(node.chain_id))


def _net_version(node: SimNode) -> bytes:
    return _json(str(node.chain_id))


def _client_version(_node: SimNode) -> bytes:
    return _json("ngu-points/simulated")


def _syncing(_node: SimNode) -> bytes:
    return b"false"


def _block_number(node: SimNode) -> bytes:
    return _json(hex(node.head.number))


def _block_by_number(node: SimNode, given: Any, full: bool = False) -> bytes:
    return _shown(node.block(_number(node, given)), full)


def _block_by_hash(node: SimNode, given: Any, full: bool = False) -> bytes:
    return _shown(node.by_hash.get(hex_bytes(given, 32)), full)


def _shown(block: Block | None, full: bool) -> bytes:
    if full:
        raise RpcError(INVALID_PARAMS, "a simulated node has only the hashes of transactions")
    return b"null" if block is None else block_json(block)


def _block_receipts(node: SimNode, given: Any) -> bytes:
    if isinstance(given, str) and len(given) == 66:
        block = node.by_hash.get(hex_bytes(given, 32))
    else:
        block = node.block(_number(node, given))
    return b"null" if block is None else receipts_json(block)


def _get_logs(node: SimNode, given: Any) -> bytes:
    wanted = read_filter(given)
    blocks = _asked_blocks(node, given)
    if node.max_span is not None and len(blocks) > node.max_span:
        raise RpcError(INVALID_PARAMS, f"exceed maximum block range: {node.max_span}")
    parts: list[bytes] = []
    count = 0
    # A block alone is always served: nobody could ask for less.
    cap = node.max_results if len(blocks) > 1 else None
    for place, block in enumerate(blocks):
        found = matching(block, wanted) if block.count else []
        count += block.count if found == [block.logs] else len(found)
        if cap is not None and count > cap:
            raise _too_many(cap, blocks[0].number, blocks[max(0, place - 1)].number)
        parts += found
    return b"[" + b",".join(parts) + b"]"


def _too_many(cap: int, first: int, last: int) -> RpcError:
    text = f"query returned more than {cap} results. Try with this block range"
    return RpcError(LIMIT_EXCEEDED, f"{text} [0x{first:X}, 0x{last:X}].")


def _asked_blocks(node: SimNode, given: dict[str, Any]) -> list[Block]:
    bounds = [given.get("fromBlock"), given.get("toBlock")]
    if given.get("blockHash") is not None:
        if bounds != [None, None]:
            text = "cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other"
            raise RpcError(INVALID_PARAMS, f"invalid argument 0: {text}")
        block = node.by_hash.get(hex_bytes(given["blockHash"], 32))
        if block is None:
            raise RpcError(SERVER_ERROR, "unknown block")
        return [block]
    # One look at the list: another thread may replace it meanwhile.
    blocks = node.blocks
    first, last = (_number(node, bound) for bound in bounds)
    if first > last:
        raise RpcError(INVALID_PARAMS, "invalid block range params")
    if last >= len(blocks):
        raise RpcError(INVALID_PARAMS, "block range extends beyond current head block")
    return blocks[first : last + 1]


def _get_code(node: SimNode, address: Any, given: Any = None) -> bytes:
    first = node.deployed.get(hex_bytes(address, 20))
    exists = first is not None and first <= _existing(node, given)
    return _json(artifact("ngu").runtime if exists else "0x")


def _call(node: SimNode, given: Any, block: Any = None) -> bytes:
    if not isinstance(given, dict):
        raise RpcError(INVALID_PARAMS, "invalid argument 0: a call is an object")
    number = _existing(node, block)
    try:
        data = bytes.fromhex((given.get("input") or given.get("data") or "0x")[2:])
    except (TypeError, ValueError):
        raise RpcError(INVALID_PARAMS, "invalid argument 0: the call data is not hex") from None
    if given.get("to") is None:
        return _created(node, data, number)
    exists = _answers(node, hex_bytes(given["to"], 20), number)
    return _json(view(node.holdings(number), data) if exists else "0x")


def _created(node: SimNode, code: bytes, number: int) -> bytes:
    """Of all creation code there is, this node runs one: the pipeline's multicall."""
    request = read_request(code)
    if request is None:
        text = "a call needs an object with `to`, or the creation code of the multicall"
        raise RpcError(INVALID_PARAMS, f"invalid argument 0: {text}")
    exists = _answers(node, request.target, number)
    return _json(views(node.holdings(number) if exists else None, request))


def _answers(node: SimNode, address: bytes, number: int) -> bool:
    return address == node.contract and number >= node.deployed[node.contract]


def _json(value: str) -> bytes:
    return msgspec.json.encode(value)


_METHODS: Final[dict[str, tuple[int, int, Callable[..., bytes]]]] = {
    "eth_chainId": (0, 0, _chain_id),
    "net_version": (0, 0, _net_version),
    "web3_clientVersion": (0, 0, _client_version),
    "eth_syncing": (0, 0, _syncing),
    "eth_blockNumber": (0, 0, _block_number),
    "eth_getBlockByNumber": (1, 2, _block_by_number),
    "eth_getBlockByHash": (1, 2, _block_by_hash),
    "eth_getLogs": (1, 1, _get_logs),
    "eth_getBlockReceipts": (1, 1, _block_receipts),
    "eth_getCode": (1, 2, _get_code),
    "eth_call": (1, 2, _call),
}
