"""What must hold of every state; checked by tests after each step and by the health job."""

from __future__ import annotations

import numpy as np

from ngu_points.engine.events import Ints
from ngu_points.engine.facts import add_at
from ngu_points.engine.rules import Rules
from ngu_points.engine.runs import NOBODY
from ngu_points.engine.state import State, among


def check(state: State, rules: Rules) -> None:
    """Raise AssertionError naming the first law that a whole state breaks."""
    runs, wallets = state.runs, state.wallets
    assert (runs.first < runs.end).all(), "a run is empty"
    assert (runs.end[:-1] <= runs.first[1:]).all(), "runs overlap or are out of order"
    lives = (runs.owner != NOBODY) | (runs.staker != NOBODY)
    assert lives.all(), "a run has neither owner nor staker"
    same = runs.end[:-1] == runs.first[1:]
    for column in (runs.owner, runs.staker, runs.owned_since, runs.since):
        same = same & (column[1:] == column[:-1])
    assert not same.any(), "two neighbouring runs could be one"
    assert (runs.since <= state.timestamp).all(), "a run earns from a time to come"
    staked = runs.staker != NOBODY
    held = ~staked & (runs.owner != NOBODY)
    size = runs.end - runs.first
    _equal(wallets.held, runs.owner[held], size[held], "held tokens")
    _equal(wallets.staked, runs.staker[staked], size[staked], "staked tokens")
    worth = rules.weights.of(runs.first[staked], runs.end[staked])
    _equal(wallets.stake_weight, runs.staker[staked], worth, "staked weight")
    nothing = among(wallets.address, rules.earns_nothing)
    assert not wallets.facts[:, :, nothing].any(), "an excluded address has facts"
    assert not (wallets.facts < 0).any(), "a fact is negative"
    assert state.carry >= 0, "the feast's carry is negative"
    assert state.contribution >= 0, "the feast's contribution is negative"


def _equal(recorded: Ints, wallet: np.ndarray, amount: Ints, what: str) -> None:
    counted = add_at(np.zeros(len(recorded), np.int64), wallet, amount)
    assert (counted == recorded).all(), f"{what} of a wallet differ from its runs"
