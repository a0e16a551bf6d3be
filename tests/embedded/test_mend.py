"""What was left out is put back: the record and the state become those of a clean pass."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from chains import Chain, block_hash, columns
from embedded.test_store import NOW, chain_of, expected, new_store, ranges
from engine.test_against_oracle import engine_rules
from histories import histories
from ngu_points.chain.decode import Decoded
from ngu_points.embedded import mend as mend_module
from ngu_points.embedded.history import History
from ngu_points.embedded.mend import mend
from ngu_points.embedded.rebuild import rebuild
from ngu_points.embedded.retractions import listed
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import announce
from ngu_points.engine.events import Rejected, ids
from ngu_points.engine.rules import DAY, Rules, Season
from ngu_points.pipeline.process import ingest

ALICE, BOB = "0x" + "a1" * 20, "0x" + "b2" * 20


def read(
    store: Store, archive: History, chain: Chain, cuts: list[tuple[int, int]], lost: set[str]
) -> None:
    """Ingest the chain as cut, without some of its logs, sealing whatever is final on the way."""
    for sequence, (first, last) in enumerate(cuts, 1):
        whole = chain.covered(first, last)
        kept = np.array([id_ not in lost for id_ in ids(whole.events)], np.bool_)
        letters = tuple(r for r in whole.rejected if r.reason not in lost)
        seen = replace(whole, events=whole.events.take(kept), rejected=letters)
        for step in ingest(store, announce(seen, sequence), store.rules, NOW):
            archive.add(step.events)
        archive.seal(store.final, least=1)


def truth(chain: Chain, blocks: list[int]) -> dict[int, Decoded]:
    """What the chain logged in some blocks."""
    found = {b: chain.covered(b, b) for b in blocks}
    return {b: Decoded(c.events, c.rejected, 0) for b, c in found.items()}


@given(history=histories(), data=st.data())
def test_a_mended_record_is_that_of_a_clean_pass(history, data) -> None:
    """Whatever was left out, archived or not, final or not: state, events and doubts are right."""
    oracle_rules, events, until = history
    rules, chain = engine_rules(oracle_rules), chain_of(events, until)
    names = ids(columns(events))
    lost = data.draw(st.sets(st.sampled_from([*names, ""]), min_size=1, max_size=4))
    blocks = sorted({int(id_.partition("-")[0]) for id_ in lost if id_}) or [0]
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(new_store(Path(folder), rules)) as store,
    ):
        archive = History(store)
        store.final = data.draw(st.sampled_from([-1, chain.last_block // 2, chain.last_block]))
        read(store, archive, chain, ranges(chain, data), lost)
        store.set_meta("final", store.final)
        mend(archive, rules, truth(chain, blocks), "test", NOW)
        assert store.fingerprint() == expected(rules, events, until, chain.last_block)
        found = [id_ for covered in archive.covered() for id_ in ids(covered.events)]
        assert found == names
        again = rebuild(store, archive, rules, NOW)
        assert again["same"]
        assert sum(v for k, v in store.meta("counters").items() if k.isdigit()) == len(events)


def test_points_that_a_repair_takes_back_are_listed(tmp_path: Path) -> None:
    """A transfer that had been left out: the seller has less than was shown, and is told."""
    rules = Rules(seasons=(Season("1"),), feast_emission=1000)
    whole = [
        oracle.Event("BatchMint", 1, 0, 5 * DAY, "", ALICE, 1, 1),
        oracle.Event("Stake", 1, 1, 5 * DAY, ALICE, "", 1, 1),
        oracle.Event("BatchTransfer", 3, 0, 6 * DAY, ALICE, BOB, 1, 1),
    ]
    chain = Chain(whole, 9, 8 * DAY)
    with closing(new_store(tmp_path, rules)) as store:
        store.final = 9
        store.set_meta("final", 9)
        archive = History(store)
        read(store, archive, chain, [(0, 4), (5, 9)], {ids(columns(whole))[2]})
        result = mend(archive, rules, truth(chain, [3]), "replay of block 3", NOW)
        assert result["retracted"] == 1
        (taken,) = listed(archive)
        assert (taken.wallet, taken.why) == (bytes.fromhex(ALICE[2:]), "replay of block 3")
        assert (taken.shown, taken.now) == ("6.003000", "2.001000")
        days = {c["day"]: c for c in store.feasts.corrections()}
        assert set(days) == {6, 7}
        assert (days[6]["before"]["seconds"], days[6]["after"]["seconds"]) == (DAY, 0)


def test_a_dead_letter_that_was_left_out_is_put_back(tmp_path: Path) -> None:
    """It is in the tables, in the archive, and in a database made anew from the archive alone."""
    bad = Rejected(3, 0, 0, 1, b"t" * 32, block_hash(3), b"c" * 20, "batch", "quantity 0", b"{}")
    rules, chain = Rules(), Chain([], 9, 400, [bad])
    with closing(new_store(tmp_path, rules)) as store:
        store.final = 9
        store.set_meta("final", 9)
        archive = History(store)
        read(store, archive, chain, [(0, 9)], {"quantity 0"})
        archive.seal(9, least=0)
        mend(archive, rules, truth(chain, [3]), "test", NOW)
        assert archive.between(0, 9).rejected == (bad,)
        mark = store.fingerprint()
    store.path.unlink()
    with closing(new_store(tmp_path, rules)) as store:
        assert rebuild(store, History(store), rules, NOW)["fingerprint"] == mark
        assert store.queue.letters(0, 9) == (bad,)


def test_a_repair_that_breaks_off_changes_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    """Wherever it ends, record and state are the old ones; the next try repairs all."""
    rules = Rules(seasons=(Season("1"),))
    events = [oracle.Event("BatchMint", b, 0, 5 * DAY + b, "", ALICE, b, 1) for b in range(1, 9)]
    chain, names = Chain(events, 9, 8 * DAY), ids(columns(events))
    with closing(new_store(tmp_path, rules)) as store:
        store.final = 6
        store.set_meta("final", 6)
        archive = History(store)
        read(store, archive, chain, [(0, 4), (5, 6), (7, 9)], {names[1], names[6]})
        before, held = store.fingerprint(), ids(archive.between(0, 9).events)
        for place in ("remember", "_announce_again", "fold_all", "_close"):
            with monkeypatch.context() as broken:
                broken.setattr(mend_module, place, fails)
                with pytest.raises(ZeroDivisionError):
                    mend(archive, rules, truth(chain, [2, 7]), "test", NOW)
            assert store.fingerprint() == before
            assert ids(History(store).between(0, 9).events) == held
            assert rebuild(store, History(store), rules, NOW, dry=True)["same"]
        mend(archive, rules, truth(chain, [2, 7]), "test", NOW)
        assert store.fingerprint() == expected(rules, events, 8 * DAY, 9)
        assert ids(archive.between(0, 9).events) == names


def fails(*_: Any, **__: Any) -> None:
    raise ZeroDivisionError
