"""Why a wallet has its points: stretches of earning with the events around them, and a sum.

The events on all tokens that a wallet ever had are folded again, alone; what that gives is the
wallet's every stretch of earning, to be compared with the facts that were stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction

import numpy as np

from ngu_points.engine import facts
from ngu_points.engine.events import I64, Bool, Events, Ints, concat
from ngu_points.engine.rules import DAY, MICRO, Rules
from ngu_points.engine.runs import NOBODY, Intervals, Moves, Staking, fold, no_runs
from ngu_points.engine.state import among
from ngu_points.pipeline.process import moves_of

OPEN = -1
"""Stands for the event that has not closed a stretch yet."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretches:
    """n stretches of earning of one wallet, the latest first; `until` of an open one is now."""

    first: Ints
    end: Ints
    staked: Bool
    since: I64
    until: I64
    closer: I64  # row of the event that ended it, or OPEN

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: slice | I64) -> Stretches:
        return Stretches(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """A wallet's stretches up to a time, and the events that they lie between."""

    events: Events
    moves: Moves
    wallet: int  # its number in `moves`, NOBODY if it is in none
    closed: Intervals  # of this wallet
    stretches: Stretches
    earns: bool
    staking: Staking


def having(events: Events, wallet: bytes) -> tuple[Ints, Ints]:
    """The ranges [first, end) of tokens in events that name the wallet."""
    mine = among(events.sender, frozenset({wallet})) | among(events.recipient, frozenset({wallet}))
    first = events.first[mine]
    return first, first + events.quantity[mine]


def disjoint(first: Ints, end: Ints) -> tuple[Ints, Ints]:
    """Ranges joined where they overlap or touch, in order."""
    if not len(first):
        return first, end
    order = np.argsort(first, kind="stable")
    first, end = first[order], end[order]
    reach = np.maximum.accumulate(end)
    head = np.ones(len(first), np.bool_)
    head[1:] = first[1:] > reach[:-1]
    last = np.append(np.flatnonzero(head)[1:] - 1, len(first) - 1)
    return first[head], reach[last]


def meeting(first: Ints, end: Ints, lows: Ints, highs: Ints) -> Bool:
    """Which ranges [first, end) touch any of the disjoint ranges [lows, highs)."""
    if not len(lows):
        return np.zeros(len(first), np.bool_)
    at = np.searchsorted(highs, first, side="right")
    begins = lows[np.minimum(at, len(lows) - 1)]
    meets: Bool = (at < len(lows)) & (begins < end)
    return meets


def explained(rules: Rules, events: Events, wallet: bytes, timestamp: int) -> Explained:
    """Fold the events on a wallet's tokens; `timestamp` is the moment asked for."""
    address, moves = moves_of(events)
    hits = np.flatnonzero(among(address, frozenset({wallet})))
    number = int(hits[0]) if len(hits) else NOBODY
    staking = Staking(among(address, rules.staking_contracts), rules.custody)
    folded = fold(no_runs(), moves, staking)
    closed, runs = folded.intervals, folded.runs
    closed = closed.take(closed.wallet == (number if number != NOBODY else -2))
    runs = runs.take((runs.earner == number) & (runs.earner != NOBODY))
    parts = Stretches(
        np.concatenate([runs.first, closed.first]),
        np.concatenate([runs.end, closed.end]),
        np.concatenate([runs.staker != NOBODY, closed.staked]),
        np.concatenate([runs.since, closed.since]),
        np.concatenate([np.full(len(runs), timestamp), closed.until]),
        np.concatenate([np.full(len(runs), OPEN), closed.event]),
    )
    order = np.argsort(-parts.since, kind="stable")
    earns = wallet not in rules.earns_nothing
    return Explained(events, moves, number, closed, parts.take(order), earns, staking)


def seconds(story: Explained, rules: Rules, part: Stretches) -> Ints:
    """The facts that each stretch is worth, shape [seasons, facts, n]."""
    n = len(part)
    ledger = facts.Ledger(facts.no_facts(rules, n), rules, np.full(n, story.earns))
    weight = rules.weights.of(part.first, part.end)
    ledger.accrue(np.arange(n), part.staked, weight, part.since, part.until)
    return ledger.facts()


def agrees(story: Explained, rules: Rules, stored: Ints) -> bool:
    """Whether the stretches add up to the stored facts [seasons, facts] of the wallet."""
    mine = seconds(story, rules, story.stretches)
    times = [facts.HELD, *range(facts.STAKED, stored.shape[1])]
    return all(
        facts.total(mine[season, fact]) == stored[season, fact]
        for season in range(stored.shape[0])
        for fact in times
    )


def opener(story: Explained, part: Stretches, row: int) -> tuple[int | None, int]:
    """The event that began a stretch (at its first token), and how many began its parts."""
    time = story.moves.timestamp
    low, high = (
        np.searchsorted(time, part.since[row]),
        np.searchsorted(time, part.since[row], side="right"),
    )
    closer = int(part.closer[row])
    if closer != OPEN:
        high = min(high, closer)
    first, end = part.first[row], part.end[row]
    near = np.arange(low, high)
    near = near[(story.moves.first[near] < end) & (story.moves.end[near] > first)]
    if not len(near):
        return None, 0
    starts = np.maximum(story.moves.first[near], first)
    ends = np.minimum(story.moves.end[near], end)
    borders = np.sort(np.concatenate([starts, ends]))
    painted = np.full(len(borders), OPEN, np.int64)
    lows, highs = np.searchsorted(borders, starts), np.searchsorted(borders, ends)
    for event, a, b in zip(near.tolist(), lows.tolist(), highs.tolist(), strict=True):
        painted[a:b] = event
    chosen = painted[painted != OPEN]
    return int(chosen[0]), len(np.unique(chosen))


# The sum ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Term:
    """A fact times its rate."""

    fact: str
    text: str
    amount: int
    unit: str
    rate: Fraction  # points per unit
    rate_text: str

    @property
    def points(self) -> Fraction:
        return self.amount * self.rate


def terms(rules: Rules, season: int, stored: Sequence[int]) -> list[Term]:
    """Every fact of a wallet in a season that is worth anything, with what it comes to."""
    if not rules.seasons:
        return []
    rates = facts.coefficients(rules.seasons[season], rules)
    names = facts.names(rules)
    return [
        _term(rules, season, fact, names[fact], int(amount), rates[fact])
        for fact, amount in enumerate(stored)
        if amount and rates[fact]
    ]


def _term(rules: Rules, season: int, fact: int, name: str, amount: int, rate: Fraction) -> Term:
    chosen = rules.seasons[season]
    if fact == facts.HELD or fact >= facts.STAKED:
        days = Fraction(amount, DAY)
        if fact == facts.HELD:
            how, words = "held", f"{_points(chosen.held)} a token-day"
        else:
            how, words = _tier(rules, season, fact - facts.STAKED)
        unit = "token-day" if days == 1 else "token-days"
        text = f"{_plain(days)} {unit} {how} × {words}"
        return Term(name, text, amount, "weighted token-seconds", rate, words)
    if fact == facts.FEAST:
        words = "1 point for 1,000,000 micro-points"
        text = f"{_plain(Fraction(amount, MICRO))} points from feasts"
        return Term(name, text, amount, "micro-points", rate, words)
    words = f"{_points(rate)} a token"
    unit = "token" if amount == 1 else "tokens"
    return Term(name, f"{amount:,} {unit} {name} × {words}", amount, "tokens", rate, words)


def _tier(rules: Rules, season: int, tier: int) -> tuple[str, str]:
    staked = _points(rules.seasons[season].staked)
    if not tier:
        until = f" (the first {_days(rules.tiers[0].days)})" if rules.tiers else ""
        return f"staked{until}", f"{staked} a token-day"
    chosen = rules.tiers[tier - 1]
    return f"staked (after {_days(chosen.days)})", f"{staked} × {chosen.multiplier} a token-day"


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def _points(rate: Fraction) -> str:
    return f"{rate} point" if rate == 1 else f"{rate} points"


def _plain(value: Fraction) -> str:
    """A number for people: exact where six decimals are enough, else with a sign that says so."""
    whole, rest = divmod(value.numerator * MICRO // value.denominator, MICRO)
    text = f"{whole:,}" + (f".{rest:06d}".rstrip("0") if rest else "")
    return text if value * MICRO == whole * MICRO + rest else f"≈ {text}"


# Over time --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Then:
    """What a wallet had at a time."""

    timestamp: int
    points: Fraction
    held: int
    staked: int


def over_time(
    story: Explained,
    rules: Rules,
    season: int,
    shares: Iterable[tuple[int, int]],
    times: Sequence[int],
) -> list[Then]:
    """A wallet's points in a season at some times; `shares` are (season's feast day, micro)."""
    given = sorted(shares)
    rates = facts.coefficients(rules.seasons[season], rules) if rules.seasons else []
    found = []
    for time in times:
        stored = _facts_at(story, rules, time)
        if rules.seasons:
            stored[season, facts.FEAST] = sum(m for day, m in given if (day + 1) * DAY <= time)
        total = sum(
            (int(amount) * rate for amount, rate in zip(stored[season], rates, strict=True)),
            Fraction(0),
        ) if rules.seasons else Fraction(0)  # fmt: skip
        part = story.stretches
        still = (part.until > time) | ((part.closer == OPEN) & (part.until >= time))
        now = (part.since <= time) & still
        size = part.end - part.first
        found.append(
            Then(time, total, facts.total(size[now & ~part.staked]),
                 facts.total(size[now & part.staked]))
        )  # fmt: skip
    return found


def _facts_at(story: Explained, rules: Rules, time: int) -> Ints:
    """The wallet's facts [seasons, facts] at a time, feasts left out."""
    part, moves = story.stretches, story.moves
    wallets = max(int(moves.sender.max(initial=0)), int(moves.recipient.max(initial=0))) + 1
    earns = np.zeros(wallets, np.bool_)
    if story.wallet != NOBODY:
        earns[story.wallet] = story.earns
    ledger = facts.Ledger(facts.no_facts(rules, wallets), rules, earns)
    mine = np.full(len(part), max(story.wallet, 0))
    weight = rules.weights.of(part.first, part.end)
    ledger.accrue(mine, part.staked, weight, part.since, np.minimum(part.until, time))
    before = moves.timestamp <= time
    closed = story.closed.take(before[story.closed.event])
    ledger.count(moves.take(before), closed, story.staking)
    result: Ints = ledger.facts()[:, :, max(story.wallet, 0)]
    return result


def joined(parts: Sequence[Events]) -> Events:
    """Events of several files as one, in position order."""
    return concat(list(parts)).sorted()
