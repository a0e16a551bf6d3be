"""What is published block by block is what a look at everything says, and stays so."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from embedded.test_store import chain_of
from engine.test_against_oracle import engine_rules
from histories import histories
from ngu_points.engine.coverage import Covered
from ngu_points.engine.events import empty
from ngu_points.engine.hot import Hot
from ngu_points.engine.state import Wallets, no_state
from ngu_points.pipeline import accrual, following
from ngu_points.pipeline.board import Board, board_of, rank_of, reaching
from ngu_points.pipeline.following import Following
from ngu_points.pipeline.query import View, points_of


def blocks(events: list[Any], until: int, rng: random.Random) -> Iterator[Covered]:
    """The blocks with events one by one, and empty ones at times between them."""
    chain, before = chain_of(events, until), -1
    for block in sorted({e.block for e in events}):
        covered = chain.covered(before + 1, block)
        yield covered
        later = min((e.timestamp for e in events if e.block > block), default=until)
        for time in sorted(rng.randint(covered.timestamp, later) for _ in range(rng.randrange(4))):
            yield replace(covered, timestamp=time, events=empty())
        before = block


def columns(view: View) -> list[Any]:
    """Everything of the wallets, facts up to the view's time."""
    wallets = view.state.wallets
    return [getattr(wallets, f.name).tolist() for f in fields(Wallets)] + [
        replace(view).facts.tolist()
    ]


def check(view: View, board: Board, truth: View) -> None:
    """Columns, indexes and lines of a publication against a look at the whole state."""
    assert columns(view) == columns(truth)
    whole = board_of(truth)
    assert board.numerators.tolist() == whole.numerators.tolist()
    assert board.totals.tolist() == whole.totals.tolist()
    order = reaching(board, len(board.numerators)).order.tolist()
    assert order == reaching(whole, len(board.numerators)).order.tolist()
    assert [rank_of(board, row) for row in order] == list(range(1, len(order) + 1))
    for row, name in enumerate(map(bytes, truth.state.wallets.address)):
        assert view.row(name) == row
        assert view.runs_of(row).tolist() == truth.runs_of(row).tolist()
        assert view.facts_of(row).tolist() == replace(truth).facts[..., row].tolist()
        assert points_of(view, name) == board.total(row)


@contextmanager
def bent(rng: random.Random) -> Iterator[None]:
    """Index and lines follow what few events changed, though the state is small; or are anew."""
    share = rng.choice([0.001, 1_000])
    with patch.object(following, "RUNS", share), patch.object(accrual, "PART", share):
        yield


@given(history=histories(), seed=st.integers(0, 2**32))
def test_a_publication_is_what_a_look_at_everything_says(history: Any, seed: int) -> None:
    """After any blocks, a few at a time or many; publications that somebody still looks at are as
    they were, those that nobody does are written over."""
    rules, rng = engine_rules(history[0]), random.Random(seed)
    followed = Following(Hot(no_state(rules), rules), rules)
    kept: list[tuple[View, Any]] = []
    for covered in blocks(history[1], history[2], rng):
        followed.fold([covered])
        if rng.random() < 0.2:
            continue
        with bent(rng):
            view, board = followed.publish()
        truth = View.of(followed.hot.kept(), rules)
        check(view, board, truth)
        if rng.random() < 0.3:
            kept.append((view, columns(truth)))
        del view, board
    assert all(columns(view) == before for view, before in kept)
