"""Columns of events: put in order, put together, looked at for the zero address."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chains import columns
from histories import histories
from ngu_points.engine.events import Events, concat, nobody


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 255)), max_size=12))
def test_the_zero_address_is_seen_whatever_byte_is_set(cells) -> None:
    """A row is the zero address exactly if none of its bytes says otherwise."""
    address = np.zeros((len(cells) + 1, 20), np.uint8)
    for row, (place, value) in enumerate(cells):
        address[row, place] = value
    assert nobody(address).tolist() == [not any(row) for row in address.tolist()]
    assert nobody(address[:, :].T.copy().T).tolist() == nobody(address).tolist()


@given(history=histories(), data=st.data())
def test_events_are_put_in_order_of_block_and_log_index(history, data) -> None:
    """From any order, also from one that is right already."""
    events = columns(history[1])
    rows = data.draw(st.permutations(range(len(events))))
    keys = list(zip(events.block.tolist(), events.log_index.tolist(), strict=True))
    for shuffled in (events.take(list(rows)), events):
        found = shuffled.sorted()
        assert list(zip(found.block.tolist(), found.log_index.tolist(), strict=True)) == sorted(
            keys
        )


@given(history=histories(), cut=st.integers(0, 40))
def test_parts_without_events_change_nothing(history, cut) -> None:
    """Whether there are two parts with events, one or none."""
    events = columns(history[1])
    none, one, two = (events.take(slice(*at)) for at in ((0, 0), (0, cut), (cut, None)))
    whole = concat([none, one, none, two])
    for f in fields(Events):
        assert np.array_equal(getattr(whole, f.name), getattr(events, f.name))
