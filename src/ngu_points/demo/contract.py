"""The NGU contract of `contracts/NGU.sol` by hand: its code, calls, events and answers (pure).

Words of the Solidity ABI are 32 bytes, big-endian. Addresses are 20 bytes everywhere here.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

import msgspec

from ngu_points.chain.contract import keccak256
from ngu_points.demo.blocks import Log
from ngu_points.engine.events import TYPES, ZERO_ADDRESS, Kind
from ngu_points.errors import BadInput

ROW_BYTES = 53
"""The length of a row of `Emitter.play`."""

_PARAMETERS: Final = {
    Kind.MINT: "address,uint256,uint256",
    Kind.BURN: "address,uint256,uint256",
    Kind.TRANSFER: "address,address,uint256,uint256",
    Kind.STAKE: "address,uint256",
    Kind.UNSTAKE: "address,uint256",
}
TOPICS: Final = {
    kind: keccak256(f"{TYPES[kind]}({parameters})".encode())
    for kind, parameters in _PARAMETERS.items()
}
_KINDS: Final = {topic: kind for kind, topic in TOPICS.items()}


@dataclass(frozen=True, slots=True)
class Event:
    """An event as `engine.events` has it.

    `sender` is zero on a mint, `recipient` on a burn, a stake and an unstake; `quantity` is 1 on
    the latter two.
    """

    kind: Kind
    sender: bytes
    recipient: bytes
    first: int
    quantity: int = 1


class Artifact(msgspec.Struct, frozen=True):
    """A compiled contract: the code that deploys it and the code that then runs."""

    compiler: str
    bytecode: str
    runtime: str


@functools.cache
def artifact(name: str) -> Artifact:
    """The compiled contract `ngu` or `emitter`."""
    file = resources.files("ngu_points.demo").joinpath(f"{name}.json")
    return msgspec.json.decode(file.read_bytes(), type=Artifact)


def call(signature: str, *words: int | bytes, tail: Sequence[int | bytes] = ()) -> str:
    """Call data as 0x-hex: the selector of a Solidity signature, then one word an argument.

    `tail` is the part of an array argument that follows the others: its length and its items.
    """
    selector = keccak256(signature.encode())[:4]
    return "0x" + (selector + b"".join(_word(value) for value in (*words, *tail))).hex()


def batch_mint(to: bytes, quantity: int) -> str:
    """Mint the next `quantity` ids to `to`."""
    return call("batchMint(address,uint256)", to, quantity)


def batch_burn(start: int, quantity: int) -> str:
    """Burn tokens of the caller."""
    return call("batchBurn(uint256,uint256)", start, quantity)


def batch_transfer(to: bytes, start: int, quantity: int) -> str:
    """Transfer tokens of the caller that are not staked."""
    return call("batchTransfer(address,uint256,uint256)", to, start, quantity)


def stake(tokens: Sequence[int]) -> str:
    """Stake tokens of the caller, one event each."""
    return _per_token("stake", tokens)


def unstake(tokens: Sequence[int]) -> str:
    """End the staking of tokens of the caller, one event each."""
    return _per_token("unstake", tokens)


def owner_of(token: int) -> str:
    """Ask for the owner: one address; the call fails for a token that does not exist."""
    return call("ownerOf(uint256)", token)


def staker_of(token: int) -> str:
    """Ask for the staker: one address, zero where the token is not staked."""
    return call("stakerOf(uint256)", token)


def total_supply() -> str:
    """Ask for the number of living tokens: one integer."""
    return call("totalSupply()")


def next_token_id() -> str:
    """Ask for the id that the next mint starts at: one integer."""
    return call("nextTokenId()")


def holdings(start: int, quantity: int) -> str:
    """Ask for the owners and stakers of a range: two address arrays."""
    return call("holdings(uint256,uint256)", start, quantity)


def play(events: Sequence[Event]) -> str:
    """Make an Emitter emit these events in one transaction."""
    rows = b"".join(_row(event) for event in events)
    padding = bytes(-len(rows) % 32)
    return call("play(bytes)", 32, len(rows)) + (rows + padding).hex()


def read_integer(answer: str) -> int:
    """The integer that a view returned. Raises BadInput."""
    (word,) = _words(answer, 1)
    return int.from_bytes(word, "big")


def read_address(answer: str) -> bytes:
    """The address that a view returned. Raises BadInput."""
    (word,) = _words(answer, 1)
    return word[12:]


def read_holdings(answer: str) -> tuple[list[bytes], list[bytes]]:
    """Owners and stakers as `holdings` returned them; zero for none. Raises BadInput."""
    words = _words(answer)
    arrays: list[list[bytes]] = []
    for offset in words[:2]:
        start = int.from_bytes(offset, "big") // 32
        length = int.from_bytes(words[start], "big") if start < len(words) else len(words)
        items = words[start + 1 : start + 1 + length]
        if len(items) != length:
            raise BadInput("the contract's answer to holdings() ends too early: is it an NGU?")
        arrays.append([item[12:] for item in items])
    if len(arrays) != 2:
        raise BadInput("the contract's answer to holdings() is empty: is it an NGU?")
    return arrays[0], arrays[1]


def encode_holdings(owners: Sequence[bytes], stakers: Sequence[bytes]) -> str:
    """What the contract answers to `holdings`."""
    words: list[int | bytes] = [
        64,
        96 + 32 * len(owners),
        len(owners),
        *owners,
        len(stakers),
        *stakers,
    ]
    return encode_words(*words)


def encode_words(*words: int | bytes) -> str:
    """Integers and addresses as the ABI returns them."""
    return "0x" + b"".join(map(_word, words)).hex()


def log_of(event: Event, address: bytes) -> Log:
    """The log with which the contract at `address` tells of an event."""
    topic = TOPICS[event.kind]
    first, quantity = _word(event.first), _word(event.quantity)
    if event.kind is Kind.MINT:
        return Log(address, (topic, _word(event.recipient)), first + quantity)
    if event.kind is Kind.BURN:
        return Log(address, (topic, _word(event.sender)), first + quantity)
    if event.kind is Kind.TRANSFER:
        wallets = _word(event.sender), _word(event.recipient)
        return Log(address, (topic, *wallets), first + quantity)
    return Log(address, (topic, _word(event.sender)), first)


def event_of(log: Log) -> Event | None:
    """The event that a log of an NGU contract tells of; None for any other log."""
    kind = _KINDS.get(log.topics[0]) if log.topics else None
    if kind is None:
        return None
    wallets = [topic[12:] for topic in log.topics[1:]]
    numbers = [int.from_bytes(log.data[at : at + 32], "big") for at in range(0, len(log.data), 32)]
    expected = (2 if kind is Kind.TRANSFER else 1, 1 if kind >= Kind.STAKE else 2)
    if (len(wallets), len(numbers)) != expected:
        return None
    if kind is Kind.MINT:
        return Event(kind, ZERO_ADDRESS, wallets[0], *numbers)
    recipient = wallets[1] if kind is Kind.TRANSFER else ZERO_ADDRESS
    return Event(kind, wallets[0], recipient, *numbers)


def _per_token(name: str, tokens: Sequence[int]) -> str:
    if len(tokens) == 1:
        return call(f"{name}(uint256)", tokens[0])
    return call(f"{name}(uint256[])", 32, tail=(len(tokens), *tokens))


def _row(event: Event) -> bytes:
    account = event.recipient if event.kind is Kind.MINT else event.sender
    numbers = event.first.to_bytes(8, "big") + event.quantity.to_bytes(4, "big")
    return bytes([event.kind]) + account + event.recipient + numbers


def _word(value: int | bytes) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0")


def _words(answer: str, count: int | None = None) -> list[bytes]:
    data = bytes.fromhex(answer.removeprefix("0x"))
    words = [data[at : at + 32] for at in range(0, len(data), 32)]
    if len(data) % 32 or (count is not None and len(words) != count):
        raise BadInput(f"the contract answered {len(data)} bytes to a view: is it an NGU?")
    return words
