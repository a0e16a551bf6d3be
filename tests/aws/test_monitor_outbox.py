"""The outbox: first in, first out, on disk before it counts, whole or set aside."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngu_points.aws.outbox import Outbox, opened
from ngu_points.aws.parameters import Sent
from ngu_points.engine.coverage import BATCH, STAKING, STREAMS
from ngu_points.errors import TransientError, UsageError

OF = "ngu staging 1"


def sent(block: int, sequence: int) -> Sent:
    return Sent(block, bytes([block % 256]) * 32, block * 2, sequence)


START = sent(9, 0)


@contextmanager
def box(folder: Path, *, of: str = OF, limit: int = 1 << 20) -> Iterator[Outbox]:
    """An outbox that has begun."""
    with opened(folder, of, limit=limit) as made:
        if made.end() is None:
            made.begin(START, None)
        yield made


def lines(stream: str, sequence: int, count: int) -> list[bytes]:
    return [b"%s %d %d\n" % (stream.encode(), sequence, n) for n in range(count)]


Step = tuple[str, int, int]
Waiting = dict[str, list[tuple[int, bytes]]]  # by stream: sequence and record
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 700), st.integers(0, 3)),
        st.tuples(st.just("send"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("again"), st.just(0), st.just(0)),
    ),
    max_size=12,
)


@given(steps=steps)
def test_it_is_a_queue_that_survives(steps: list[Step]) -> None:
    """Whatever is added, sent and opened again: each stream comes in order, each record until it is
    done, and a range counts as accepted once nothing of it or before it waits."""
    waiting: Waiting = {stream: [] for stream in STREAMS}
    ends = [START]
    with tempfile.TemporaryDirectory() as folder:
        for some in _between_openings(steps):
            with box(Path(folder)) as made:
                for step in some:
                    _do(made, step, waiting, ends)
                    _check(made, waiting, ends)


def _between_openings(steps: list[Step]) -> list[list[Step]]:
    runs: list[list[Step]] = [[]]
    for step in steps:
        if step[0] == "again":
            runs.append([])
        else:
            runs[-1].append(step)
    return runs


def _do(made: Outbox, step: Step, waiting: Waiting, ends: list[Sent]) -> None:
    name, one, two = step
    if name == "add":
        end = sent(ends[-1].block + 5, ends[-1].sequence + 1)
        records = {
            BATCH: lines(BATCH, end.sequence, one),
            STAKING: lines(STAKING, end.sequence, two),
        }
        assert made.add(records, end, ends[-1])
        assert not made.add(records, end, ends[-1])
        ends.append(end)
        for stream in STREAMS:
            waiting[stream] += [(end.sequence, record) for record in records[stream]]
        return
    stream = STREAMS[one]
    taken = made.take(stream)
    assert list(taken.records) == [r for _, r in waiting[stream]][: len(taken.records)]
    assert bool(taken.records) == bool(waiting[stream])
    made.done(stream, taken)
    made.done(stream, taken)
    del waiting[stream][: len(taken.records)]


def _check(made: Outbox, waiting: Waiting, ends: list[Sent]) -> None:
    first = min((s for held in waiting.values() for s, _ in held), default=1 << 60)
    assert made.end() == ends[-1]
    assert made.accepted() == [end for end in ends if end.sequence < first][-1]
    for stream in STREAMS:
        assert made.records(stream) == len(waiting[stream])


def test_it_is_full_at_its_limit(tmp_path: Path) -> None:
    """Also after it was opened again, and no more once enough was sent."""
    with box(tmp_path, limit=1000) as made:
        assert not made.full
        made.add({BATCH: [b"x" * 600], STAKING: [b"y" * 600]}, sent(10, 1), START)
        assert made.full
    with box(tmp_path, limit=1000) as made:
        assert made.full
        made.done(BATCH, made.take(BATCH))
        assert not made.full


def test_begun_anew_it_holds_nothing_of_before(tmp_path: Path) -> None:
    """What is still being sent then, and done later, takes nothing new away."""
    with box(tmp_path) as made:
        made.add({BATCH: [b"old\n"], STAKING: []}, sent(10, 1), START)
        taken = made.take(BATCH)
        made.begin(sent(4, 5), sent(4, 5))
        assert made.accepted() == made.end() == sent(4, 5)
        made.add({BATCH: [b"new\n"], STAKING: []}, sent(6, 6), sent(4, 5))
        made.done(BATCH, taken)
        assert made.take(BATCH).records == (b"new\n",)


def test_it_knows_what_it_has_put_into_the_parameter(tmp_path: Path) -> None:
    """Its own positions and none at all are no sign of somebody else; any other is, also later."""
    with box(tmp_path) as made:
        made.claim(sent(10, 1), sent(20, 2))
        assert made.owns(None)
    with box(tmp_path) as made:
        assert made.owns(sent(10, 1))
        assert made.owns(sent(20, 2))
        assert not made.owns(sent(15, 9))
        made.begin(sent(15, 9), sent(15, 9))
        assert made.owns(sent(15, 9))
        assert not made.owns(sent(20, 2))


def aside(folder: Path) -> list[Path]:
    return sorted(folder.glob("outbox.damaged-*.db"))


def test_a_damaged_record_sets_the_file_aside(tmp_path: Path) -> None:
    """What the disk has changed is never sent; the file is kept for whoever wants to look."""
    with box(tmp_path) as made:
        made.add({BATCH: [b"one\n"], STAKING: []}, sent(10, 1), START)
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db, db:
        db.execute("UPDATE waiting SET lines = ?", (b"two\n",))
    with opened(tmp_path, OF) as made:
        assert made.end() is None
    assert len(aside(tmp_path)) == 1


@pytest.mark.parametrize("text", ["{}", "x", '{"block": "1"}'])
def test_a_damaged_position_sets_the_file_aside(tmp_path: Path, text: str) -> None:
    """A range end that cannot be read is damage too."""
    with box(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db, db:
        db.execute("UPDATE ends SET position = ?", (text,))
    with opened(tmp_path, OF) as made:
        assert made.end() is None
    assert aside(tmp_path)


def test_another_contracts_file_is_set_aside(tmp_path: Path) -> None:
    """Records of another deployment are never sent as this one's."""
    with box(tmp_path) as made:
        made.add({BATCH: [b"one\n"], STAKING: []}, sent(10, 1), START)
    with opened(tmp_path, "ngu prod 1") as made:
        assert made.end() is None
        assert made.records(BATCH) == 0
    assert aside(tmp_path)


def test_a_full_disk_is_trouble_that_passes(tmp_path: Path) -> None:
    """Nothing of the range is added; what is there can still be sent."""
    with box(tmp_path) as made:
        made.add({BATCH: [b"one\n"], STAKING: []}, sent(10, 1), START)
        made._db.execute("PRAGMA max_page_count = 1")
        big = {BATCH: [b"x" * 900_000] * 3, STAKING: []}
        with pytest.raises(TransientError, match="is the disk full"):
            made.add(big, sent(20, 2), sent(10, 1))
        assert made.end() == sent(10, 1)
        assert made.take(BATCH).records == (b"one\n",)
        made._db.execute("PRAGMA max_page_count = 1000000")
        assert made.add(big, sent(20, 2), sent(10, 1))


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """With the option that names another one."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match="name another folder with --state"),
        opened(tmp_path / "file" / "folder", OF),
    ):
        pass
