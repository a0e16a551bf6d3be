"""The SQLite store keeps exactly what the engine computed, whatever way deliveries arrive."""

from __future__ import annotations

import random
import tempfile
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from chains import Chain, block_hash
from engine.test_against_oracle import engine_rules, owners_of, run
from histories import histories
from ngu_points.embedded.history import History
from ngu_points.embedded.rebuild import rebuild
from ngu_points.embedded.store import Store
from ngu_points.engine import invariants
from ngu_points.engine.coverage import announce
from ngu_points.engine.events import Rejected
from ngu_points.engine.fingerprint import fingerprint, shares_digest
from ngu_points.engine.rules import Rules
from ngu_points.errors import StoreError
from ngu_points.pipeline.persist import persist
from ngu_points.pipeline.process import ingest, process
from ngu_points.pipeline.segments import Identity

NOW = 1_800_000_000


def new_store(folder: Path, rules: Rules) -> Store:
    store = Store.open(folder / "ngu.db", rules, write=True)
    store.identify(Identity(1, "0xab", "ngu"))
    return store


def chain_of(events: list[oracle.Event], until: int) -> Chain:
    return Chain(events, (events[-1].block if events else 0) + 3, until)


def ranges(chain: Chain, data: st.DataObject) -> list[tuple[int, int]]:
    """The chain's blocks cut at random."""
    marks = st.integers(0, chain.last_block)
    cuts = sorted({0, chain.last_block + 1, *data.draw(st.lists(marks, max_size=6))})
    return [(a, b - 1) for a, b in pairwise(cuts)]


def expected(rules: Rules, events: list[oracle.Event], until: int, block: int) -> str:
    """The fingerprint that the engine alone gives, in one batch."""
    state, _, days, _ = run(rules, events, [], until)
    closed = [(d, shares_digest(d, state.wallets.address)) for d in days]
    object.__setattr__(state, "block", block)
    return fingerprint(state, closed, rules, 1)


@given(history=histories(), data=st.data())
def test_deliveries_in_any_order_and_twice_leave_the_state_of_one_clean_pass(history, data) -> None:
    """Late, doubled and shuffled deliveries end in the engine's own fingerprint."""
    oracle_rules, events, until = history
    rules, chain = engine_rules(oracle_rules), chain_of(events, until)
    deliveries = []
    for sequence, (first, last) in enumerate(ranges(chain, data), 1):
        deliveries += announce(chain.covered(first, last), sequence)
    seed = data.draw(st.integers(0, 2**32))
    shuffled = deliveries + random.Random(seed).choices(deliveries, k=3)
    random.Random(seed).shuffle(shuffled)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(new_store(Path(folder), rules)) as store,
    ):
        for delivery in shuffled:
            if data.draw(st.booleans()):
                persist(store, [delivery], NOW)
                while process(store, rules, NOW, limit=3):
                    pass
            else:
                list(ingest(store, [delivery], rules, NOW))
        invariants.check(store.state(), rules)
        assert store.position().block == chain.last_block
        assert store.fingerprint() == expected(rules, events, until, chain.last_block)
        store.close()
        again = Store.open(Path(folder) / "ngu.db", rules)
        assert again.fingerprint() == expected(rules, events, until, chain.last_block)
        again.close()


