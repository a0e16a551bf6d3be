"""Ask a contract's views for many tokens at once, at one block, with no contract of ours deployed.

An eth_call without a recipient runs creation code (`contracts/Multicall.sol`); what that would
leave as code is the answer. The calls that a node refuses are halved, down to a single view.
"""

import functools
from dataclasses import dataclass, replace
from importlib import resources

import msgspec

from ngu_points.chain.contract import selector
from ngu_points.chain.rpc import Rpc
from ngu_points.errors import BadInput, TransientError

PAIRS = 700
"""Answers of one call at most: 23,100 of the 24,576 bytes that code may have (EIP-170)."""

REVERTED, ANSWERED, HUNGRY = range(3)
"""How one view ended; a hungry one used up its share of the gas."""

OWNER_OF = "ownerOf(uint256)"
TOTAL_SUPPLY = "totalSupply()"

_PAIR = 33

Row = tuple[bytes | None, ...]
"""What each view returned for one id: the first word (32 bytes), None where it reverted."""


class _Artifact(msgspec.Struct):
    bytecode: str


@dataclass(frozen=True, slots=True)
class Request:
    """One multicall: `target.selector(id)` for each id, for each selector."""

    target: bytes
    selectors: tuple[bytes, ...]
    ids: tuple[int, ...]

    @property
    def pairs(self) -> int:
        """How many answers there will be."""
        return len(self.selectors) * len(self.ids)


@functools.cache
def code() -> bytes:
    """The creation code, which its encoded arguments follow."""
    file = resources.files("ngu_points.chain").joinpath("multicall.json")
    return bytes.fromhex(msgspec.json.decode(file.read_bytes(), type=_Artifact).bytecode[2:])


def encoded(request: Request) -> bytes:
    """The data of an eth_call without a recipient (ABI: address, bytes4[], uint256[])."""
    after = 96 + 32 + 32 * len(request.selectors)
    words = [
        request.target.rjust(32, b"\0"),
        _word(96),
        _word(after),
        _word(len(request.selectors)),
    ]
    words += [selector.ljust(32, b"\0") for selector in request.selectors]
    words += [_word(len(request.ids)), *map(_word, request.ids)]
    return code() + b"".join(words)


def read_request(data: bytes) -> Request | None:
    """What `encoded` made into data; None for any other data."""
    start = len(code())
    words = [data[at : at + 32] for at in range(start, len(data), 32)]
    if not data.startswith(code()) or len(words) < 5:
        return None
    count = int.from_bytes(words[3], "big")
    selectors = tuple(word[:4] for word in words[4 : 4 + count])
    ids = tuple(int.from_bytes(word, "big") for word in words[5 + count :])
    request = Request(words[0][12:], selectors, ids)
    return request if encoded(request) == data else None


def read_answers(raw: bytes, request: Request) -> list[list[tuple[int, bytes]]]:
    """For each id, for each selector: how the view ended, and its first word. BadInput."""
    if len(raw) != _PAIR * request.pairs:
        raise BadInput(
            f"a node answered {len(raw)} bytes to a call of creation code, not "
            f"{_PAIR * request.pairs}: use another --rpc"
        )
    pairs = [(raw[at], raw[at + 1 : at + _PAIR]) for at in range(0, len(raw), _PAIR)]
    width = len(request.selectors)
    return [pairs[at : at + width] for at in range(0, len(pairs), width)]


def address_in(word: bytes | None) -> bytes | None:
    """The address that a view returned, None for none or zero; BadInput where it is no address."""
    if word is None or not any(word):
        return None
    if any(word[:12]):
        raise BadInput(
            f"a view answered 0x{word.hex()}, which is no address: check contract.address and "
            "staking.view"
        )
    return word[12:]


class Multicall:
    """The views of contracts at one block. Made by `at_block` and `at_number`."""

    def __init__(self, rpc: Rpc, number: int, block_hash: bytes | None, by_number: bool) -> None:
        self.rpc = rpc
        self.number = number
        self._hash = block_hash
        self._by_number = by_number
        self._pairs = PAIRS

    def room(self, views: int) -> int:
        """How many ids to ask for at once, with so many views each."""
        return max(1, self._pairs // views)

    async def ask(self, request: Request) -> list[Row]:
        """The rows of the request's ids, in their order.

        Raises BadInput when the node refuses even a single view, and TransientError when it fails
        or has another block at this height now.
        """
        if request.pairs > max(self._pairs, len(request.selectors)):
            return await self._halves(request)
        try:
            raw = await self.call(None, encoded(request))
            found = read_answers(raw, request)
        except BadInput:
            if request.pairs < 2:
                raise
            self._pairs = max(1, min(self._pairs, request.pairs // 2))
            return await self._halves(request)
        rows = [tuple(word if status == ANSWERED else None for status, word in row)
                for row in found]  # fmt: skip
        hungry = [at for at, row in enumerate(found) if any(s == HUNGRY for s, _ in row)]
        # Alone it had all the gas of a call: it fails by spending everything, as old code does.
        if hungry and request.pairs > 1:
            again = replace(request, ids=tuple(request.ids[at] for at in hungry))
            fed = await (self.ask if len(hungry) < len(rows) else self._halves)(again)
            for at, row in zip(hungry, fed, strict=True):
                rows[at] = row
        return rows

    async def _halves(self, request: Request) -> list[Row]:
        if len(request.ids) > 1:
            half = len(request.ids) // 2
            one = await self.ask(replace(request, ids=request.ids[:half]))
            return one + await self.ask(replace(request, ids=request.ids[half:]))
        rows: list[Row] = [()]
        for view in request.selectors:
            (found,) = await self.ask(replace(request, selectors=(view,)))
            rows[0] += found
        return rows

    async def call(self, to: bytes | None, data: bytes) -> bytes:
        """One call at this very block; BadInput when it reverts."""
        if not self._by_number and self._hash is not None:
            return await self.rpc.call(to, data, self._hash)
        raw = await self.rpc.call(to, data, self.number)
        if self._hash is not None:
            await check_block(self.rpc, self.number, self._hash)
        return raw


async def check_block(rpc: Rpc, number: int, block_hash: bytes) -> None:
    """TransientError where the chain does not have this block now."""
    header = await rpc.header(number)
    if header is None:
        raise TransientError(f"{rpc.host}: the node has no block {number} (yet): it lags, or the "
                             "chain went back; try again later")  # fmt: skip
    if header.hash != block_hash:
        raise TransientError(f"{rpc.host}: block {number} is another one now: the chain has "
                             "forked; sync, then try again")  # fmt: skip


async def at_block(rpc: Rpc, number: int, block_hash: bytes, target: bytes) -> Multicall:
    """The views at the block with this hash, tried on one view of `target`.

    Asks by hash (EIP-1898), or by number with the hash checked after each answer where the nodes
    do not know that. Raises TransientError where the chain has another block there now, and
    BadInput where no node has the state of that block.
    """
    await check_block(rpc, number, block_hash)
    trial = Request(target, (selector(OWNER_OF),), (0,))
    try:
        calls = Multicall(rpc, number, block_hash, by_number=False)
        await calls.ask(trial)
    except BadInput:
        calls = Multicall(rpc, number, block_hash, by_number=True)
        try:
            await calls.ask(trial)
        except BadInput as error:
            raise BadInput(
                f"{error} (the contract cannot be asked at block {number}: sync first if that is "
                "long ago, or use an archive node)"
            ) from error
    return calls


def at_number(rpc: Rpc, number: int) -> Multicall:
    """The views at whichever block the chain has at a height."""
    return Multicall(rpc, number, None, by_number=True)


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")
