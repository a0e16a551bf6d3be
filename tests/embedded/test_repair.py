"""Going back leaves exactly what was there at that block, whichever way it is done."""

from __future__ import annotations

import json
import tempfile
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from chains import Chain, block_hash
from embedded.test_store import NOW, chain_of, expected, new_store, ranges
from engine.test_against_oracle import engine_rules
from histories import histories
from ngu_points.chain.contract import ngu
from ngu_points.embedded import jobs
from ngu_points.embedded.history import History
from ngu_points.embedded.queue import UNANNOUNCED
from ngu_points.embedded.rebuild import rebuild
from ngu_points.embedded.repair import (
    Generous,
    dead_letters,
    missing,
    note_missing,
    retry,
    rewind,
)
from ngu_points.embedded.retractions import listed, remember, settle
from ngu_points.embedded.status import status
from ngu_points.engine.coverage import announce
from ngu_points.engine.events import Rejected
from ngu_points.engine.rules import DAY, Rules, Season
from ngu_points.errors import StoreError
from ngu_points.pipeline.persist import persist
from ngu_points.pipeline.process import ingest
from ngu_points.pipeline.recover import drain

ALICE, BOB = "0x" + "a1" * 20, "0x" + "b2" * 20


@given(history=histories(), data=st.data())
def test_rewinding_and_reading_again_ends_where_a_clean_pass_ends(history, data) -> None:
    """By before images or from the archive: the fingerprint at the range end, then the old."""
    oracle_rules, events, until = history
    rules, chain = engine_rules(oracle_rules), chain_of(events, until)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(new_store(Path(folder), rules)) as store,
    ):
        archive = History(store)
        store.final = data.draw(st.sampled_from([-1, chain.last_block // 2, chain.last_block]))
        cuts = ranges(chain, data)
        for sequence, (first, last) in enumerate(cuts, 1):
            for step in ingest(store, announce(chain.covered(first, last), sequence), rules, NOW):
                archive.add(step.events)
            archive.seal(store.final, least=1)
        store.prune(store.final, store.archived(), NOW * 2)
        block = data.draw(st.integers(0, chain.last_block - 1))
        result = rewind(store, archive, rules, block, NOW)
        assert result["block"] <= block
        if result["block"] >= 0:
            assert store.fingerprint() == clean(rules, chain, result["block"])
        sequence = len(cuts) + 1
        missing_range = chain.covered(result["block"] + 1, chain.last_block)
        list(ingest(store, announce(missing_range, sequence), rules, NOW))
        assert store.fingerprint() == expected(rules, events, until, chain.last_block)
        counters = store.meta("counters")
        assert sum(v for k, v in counters.items() if k.isdigit()) == len(events)
        store.close()


def clean(rules: Rules, chain: Chain, block: int) -> str:
    """The fingerprint of one clean pass up to a block."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(new_store(Path(folder), rules)) as store,
    ):
        list(ingest(store, announce(chain.covered(0, block), 1), rules, NOW))
        return store.fingerprint()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """A range that never came, and one of which a dead letter never came, are both gaps."""
    bad = Rejected(25, 0, 0, 1, b"t" * 32, block_hash(25), b"c" * 20, "batch", "quantity 0", b"{}")
    rules, chain = Rules(), Chain([], 39, 400, [bad])
    store = new_store(tmp_path, rules)
    first, second, third = (
        announce(chain.covered(a, a + 9), n) for n, a in enumerate((0, 20, 30), 1)
    )
    list(ingest(store, first, rules, NOW))
    batch, staking = second
    lossy = type(batch)(batch.stream, batch.events, (), batch.coverage)
    persist(store, [lossy, staking, *third], NOW)
    found = {(g["stream"], g["from"], g["to"], g["why"]) for g in missing(store)}
    assert found == {
        ("batch", 10, 19, "not announced"),
        ("staking", 10, 19, "not announced"),
        ("batch", 20, 29, "events outstanding"),
    }
    persist(store, [batch], NOW)
    assert [letter["reason"] for letter in dead_letters(store)] == ["quantity 0"]
    assert len(missing(store)) == 2
    store.close()


def test_a_gap_has_a_date_until_it_is_filled(tmp_path: Path) -> None:
    """The ledger remembers when a gap was noticed; once it is filled it is no gap any more."""
    store = new_store(tmp_path, Rules())
    chain = Chain([], 39, 400)
    parts = [announce(chain.covered(a, a + 9), n) for n, a in enumerate((0, 10, 20, 30), 1)]
    list(ingest(store, [*parts[0], *parts[2]], Rules(), NOW))
    assert {g["since"] for g in missing(store)} == {None}
    note_missing(store, NOW)
    note_missing(store, NOW + 300)
    assert {(g["from"], g["to"], g["since"]) for g in missing(store)} == {(10, 19, NOW)}
    list(ingest(store, [*parts[1], *parts[3]], Rules(), NOW))
    assert note_missing(store, NOW + 600) == []
    store.close()


def test_a_backlog_is_drained_in_order_and_the_limits_are_put_back(tmp_path: Path) -> None:
    """All that is covered is processed in large steps; cache and alarm are as before."""
    mints = [oracle.Event("BatchMint", b, 0, 100 + b, "", ALICE, b, 1) for b in range(1, 40)]
    rules, chain = Rules(), Chain(mints, 39, 400)
    store = new_store(tmp_path, rules)
    history = History(store)
    for n, a in enumerate((30, 10, 20, 0), 1):
        persist(store, announce(chain.covered(a, a + 9), n), NOW)
    jobs.publish(history, NOW)
    assert any("39 events wait" in alarm for alarm in status(store)["alarms"])
    cache = store.db.execute("PRAGMA cache_size").fetchone()
    limits = Generous(store, events=20)
    steps = list(drain(store, rules, limits, NOW))
    assert store.db.execute("PRAGMA cache_size").fetchone() == cache
    assert [step.position.block for step in steps] == [29, 39]
    measured = jobs.publish(history, NOW + 300)
    assert (measured["backlog"], measured["gaps"], measured["lag"]) == (0, 0, 0)
    assert status(store)["alarms"] == []
    assert store.fingerprint() == clean(rules, chain, 39)
    store.close()


def test_a_step_out_of_order_stops_a_drain(tmp_path: Path, monkeypatch: Any) -> None:
    """Should events ever come unsorted, nothing more is processed, and the limits are put back."""
    rules, chain = (
        Rules(),
        Chain(
            [oracle.Event("BatchMint", b, 0, 100 + b, "", ALICE, b, 1) for b in range(1, 9)], 9, 400
        ),
    )
    store = new_store(tmp_path, rules)
    persist(store, announce(chain.covered(0, 9), 1), NOW)
    cache = store.db.execute("PRAGMA cache_size").fetchone()
    pending = store.queue.pending
    monkeypatch.setattr(
        store.queue, "pending", lambda a, b: pending(a, b).take(slice(None, None, -1))
    )
    with pytest.raises(StoreError, match="out of order: run `ngu rebuild`"):
        list(drain(store, rules, Generous(store), NOW))
    assert store.db.execute("PRAGMA cache_size").fetchone() == cache
    store.close()


def test_a_dead_letter_that_can_be_read_now_becomes_an_event(tmp_path: Path) -> None:
    """A log that was refused by mistake: retried, it takes its place, and all behind it moves."""
    address, alice = bytes([0xAB] * 20), bytes.fromhex(ALICE[2:])
    contract = ngu(address)
    topics = ["0x" + shape.topic0.hex() for shape in contract.shapes if shape.name == "BatchMint"]
    log = {"address": "0x" + address.hex(), "topics": [*topics, "0x" + "00" * 12 + alice.hex()],
           "data": "0x" + f"{7:064x}{5:064x}", "blockNumber": "0x3", "logIndex": "0x0",
           "transactionIndex": "0x0", "transactionHash": "0x" + "77" * 32,
           "blockHash": "0x" + block_hash(3).hex(), "removed": False}  # fmt: skip
    raw = json.dumps(log).encode()
    good = Rejected(3, 0, 0, 103, b"\x77" * 32, block_hash(3), address, "batch", "a bug", raw)
    bad = replace(good, block=5, block_hash=block_hash(5), raw=b"{}")
    rules, chain = Rules(), Chain([], 9, 400, [good, bad])
    store = new_store(tmp_path, rules)
    list(ingest(store, announce(chain.covered(0, 9), 1), rules, NOW))
    history = History(store)
    before = store.fingerprint()
    tried = retry(history, rules, contract, NOW, dry=True)
    assert (tried["tried"], tried["recovered"], store.fingerprint()) == (2, 1, before)
    assert retry(history, rules, contract, NOW)["recovered"] == 1
    (run,) = store.state().runs.first.tolist()
    assert (run, [r.block for r in store.queue.letters(0, 9)]) == (7, [5])
    assert store.state().runs.since.tolist() == [103]
    store.close()


def test_a_rewind_across_what_has_become_final_folds_again(tmp_path: Path) -> None:
    """Before images that do not reach up to the position any more are of no use; it goes on."""
    mints = [oracle.Event("BatchMint", b, 0, 100 + b, "", ALICE, b, 1) for b in range(1, 20)]
    rules, chain = Rules(), Chain(mints, 29, 400)
    store = new_store(tmp_path, rules)
    history = History(store)
    for n, (first, last, final) in enumerate([(0, 4, -1), (5, 9, -1), (10, 19, 19)], 1):
        store.final = final
        list(ingest(store, announce(chain.covered(first, last), n), rules, NOW))
    result = rewind(store, history, rules, 6, NOW)
    assert result["block"] == 4
    assert store.fingerprint() == clean(rules, chain, 4)
    store.close()


def test_what_a_lost_branch_left_is_set_aside_when_its_blocks_are_read_again(
    tmp_path: Path,
) -> None:
    """Rows that nothing announces are neither folded nor called processed: a gap asks for them."""
    mints = [oracle.Event("BatchMint", b, 0, 100 + b, "", ALICE, b, 1) for b in range(1, 9)]
    rules, chain = Rules(), Chain(mints, 9, 400)
    store = new_store(tmp_path, rules)
    list(ingest(store, announce(chain.covered(0, 9), 1), rules, NOW))
    with store.commit():
        store.undo(6)
        store.forget(6)
    assert store.queue.backlog() == 6
    less = replace(chain, events=[e for e in mints if e.block != 3])
    list(ingest(store, announce(less.covered(0, 9), 2), rules, NOW))
    assert (store.position().block, store.queue.backlog()) == (9, 0)
    assert store.fingerprint() == clean(rules, less, 9)
    assert [letter["blockNumber"] for letter in dead_letters(store)] == [3]
    assert [(g["from"], g["why"]) for g in missing(store)] == [(3, UNANNOUNCED)]
    assert rebuild(store, History(store), rules, NOW)["same"]
    store.close()


def test_points_of_one_second_and_two_blocks_are_not_taken_back_too_early(tmp_path: Path) -> None:
    """Two blocks share a time: only when the second is there again can anything be said."""
    rules = Rules(seasons=(Season("1", awards={"minted": Fraction(5)}),))
    mints = [oracle.Event("BatchMint", b, 0, 9 * DAY, "", ALICE, b, 1) for b in (8, 9)]
    chain = Chain(mints, 9, 9 * DAY)
    store = new_store(tmp_path, rules)
    history = History(store)
    for sequence, (first, last) in enumerate([(0, 8), (9, 9)], 1):
        list(ingest(store, announce(chain.covered(first, last), sequence), rules, NOW))
    with store.commit():
        remember(store, 9, "fork at block 8", NOW)
        store.undo(8)
        store.forget(8)
    assert listed(history) == []
    assert settle(history, NOW) == 0
    list(ingest(store, announce(chain.covered(9, 9), 3), rules, NOW))
    assert (listed(history), settle(history, NOW)) == ([], 0)
    assert store.db.execute("SELECT count(*) FROM shown").fetchone() == (0,)
    store.close()


def test_what_a_rebuild_takes_back_is_listed_and_what_was_cleared_stays_so(tmp_path: Path) -> None:
    """A wrong state showed too much; a wallet that the contract confirmed stays certain."""
    rules = Rules(seasons=(Season("1"),), feast_emission=1000)
    events = [
        oracle.Event("BatchMint", 1, 0, 5 * DAY, "", ALICE, 1, 1),
        oracle.Event("BatchTransfer", 2, 0, 6 * DAY, BOB, ALICE, 5, 1),
        oracle.Event("Stake", 3, 0, 6 * DAY, ALICE, "", 1, 1),
    ]
    chain = Chain(events, 9, 8 * DAY)
    store = new_store(tmp_path, rules)
    store.final = 9
    store.set_meta("final", 9)
    history = History(store)
    for step in ingest(store, announce(chain.covered(0, 9), 1), rules, NOW):
        history.add(step.events)
    closed = store.db.execute("SELECT day, block FROM feast_pool").fetchall()
    assert store.uncertain_wallets() == 2
    with store.commit():
        store.clear([bytes.fromhex(BOB[2:])], 9)
    row = store.db.execute("SELECT facts FROM points WHERE wallet = ?",
                           (bytes.fromhex(ALICE[2:]),)).fetchone()  # fmt: skip
    facts = json.loads(row[0])
    facts[0][0] += 10 * DAY
    store.db.execute("UPDATE points SET facts = ? WHERE wallet = ?",
                     (json.dumps(facts), bytes.fromhex(ALICE[2:])))  # fmt: skip
    store.reload()
    again = rebuild(store, history, rules, NOW)
    assert (again["same"], again["retracted"]) == (False, 1)
    assert [(r.wallet.hex(), r.why) for r in listed(history)] == [(ALICE[2:], "rebuild")]
    assert store.is_uncertain(bytes.fromhex(ALICE[2:]))
    assert not store.is_uncertain(bytes.fromhex(BOB[2:]))
    assert store.db.execute("SELECT day, block FROM feast_pool").fetchall() == closed
    store.close()
