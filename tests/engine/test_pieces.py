"""What is done a piece at a time to save memory is the same in pieces of any size."""

from __future__ import annotations

from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chains import columns
from engine.test_against_oracle import engine_rules
from histories import histories
from ngu_points.engine import facts, fingerprint
from ngu_points.engine.hot import Hot
from ngu_points.engine.state import State, among, no_state


@given(history=histories(), piece=st.integers(1, 5))
def test_pieces_of_any_size_give_one_fingerprint(history, piece) -> None:
    """Of runs and of wallets."""
    rules, state = _folded(history)
    whole = fingerprint.fingerprint(state, (), rules, 1)
    with mock.patch.object(fingerprint, "PIECE", piece):
        assert fingerprint.fingerprint(state, (), rules, 1) == whole


@given(history=histories(), piece=st.integers(1, 5), later=st.integers(0, 10**7))
def test_open_runs_earn_the_same_in_pieces_of_any_size(history, piece, later) -> None:
    """At the state's own time and at any later one."""
    rules, state = _folded(history)
    earns = ~among(state.wallets.address, rules.earns_nothing)
    asked = (state.wallets.facts, state.runs, rules, earns, state.timestamp + later)
    whole = facts.at_time(*asked)
    with mock.patch.object(facts, "PIECE", piece):
        assert np.array_equal(facts.at_time(*asked), whole)


def _folded(history) -> tuple:
    oracle_rules, events, until = history
    rules = engine_rules(oracle_rules)
    hot = Hot(no_state(rules), rules)
    state: State = hot.advance(hot.moves(columns(events)), 1, until).state
    return rules, state
