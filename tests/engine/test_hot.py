"""A state that changes in place ends where one that is taken apart and put together does."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import groupby, pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chains import columns
from engine.test_against_oracle import engine_rules
from histories import histories
from ngu_points.engine.events import Events
from ngu_points.engine.fingerprint import fingerprint, shares_digest
from ngu_points.engine.hot import Hot
from ngu_points.engine.invariants import check
from ngu_points.engine.runs import Runs
from ngu_points.engine.splice import splice, touched
from ngu_points.engine.state import Advanced, Wallets, advance, no_state
from ngu_points.pipeline.process import moves_of


@given(history=histories(), data=st.data())
def test_in_place_or_part_by_part_is_one_state(history, data) -> None:
    """Any steps, each either way: state, days and notes are those of the pure fold."""
    oracle_rules, events, until = history
    rules = engine_rules(oracle_rules)
    hot, plain = Hot(no_state(rules), rules), Hot(no_state(rules), rules)
    edges = sorted({0, len(events), *data.draw(st.lists(st.integers(0, len(events)), max_size=6))})
    for low, high in pairwise(edges if len(edges) > 1 else [0, 0]):
        part, time = columns(events[low:high]), events[high - 1].timestamp if high else until
        time = until if high == len(events) else time
        kept = hot.kept()
        before = fingerprint(kept, (), rules, 1)
        if data.draw(st.booleans()):
            after = hot.advance(hot.moves(part), high, time)
        else:
            after = _put(hot, part, high, time)
        truth = _put(plain, part, high, time)
        assert fingerprint(kept, (), rules, 1) == before
        check(hot.state, rules)
        assert _shares(hot, after) == _shares(plain, truth)
        for name in ("event", "first", "end", "code"):
            mine, theirs = getattr(after.anomalies, name), getattr(truth.anomalies, name)
            assert mine.tolist() == theirs.tolist()
    mine, theirs = _told(hot), _told(plain)
    assert mine == theirs
    assert fingerprint(hot.state, (), rules, 1) == fingerprint(plain.state, (), rules, 1)


def _put(hot: Hot, part: Events, block: int, time: int) -> Advanced:
    """One step by way of a part."""
    address, moves = moves_of(part)
    taken = hot.take(moves.first, moves.end, address, time)
    after = advance(taken.state, moves, hot.rules, block, time)
    numbers = hot.put(taken, after.state)
    return replace(after, days=tuple(replace(d, wallet=numbers[d.wallet]) for d in after.days))


def _shares(hot: Hot, after: Advanced) -> list[tuple[int, int, bytes]]:
    """What the feast days that closed came to."""
    address = hot.state.wallets.address
    return [(d.day, d.carry_out, shares_digest(d, address)) for d in after.days]


def _told(hot: Hot) -> dict[bytes, list[object]]:
    """Everything that is known of each wallet."""
    wallets = hot.state.wallets
    return {
        wallets.address[i].tobytes(): [
            getattr(wallets, f.name)[..., i].tolist() for f in fields(Wallets)[1:]
        ]
        for i in range(len(wallets))
    }


RANGE = st.tuples(st.integers(0, 60), st.integers(1, 9))


@given(
    runs=st.lists(RANGE, max_size=12), ranges=st.lists(RANGE, max_size=8), adjoining=st.booleans()
)
def test_touched_are_the_runs_that_overlap_or_adjoin(runs, ranges, adjoining) -> None:
    """Exactly the rows that a search one by one finds."""
    spans: list[tuple[int, int]] = []
    for start, size in sorted(runs):
        if not spans or spans[-1][1] <= start:
            spans.append((start, start + size))
    first, end = (np.array([s[i] for s in spans], np.int64) for i in (0, 1))
    zero = np.zeros(len(spans), np.int64)
    low = np.array([start for start, _ in ranges], np.int64)
    high = np.array([start + size for start, size in ranges], np.int64)
    near = [
        row
        for row, (a, b) in enumerate(spans)
        if any(a < start + size + adjoining and start < b + adjoining for start, size in ranges)
    ]
    whole = Runs(first, end, zero, zero, zero, zero)
    assert touched(whole, low, high, adjoining=adjoining).tolist() == near


@given(owners=st.lists(st.integers(-1, 2), max_size=14), data=st.data())
def test_a_splice_leaves_no_neighbours_that_agree(owners, data) -> None:
    """Replaced runs and those around them are the maximal ranges of equal owners."""
    before = _maximal(owners)
    chosen = [row for row in range(len(before)) if data.draw(st.booleans())]
    held = {i for row in chosen for i in range(before.first[row], before.end[row])}
    after = [data.draw(st.integers(-1, 2)) if i in held else o for i, o in enumerate(owners)]
    new = _maximal([owner if i in held else -1 for i, owner in enumerate(after)])
    spliced, truth = splice(before, np.array(chosen, np.int64), new), _maximal(after)
    for f in fields(Runs):
        assert getattr(spliced, f.name).tolist() == getattr(truth, f.name).tolist()


def _maximal(owners: list[int]) -> Runs:
    """The runs of ids from 0 on, given the owner of each."""
    ids = enumerate(owners)
    ranges = [(owner, [i for i, _ in some]) for owner, some in groupby(ids, lambda i: i[1])]
    rows = [(some[0], some[-1] + 1, owner, -1, 7, 7) for owner, some in ranges if owner >= 0]
    return Runs(*np.array(rows, np.int64).reshape(-1, 6).T)
