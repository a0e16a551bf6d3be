"""Rows are read as they were written, whatever their width."""

from __future__ import annotations

from contextlib import closing
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ngu_points.embedded import tables
from ngu_points.embedded.store import Store
from ngu_points.engine.events import blobs, ids_column
from ngu_points.engine.facts import narrow
from ngu_points.engine.fingerprint import words
from ngu_points.engine.rules import Rules, Season, Tier
from ngu_points.engine.runs import Runs
from ngu_points.engine.state import State, Wallets, no_state, no_wallets

COUNT = st.integers(0, 9) | st.integers(2**62 - 2, 2**62 + 2) | st.integers(2**63 - 2, 2**66)
SMALL = st.integers(-10, 2**40)
TIERS = (Tier(1, Fraction(2)),)
GAP = st.integers(1, 3) | st.integers(2**61, 2**63) | st.just(2**250)


@st.composite
def states(draw: Any) -> State:
    """Any rows; they need not be a state that events lead to."""
    rules = Rules((Season("1"), Season("2"))[: draw(st.integers(0, 2))], tiers=TIERS)
    addresses = sorted(draw(st.sets(st.binary(min_size=20, max_size=20), min_size=1, max_size=9)))
    address = np.frombuffer(b"".join(addresses), np.uint8).reshape(-1, 20)
    blank, n = no_wallets(rules, address), len(addresses)
    kinds = blank.facts.shape[0] * blank.facts.shape[1]
    facts = np.array(draw(st.lists(COUNT, min_size=kinds * n, max_size=kinds * n)), object)
    columns = [np.array(draw(st.lists(values, min_size=n, max_size=n)), object)
               for values in [COUNT] * 5 + [SMALL] * 5]  # fmt: skip
    wallets = Wallets(address, narrow(facts.reshape(blank.facts.shape)), *map(narrow, columns))
    edges = np.cumsum(np.array([0, *draw(st.lists(GAP, max_size=12))], object)).tolist()
    first, end = edges[:-1:2], edges[1::2]
    first = first[: len(end)]
    who = st.lists(st.integers(-1, n - 1), min_size=len(end), max_size=len(end))
    runs = Runs(
        ids_column(first, ends=end), ids_column(end, ends=end),
        *(np.array(draw(who), np.int64) for _ in range(2)),
        *(np.arange(len(end)) + t for t in (5, 7)),
    )  # fmt: skip
    return State(runs, wallets)


@given(state=states(), chunk=st.integers(1, 5))
def test_rows_are_read_as_they_were_written(tmp_path_factory, state, chunk) -> None:
    """However many rows are written and read in one piece."""
    rules = Rules((Season("1"), Season("2"))[: len(state.wallets.facts)], tiers=TIERS)
    path: Path = tmp_path_factory.mktemp("rows") / "ngu.db"
    with (
        closing(Store.open(path, rules, write=True)) as store,
        mock.patch.object(tables, "CHUNK", chunk),
    ):
        with store.commit():
            tables.write_changes(store.db, no_state(rules), state)
        assert _told(tables.load_state(store.db, rules, {})) == _told(state)


@given(state=states())
def test_rows_of_tokens_are_plain_sql(tmp_path_factory, state) -> None:
    """Whoever reads the table sees ids as 32 bytes, nobody as NULL and times as integers."""
    path: Path = tmp_path_factory.mktemp("rows") / "ngu.db"
    with closing(Store.open(path, Rules(), write=True)) as store:
        with store.commit():
            runs = state.runs
            tables.write_runs(store.db, runs, np.arange(len(runs)), state.wallets.address)
        found = store.db.execute("SELECT * FROM tokens ORDER BY first").fetchall()
    names = [*blobs(state.wallets.address), None]
    ids = [blobs(words(column)) for column in (runs.first, runs.end - 1)]
    wallets = [[names[wallet] for wallet in column.tolist()]
               for column in (runs.owner, runs.staker)]  # fmt: skip
    times = [runs.owned_since.tolist(), runs.since.tolist()]
    zero = bytes(20)
    nobody = [[None if name == zero else name for name in column] for column in wallets]
    assert found == list(zip(*ids, *nobody, *times, strict=True))


def _told(state: State) -> list[Any]:
    """Everything in it, as plain values."""
    ids = [blobs(words(column)) for column in (state.runs.first, state.runs.end - 1)]
    rest = [getattr(state.runs, f.name).tolist() for f in fields(Runs)[2:]]
    return ids + rest + [getattr(state.wallets, f.name).tolist() for f in fields(Wallets)]
