"""The copy that the web server folds along is the database's state, whatever happens to that."""

from __future__ import annotations

import random
import tempfile
from contextlib import closing
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedded.test_any_sequence import Life
from embedded.test_store import chain_of
from engine.test_against_oracle import engine_rules
from histories import histories
from ngu_points.embedded.replica import Replica
from ngu_points.engine.events import blobs
from ngu_points.engine.rules import DAY
from ngu_points.pipeline.board import rank_of, ranked, reaching
from ngu_points.pipeline.query import View, leaderboard, points_of
from ngu_points.web.interfaces import Seen

ACTIONS = (Life.read, Life.read, Life.read, Life.finalise, Life.tidy, Life.repair, Life.go_back,
           Life.fork)  # fmt: skip


def wallets_of(view: View) -> dict[bytes, Any]:
    """Every column of every wallet by address, facts up to the view's time."""
    wallets = view.state.wallets
    columns = [getattr(wallets, f.name).tolist() for f in fields(wallets)[2:]]
    facts = np.moveaxis(view.facts, -1, 0).tolist()
    return dict(zip(blobs(wallets.address), zip(facts, *columns, strict=True), strict=True))


def runs_of(view: View) -> list[Any]:
    """Every run, with addresses for numbers."""
    names = [*blobs(view.state.wallets.address), None]
    runs = view.state.runs
    return [
        (int(runs.first[i]), int(runs.end[i]), names[runs.owner[i]], names[runs.staker[i]],
         int(runs.owned_since[i]), int(runs.since[i]))
        for i in range(len(runs))
    ]  # fmt: skip


def midnight_of(seen: Seen) -> dict[bytes, Fraction]:
    assert seen.midnight is not None
    numerators, denominator = seen.midnight
    named = zip(blobs(seen.view.state.wallets.address), numerators.tolist(), strict=False)
    return {wallet: Fraction(value, denominator) for wallet, value in named if value}


def check_one(seen: Seen, row: int) -> None:
    """What indexes and lines say of a wallet is what a look at everything says."""
    view, board = seen.view, seen.board
    assert board is not None
    owner, staker = view.state.runs.owner, view.state.runs.staker
    assert view.runs_of(row).tolist() == np.flatnonzero((owner == row) | (staker == row)).tolist()
    alone = replace(view)  # which has not summed up everybody's facts
    assert alone.facts_of(row).tolist() == view.facts[..., row].tolist()
    if view.rules.seasons:
        assert board.points(row) == points_of(alone, view.state.wallets.address[row].tobytes(),
                                              board.season)  # fmt: skip
        assert board.total(row) == points_of(alone, view.state.wallets.address[row].tobytes())


def check(life: Life, replica: Replica) -> Seen:
    """The copy says what the database says."""
    seen, board = replica.newest(), replica.newest_board()
    assert seen is not None
    assert board is not None
    truth = View.of(life.store.state(), life.rules)
    assert wallets_of(seen.view) == wallets_of(truth)
    assert runs_of(seen.view) == runs_of(truth)
    state, other = seen.view.state, truth.state
    assert (state.block, state.day, state.carry, state.contribution) == (
        other.block, other.day, other.carry, other.contribution,
    )  # fmt: skip
    for wallet in wallets_of(truth):
        row = seen.view.row(wallet)
        assert row is not None
        assert state.wallets.address[row].tobytes() == wallet
        check_one(seen, row)
    shown = [(r["rank"], r["wallet"], r["points"]) for r in leaderboard(truth, 10**6)]
    assert seen.view.known is not None
    rows = ranked(reaching(board, 10**6), 0, 10**6)
    assert [(r["rank"], r["wallet"], r["points"]) for r in rows] == shown
    assert [(rank_of(board, seen.view.known[bytes.fromhex(w[2:])]), w) for _, w, _ in shown] == [
        (rank, wallet) for rank, wallet, _ in shown
    ]
    if life.rules.seasons:
        midnight = truth.timestamp // DAY * DAY
        then = life.history.state_at(life.rules, midnight)
        numerators, denominator = then.points(life.rules.current_season(truth.timestamp))
        named = zip(blobs(then.state.wallets.address), numerators.tolist(), strict=True)
        assert midnight_of(seen) == {w: Fraction(n, denominator) for w, n in named if n}
    return seen


@given(history=histories(), seed=st.integers(0, 2**32))
def test_the_copy_follows_whatever_happens(history: Any, seed: int) -> None:
    """After reads in any order, forks, repairs and rewinds, looked at now and then, the copy is the
    database's state; what was published before has not changed."""
    rules_, events, until = history
    rules, rng = engine_rules(rules_), random.Random(seed)
    chain = chain_of(events, until)
    with tempfile.TemporaryDirectory() as name:
        life = Life(Path(name), rules, chain, rng)
        with closing(life.store):
            replica = Replica(Path(name) / "ngu.db", rules)
            before: list[tuple[Seen, Any, Any]] = []
            life.read(0.0)
            for _ in range(rng.randint(2, 8)):
                rng.choice(ACTIONS)(life)
                if life.store.meta("position") is None or rng.random() < 0.3:
                    continue
                replica.refresh()
                seen = check(life, replica)
                if rng.random() < 0.5:  # what nobody looks at is written over
                    before.append((seen, wallets_of(replace(seen.view)), runs_of(seen.view)))
                del seen
            for seen, wallets, runs in before:
                assert wallets_of(replace(seen.view)) == wallets
                assert runs_of(seen.view) == runs