@given(history=histories(), data=st.data())
def test_the_bulk_path_the_archive_and_a_rebuild_agree(history, data) -> None:
    """Ingest in line, seal, forget the rows, rebuild: one fingerprint; and as-of answers too."""
    oracle_rules, events, until = history
    rules, chain = engine_rules(oracle_rules), chain_of(events, until)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(new_store(Path(folder), rules)) as store,
    ):
        archive = History(store)
        store.final = data.draw(st.sampled_from([-1, chain.last_block // 2, chain.last_block]))
        for sequence, (first, last) in enumerate(ranges(chain, data), 1):
            for step in ingest(store, announce(chain.covered(first, last), sequence), rules, NOW):
                archive.add(step.events)
            archive.seal(store.final, least=data.draw(st.sampled_from([1, 5])))
            if data.draw(st.booleans()):
                archive.snapshot()
        store.prune(store.final, store.archived(), NOW * 2)
        mark = expected(rules, events, until, chain.last_block)
        assert store.fingerprint() == mark
        middle = data.draw(st.integers(0, len(events)))
        if middle < len(events):
            at = events[middle].timestamp
            early = [e for e in events if e.timestamp <= at]
            state, wallets, _, _ = run(rules, early, [], at)
            view = archive.state_at(rules, at)
            names = ["0x" + a.tobytes().hex() for a in view.state.wallets.address]
            assert owners_of(view.state, names) == owners_of(state, wallets)
        result = rebuild(store, archive, rules, NOW)
        assert result["same"]
        assert result["events"] == len(events)
        assert store.fingerprint() == mark
        store.close()


@given(history=histories(), data=st.data())
def test_undo_takes_back_exactly_what_was_done(history, data) -> None:
    """After going back to any block and folding on, the fingerprint is that of a clean pass."""
    oracle_rules, events, until = history
    rules, chain = engine_rules(oracle_rules), chain_of(events, until)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(new_store(Path(folder), rules)) as store,
    ):
        marks = {}
        for sequence, (first, last) in enumerate(ranges(chain, data), 1):
            list(ingest(store, announce(chain.covered(first, last), sequence), rules, NOW))
            marks[last] = store.fingerprint()
        back = data.draw(st.integers(-1, chain.last_block))
        left = store.undo(back)
        assert left.block <= back
        if left.block >= 0:
            assert store.fingerprint() == marks[left.block]
        while process(store, rules, NOW):
            pass
        assert store.fingerprint() == marks[chain.last_block]
        store.close()


def test_a_dead_letter_counts_as_arrived(tmp_path: Path) -> None:
    """A log that cannot be an event does not hold up the blocks behind it."""
    bad = Rejected(5, 0, 0, 100, b"t" * 32, block_hash(5), b"c" * 20, "batch", "quantity 0", b"{}")
    rules, chain = Rules(), Chain([], 9, 200, [bad])
    store = new_store(tmp_path, rules)
    batch, staking = announce(chain.covered(0, 9), 1)
    persist(store, [staking], NOW)
    assert process(store, rules, NOW) is None
    persist(store, [batch], NOW)
    assert process(store, rules, NOW) is not None
    assert store.position().block == 9
    assert store.queue.dead_letters() == 1
    store.close()


@given(history=histories(), data=st.data())
def test_the_archive_alone_is_enough_to_make_the_database_anew(history, data) -> None:
    """Without its database, everything sealed comes back with the same fingerprint."""
    oracle_rules, events, until = history
    rules, chain = engine_rules(oracle_rules), chain_of(events, until)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(new_store(Path(folder), rules)) as store,
    ):
        archive = History(store)
        store.final = chain.last_block
        for sequence, (first, last) in enumerate(ranges(chain, data), 1):
            for step in ingest(store, announce(chain.covered(first, last), sequence), rules, NOW):
                archive.add(step.events)
            archive.seal(store.final, least=1)
        mark = store.fingerprint()
        sealed = store.archived() == chain.last_block
        store.close()
        (Path(folder) / "ngu.db").unlink()
        if not sealed:
            return
        store = Store.open(Path(folder) / "ngu.db", rules, write=True)
        result = rebuild(store, History(store), rules, NOW)
        assert result["recovered"]
        assert result["events"] == len(events)
        assert store.fingerprint() == mark
        store.close()


def test_a_state_that_contradicts_itself_is_refused_and_rebuilt(tmp_path: Path) -> None:
    """Rows changed behind our back are named when they are read; a rebuild puts them right."""
    events = [oracle.Event("BatchMint", 1, 0, 100, "", "0x" + "11" * 20, 5, 10)]
    rules, chain = Rules(), Chain(events, 9, 200)
    store = new_store(tmp_path, rules)
    list(ingest(store, announce(chain.covered(0, 9), 1), rules, NOW))
    mark = store.fingerprint()
    store.db.execute("UPDATE points SET currentHeld = 11")
    store.close()
    store = Store.open(tmp_path / "ngu.db", rules, write=True)
    with pytest.raises(StoreError, match=r"held tokens of a wallet differ .* run `ngu rebuild`"):
        store.fingerprint()
    result = rebuild(store, History(store), rules, NOW)
    assert (result["same"], store.fingerprint()) == (False, mark)
    store.close()
