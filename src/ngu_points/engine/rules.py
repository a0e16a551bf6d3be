"""The rules of a programme: seasons and their rates, weights, tiers, exclusions, the feast.

Rates and multipliers are exact rationals. What only changes how facts become points (rates,
multipliers, one-off awards) can change in an open season at no cost; what changes the facts
themselves (weights, tier days, exclusions, season borders, staking, feast) needs a new fold, and
`Rules.fold_key` names exactly that part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from ngu_points.engine.events import I64, Ints

DAY = 86_400
MICRO = 1_000_000
FOREVER = 2**62
"""Stands for an open end in int64 time columns."""

COUNTS = ("minted", "burned", "sent", "received", "staked", "unstaked")
"""What one-off awards can be given for, in tokens."""


@dataclass(frozen=True, slots=True)
class Season:
    """A half-open stretch of block time [start, end) with rates of its own.

    `held` and `staked` are points per token-day (per unit of weight); `awards` are points per
    token for any of `COUNTS`. A `None` border is open.
    """

    name: str
    start: int | None = None
    end: int | None = None
    held: Fraction = Fraction(1)
    staked: Fraction = Fraction(2)
    awards: Mapping[str, Fraction] = field(default_factory=dict)

    @property
    def begins(self) -> int:
        return 0 if self.start is None else self.start

    @property
    def ends(self) -> int:
        return FOREVER if self.end is None else self.end

    def contains(self, timestamp: int) -> bool:
        return self.begins <= timestamp < self.ends


@dataclass(frozen=True, slots=True)
class Tier:
    """After `days` of staking, a token's staked seconds count `multiplier` times."""

    days: int
    multiplier: Fraction


class Weights:
    """The weight of each token: disjoint ranges with a value, a default for all others."""

    def __init__(self, ranges: Sequence[tuple[int, int, int]] = (), *, default: int = 1) -> None:
        """`ranges` holds (first id, last id, weight); weights are integers, 0 or more."""
        self.default = default
        self.ranges = tuple(sorted(ranges))
        for (_, last, _), (first, _, _) in pairwise(self.ranges):
            if first <= last:
                raise ValueError(f"weight ranges overlap at token {first}")
        self._firsts = _exact([first for first, _, _ in self.ranges])
        self._ends = _exact([last + 1 for _, last, _ in self.ranges])
        self._extra = _exact([weight - default for _, _, weight in self.ranges])
        before = [0]
        for first, last, weight in self.ranges:
            before.append(before[-1] + (last + 1 - first) * (weight - default))
        self._before = _exact(before)

    def of(self, first: Ints, end: Ints) -> Ints:
        """The weight of each range [first, end), summed over its tokens."""
        size: Ints = end - first
        if not self.ranges:
            return _times(size, self.default)
        special: Ints = self._below(end) - self._below(first)
        return _times(size, self.default) + special

    def _below(self, ids: Ints) -> Ints:
        at = np.searchsorted(self._firsts, ids, side="right") - 1
        inside = np.maximum(at, 0)
        ids = ids.astype(object)
        part = np.minimum(ids, self._ends[inside]) - self._firsts[inside]
        total = self._before[inside] + part * self._extra[inside]
        below: Ints = np.where(at < 0, 0, total)
        return below


def _exact(values: Sequence[int]) -> Ints:
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _times(column: Ints, factor: int) -> Ints:
    if factor == 1:
        return column
    if column.dtype != object and len(column) and int(column.max()) * factor >= 2**62:
        column = column.astype(object)
    product: Ints = column * factor
    return product


@dataclass(frozen=True)
class Rules:
    """Everything that decides what events are worth."""

    seasons: tuple[Season, ...] = (Season("1"),)
    weights: Weights = field(default_factory=Weights)
    tiers: tuple[Tier, ...] = ()
    excluded: frozenset[bytes] = frozenset()
    staking_contracts: frozenset[bytes] = frozenset()
    custody: bool = False
    feast_emission: int = 0  # micro-points a day
    feast_burn: int = 0  # micro-points per unit of weight burned

    @property
    def tier_starts(self) -> tuple[int, ...]:
        """Seconds of staking at which each tier begins; the base tier first, at 0."""
        return (0, *(tier.days * DAY for tier in self.tiers))

    @property
    def earns_nothing(self) -> frozenset[bytes]:
        return self.excluded | self.staking_contracts | {bytes(20)}

    def season_at(self, timestamp: int) -> int | None:
        """The index of the season that contains a time."""
        for index, season in enumerate(self.seasons):
            if season.contains(timestamp):
                return index
        return None

    def current_season(self, timestamp: int) -> int:
        """The season at a time, else the last that began before it, else the first."""
        begun = [i for i, s in enumerate(self.seasons) if s.begins <= timestamp]
        at = self.season_at(timestamp)
        return at if at is not None else (begun[-1] if begun else 0)

    def rates(self, name: str) -> str | None:
        """Everything that turns a season's facts into points, as text; None without it."""
        for season in self.seasons:
            if season.name == name:
                awards = "".join(f", {k} {v}" for k, v in sorted(season.awards.items()) if v)
                tiers = "".join(f", after {t.days} days x {t.multiplier}" for t in self.tiers)
                return f"held {season.held}, staked {season.staked}{awards}{tiers}"
        return None

    def fold_key(self) -> str:
        """A digest of the part of the rules that the stored facts depend on."""
        parts: list[Any] = [
            [(s.name, s.start, s.end) for s in self.seasons],
            self.weights.default,
            self.weights.ranges,
            self.tier_starts,
            sorted(a.hex() for a in self.excluded),
            sorted(a.hex() for a in self.staking_contracts),
            self.custody,
            self.feast_emission,
            self.feast_burn,
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def overlap(since: I64, until: I64, begins: I64 | int, ends: I64 | int) -> I64:
    """Seconds that [since, until) and [begins, ends) share."""
    shared: I64 = np.minimum(until, ends) - np.maximum(since, begins)
    return np.maximum(shared, 0)
