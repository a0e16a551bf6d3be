"""Facts of wallets: integers that events add up to, and the points they are worth.

Facts are sums, so they are the same however events are cut into batches. Open runs are never
written down as facts: `accrue` gives what they are worth at any time from `since` alone.
"""

from __future__ import annotations

from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np

from ngu_points.engine.events import I64, Bool, Ints, Kind
from ngu_points.engine.numbers import by_address
from ngu_points.engine.rules import COUNTS, DAY, MICRO, Rules, Season, overlap
from ngu_points.engine.runs import NOBODY, Intervals, Moves, Runs, Staking

HELD = 0
COUNT = {name: 1 + i for i, name in enumerate(COUNTS)}
FEAST = 1 + len(COUNTS)  # micro-points awarded by feasts
STAKED = FEAST + 1  # and one more for each tier
SAFE = 2**62
PIECE = 1 << 17
"""Open runs that are worked on at once: some columns of them are all that it needs beside."""


def names(rules: Rules) -> list[str]:
    """The name of each fact, in storage order."""
    tiers = [f"staked_seconds_{i}" for i in range(len(rules.tier_starts))]
    return ["held_seconds", *COUNTS, "feast_micro", *tiers]


def no_facts(rules: Rules, wallets: int) -> Ints:
    """Zeros of shape [seasons, facts, wallets]."""
    return np.zeros((len(rules.seasons), STAKED + len(rules.tier_starts), wallets), np.int64)


def add_at(target: Ints, at: I64, amounts: Ints) -> Ints:
    """`target[at] += amounts` with repeats, exact: turns to Python integers before it could wrap.

    Returns the column to keep: `target` itself, or its wide copy.
    """
    if not len(at):
        return target
    if target.dtype != object:
        if amounts.dtype == object or _bound(amounts) * len(at) + _bound(target) >= SAFE:
            target = target.astype(object)
        else:
            np.add.at(target, at, amounts)
            return target
    np.add.at(target, at, amounts.astype(object))
    return target


def _bound(column: Ints) -> int:
    return max(abs(int(column.max())), abs(int(column.min()))) if len(column) else 0


def product(a: Ints, b: Ints) -> Ints:
    """a × b element by element, exact."""
    if len(a) and object not in (a.dtype, b.dtype) and _bound(a) * _bound(b) >= SAFE:
        a = a.astype(object)
    return a * b


def total(column: Ints) -> int:
    """The exact sum of a column."""
    if not len(column):
        return 0
    if column.dtype != object and int(np.abs(column).max()) * len(column) < SAFE:
        return int(column.sum())
    return int(column.astype(object).sum())


def narrow(column: Ints) -> Ints:
    """Back to int64 where every value fits."""
    if column.dtype != object:
        return column
    flat = column.ravel()
    if all(-SAFE < v < SAFE for v in flat):
        return column.astype(np.int64)
    return column


class Ledger:
    """Facts under construction: [seasons][facts] columns over wallets, added to in place."""

    def __init__(self, facts: Ints, rules: Rules, earns: Bool) -> None:
        """`facts` is this object's to change.

        `earns[wallet]` is false for excluded addresses: their facts stay as they are.
        """
        seasons, kinds, _ = facts.shape
        self._facts = facts
        self.columns = [[facts[s, f] for f in range(kinds)] for s in range(seasons)]
        self.rules = rules
        self.earns = earns

    def facts(self) -> Ints:
        """The sums so far, shape [seasons, facts, wallets]."""
        columns = [column for season in self.columns for column in season]
        if all(column.dtype == self._facts.dtype for column in columns):
            return narrow(self._facts)
        return narrow(np.array([c.astype(object) for c in columns]).reshape(self._facts.shape))

    def add(self, season: int, fact: int, wallet: I64, amount: Ints) -> None:
        column = self.columns[season]
        column[fact] = add_at(column[fact], wallet, amount)

    def accrue(self, wallet: I64, staked: Bool, weight: Ints, since: I64, until: I64) -> None:
        """Add the weighted seconds of stretches of earning [since, until)."""
        mine = self.earns[wallet] & (until > since)
        if not mine.any():
            return
        wallet, staked, weight = wallet[mine], staked[mine], weight[mine]
        since, until = since[mine], until[mine]
        held = ~staked
        for index, season in enumerate(self.rules.seasons):
            begins, ends = season.begins, season.ends
            if ends <= int(since.min()) or begins >= int(until.max()):
                continue
            seconds = overlap(since[held], until[held], begins, ends)
            self.add(index, HELD, wallet[held], product(weight[held], seconds))
            self._tiers(index, season, wallet[staked], weight[staked], since[staked],
                        until[staked])  # fmt: skip

    def _tiers(
        self, index: int, season: Season, wallet: I64, weight: Ints, since: I64, until: I64
    ) -> None:
        starts = self.rules.tier_starts
        for tier, start in enumerate(starts):
            low = np.maximum(since + start, season.begins)
            high = np.minimum(until, season.ends)
            if tier + 1 < len(starts):
                high = np.minimum(high, since + starts[tier + 1])
            seconds = np.maximum(high - low, 0)
            self.add(index, STAKED + tier, wallet, product(weight, seconds))

    def count(self, moves: Moves, intervals: Intervals, staking: Staking) -> None:
        """Add the tokens that events mint, burn, move, stake and unstake to the wallets' counts."""
        size, kind = moves.end - moves.first, moves.kind
        leaves = (kind == Kind.TRANSFER) & (moves.sender != moves.recipient)
        self._count("minted", kind == Kind.MINT, moves.recipient, size, moves.timestamp)
        self._count("burned", kind == Kind.BURN, moves.sender, size, moves.timestamp)
        self._count("sent", leaves, moves.sender, size, moves.timestamp)
        self._count("received", leaves, moves.recipient, size, moves.timestamp)
        stakes = (kind == Kind.STAKE) | enters_custody(moves, staking)
        self._count("staked", stakes, moves.sender, size, moves.timestamp)
        self._count("unstaked", kind == Kind.UNSTAKE, moves.sender, size, moves.timestamp)
        closed = withdrawn(moves, intervals, staking)
        self._count("unstaked", closed, intervals.wallet, intervals.end - intervals.first,
                    intervals.until)  # fmt: skip

    def _count(self, name: str, which: Bool, wallet: I64, size: Ints, time: I64) -> None:
        rows = np.flatnonzero(which)
        wallet = wallet[rows]
        mine = (wallet != NOBODY) & self.earns[wallet]
        rows, wallet = rows[mine], wallet[mine]
        if not len(rows):
            return
        size, time = size[rows], time[rows]
        for index, season in enumerate(self.rules.seasons):
            inside = (time >= season.begins) & (time < season.ends)
            if inside.any():
                self.add(index, COUNT[name], wallet[inside], size[inside])


