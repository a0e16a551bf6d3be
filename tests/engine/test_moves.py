"""Events name their wallets by bytes or by index: the fold is given the same."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chains import columns
from histories import histories
from ngu_points.engine.events import Events, Indexed
from ngu_points.engine.moves import indexed, moves_with, named
from ngu_points.engine.numbers import distinct
from ngu_points.engine.runs import NOBODY


@given(history=histories(), data=st.data())
def test_wallets_by_index_are_those_by_bytes(history, data) -> None:
    """Also of a part of the events, and where the table holds addresses that nobody has."""
    plain = columns(history[1])
    also = np.full((1, 20), 0xEE, np.uint8)
    table, at = distinct(np.concatenate([plain.sender, plain.recipient, also]))
    held = (getattr(plain, f.name) for f in fields(Events))
    by_index = Indexed(*held, table, *np.split(at[:-1], 2), np.full(len(plain), at[-1]))
    rows = [row for row in range(len(plain)) if data.draw(st.booleans())]
    assert _told(by_index.take(rows)) == _told(plain.take(rows))


@given(history=histories(), data=st.data())
def test_an_index_is_of_exactly_the_addresses_that_events_name(history, data) -> None:
    """Of events, and of a part of events that have an index already."""
    plain = columns(history[1])
    rows = [row for row in range(len(plain)) if data.draw(st.booleans())]
    for events in (plain, indexed(plain).take(rows)):
        found = indexed(events)
        parties = [(found.sender_at, events.sender), (found.recipient_at, events.recipient),
                   (found.contract_at, events.contract)]  # fmt: skip
        for at, held in parties:
            assert (found.table[at] == held).all()
        every = {row.tobytes() for _, held in parties for row in held}
        assert sorted(row.tobytes() for row in found.table) == sorted(every)


def _told(events: Events) -> list[tuple[bytes | None, bytes | None]]:
    """Who gives and who takes in each event; every wallet of the table is one of them."""
    address, index = named(events)
    assert set(index.tolist()) == set(range(len(address)))
    moves = moves_with(events, index)
    names = {row: one.tobytes() for row, one in enumerate(address)} | {NOBODY: None}
    return [(names[a], names[b]) for a, b in zip(moves.sender, moves.recipient, strict=True)]
