"""State and how it advances: events of covered blocks in, the state after them out.

A `State` may be whole or the part that a batch touches: every run that overlaps or adjoins an
event's range, every wallet those name, and all stakers where a feast day closes on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np

from ngu_points.engine.events import I64, U8, Bool, Ints, Kind
from ngu_points.engine.facts import (
    FEAST,
    STAKED,
    Ledger,
    add_at,
    enters_custody,
    narrow,
    product,
    total,
)
from ngu_points.engine.feast import FeastDay, share
from ngu_points.engine.numbers import by_address
from ngu_points.engine.rules import DAY, Rules
from ngu_points.engine.runs import (
    NOBODY,
    Anomalies,
    Intervals,
    Moves,
    Runs,
    Staking,
    distinct,
    fold,
    no_runs,
)
from ngu_points.engine.splice import splice, touched

NEVER = -10
"""A day before all days, for wallets that never staked."""
OPEN = 2**31
"""Stands for "still staked" among last days."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Wallets:
    """n wallets: `facts` has shape [seasons, facts, n], `address` uint8[n, 20], the rest [n]."""

    address: U8
    facts: Ints
    held: Ints  # tokens owned and not staked now
    staked: Ints  # tokens staked now
    total_staked: Ints  # tokens ever staked
    stake_weight: Ints  # weight staked now
    day_seconds: Ints  # weighted staked seconds of the open feast day are this + weight × DAY
    last_stake: I64
    last_unstake: I64
    streak_start: I64  # day on which the present or last run of staked days began
    streak_last: I64  # its last day; not used while tokens are staked
    updated: I64

    def __len__(self) -> int:
        return len(self.address)

    def take(self, rows: Any) -> Wallets:
        rest = [getattr(self, f.name)[rows] for f in fields(self)[2:]]
        return Wallets(self.address[rows], self.facts[..., rows], *rest)

    def streak(self, timestamp: int) -> I64:
        """Consecutive UTC days with a token staked, up to the day of `timestamp`."""
        today = timestamp // DAY
        now = self.staked > 0
        last = np.where(now, today, self.streak_last)
        return np.where(last >= today - 1, last - self.streak_start + 1, 0)


