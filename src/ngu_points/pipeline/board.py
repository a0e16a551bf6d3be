"""Who has how many points and who comes before whom: a leaderboard that is asked often.

Points descending, of equals the lower address first. The best are in order at once; the order of
all others is made when somebody pages that far.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from ngu_points.engine import facts
from ngu_points.engine.events import I64, Ints
from ngu_points.pipeline.query import View

BEST = 1_000
"""Wallets whose order is known from the start."""


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """Everybody's points in one season; `order` holds the first rows, or all that have points."""

    view: View
    season: int
    numerators: Ints
    denominator: int
    totals: Ints  # over all seasons
    total_denominator: int
    ranked: int  # wallets with points
    order: I64

    def points(self, row: int) -> Fraction:
        return Fraction(int(self.numerators[row]), self.denominator)

    def total(self, row: int) -> Fraction:
        return Fraction(int(self.totals[row]), self.total_denominator)


def board_of(view: View, season: int | None = None) -> Board:
    """The leaderboard of the (current) season at the view's moment."""
    season = view.season if season is None else season
    if not view.rules.seasons:
        nothing = np.zeros(len(view.state.wallets), np.int64)
        return Board(view, 0, nothing, 1, nothing, 1, 0, np.zeros(0, np.int64))
    numerators, denominator = view.points(season)
    totals, total_denominator = (
        (numerators, denominator) if len(view.rules.seasons) == 1 else view.points()
    )
    ranked = int((numerators > 0).sum())
    order = _best(view, numerators, min(BEST, ranked))
    return Board(view, season, numerators, denominator, totals, total_denominator, ranked, order)


def _best(view: View, numerators: Ints, count: int) -> I64:
    """The first rows in order: only those at or above the last one's points are sorted."""
    if not count:
        return np.zeros(0, np.int64)
    if count < len(numerators):
        least = np.partition(numerators, len(numerators) - count)[len(numerators) - count]
        rows = np.flatnonzero(numerators >= least)
    else:
        rows = np.arange(len(numerators))
    sorted_ = facts.rank(numerators[rows], view.state.wallets.address[rows])
    order: I64 = rows[sorted_][:count]
    return order


def reaching(board: Board, end: int) -> Board:
    """The board with at least `end` rows in order (or all that there are)."""
    if min(end, board.ranked) <= len(board.order):
        return board
    return replace(board, order=_best(board.view, board.numerators, board.ranked))


def rank_of(board: Board, row: int) -> int | None:
    """A wallet's rank, from 1; None without points."""
    mine = int(board.numerators[row])
    if mine <= 0:
        return None
    above = int((board.numerators > mine).sum())
    equal = np.flatnonzero(board.numerators == mine)
    address = board.view.state.wallets.address
    name = address[row].tobytes()
    before = sum(address[other].tobytes() < name for other in equal.tolist())
    return 1 + above + int(before)


def ranked(board: Board, offset: int, limit: int) -> list[dict[str, Any]]:
    """Rows of the leaderboard; `board` must reach that far."""
    wallets = board.view.state.wallets
    return [
        {
            "rank": rank,
            "wallet": "0x" + wallets.address[row].tobytes().hex(),
            "points": facts.shown(board.points(row)),
            "totalPoints": facts.shown(board.total(row)),
            "held": str(wallets.held[row]),
            "staked": str(wallets.staked[row]),
        }
        for rank, row in enumerate(board.order[offset : offset + limit].tolist(), offset + 1)
    ]
