"""Logs as the different nodes write them, right ones and wrong ones, for the decoding tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from ngu_points.chain.contract import Contract, EventText, custom, erc721, keccak256, ngu
from ngu_points.engine.events import Kind

TOKEN = bytes.fromhex("5fbdb2315678afecb367f032d93f642f64180aa3")
VAULT = bytes.fromhex("e7f1725e7734ce288f8367e1bb143e90bb3f0512")
FIRST_BLOCK, LAST_BLOCK = 1_000, 1_299

# The order of a log's keys, node by node.
ANVIL = (
    "address topics data blockHash blockNumber blockTimestamp transactionHash transactionIndex"
    " logIndex removed"
)
EDR = (
    "removed logIndex transactionIndex transactionHash blockHash blockNumber blockTimestamp"
    " address data topics"
)
GANACHE = (
    "address blockHash blockNumber data logIndex removed topics transactionHash transactionIndex"
)
GETH = (
    "address topics data blockNumber transactionHash transactionIndex blockHash blockTimestamp"
    " logIndex removed"
)
ORDERS = {"anvil": ANVIL, "edr": EDR, "ganache": GANACHE, "geth": GETH}

Log = dict[str, Any]
Row = tuple[int, int, int, str, str, int, int]
"""Block, log index, kind, from, to, first token, quantity."""


def topic(signature: str) -> str:
    """The first topic of an event."""
    return "0x" + keccak256(signature.encode()).hex()


MINT = topic("BatchMint(address,uint256,uint256)")
BURN = topic("BatchBurn(address,uint256,uint256)")
MOVE = topic("BatchTransfer(address,address,uint256,uint256)")
STAKE = topic("Stake(address,uint256)")
UNSTAKE = topic("Unstake(address,uint256)")
TRANSFER = topic("Transfer(address,address,uint256)")
CONSECUTIVE = topic("ConsecutiveTransfer(uint256,uint256,address,address)")
APPROVAL = topic("Approval(address,address,uint256)")
DEPOSITED = topic("Deposited(uint32,address,string)")

CUSTOM = custom(
    TOKEN,
    {
        "Transfer": EventText(
            "transfer",
            "Transfer(address indexed from, address indexed to, uint256 indexed id)",
            {"from": "from", "to": "to", "tokenId": "id"},
        ),
        "Deposited": EventText(
            "stake",
            "Deposited(uint32 id, address indexed user, string note)",
            {"account": "user", "tokenId": "id"},
        ),
    },
    staking=[VAULT],
)
CONTRACTS: dict[str, Contract] = {
    "ngu": ngu(TOKEN),
    "ngu with a vault": ngu(TOKEN, [VAULT]),
    "erc721": erc721(TOKEN),
    "custom": CUSTOM,
}


def word(value: int | str) -> str:
    """64 hex digits of an integer or an address."""
    return f"{int(value, 16) if isinstance(value, str) else value:064x}"


def wallet(number: int) -> str:
    """One of many addresses; number 0 is the zero address."""
    return f"0x{number * 0x9E3779B97F4A7C15F39CC0605CEDC8341082276B % 2**160:040x}"


def log(first_topic: str, indexed: Sequence[int | str], words: Sequence[int] = ()) -> Log:
    """A log of the token contract, at block 1,000, log index 0, until changed."""
    return {
        "address": "0x" + TOKEN.hex(),
        "topics": [first_topic, *("0x" + word(value) for value in indexed)],
        "data": "0x" + "".join(word(value) for value in words),
        **place(FIRST_BLOCK, 0),
        "removed": False,
    }


def place(block: int, log_index: int) -> Log:
    """The fields that say where a log is: three logs a transaction, one hash a block."""
    transaction = block * 1_000 + log_index // 3
    return {
        "blockNumber": hex(block),
        "blockHash": f"0x{block * 0xB10C:064x}",
        "blockTimestamp": hex(1_700_000_000 + 2 * block),
        "transactionHash": f"0x{keccak256(str(transaction).encode()).hex()}",
        "transactionIndex": hex(log_index // 3),
        "logIndex": hex(log_index),
    }


def page(logs: Sequence[Log], order: str = ANVIL) -> bytes:
    """A compact answer with the keys in one node's order; keys not in it come last."""
    return write(logs, Style(order))


@dataclass(frozen=True)
class Style:
    """How a node writes its answer."""

    order: str = ANVIL
    separators: tuple[str, str] = (",", ":")
    indent: int | None = None
    around: tuple[str, str] = ("", "")


def write(logs: Sequence[Log], style: Style) -> bytes:
    """The answer of a node of that style."""
    keys = style.order.split()
    dropped = set(ANVIL.split()) - set(keys)
    ordered = [
        {key: one[key] for key in keys if key in one}
        | {key: value for key, value in one.items() if key not in keys and key not in dropped}
        for one in logs
    ]
    text = json.dumps(ordered, separators=style.separators, indent=style.indent)
    return (style.around[0] + text + style.around[1]).encode()


STYLES = st.builds(
    Style,
    order=st.sampled_from(list(ORDERS.values())),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" , ", " :")]),
    indent=st.sampled_from([None, None, None, 0, 1]),
    around=st.sampled_from([("", ""), ("", "\n"), (" \t", "\r\n ")]),
)

NARROW = st.integers(0, 5_000)
IDS = (
    NARROW
    | st.integers(0, 2**256 - 1)
    | st.sampled_from(
        [
            2**32 - 1,
            2**32,
            2**62 - 2,
            2**62 - 1,
            2**62,
            2**63 - 1,
            2**63,
            2**64 - 1,
            2**64,
            2**256 - 1,
        ]
    )
)
QUANTITIES = st.integers(1, 400) | st.integers(0, 2) | IDS
WALLETS = st.integers(0, 6).map(wallet)


