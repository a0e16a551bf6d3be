"""Histories for the load measurement: one kind of traffic each, as events ready to be announced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ngu_points.engine.coverage import Covered
from ngu_points.engine.events import I64, U8, Events, Kind

FIRST_BLOCK = 20_000_000
LOGS_PER_BLOCK = 20
SECONDS_PER_BLOCK = 12
GENESIS = 1_767_225_600  # 2026-01-01T00:00:00Z, the time of FIRST_BLOCK
CONTRACT = bytes.fromhex("6e6775" * 6 + "0003")
SEED = 20_261_130
EVENTS_PER_WALLET = 10
PARCEL = 400
COLLECTION = 10_000

Columns = tuple[U8, I64, I64, I64, I64]
"""Kind, sender, recipient, first id, quantity; wallets by number, -1 for nobody."""


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """n events in position order, `LOGS_PER_BLOCK` of them a block."""

    name: str
    events: Events

    def __len__(self) -> int:
        return len(self.events)

    def ranges(self, blocks: int) -> Iterator[Covered]:
        """All blocks in ranges of so many, as a monitor reads them."""
        events = self.events
        last = int(events.block[-1])
        for first in range(FIRST_BLOCK, last + 1, blocks):
            end = min(first + blocks - 1, last)
            low, high = np.searchsorted(events.block, [first, end + 1])
            time = GENESIS + (end - FIRST_BLOCK) * SECONDS_PER_BLOCK
            yield Covered(
                first, end, block_hash(first - 1), block_hash(end), time,
                events.take(slice(int(low), int(high))),
            )  # fmt: skip


def traffic(name: str, events: int, parcel: int = PARCEL) -> Traffic:
    """So many events of one kind; the same on every machine. `parcel` is tokens of a mint."""
    rng = np.random.default_rng(SEED)
    wallets = max(events // EVENTS_PER_WALLET, 10)
    columns = KINDS[name](events, wallets, rng) if name != "mints" else _mints(
        events, wallets, rng, parcel
    )  # fmt: skip
    return Traffic(name, _events(columns, wallets))


def block_hash(block: int) -> bytes:
    """The hash of a block: its number, mixed."""
    return _mixed(np.array([block], np.uint64), 1).tobytes()


def _mints(n: int, wallets: int, rng: np.random.Generator, parcel: int = PARCEL) -> Columns:
    """Ranges of `parcel` ids, one behind the other, to random wallets."""
    kind = np.full(n, Kind.MINT, np.uint8)
    first = 1 + parcel * np.arange(n, dtype=np.int64)
    nobody = np.full(n, -1, np.int64)
    return kind, nobody, rng.integers(0, wallets, n), first, np.full(n, parcel, np.int64)


def _transfers(n: int, wallets: int, rng: np.random.Generator) -> Columns:
    """A collection minted whole, then single tokens of it to random wallets."""
    token = rng.integers(1, COLLECTION + 1, n)
    token[0] = 0
    recipient = rng.integers(0, wallets, n)
    sender = _before(token, recipient)
    kind = np.full(n, Kind.TRANSFER, np.uint8)
    quantity = np.ones(n, np.int64)
    kind[0], sender[0], recipient[0], token[0], quantity[0] = Kind.MINT, -1, 0, 1, COLLECTION
    return kind, sender, recipient, token, quantity


def _staking(n: int, wallets: int, rng: np.random.Generator) -> Columns:
    """Tokens in parcels of ten a wallet; random ones are staked and unstaked in turn."""
    minted = max(n // (10 * EVENTS_PER_WALLET), 1)
    token = rng.integers(1, 10 * minted + 1, n)
    token[:minted] = 1 + 10 * np.arange(minted)
    owner = (token - 1) // 10 % wallets
    turn = _turn(token[minted:])
    kind = np.full(n, Kind.MINT, np.uint8)
    kind[minted:] = np.where(turn % 2 == 0, Kind.STAKE, Kind.UNSTAKE)
    mint = kind == Kind.MINT
    quantity = np.where(mint, 10, 1)
    return kind, np.where(mint, -1, owner), np.where(mint, owner, -1), token, quantity


KINDS: dict[str, Callable[[int, int, np.random.Generator], Columns]] = {
    "mints": _mints,
    "transfers": _transfers,
    "staking": _staking,
}


def _before(token: I64, recipient: I64) -> I64:
    """Who has each token when an event moves it: wallet 0 at first, then its last recipient."""
    order = np.argsort(token, kind="stable")
    sender = np.zeros(len(token), np.int64)
    again = token[order[1:]] == token[order[:-1]]
    sender[order[1:][again]] = recipient[order[:-1][again]]
    return sender


def _turn(token: I64) -> I64:
    """How many earlier events are about the same token."""
    order = np.argsort(token, kind="stable")
    opens = np.ones(len(order), np.bool_)
    opens[1:] = token[order[1:]] != token[order[:-1]]
    at = np.arange(len(order))
    turn = np.empty(len(order), np.int64)
    turn[order] = at - np.maximum.accumulate(np.where(opens, at, 0))
    return turn


def _events(columns: Columns, wallets: int) -> Events:
    kind, sender, recipient, first, quantity = columns
    n = len(kind)
    rng = np.random.default_rng(SEED + 1)
    address = np.zeros((wallets + 1, 20), np.uint8)  # the last one is nobody's
    address[:-1] = rng.integers(1, 256, (wallets, 20), np.uint8)
    at = np.arange(n)
    block = FIRST_BLOCK + at // LOGS_PER_BLOCK
    log = at % LOGS_PER_BLOCK
    return Events(
        kind=kind,
        block=block,
        tx_index=log,
        log_index=log,
        timestamp=GENESIS + (block - FIRST_BLOCK) * SECONDS_PER_BLOCK,
        sender=address[sender],
        recipient=address[recipient],
        first=first,
        quantity=quantity,
        contract=np.tile(np.frombuffer(CONTRACT, np.uint8), (n, 1)),
        block_hash=_mixed(block.astype(np.uint64), 1),
        tx_hash=_mixed(at.astype(np.uint64), 2),
    )


def _mixed(numbers: np.ndarray[tuple[int], np.dtype[np.uint64]], salt: int) -> U8:
    """32 bytes of each number, spread over all values."""
    words = np.empty((len(numbers), 4), np.uint64)
    for column in range(4):
        mixed = (numbers + np.uint64(4 * salt + column)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(31)
        words[:, column] = mixed * np.uint64(0xBF58476D1CE4E5B9)
    return words.view(np.uint8).reshape(-1, 32)
