"""Old events take the short way into the archive; nobody can tell the difference afterwards."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains import Chain
from conformance.test_stores import ALICE, BOB, START, event
from embedded.test_mend import truth
from embedded.test_store import NOW, chain_of, expected, new_store, ranges
from engine.test_against_oracle import engine_rules
from histories import histories
from ngu_points.embedded import bulk as bulk_module
from ngu_points.embedded.bulk import Bulk
from ngu_points.embedded.history import History
from ngu_points.embedded.mend import mend
from ngu_points.embedded.rebuild import rebuild
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import announced, deliveries
from ngu_points.engine.events import empty, ids
from ngu_points.engine.rules import DAY, Rules
from ngu_points.errors import StoreError
from ngu_points.pipeline.process import ingest

SOON = 100 * 365 * DAY + NOW  # every event is old by then
RULES = Rules()
CHAIN = Chain(
    [
        event("BatchMint", 1, 0, "", ALICE, 1, 9),
        event("Stake", 2, 0, ALICE, "", 2),
        event("BatchTransfer", 26, 0, ALICE, BOB, 4, 3),
        event("Unstake", 28, 0, ALICE, "", 2),
        event("BatchBurn", 29, 0, BOB, "", 5, 1),
    ],
    30,
    START + 30 * 3600,
)
MARK = expected(RULES, CHAIN.events, CHAIN.last_timestamp, CHAIN.last_block)


def taken(bulk: Bulk, chain: Chain, first: int, last: int, sequence: int = 1, now=SOON) -> None:
    """The blocks of a range go in as one, the short way if they fit."""
    ranges, rules = [announced(chain.covered(first, last), sequence)], bulk.store.rules
    if bulk.fits(ranges, now):
        bulk.archive(ranges, rules)
        return
    for step in ingest(bulk.store, deliveries(*ranges), rules, now):
        bulk.history.add(step.events)


def rows_of(store: Store) -> Any:
    """What the state tables hold, as anybody with sqlite3 sees it."""
    return [store.db.execute(f"SELECT * FROM {t} ORDER BY 1").fetchall()
            for t in ("tokens", "points", "feast_pool")]  # fmt: skip


@given(history=histories(), data=st.data())
def test_any_mixture_of_both_ways_leaves_the_same_record(history, data) -> None:
    """Short way or long, rows behind or not, opened anew at any time: one state, one history."""
    oracle_rules, events, until = history
    rules, chain = engine_rules(oracle_rules), chain_of(events, until)
    final = data.draw(st.sampled_from([chain.last_block // 2, chain.last_block]))
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        store = new_store(Path(folder), rules)
        for sequence, (first, last) in enumerate(ranges(chain, data), 1):
            archive = History(store)
            archive.recall()
            store.final = final
            bulk = Bulk(store, archive, segment=data.draw(st.sampled_from([1, 3, 10**6])))
            taken(bulk, chain, first, last, sequence)
            if data.draw(st.booleans()):
                bulk.settle()
            if data.draw(st.booleans()):
                store.close()
                store = Store.open(Path(folder) / "ngu.db", rules, write=True)
        with closing(store), closing(new_store(Path(other), rules)) as plain:
            taken(Bulk(plain, History(plain)), chain, 0, chain.last_block, now=NOW)
            mark = expected(rules, events, until, chain.last_block)
            assert store.fingerprint() == plain.fingerprint() == mark
            held = History(store).between(0, chain.last_block)
            assert ids(held.events) == ids(chain.covered(0, chain.last_block).events)
            assert store.meta("counters") == plain.meta("counters")
            noted = "SELECT id, blockNumber, note FROM anomalies ORDER BY id"
            assert store.db.execute(noted).fetchall() == plain.db.execute(noted).fetchall()
            store.write_rows()
            tokens, points, _ = rows_of(store)
            assert [tokens, points] == rows_of(plain)[:2]


def test_a_reader_of_rows_that_are_behind_sees_the_position(tmp_path) -> None:
    """Between two writings of rows, another process answers as of the last commit."""
    with closing(new_store(tmp_path, RULES)) as store:
        store.final = CHAIN.last_block
        bulk = Bulk(store, History(store), segment=1)
        taken(bulk, CHAIN, 0, 27)
        taken(bulk, CHAIN, 28, 30, 2)
        assert not store.db.execute("SELECT * FROM tokens").fetchall()
        assert not store.db.execute("SELECT * FROM batch_events").fetchall()
        with closing(Store.open(store.path, RULES)) as reader:
            assert reader.position() == store.position()
            assert reader.fingerprint() == MARK
        bulk.settle()
        assert store.db.execute("SELECT count(*) FROM tokens").fetchone()[0] == len(
            store.state().runs
        )
        with closing(Store.open(store.path, RULES)) as reader:
            assert reader.fingerprint() == MARK


def test_recent_or_unfinal_events_and_small_deliveries_take_the_long_way(tmp_path) -> None:
    """What the working queue is for goes through it."""
    for case, (segment, final, now) in enumerate(
        [(1, 30, CHAIN.last_timestamp + 7 * DAY), (1, 29, SOON), (6, 30, SOON)]
    ):
        folder = tmp_path / str(case)
        folder.mkdir()
        with closing(new_store(folder, RULES)) as store:
            store.final = final
            bulk = Bulk(store, History(store), segment=segment)
            taken(bulk, CHAIN, 0, 30, now=now)
            assert len(store.db.execute("SELECT * FROM batch_events").fetchall()) == 3
            assert store.fingerprint() == MARK


def test_a_commit_that_fails_leaves_nothing_and_is_taken_again(tmp_path, monkeypatch) -> None:
    """The segment's file may stay; position, state and archive are those before."""
    with closing(new_store(tmp_path, RULES)) as store:
        store.final = CHAIN.last_block
        bulk = Bulk(store, History(store), segment=1)
        taken(bulk, CHAIN, 0, 10)

        def full(*_: Any) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(store, "apply_archived", full)
            with pytest.raises(Exception, match="disk is full"):
                taken(bulk, CHAIN, 11, 30, 2)
        assert (store.position().block, store.archived()) == (10, 10)
        taken(bulk, CHAIN, 11, 30, 2)
        assert store.fingerprint() == MARK


