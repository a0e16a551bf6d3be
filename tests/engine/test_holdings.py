"""Holdings that have ended, together with the runs that live, tell who held what at any moment."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from engine.test_against_oracle import engine_moves, engine_rules
from histories import histories
from ngu_points.engine import runs as engine_runs
from ngu_points.engine.holdings import Holdings, ended
from ngu_points.engine.runs import NOBODY, Runs, Staking, fold, no_runs

Held = tuple[str | None, str | None, int | None, int | None]


def folded(rules: oracle.Rules, events: list[oracle.Event], cuts: list[int]):
    """All holdings that ended, the runs that are left, and the wallets that indices mean."""
    moves, wallets = engine_moves(events)
    contract = np.array([w in rules.staking_contracts for w in wallets], np.bool_)
    staking, runs, rows = Staking(contract, engine_rules(rules).custody), no_runs(), []
    for low, high in pairwise([0, *sorted(cuts), len(events)]):
        part = moves.take(slice(low, high))
        found = ended(runs, part, staking)
        rows += [(low + int(found.event[i]), *_row(found, i, wallets)) for i in range(len(found))]
        runs = fold(runs, part, staking).runs
    return rows, runs, wallets


def _row(found: Holdings | Runs, i: int, wallets: list[str]):
    names = [*wallets, None]
    staked = found.staker[i] != NOBODY
    held: Held = (
        names[found.owner[i]],
        names[found.staker[i]],
        int(found.owned_since[i]) if found.owner[i] != NOBODY else None,
        int(found.since[i]) if staked else None,
    )
    begins = max(int(found.owned_since[i]), int(found.since[i]))
    until = int(found.until[i]) if isinstance(found, Holdings) else 2**62
    return int(found.first[i]), int(found.end[i]), held, begins, until


@given(history=histories(), data=st.data())
def test_holdings_say_who_held_what_at_any_moment(history, data) -> None:
    """At the time of each event, exactly the oracle's tokens are in one holding, and right."""
    rules, events, _ = history
    rows, runs, wallets = folded(rules, events, data.draw(st.lists(st.integers(0, len(events)))))
    spans = [row[1:] for row in rows] + [_row(runs, i, wallets) for i in range(len(runs))]
    truth, left = oracle.Oracle(rules), list(events)
    for moment in sorted({e.timestamp for e in events}):
        while left and left[0].timestamp <= moment:
            truth.apply(left.pop(0))
        held: dict[int, Held] = {}
        for first, end, what, begins, until in spans:
            if begins <= moment < until:
                for token in range(first, end):
                    assert token not in held, "a token is in one holding at a time"
                    held[token] = what
        assert held == {
            token: (t.owner, t.staker, t.owned_since, t.staked_since)
            for token, t in truth.tokens.items()
        }


@given(history=histories(), data=st.data())
def test_cuts_make_no_difference_to_holdings(history, data) -> None:
    """The same rows in the same order for any batches, and when a batch is walked in halves."""
    rules, events, _ = history
    whole, _, _ = folded(rules, events, [])
    assert folded(rules, events, data.draw(st.lists(st.integers(0, len(events)))))[0] == whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_runs, "ROWS_MAX", 3)
        assert folded(rules, events, [])[0] == whole
