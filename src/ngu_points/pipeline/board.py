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
    ascending: Ints  # the numerators once more, the least first, and below each `bits` of its row
    bits: int  # 0 where both do not fit into an integer
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
        return Board(view, 0, nothing, 1, nothing, 1, nothing, 0, 0, np.zeros(0, np.int64))
    points = view.points(season)
    totals = points if len(view.rules.seasons) == 1 else view.points()
    return board_with(view, season, points, totals)


def board_with(
    view: View, season: int, points: tuple[Ints, int], totals: tuple[Ints, int]
) -> Board:
    """The leaderboard where everybody's points in the season and in all are known."""
    numerators, denominator = points
    ascending, bits = _with_rows(numerators)
    ranked = len(ascending) - int(np.searchsorted(ascending, 1 << bits))
    order = np.zeros(0, np.int64)
    board = Board(view, season, numerators, denominator, *totals, ascending, bits, ranked, order)
    return reaching(board, BEST)


def _with_rows(numerators: Ints) -> tuple[Ints, int]:
    """The column in ascending order, and how many low bits of each value are its row."""
    bits = len(numerators).bit_length()
    if numerators.dtype == object or int(numerators.max(initial=0)) >> (62 - bits):
        return np.sort(numerators), 0
    return np.sort(numerators << bits | np.arange(len(numerators))), bits


def reaching(board: Board, end: int) -> Board:
    """The board with at least `end` rows in order (or all that there are)."""
    if min(end, board.ranked) <= len(board.order):
        return board
    count = board.ranked if end > BEST else min(BEST, board.ranked)
    rows = np.flatnonzero(board.numerators >= board.ascending[-count] >> board.bits)
    sorted_ = facts.rank(board.numerators[rows], board.view.state.wallets.address[rows])
    return replace(board, order=rows[sorted_][:count])


def rank_of(board: Board, row: int) -> int | None:
    """A wallet's rank, from 1; None without points."""
    mine, ascending, bits = int(board.numerators[row]), board.ascending, board.bits
    if mine <= 0:
        return None
    low, high = (int(np.searchsorted(ascending, value << bits)) for value in (mine, mine + 1))
    above = len(ascending) - high
    if high - low == 1:
        return 1 + above
    if bits:
        equal = ascending[low:high] & ((1 << bits) - 1)
    else:
        equal = np.flatnonzero(board.numerators == mine)
    names = board.view.state.wallets.address[equal].view("S20")[:, 0]  # compared byte by byte
    return 1 + above + int(np.count_nonzero(names < names[equal == row]))


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