@dataclass(frozen=True)
class Answer:
    """A page of a contract's logs and what a reader must find in it."""

    contract: Contract
    logs: tuple[Log, ...]
    events: tuple[Row, ...]
    rejected: tuple[tuple[int, int], ...]


@st.composite
def answers(draw: st.DrawFn, most: int = 12) -> Answer:
    """Logs of one contract in position order, each with what it means."""
    name = draw(st.sampled_from(sorted(CONTRACTS)))
    block, log_index = FIRST_BLOCK, -1
    logs: list[Log] = []
    events: list[Row] = []
    rejected: list[tuple[int, int]] = []
    for _ in range(draw(st.integers(0, most))):
        if draw(st.booleans()):
            log_index += draw(st.sampled_from([1, 1, 1, 9, 250]))
        else:
            block, log_index = block + draw(st.integers(1, 20)), draw(st.sampled_from([0, 15]))
        one, meaning = draw(_MAKERS[name])
        logs.append(one | place(block, log_index))
        if isinstance(meaning, tuple):
            events.append((block, log_index, *meaning))
        elif meaning == "rejected":
            rejected.append((block, log_index))
    return Answer(CONTRACTS[name], tuple(logs), tuple(events), tuple(rejected))


Meaning = tuple[int, str, str, int, int] | str
ZERO = wallet(0)


def _moved(sender: str, recipient: str, first: int, quantity: int, kind: Kind) -> Meaning:
    """What a well-formed log must come to, said a second time and more simply."""
    if sender == recipient == ZERO or quantity < 1 or first + quantity > 2**256:
        return "rejected"
    if kind is Kind.TRANSFER and ZERO in (sender, recipient):
        kind = Kind.MINT if sender == ZERO else Kind.BURN
    return (int(kind), sender, recipient, first, quantity)


@st.composite
def _ngu_log(draw: st.DrawFn, vault: bool) -> tuple[Log, Meaning]:
    kind = draw(st.sampled_from(list(Kind)))
    a, b = draw(WALLETS), draw(WALLETS)
    first, quantity = draw(IDS), draw(QUANTITIES)
    if kind is Kind.TRANSFER:
        return log(MOVE, [a, b], [first, quantity]), _moved(a, b, first, quantity, kind)
    if kind is Kind.MINT:
        return log(MINT, [a], [first, quantity]), _moved(ZERO, a, first, quantity, kind)
    if kind is Kind.BURN:
        return log(BURN, [a], [first, quantity]), _moved(a, ZERO, first, quantity, kind)
    one = log(STAKE if kind is Kind.STAKE else UNSTAKE, [a], [first])
    meaning = _moved(a, ZERO, first, 1, kind)
    if vault and draw(st.booleans()):
        return one | {"address": "0x" + VAULT.hex()}, meaning
    return one, "ignored" if vault else meaning


@st.composite
def _nft_log(draw: st.DrawFn, ranges: bool) -> tuple[Log, Meaning]:
    a, b, first = draw(WALLETS), draw(WALLETS), draw(IDS)
    if ranges and draw(st.booleans()):
        last = draw(st.just(first) | IDS)
        one = log(CONSECUTIVE, [first, a, b], [last])
        return one, _moved(a, b, first, last - first + 1, Kind.TRANSFER)
    return log(TRANSFER, [a, b, first]), _moved(a, b, first, 1, Kind.TRANSFER)


@st.composite
def _deposit(draw: st.DrawFn) -> tuple[Log, Meaning]:
    user, token = draw(WALLETS), draw(IDS)
    one = log(DEPOSITED, [user], [token, 0x40, 2, 0x6869 << 240])
    one["address"] = "0x" + VAULT.hex()
    return one, "rejected" if token >= 2**32 else _moved(user, ZERO, token, 1, Kind.STAKE)


_DIRTY = "0x" + "00" * 11 + "01" + wallet(1)[2:]
_FOREIGN = st.sampled_from(
    [
        (log(APPROVAL, [wallet(1), wallet(2), 5]), "ignored"),
        (log(APPROVAL, [], [1, 2, 3]) | {"data": "0x0102"}, "ignored"),
        (log(APPROVAL, []) | {"topics": []}, "ignored"),
    ]
)


def _mixed(well_formed: st.SearchStrategy[tuple[Log, Meaning]], *impossible: Log) -> Any:
    broken = st.sampled_from([(one, "rejected") for one in impossible])
    return st.one_of(well_formed, well_formed, well_formed, broken, _FOREIGN)


_ERC20 = st.just((log(TRANSFER, [wallet(1), wallet(2)], [10**18]), "ignored"))
_BROKEN_NGU = (
    log(MINT, [wallet(1)], [7]),
    log(MINT, [wallet(1), wallet(2)], [7, 1]),
    log(MOVE, [_DIRTY, wallet(2)], [7, 1]),
    log(MOVE, [wallet(1), wallet(2)], [7, 1]) | {"data": "0x" + word(7) + "01"},
    log(BURN, [wallet(1)], [7, 1]) | {"data": "0x"},
)
_BROKEN_NFT = (
    log(TRANSFER, [], [1, 2, 3]),
    log(TRANSFER, [wallet(1), _DIRTY, 5]),
    log(TRANSFER, [wallet(1), wallet(2), 5], [5]),
)
_MAKERS = {
    "ngu": _mixed(_ngu_log(False), *_BROKEN_NGU),
    "ngu with a vault": _mixed(_ngu_log(True), *_BROKEN_NGU),
    "erc721": _mixed(_nft_log(True) | _ERC20, *_BROKEN_NFT),
    "custom": _mixed(_nft_log(False) | _deposit() | _ERC20, *_BROKEN_NFT),
}
