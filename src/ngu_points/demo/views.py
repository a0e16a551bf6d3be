"""The views of the NGU contract, answered from what the simulated chain's events say (pure)."""

from collections.abc import Callable, Iterable
from typing import Final

from ngu_points.chain.multicall import ANSWERED, Request
from ngu_points.chain.multicall import REVERTED as SILENT
from ngu_points.demo.contract import call, encode_holdings, encode_words
from ngu_points.demo.holdings import Holdings
from ngu_points.demo.jsonrpc import REVERTED, SERVER_ERROR, RpcError
from ngu_points.engine.events import ZERO_ADDRESS

_MAX_VIEW = 100_000


def view(held: Holdings, data: bytes) -> str:
    """What the contract returns to a call, as 0x-hex. Raises RpcError where it would revert."""
    respond = _VIEWS.get(data[:4])
    if respond is None:
        raise RpcError(REVERTED, "execution reverted", "0x")
    count, compute = respond
    words = [int.from_bytes(data[at : at + 32], "big") for at in range(4, len(data), 32)]
    if len(data) != 4 + 32 * count:
        raise RpcError(REVERTED, "execution reverted", "0x")
    return compute(held, *words)


def views(held: Holdings | None, request: Request) -> str:
    """What `contracts/Multicall.sol` returns, as 0x-hex; `held` is None where nobody answers."""
    parts = ["0x"]
    for token in request.ids:
        for selector in request.selectors:
            try:
                answer = "0x" if held is None else view(held, selector + token.to_bytes(32, "big"))
            except RpcError:
                answer = "0x"
            ended = ANSWERED if len(answer) >= 66 else SILENT
            parts.append(f"{ended:02x}" + answer[2:66].rjust(64, "0"))
    return "".join(parts)


def _owner_of(held: Holdings, token: int) -> str:
    owner = held.owner(token)
    if owner == ZERO_ADDRESS:
        reason = call("NoSuchToken(uint256)", token)
        raise RpcError(REVERTED, f"execution reverted: custom error {reason[:10]}", reason)
    return encode_words(owner)


def _staker_of(held: Holdings, token: int) -> str:
    return encode_words(held.staker(token))


def _total_supply(held: Holdings) -> str:
    return encode_words(len(held.owners))


def _next_token_id(held: Holdings) -> str:
    return encode_words(held.next_id)


def _holdings(held: Holdings, start: int, quantity: int) -> str:
    if quantity > _MAX_VIEW:
        raise RpcError(SERVER_ERROR, "out of gas")
    tokens = range(start, start + quantity)
    return encode_holdings(
        [held.owner(id_) for id_ in tokens], [held.staker(id_) for id_ in tokens]
    )


def _selected(
    views: Iterable[tuple[str, Callable[..., str]]],
) -> dict[bytes, tuple[int, Callable[..., str]]]:
    return {
        bytes.fromhex(call(signature)[2:]): (signature.count("uint256"), compute)
        for signature, compute in views
    }


_VIEWS: Final = _selected(
    (
        ("ownerOf(uint256)", _owner_of),
        ("stakerOf(uint256)", _staker_of),
        ("totalSupply()", _total_supply),
        ("nextTokenId()", _next_token_id),
        ("holdings(uint256,uint256)", _holdings),
    )
)
