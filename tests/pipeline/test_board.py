"""Ranks on the leaderboard, with many equal points and points of any size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from ngu_points.engine.events import ids_column
from ngu_points.engine.rules import Rules
from ngu_points.engine.state import no_state, no_wallets
from ngu_points.pipeline.board import board_with, rank_of, reaching
from ngu_points.pipeline.query import View

POINTS = st.sampled_from([0, 1, 2, 3, 2**30, 2**57, 2**58 - 1, 2**58, 2**61, 2**62 - 1, 2**200])


@given(points=st.lists(POINTS, max_size=12), seed=st.randoms(use_true_random=False))
@example(points=[2**62 - 1] * 3, seed=None)
def test_a_rank_is_the_place_among_all(points, seed) -> None:
    """Points descending, of equals the lower address first; none without points."""
    address = np.zeros((len(points), 20), np.uint8)
    address[:, 0] = np.arange(len(points))
    if seed:
        seed.shuffle(address[:, 0])
    rules = Rules()
    state = replace(no_state(rules), wallets=no_wallets(rules, address))
    column = ids_column(points)
    board = board_with(View.of(state, rules), 0, (column, 1), (column, 1))
    order = sorted(range(len(points)), key=lambda row: (-points[row], address[row, 0]))
    order = [row for row in order if points[row]]
    assert [rank_of(board, row) for row in order] == list(range(1, len(order) + 1))
    assert reaching(board, len(points)).order.tolist() == order
    assert {rank_of(board, row) for row in range(len(points)) if not points[row]} <= {None}