def no_wallets(rules: Rules, address: U8) -> Wallets:
    """Wallets that nothing has happened to yet."""
    n = len(address)
    zero = np.zeros(n, np.int64)
    never = np.full(n, NEVER, np.int64)
    facts = np.zeros((len(rules.seasons), STAKED + len(rules.tier_starts), n), np.int64)
    return Wallets(address, facts, zero, zero, zero, zero, zero, zero, zero, never, never, zero)


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What all events up to and including `block` have led to; `timestamp` is that block's.

    `day` is the open feast day, None before the first event; its `carry` and `contribution` are
    micro-points.
    """

    runs: Runs
    wallets: Wallets
    block: int = -1
    timestamp: int = 0
    day: int | None = None
    carry: int = 0
    contribution: int = 0


def no_state(rules: Rules) -> State:
    return State(no_runs(), no_wallets(rules, np.zeros((0, 20), np.uint8)))


@dataclass(frozen=True, slots=True, eq=False)
class Advanced:
    """The state after the events, the feast days that closed, and what the fold found."""

    state: State
    days: tuple[FeastDay, ...]
    intervals: Intervals
    anomalies: Anomalies


def advance(state: State, moves: Moves, rules: Rules, block: int, timestamp: int) -> Advanced:
    """Apply all events of the blocks up to `block`, whose time is `timestamp`.

    `moves` are in position order and later than the state. How the blocks are cut into calls
    makes no difference to the result.
    """
    wallets = state.wallets
    own = Wallets(*(getattr(wallets, f.name).copy() for f in fields(Wallets)))
    work = Work(replace(state, wallets=own), rules, Standing.of(wallets.address, rules))
    return work.advance(moves, block, timestamp)


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """For each wallet: whether it may earn, and whether it is a staking contract."""

    earns: Bool
    contract: Bool

    @classmethod
    def of(cls, address: U8, rules: Rules) -> Standing:
        return cls(~among(address, rules.earns_nothing), among(address, rules.staking_contracts))


@dataclass(frozen=True, slots=True, eq=False)
class Shifts:
    """n shifts of weight under a stake, or from it where `worth` is negative."""

    wallet: I64
    since: I64
    worth: Ints


class Work:
    """A state being advanced: the columns of its wallets are this object's, to change in place."""

    def __init__(self, state: State, rules: Rules, standing: Standing) -> None:
        wallets = state.wallets
        self.earns = standing.earns
        self.staking = Staking(standing.contract, rules.custody)
        self.rules = rules
        self.runs = state.runs
        self.columns = {
            f.name: getattr(wallets, f.name) for f in fields(Wallets) if f.name != "facts"
        }
        self.ledger = Ledger(wallets.facts, rules, self.earns)
        self.day, self.carry, self.contribution = state.day, state.carry, state.contribution
        self.closed: list[FeastDay] = []

    def advance(self, moves: Moves, block: int, timestamp: int) -> Advanced:
        """See `advance`."""
        if self.day is None and len(moves):
            self.day = int(moves.timestamp[0]) // DAY
        rows = touched(self.runs, moves.first, moves.end, adjoining=False)
        old = self.runs.take(rows)
        folded = fold(old, moves, self.staking)
        new, closed = folded.runs, folded.intervals
        self.runs = splice(self.runs, rows, new)
        weight = self.rules.weights.of(closed.first, closed.end)
        self.ledger.accrue(closed.wallet, closed.staked, weight, closed.since, closed.until)
        self.ledger.count(moves, closed, self.staking)
        self._streaks(old, new, closed)
        self._tokens(old, new)
        self._stamps(moves, closed)
        self._feasts(self._shifts(old, new, closed, weight), moves, timestamp // DAY)
        return Advanced(self.state(block, timestamp), tuple(self.closed), closed, folded.anomalies)

    def state(self, block: int, timestamp: int) -> State:
        columns = {name: narrow(column) for name, column in self.columns.items()}
        runs = Runs(*(narrow(getattr(self.runs, f.name)) for f in fields(Runs)))
        return State(
            runs,
            Wallets(facts=self.ledger.facts(), **columns),
            block,
            timestamp,
            self.day,
            self.carry,
            self.contribution,
        )

    def add(self, name: str, wallet: I64, amount: Ints) -> None:
        self.columns[name] = add_at(self.columns[name], wallet, amount)

    def _tokens(self, old: Runs, new: Runs) -> None:
        for runs, sign in ((old, -1), (new, 1)):
            size = (runs.end - runs.first) * sign
            staked = runs.staker != NOBODY
            held = ~staked & (runs.owner != NOBODY)
            self.add("held", runs.owner[held], size[held])
            self.add("staked", runs.staker[staked], size[staked])

    def _shifts(self, old: Runs, new: Runs, closed: Intervals, weight: Ints) -> Shifts:
        """When which weight came under a stake or left it, since the open day began.

        What was staked before comes twice, and what stays staked goes again: they cancel.
        """
        was, now = old.take(old.staker != NOBODY), new.take(new.staker != NOBODY)
        rows = np.flatnonzero(closed.staked)
        wallet, worth = closed.wallet[rows], weight[rows]
        of = self.rules.weights.of
        return Shifts(
            np.concatenate([was.staker, now.staker, wallet, wallet]),
            np.concatenate([was.since, now.since, closed.since[rows], closed.until[rows]]),
            np.concatenate([-of(was.first, was.end), of(now.first, now.end), worth, -worth]),
        )

    def _feasts(self, shifts: Shifts, moves: Moves, today: int) -> None:
        """Keep each staker's weighted seconds of the open day in closed form; close days before
        `today`."""
        if self.day is None:
            return
        days = np.arange(self.day, max(today, self.day) + 1)
        burns = np.flatnonzero(moves.kind == Kind.BURN)
        burned = self.rules.weights.of(moves.first[burns], moves.end[burns])
        burned_on = np.clip(moves.timestamp[burns] // DAY, days[0], days[-1])
        since = np.maximum(shifts.since, self.day * DAY)
        order = np.argsort(since, kind="stable")
        wallet, since, worth = shifts.wallet[order], since[order], shifts.worth[order]
        on = np.minimum(since // DAY, days[-1])
        late = product(worth, since - on * DAY)
        cuts = [0, *np.searchsorted(on, days, side="right").tolist()]
        for day, (low, high) in zip(days.tolist(), pairwise(cuts), strict=True):
            self.add("stake_weight", wallet[low:high], worth[low:high])
            self.add("day_seconds", wallet[low:high], -late[low:high])
            self.contribution += total(burned[burned_on == day]) * self.rules.feast_burn
            if day < today:
                self._close(day)
                self.day = day + 1

    def _stamps(self, moves: Moves, closed: Intervals) -> None:
        stakes = (moves.kind == Kind.STAKE) | enters_custody(moves, self.staking)
        time, size = moves.timestamp, moves.end - moves.first
        np.maximum.at(self.columns["last_stake"], moves.sender[stakes], time[stakes])
        self.add("total_staked", moves.sender[stakes], size[stakes])
        ended = closed.staked & (moves.kind[closed.event] != Kind.STAKE)
        np.maximum.at(self.columns["last_unstake"], closed.wallet[ended], closed.until[ended])
        for party in (moves.sender, moves.recipient):
            known = party != NOBODY
            np.maximum.at(self.columns["updated"], party[known], time[known])

    def _streaks(self, old: Runs, new: Runs, closed: Intervals) -> None:
        """Join the days on which wallets had a token staked into runs of days."""
        ended = closed.take(closed.staked)
        now, was = new.take(new.staker != NOBODY), old.take(old.staker != NOBODY)
        wallets = distinct(np.concatenate([ended.wallet, now.staker, was.staker]))
        if not len(wallets):
            return
        assert self.day is not None
        start, last = self.columns["streak_start"], self.columns["streak_last"]
        replaced = add_at(np.zeros(len(start), np.int64), was.staker, was.end - was.first)
        staked = self.columns["staked"][wallets]
        known = np.where(staked > 0, self.day, last[wallets])
        known = np.where(staked > replaced[wallets], OPEN, known).astype(np.int64)
        wallet = np.concatenate([wallets, ended.wallet, now.staker])
        begin = np.concatenate([start[wallets], ended.since // DAY, now.since // DAY])
        end = np.concatenate([known, ended.until // DAY, np.full(len(now), OPEN)])
        order = np.argsort((wallet << 33) + (begin - NEVER))
        wallet, begin, end = wallet[order], begin[order], end[order]
        lane = np.searchsorted(wallets, wallet) << 33
        reach = np.maximum.accumulate(lane + end - NEVER)  # a lane never sinks below its number
        chain = np.ones(len(wallet), np.bool_)
        chain[1:] = (wallet[1:] != wallet[:-1]) | (lane[1:] + begin[1:] - NEVER > reach[:-1] + 1)
        heads = np.flatnonzero(chain)
        start[wallet[heads]] = begin[heads]  # the last chain of a wallet stays
        reach += NEVER - lane
        last[wallet] = np.where(reach == OPEN, NEVER, reach)

    def _close(self, day: int) -> None:
        emission, season = self.rules.feast_emission, self.rules.season_at((day + 1) * DAY - 1)
        pool = self.carry + emission + self.contribution
        weight, part = self.columns["stake_weight"], self.columns["day_seconds"]
        seconds = product(weight, np.array([DAY])) + part
        rows = np.flatnonzero(self.earns & (seconds > 0))
        whole = total(seconds[rows])
        shares: Ints = np.zeros(0, np.int64)
        if season is None or not pool or not len(rows):
            rows = rows[:0]
        else:
            rows = rows[by_address(self.columns["address"][rows])]
            shares = share(pool, seconds[rows])
            self.ledger.add(season, FEAST, rows, shares)
        given = total(shares)
        self.closed.append(
            FeastDay(
                day,
                self.carry,
                emission,
                self.contribution,
                whole,
                pool - given,
                season,
                rows,
                shares,
            )
        )
        self.carry, self.contribution = pool - given, 0
        part[:] = 0


def among(address: U8, chosen: frozenset[bytes]) -> Bool:
    """Which of the addresses uint8[n, 20] are in a (small) set."""
    hit = np.zeros(len(address), np.bool_)
    for one in chosen:
        hit |= (address == np.frombuffer(one, np.uint8)).all(axis=1)
    return hit
