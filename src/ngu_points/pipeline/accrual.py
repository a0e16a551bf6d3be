"""Everybody's points as lines over time, of which a block bends only those that it touches.

Between events, tier borders and season borders a wallet's points grow at one rate. A line is taken
from a `View` of the wallet's own runs at two seconds, so that accrual is written down once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ngu_points.engine.events import I64, Ints
from ngu_points.engine.facts import narrow, product
from ngu_points.engine.rules import FOREVER
from ngu_points.engine.runs import NOBODY
from ngu_points.pipeline.query import View

FEW, PART = 10_000, 8
"""Wallets whose lines are taken one by one: so many at most, and of all of them such a part."""


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """n wallets' points in a season (None: in all) while time is in [`origin`, ...).

    The numerator of a wallet at time t is `base` + `rate` × (t − `origin`), up to its `until`.
    The columns are the owner's to change: `follow` does.
    """

    season: int | None
    origin: int
    denominator: int
    base: Ints
    rate: Ints
    until: I64

    def at(self, timestamp: int) -> Ints:
        """Every wallet's numerator, exact, in a column of its own."""
        numerators: Ints = self.base + product(self.rate, np.array([timestamp - self.origin]))
        return numerators

    def follow(self, view: View, touched: I64) -> Lines:
        """The lines at a later view: anew for the wallets that events touched, and where a border
        has been passed."""
        passed = np.flatnonzero(self.until < view.timestamp)
        fresh = np.arange(len(self.until), len(view.state.wallets))
        rows = np.unique(np.concatenate([touched, passed, fresh]))
        if len(rows) > min(FEW, len(view.state.wallets) // PART):
            return lines_of(view, self.season)
        some = lines_of(_part(view, rows), self.season, self.origin)
        base, rate, until = (
            _written(column, rows, new, len(view.state.wallets))
            for column, new in (
                (self.base, some.base), (self.rate, some.rate), (self.until, some.until)
            )
        )  # fmt: skip
        return replace(self, base=base, rate=rate, until=until)


def lines_of(view: View, season: int | None, origin: int | None = None) -> Lines:
    """The lines of a view's wallets from its moment on."""
    at = view.timestamp
    origin = at if origin is None else origin
    now, denominator = view.points(season)
    soon, _ = replace(view, timestamp=at + 1).points(season)
    rate = narrow(soon - now)
    base = narrow(now - product(rate, np.array([at - origin])))
    return Lines(season, origin, denominator, base, rate, _until(view))


def _until(view: View) -> I64:
    """The first border of a tier or a season that lies ahead of each wallet."""
    rules, at = view.rules, view.timestamp
    borders = [t for s in rules.seasons for t in (s.begins, s.ends) if t > at]
    until = np.full(len(view.state.wallets), min(borders, default=FOREVER))
    staked = view.state.runs.take(view.state.runs.staker != NOBODY)
    starts = np.array([*rules.tier_starts, FOREVER // 2])
    next_ = starts[np.searchsorted(starts, at - staked.since, side="right")]
    np.minimum.at(until, staked.staker, staked.since + next_)
    return until


def _part(view: View, rows: I64) -> View:
    """The view of a few wallets alone, with the runs for which they earn."""
    state, lane = view.state, np.full(len(view.state.wallets) + 1, NOBODY)  # the last is nobody's
    lane[rows] = np.arange(len(rows))
    found = [view.runs_of(row) for row in rows.tolist()]
    runs = state.runs.take(np.unique(np.concatenate([np.zeros(0, np.int64), *found])))
    runs = runs.take(lane[runs.earner] != NOBODY)
    runs = replace(runs, owner=lane[runs.owner], staker=lane[runs.staker])
    return View(replace(state, runs=runs, wallets=state.wallets.take(rows)), view.rules,
                view.timestamp)  # fmt: skip


def _written(column: Ints, rows: I64, new: Ints, count: int) -> Ints:
    """The column of so many wallets with some of them written, in place where it has them all."""
    if count > len(column):
        column = np.concatenate([column, np.zeros(count - len(column), column.dtype)])
    if new.dtype == object and column.dtype != object:
        column = column.astype(object)
    column[rows] = new
    return column
