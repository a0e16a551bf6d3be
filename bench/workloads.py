"""The histories that are measured: seeded, valid, made of columns in seconds (pure).

Wallets are indices here, `NOBODY` where an event has none; `addresses` gives them their bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ngu_points.engine.events import I64, U8, Bool, Kind
from ngu_points.engine.runs import NOBODY

FIRST_BLOCK = 20_000_000
LOGS_PER_BLOCK = 20
SECONDS_PER_BLOCK = 12
GENESIS = 1_767_225_600  # 2026-01-01T00:00:00Z, the time of FIRST_BLOCK
CONTRACT = bytes.fromhex("6e6775" * 6 + "0002")
SEED = 20_261_123
EVENTS_PER_WALLET = 10

_MINTS = {"erc721": 0.2, "ngu": 0.08}
_BURNS = {"erc721": 0.08, "ngu": 0.16}  # of the events that are the last about a token or lot
_WHOLE_PARCELS = 0.08
_LARGEST = 400
_LOTS = 16
SPARSE = 432  # blocks of `sparse` for one with events
DROPPED = 10_000  # tokens of each mint of `drop`
_SINGLE_LOTS = 0.7
_SMALL_LOT = _LARGEST // _LOTS


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """n events in position order, `LOGS_PER_BLOCK` of them a block; every column has shape [n].

    All blocks have events, or one of `every` so many.
    """

    kind: str  # of the contract, as `--kind` takes it
    wallets: int
    effect: U8  # a `Kind`
    sender: I64  # NOBODY on a mint
    recipient: I64  # NOBODY on a burn, a stake and an unstake
    first: I64
    quantity: I64
    every: int = 1

    def __len__(self) -> int:
        return len(self.effect)

    @property
    def block(self) -> I64:
        """The block number of each event."""
        return FIRST_BLOCK + np.arange(len(self)) // LOGS_PER_BLOCK * self.every

    @property
    def timestamp(self) -> I64:
        """The block time of each event in seconds."""
        return GENESIS + (self.block - FIRST_BLOCK) * SECONDS_PER_BLOCK

    @property
    def last_block(self) -> int:
        """The newest block, which is final."""
        return FIRST_BLOCK + max(len(self) - 1, 0) // LOGS_PER_BLOCK * self.every + self.every - 1

    @property
    def last_timestamp(self) -> int:
        """The time of the newest block."""
        return GENESIS + (self.last_block - FIRST_BLOCK) * SECONDS_PER_BLOCK


def workload(kind: str, events: int) -> Workload:
    """A history of so many events (at least one); the same on every machine."""
    return _KINDS[kind](events, np.random.default_rng(SEED))


def addresses(wallets: int) -> U8:
    """The addresses of the wallets, uint8[wallets, 20]."""
    rng = np.random.default_rng(SEED + 1)
    return rng.integers(0, 256, (wallets, 20), np.uint8)


def _erc721(n: int, rng: np.random.Generator) -> Workload:
    """Single tokens: a fifth are mints, the others move a token that exists, a few burn it."""
    wallets = max(n // EVENTS_PER_WALLET, 10)
    token, mint = _subjects(n, _MINTS["erc721"], rng)
    recipient = rng.integers(0, wallets, n)
    burn = _last_of(token) & ~mint & (rng.random(n) < _BURNS["erc721"])
    recipient[burn] = NOBODY
    sender = _left_by_previous(token, recipient)
    effect = np.full(n, Kind.TRANSFER, np.uint8)
    effect[mint], effect[burn] = Kind.MINT, Kind.BURN
    return Workload("erc721", wallets, effect, sender, recipient, token + 1, np.ones(n, np.int64))


def _ngu(n: int, rng: np.random.Generator) -> Workload:
    """Ranges to 400: parcels are minted whole and move in lots; lots of one token are staked too.

    A lot of one token goes through stake, unstake, transfer, transfer and so on, so that nothing
    staked ever moves. Larger lots are transferred, and some burned in the end.
    """
    wallets = max(n // EVENTS_PER_WALLET, 10)
    parcel, mint = _subjects(n, _MINTS["ngu"], rng)
    lots, size = _lots(int(mint.sum()), rng)
    first_lot = np.cumsum(lots) - lots
    start = 1 + np.cumsum(size) - size
    lot = first_lot[parcel] + (rng.random(n) * lots[parcel]).astype(np.int64)
    effect, recipient = _lot_effects(lot, mint, size, wallets, rng)
    sender = _owner_before(parcel, lot, mint, effect, recipient)
    staking = effect >= Kind.STAKE
    recipient[staking] = NOBODY
    whole = np.add.reduceat(size, first_lot)[parcel]
    first = np.where(mint, start[first_lot[parcel]], start[lot])
    quantity = np.where(mint, whole, size[lot])
    return Workload("ngu", wallets, effect, sender, recipient, first, quantity)


def _drop(n: int, rng: np.random.Generator) -> Workload:
    """Nothing but mints of 10,000 tokens each: a collection far larger than its history."""
    wallets = max(n // EVENTS_PER_WALLET, 10)
    effect, nobody = np.full(n, Kind.MINT, np.uint8), np.full(n, NOBODY)
    first, quantity = 1 + np.arange(n) * DROPPED, np.full(n, DROPPED)
    return Workload("ngu", wallets, effect, nobody, rng.integers(0, wallets, n), first, quantity)


def _sparse(n: int, rng: np.random.Generator) -> Workload:
    """Single tokens in few blocks: 2,000 events are one day of a chain with a block in 2 s."""
    return replace(_erc721(n, rng), every=SPARSE)


_KINDS: dict[str, Callable[[int, np.random.Generator], Workload]] = {
    "erc721": _erc721,
    "ngu": _ngu,
    "drop": _drop,
    "sparse": _sparse,
}
KINDS = ("erc721", "ngu")
"""The workloads that everything is measured with; `drop` and `sparse` have rows of their own."""


def _subjects(n: int, mints: float, rng: np.random.Generator) -> tuple[I64, Bool]:
    """What each event is about, numbered in the order of minting, and which events mint it."""
    mint = rng.random(n) < mints
    mint[0] = True
    before: I64 = np.cumsum(mint) - mint
    chosen = (rng.random(n) * before).astype(np.int64)
    return np.where(mint, before, chosen), mint


def _lots(parcels: int, rng: np.random.Generator) -> tuple[I64, I64]:
    """How many lots each parcel has, and the size of every lot."""
    whole = rng.random(parcels) < _WHOLE_PARCELS
    lots = np.where(whole, 1, rng.integers(2, _LOTS + 1, parcels))
    total = int(lots.sum())
    small = rng.integers(2, _SMALL_LOT + 1, total)
    size = np.where(rng.random(total) < _SINGLE_LOTS, 1, small)
    large = rng.integers(1, _LARGEST + 1, total)
    return lots, np.where(np.repeat(whole, lots), large, size)


def _lot_effects(
    lot: I64, mint: Bool, size: I64, wallets: int, rng: np.random.Generator
) -> tuple[U8, I64]:
    n = len(lot)
    recipient = rng.integers(0, wallets, n)
    # Mints are counted apart: they are about a parcel, not about one lot.
    history = np.where(mint, -1, lot)
    turn = _turn(history) % 4
    single = (size[lot] == 1) & ~mint
    effect = np.full(n, Kind.TRANSFER, np.uint8)
    effect[mint] = Kind.MINT
    effect[single & (turn == 0)] = Kind.STAKE
    effect[single & (turn == 1)] = Kind.UNSTAKE
    burn = (effect == Kind.TRANSFER) & _last_of(history) & (rng.random(n) < _BURNS["ngu"])
    effect[burn] = Kind.BURN
    recipient[burn] = NOBODY
    return effect, recipient


def _owner_before(parcel: I64, lot: I64, mint: Bool, effect: U8, recipient: I64) -> I64:
    """The owner that each event finds: left by the lot's last move, else by its parcel's mint."""
    minted_to = recipient[mint]
    moves = np.flatnonzero(~mint & (effect < Kind.STAKE))
    everything = np.flatnonzero(~mint)
    rows = everything[np.argsort(lot[everything], kind="stable")]
    is_move = np.zeros(len(lot), np.bool_)
    is_move[moves] = True
    at = np.arange(len(rows))
    last = np.maximum.accumulate(np.where(is_move[rows], at, -1))
    previous = np.concatenate([[-1], last[:-1]])[: len(rows)]
    known = previous >= 0
    known &= lot[rows[np.maximum(previous, 0)]] == lot[rows]
    found = np.where(known, recipient[rows[np.maximum(previous, 0)]], minted_to[parcel[rows]])
    sender = np.full(len(lot), NOBODY, np.int64)
    sender[rows] = found
    return sender


def _left_by_previous(subject: I64, recipient: I64) -> I64:
    """Who each subject was given to by the event on it before this one; NOBODY at its first."""
    order = np.argsort(subject, kind="stable")
    sender = np.full(len(subject), NOBODY, np.int64)
    again = subject[order[1:]] == subject[order[:-1]]
    sender[order[1:][again]] = recipient[order[:-1][again]]
    return sender


def _turn(subject: I64) -> I64:
    """How many earlier events are about the same subject."""
    order = np.argsort(subject, kind="stable")
    opens = np.ones(len(order), np.bool_)
    opens[1:] = subject[order[1:]] != subject[order[:-1]]
    at = np.arange(len(order))
    turn = np.empty(len(order), np.int64)
    turn[order] = at - np.maximum.accumulate(np.where(opens, at, 0))
    return turn


def _last_of(subject: I64) -> Bool:
    """Which events are the last about their subject."""
    order = np.argsort(subject, kind="stable")
    last = np.ones(len(order), np.bool_)
    last[order[:-1]] = subject[order[1:]] != subject[order[:-1]]
    return last
