"""Events that come after their block was processed and archived: known ones, and others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import oracle
from chains import Chain
from embedded.test_store import NOW, new_store
from ngu_points.embedded.history import History
from ngu_points.embedded.repair import dead_letters, missing
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import Delivery, announce
from ngu_points.engine.rules import DAY, Rules
from ngu_points.pipeline.persist import persist
from ngu_points.pipeline.process import ingest, process

ALICE, BOB = "0x" + "a1" * 20, "0x" + "b2" * 20
EVENTS = [
    oracle.Event("BatchMint", 1, 0, 5 * DAY + 100, "", ALICE, 1, 10),
    oracle.Event("BatchTransfer", 3, 0, 5 * DAY + 300, ALICE, BOB, 2, 3),
]
STRAY = oracle.Event("BatchTransfer", 2, 0, 5 * DAY + 200, ALICE, BOB, 9, 1)
CHAIN = Chain(EVENTS, 9, 8 * DAY)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """All of the chain is processed and archived, and its rows have expired."""
    made = new_store(tmp_path, Rules())
    made.final = 9
    made.set_meta("final", 9)
    history = History(made)
    for step in ingest(made, announce(CHAIN.covered(0, 9), 1), made.rules, NOW):
        history.add(step.events)
    history.seal(9, least=0)
    assert made.prune(9, made.archived(), NOW + 8 * DAY) == 2
    yield made
    made.close()


def only_events(delivery: Delivery) -> Delivery:
    return replace(delivery, coverage=())


def test_what_the_archive_knows_has_no_second_effect(store: Store) -> None:
    """A delivery repeated weeks later is marked processed; state and record stay as they are."""
    mark, later = store.fingerprint(), NOW + 9 * DAY
    persist(store, [only_events(d) for d in announce(CHAIN.covered(0, 9), 2)], later)
    assert store.queue.backlog() == 2
    assert process(store, store.rules, later) is None
    assert (store.queue.backlog(), store.fingerprint()) == (0, mark)
    assert missing(store) == []
    rows = store.db.execute("SELECT processedAt, ttl FROM batch_events").fetchall()
    assert rows == [(later, later + 7 * DAY)] * 2


def test_what_nobody_announced_is_put_aside_and_asks_for_a_replay(store: Store) -> None:
    """The season goes on; the event is a dead letter, and a gap says which blocks to read again."""
    mark, later = store.fingerprint(), NOW + 9 * DAY
    batch, _ = announce(Chain([STRAY], 9, 8 * DAY).covered(2, 2), 2)
    persist(store, [only_events(batch)], later)
    assert process(store, store.rules, later) is None
    assert (store.queue.backlog(), store.fingerprint()) == (0, mark)
    (letter,) = dead_letters(store)
    assert "`ngu replay 2 2` asks the chain" in letter["reason"]
    assert '"first": "9"' in letter["raw"]
    (gap,) = missing(store)
    assert (gap["stream"], gap["from"], gap["to"], gap["since"]) == ("batch", 2, 2, later)
    more = Chain([*EVENTS, replace(EVENTS[1], block=12, sender=BOB, recipient=ALICE)], 15, 9 * DAY)
    list(ingest(store, announce(more.covered(10, 15), 3), store.rules, later))
    assert store.position().block == 15