def enters_custody(moves: Moves, staking: Staking) -> Bool:
    """Transfers that stake by moving a token into a staking contract."""
    if not staking.custody:
        return np.zeros(len(moves), np.bool_)
    into, out = staking.is_contract(moves.recipient), staking.is_contract(moves.sender)
    enters: Bool = (moves.kind == Kind.TRANSFER) & into & ~out
    return enters


def withdrawn(moves: Moves, intervals: Intervals, staking: Staking) -> Bool:
    """Staked intervals that a transfer out of a staking contract ended."""
    if not staking.custody or not len(intervals):
        return np.zeros(len(intervals), np.bool_)
    out = (moves.kind == Kind.TRANSFER) & staking.is_contract(moves.sender)
    ends: Bool = intervals.staked & out[intervals.event]
    return ends


def at_time(facts: Ints, runs: Runs, rules: Rules, earns: Bool, timestamp: int) -> Ints:
    """Facts including what the open runs have earned up to a time."""
    return _with_open(facts.copy(), runs, rules, earns, timestamp)


def earned(runs: Runs, rules: Rules, earns: Bool, timestamp: int) -> Ints:
    """That part alone. Facts that no run earns are zeros which take no memory."""
    return _with_open(no_facts(rules, len(earns)), runs, rules, earns, timestamp)


def _with_open(facts: Ints, runs: Runs, rules: Rules, earns: Bool, timestamp: int) -> Ints:
    ledger = Ledger(facts, rules, earns)
    for low in range(0, len(runs), PIECE):
        some = runs.take(slice(low, low + PIECE))
        some = some.take(some.earner != NOBODY)
        ledger.accrue(
            some.earner,
            some.staker != NOBODY,
            rules.weights.of(some.first, some.end),
            some.since,
            np.full(len(some), timestamp),
        )
    return ledger.facts()


def coefficients(season: Season, rules: Rules) -> list[Fraction]:
    """Points per unit of each fact, in storage order."""
    counts = [Fraction(season.awards.get(name, 0)) for name in COUNTS]
    multipliers = [Fraction(1), *(tier.multiplier for tier in rules.tiers)]
    tiers = [season.staked * m / DAY for m in multipliers]
    return [season.held / DAY, *counts, Fraction(1, MICRO), *tiers]


def points(facts: Ints, rules: Rules, seasons: list[int]) -> tuple[Ints, int]:
    """Exact points of every wallet over some seasons, as (numerators[n], common denominator)."""
    worth = {s: coefficients(rules.seasons[s], rules) for s in seasons}
    denominator = lcm(MICRO, *(c.denominator for row in worth.values() for c in row))
    total: Any = np.zeros(facts.shape[2], np.int64)
    for s, row in worth.items():
        for f, c in enumerate(row):
            if c and facts.shape[2] and facts[s, f].any():
                factor = np.array([int(c * denominator)], object)
                if factor[0] < SAFE:
                    factor = factor.astype(np.int64)
                part = product(facts[s, f], factor)
                if _bound(total) + _bound(part) >= SAFE:
                    total = total.astype(object)
                total = total + part
    return total, denominator


def rank(numerators: Ints, addresses: Any) -> I64:
    """Wallet rows from most points to least; of equals the lower address first."""
    ordered = by_address(addresses)
    numerators = numerators[ordered]
    order = np.argsort(-numerators, kind="stable")
    return ordered[order]


def shown(points_: Fraction) -> str:
    """Points as people see them: rounded down to 6 decimals."""
    micro = points_.numerator * MICRO // points_.denominator
    return f"{micro // MICRO}.{micro % MICRO:06d}"
