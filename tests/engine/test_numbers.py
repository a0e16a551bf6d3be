"""Addresses keep their numbers, whatever their bytes and however they come."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ngu_points.engine import numbers
from ngu_points.engine.events import U8, blobs
from ngu_points.engine.numbers import Numbers, distinct

ADDRESSES = st.lists(
    st.binary(min_size=20, max_size=20) | st.integers(0, 9).map(lambda n: n.to_bytes(20, "big")),
    max_size=40,
)


def column(addresses: list[bytes]) -> U8:
    return np.frombuffer(b"".join(addresses), np.uint8).reshape(-1, 20)


@given(batches=st.lists(ADDRESSES, max_size=6), collide=st.booleans())
def test_numbers_are_those_of_a_dictionary(batches, collide) -> None:
    """Each new address gets the next number, and is found by it, even if all mixes are equal."""
    with _mix(collide):
        known, table = {}, Numbers(column([]))
        for batch in batches:
            found = table.find(column(batch)).tolist()
            assert found == [known.get(address, -1) for address in batch]
            fresh = list(dict.fromkeys(a for a in batch if a not in known))
            table.add(column(fresh))
            known |= {address: len(known) + n for n, address in enumerate(fresh)}
            assert len(table) == len(known)
        assert table.find(column(list(known))).tolist() == list(known.values())


@given(addresses=ADDRESSES, collide=st.booleans())
def test_distinct_rows_stand_for_all_of_them(addresses, collide) -> None:
    """Every row is the distinct row that it is said to be, and those differ."""
    with _mix(collide):
        rows, index = distinct(column(addresses))
    assert [blobs(rows)[at] for at in index.tolist()] == addresses
    assert len(set(blobs(rows))) == len(rows)


def test_many_addresses_keep_their_numbers() -> None:
    """The table grows many times on the way to 100,000."""
    rows = np.random.default_rng(1).integers(0, 256, (100_000, 20), np.uint8)
    table = Numbers(column([]))
    for low in range(0, len(rows), 7_001):
        table.add(rows[low : low + 7_001])
    assert (table.find(rows) == np.arange(len(rows))).all()
    assert (table.find(rows ^ 1) == -1).all()


class _mix:  # noqa: N801
    """Within, all addresses share one mix, if `same`."""

    def __init__(self, same: bool) -> None:
        self.same, self.real = same, numbers.mixed

    def __enter__(self) -> None:
        if self.same:
            numbers.mixed = lambda address: np.zeros(len(address), np.uint64)

    def __exit__(self, *_: object) -> None:
        numbers.mixed = self.real
