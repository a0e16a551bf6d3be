"""Coverage decides how far processing may go; it must never say more than has arrived."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from chains import Chain
from ngu_points.engine.coverage import STREAMS, Coverage, announce, cut, gaps, ready_through

RANGES = st.lists(st.integers(1, 9), min_size=1, max_size=8)


def records(sizes: list[int], stream: str) -> list[Coverage]:
    """Records of one stream over ranges of these sizes, from block 0 on."""
    empty = Chain([], 10_000, 0)
    made, start = [], 0
    for sequence, size in enumerate(sizes, 1):
        for delivery in announce(empty.covered(start, start + size - 1), sequence):
            if delivery.stream == stream:
                made += delivery.coverage
        start += size
    return made


@given(sizes=RANGES, lost=st.sets(st.tuples(st.sampled_from(STREAMS), st.integers(0, 7))))
def test_the_watermark_stops_at_the_first_missing_record_of_either_stream(sizes, lost) -> None:
    """Whatever is missing, in whatever order the rest came, nothing beyond it is ready."""
    have, first_missing = [], sum(sizes)
    for stream in STREAMS:
        for index, record in enumerate(records(sizes, stream)):
            if (stream, index) in lost:
                first_missing = min(first_missing, record.from_block)
            else:
                have.append(record)
    random.Random(len(have)).shuffle(have)
    ready = ready_through(have, -1, lambda r: True)
    assert (ready.to_block if ready else -1) == first_missing - 1


@given(sizes=RANGES, bad=st.integers(0, 7))
def test_a_record_whose_events_have_not_all_arrived_holds_up_what_follows(sizes, bad) -> None:
    """The watermark ends before the first range of which something is missing."""
    have = [r for stream in STREAMS for r in records(sizes, stream)]
    late = records(sizes, STREAMS[0])[min(bad, len(sizes) - 1)]
    ready = ready_through(have, -1, lambda r: r != late)
    assert (ready.to_block if ready else -1) == late.from_block - 1


def test_a_later_sequence_supersedes_an_overlapping_record() -> None:
    """An older record that disagrees counts only up to where the newer one begins."""
    old = [records([10], s)[0] for s in STREAMS]
    new = [replace(r, sequence=2, from_block=5, to_block=7, count=3) for r in old]
    ready = ready_through([*old, *new], -1, lambda r: r.sequence == 1)
    assert ready is None or ready.to_block < 5
    assert ready_through([*old, *new], 4, lambda r: r.sequence == 2).to_block == 7


def test_a_step_ends_where_about_the_limit_of_events_is_announced() -> None:
    """A long backlog is cut at range ends."""
    have = [replace(r, count=10) for stream in STREAMS for r in records([1] * 8, stream)]
    reach = ready_through(have, -1, lambda r: True)
    assert reach.to_block == 7
    assert cut(have, -1, reach, 40).to_block == 1
    assert cut(have, -1, reach, 10_000).to_block == 7


def test_gaps_are_named_per_stream() -> None:
    """Blocks that no record covers are listed with their stream."""
    have = [r for r in records([3, 3, 3], "batch") if r.from_block != 3]
    assert gaps(have, 0, 8) == [("batch", 3, 5), ("staking", 0, 8)]
