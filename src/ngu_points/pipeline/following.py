"""A state that is folded on in place, and what is published of it block by block, for good.

Publishing costs what the blocks since have touched and a few passes over columns: wallets that
changed are written into a copy that nobody looks at any more, the index of runs and the lines of
points are bent where events were.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from ngu_points.engine.coverage import Covered
from ngu_points.engine.events import I64, U8, Ints, blobs
from ngu_points.engine.hot import Hot
from ngu_points.engine.moves import named
from ngu_points.engine.rules import Rules
from ngu_points.engine.runs import Runs
from ngu_points.engine.splice import touched
from ngu_points.engine.state import Wallets
from ngu_points.pipeline.accrual import Lines, lines_of
from ngu_points.pipeline.board import Board, board_of, board_with
from ngu_points.pipeline.holders import CHANGED, Holders, holders_of
from ngu_points.pipeline.query import View, refold

MANY = 20_000
"""Events between two publications from which on everything is looked at anew."""
RUNS = 200
"""Runs that are sorted anew in the time in which the index follows one."""


@dataclass(slots=True)
class Touched:
    """What events may have changed since the last publication: ranges of ids, and addresses."""

    day: int | None  # of the feast; everybody's facts may change when it closes
    events: int = 0
    first: list[Ints] = field(default_factory=list)
    end: list[Ints] = field(default_factory=list)
    address: list[U8] = field(default_factory=list)

    def passing(self, history: Iterable[Covered]) -> Iterator[Covered]:
        """The same history, noted."""
        for covered in history:
            events = covered.events
            self.events += len(events)
            if self.events <= MANY:
                self.first.append(events.first)
                self.end.append(events.first + events.quantity)
                self.address.append(named(events)[0])
            yield covered


class Following:
    """One thread folds and publishes, any thread looks at what was published."""

    def __init__(self, hot: Hot, rules: Rules) -> None:
        """`hot` is this object's to change."""
        self.hot = hot
        self.rules = rules
        self.known: dict[bytes, int] = {}
        self._touched: Touched | None = None  # None: everything
        self._copies = Copies()
        self._runs = hot.state.runs  # as they were published
        self._holders: Holders | None = None
        self._lines: dict[int | None, Lines] = {}

    def fold(self, history: Iterable[Covered], until: tuple[int, int] | None = None) -> None:
        """Fold a history on (see `refold`)."""
        if self._touched is not None:
            history = self._touched.passing(history)
        refold(self.rules, history, self.hot, until)

    def publish(self) -> tuple[View, Board]:
        """The state as it is now with everybody's points, for good."""
        state = self.hot.state
        fresh = blobs(state.wallets.address[len(self.known) :])
        self.known.update({a: i for i, a in enumerate(fresh, len(self.known))})
        rows, old, new = self._changed()
        wallets = self._copies.take(state.wallets, rows)
        self._holders = self._followed(old, new)
        state = replace(state, wallets=wallets)
        view = View(state, self.rules, state.timestamp, self.known, self._holders)
        board = self._board(view, rows)
        self._runs, self._touched = state.runs, Touched(state.day)
        return view, board

    def _changed(self) -> tuple[I64 | None, Runs, Runs]:
        """Wallets that may have changed, None for any; runs that did, before and after."""
        noted, before, after = self._touched, self._runs, self.hot.state.runs
        if noted is None or noted.events > MANY or noted.day != self.hot.state.day:
            return None, before, after
        if not noted.events:
            nothing = after.take(slice(0, 0))
            return np.zeros(0, np.int64), nothing, nothing
        first, end = np.concatenate(noted.first), np.concatenate(noted.end)
        old, new = (runs.take(touched(runs, first, end)) for runs in (before, after))
        numbers = [self.hot.numbers.find(np.concatenate(noted.address))]
        numbers += [n for runs in (old, new) for n in (runs.owner, runs.staker)]
        rows = np.unique(np.concatenate(numbers))
        return rows[rows >= 0], old, new

    def _followed(self, old: Runs, new: Runs) -> Holders:
        holders, runs = self._holders, self.hot.state.runs
        many = len(old) + len(new) > min(MANY, len(runs) // RUNS)
        if holders is None or many or len(holders.changed) > CHANGED:
            return holders_of(runs, len(self.known))
        return holders.after(old, new)

    def _board(self, view: View, rows: I64 | None) -> Board:
        """Everybody's points in the current season and in all, from their lines."""
        if not self.rules.seasons:
            return board_of(view)
        season = view.season
        wanted = [season] if len(self.rules.seasons) == 1 else [season, None]
        lines = [self._line(view, which, rows) for which in wanted]
        self._lines = dict(zip(wanted, lines, strict=True))
        points = [(found.at(view.timestamp), found.denominator) for found in lines]
        return board_with(view, season, points[0], points[-1])

    def _line(self, view: View, season: int | None, rows: I64 | None) -> Lines:
        known = self._lines.get(season)
        if known is None or rows is None:
            return lines_of(view, season)
        return known.follow(view, rows)


@dataclass(slots=True)
class Copy:
    """Columns of wallets with room to grow, the rows in which they are behind, who has them."""

    columns: dict[str, Any]
    behind: list[I64]
    published: Callable[[], Wallets | None]


class Copies:
    """Copies of wallets that change; one that nobody looks at any more is used again."""

    def __init__(self) -> None:
        self._made: list[Copy] = []

    def take(self, wallets: Wallets, rows: I64 | None) -> Wallets:
        """Those wallets, for good; `rows` have changed since the last call, None: any may have."""
        if rows is None:
            self._made = []
        else:
            for made in self._made:
                made.behind.append(rows)
        free = [m for m in self._made if m.published() is None and _fits(m.columns, wallets)]
        copy = free[0] if free else self._new(wallets)
        if copy.behind:
            late = np.unique(np.concatenate(copy.behind))
            for name, column in copy.columns.items():
                at: Any = late if name == "address" else (..., late)
                column[at] = getattr(wallets, name)[at]
        n = len(wallets)
        views = {k: c[:n] if k == "address" else c[..., :n] for k, c in copy.columns.items()}
        taken = Wallets(**views)
        copy.behind, copy.published = [], weakref.ref(taken)
        return taken

    def _new(self, wallets: Wallets) -> Copy:
        """Another copy, beside the newest of those that are there."""
        columns = {f.name: _roomy(getattr(wallets, f.name), f.name) for f in fields(Wallets)}
        copy = Copy(columns, [], lambda: None)
        self._made = [*self._made[-1:], copy]
        return copy


def _fits(columns: dict[str, Any], wallets: Wallets) -> bool:
    same = all(column.dtype == getattr(wallets, name).dtype for name, column in columns.items())
    return same and len(wallets) <= len(columns["address"])


def _roomy(column: Any, name: str) -> Any:
    """A copy with room for some more wallets."""
    axis = 0 if name == "address" else -1
    shape, n = list(column.shape), column.shape[axis]
    shape[axis] = n + n // 16 + 1_024
    copy = np.zeros(shape, column.dtype)
    copy[slice(n) if axis == 0 else (..., slice(n))] = column
    return copy
