"""Going back leaves exactly what was there at that block, whichever way it is done."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from chains import Chain, block_hash
from embedded.test_store import NOW, chain_of, expected, new_store, ranges
from engine.test_against_oracle import engine_rules
from histories import histories
from ngu_points.embedded.history import History
from ngu_points.embedded.repair import dead_letters, missing, rewind
from ngu_points.engine.coverage import announce
from ngu_points.engine.events import Rejected
from ngu_points.engine.rules import Rules
from ngu_points.pipeline.persist import persist
from ngu_points.pipeline.process import ingest


@given(history=histories(), data=st.data())
def test_rewinding_and_reading_again_ends_where_a_clean_pass_ends(history, data) -> None:
    """By before images or from the archive: the fingerprint at the range end, then the old."""
    oracle_rules, events, until = history
    rules, chain = engine_rules(oracle_rules), chain_of(events, until)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(new_store(Path(folder), rules)) as store,
    ):
        archive = History(store, Path(folder) / "archive")
        store.final = data.draw(st.sampled_from([-1, chain.last_block // 2, chain.last_block]))
        marks = {-1: store.fingerprint()}
        cuts = ranges(chain, data)
        for sequence, (first, last) in enumerate(cuts, 1):
            for step in ingest(store, announce(chain.covered(first, last), sequence), rules, NOW):
                archive.add(step.events)
            marks[last] = store.fingerprint()
            archive.seal(store.final, least=1)
        store.prune(store.final, store.archived(), NOW * 2)
        block = data.draw(st.integers(0, chain.last_block - 1))
        result = rewind(store, archive, rules, block, NOW)
        assert result["block"] <= block
        if result["block"] >= 0:
            assert store.fingerprint() == marks[result["block"]]
        sequence = len(cuts) + 1
        missing_range = chain.covered(result["block"] + 1, chain.last_block)
        list(ingest(store, announce(missing_range, sequence), rules, NOW))
        assert store.fingerprint() == expected(rules, events, until, chain.last_block)
        counters = store.meta("counters")
        assert sum(v for k, v in counters.items() if k.isdigit()) == len(events)
        store.close()


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