def test_rows_are_written_every_so_many_events(tmp_path, monkeypatch) -> None:
    """A crash never costs more than so many events of folding."""
    monkeypatch.setattr(bulk_module, "ROWS_EVERY", 2)
    with closing(new_store(tmp_path, RULES)) as store:
        store.final = CHAIN.last_block
        bulk = Bulk(store, History(store), segment=1)
        taken(bulk, CHAIN, 0, 1)
        assert store.meta("rows") is not None
        taken(bulk, CHAIN, 2, 30, 2)
        assert store.meta("rows") is None


def test_a_rebuild_while_rows_are_behind_brings_them_up(tmp_path) -> None:
    """It folds the archive, and what it leaves is whole."""
    with closing(new_store(tmp_path, RULES)) as store:
        store.final = CHAIN.last_block
        archive = History(store)
        taken(Bulk(store, archive, segment=1), CHAIN, 0, 30)
        assert rebuild(store, archive, RULES, NOW)["fingerprint"] == MARK
        assert store.meta("rows") is None
        with closing(Store.open(store.path, RULES)) as reader:
            assert reader.fingerprint() == MARK


def test_a_file_that_is_damaged_while_rows_are_behind_is_made_anew(tmp_path) -> None:
    """The state cannot be read then, and the repair that the message names still works."""
    with closing(new_store(tmp_path, RULES)) as store:
        store.final = CHAIN.last_block
        taken(Bulk(store, History(store), segment=1), CHAIN, 0, 30)
        (segment,) = store.segments()
        (store.archive / segment.name).write_bytes(b"nothing")
    with closing(Store.open(store.path, RULES, write=True)) as store:
        with pytest.raises(StoreError, match=r"ngu replay 0 30"):
            store.state()
        blocks = range(31)
        history = History(store)
        history.lost = {segment.name}
        lost = {segment.name: replace(CHAIN.covered(0, 30), events=empty())}
        mend(history, RULES, truth(CHAIN, list(blocks)), "test", NOW, lost)
        assert store.fingerprint() == MARK
