"""Numbers and names that the specification gives, in the running code."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import oracle
from chains import Chain, columns
from ngu_points.embedded import buffer
from ngu_points.embedded.rows import batch_rows, staking_rows
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import BATCH, STAKING, announce, announced
from ngu_points.engine.events import event_id, ids
from ngu_points.engine.rules import DAY, Rules
from ngu_points.errors import UsageError
from ngu_points.logs import configure_logging
from ngu_points.pipeline.persist import persist
from ngu_points.pipeline.process import process
from ngu_points.pipeline.schedule import JOBS
from ngu_points.pipeline.segments import Identity

NOW = 1_800_000_000
A, B = "0x" + "aa" * 20, "0x" + "bb" * 20
STORY = [
    oracle.Event("BatchMint", 1, 0, 100, "", A, 1, 10),
    oracle.Event("Stake", 2, 0, 110, A, "", 3, 1),
    oracle.Event("BatchTransfer", 3, 2, 120, B, A, 5, 1),
    oracle.Event("Unstake", 3, 10, 120, A, "", 4, 1),
    oracle.Event("BatchBurn", 4, 0, 130, A, "", 9, 2),
]
TABLES = ("batch_events", "staking_events")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with the story persisted and nothing processed."""
    store = Store.open(tmp_path / "ngu.db", Rules(), write=True)
    store.identify(Identity(1, A, "ngu"))
    persist(store, announce(Chain(STORY, 9, 200).covered(0, 9), 1), NOW)
    yield store
    store.close()


def rows(store: Store, what: str) -> list[tuple[object, ...]]:
    """Columns of both event tables."""
    return [row for t in TABLES for row in store.db.execute(f"SELECT {what} FROM {t}").fetchall()]


def test_events_are_routed_to_the_stream_of_their_kind() -> None:
    """Mints, burns and transfers go to the batch stream; stakes and unstakes to the other."""
    sent = {d.stream: d.events for d in announce(Chain(STORY, 9, 200).covered(0, 9), 1)}
    assert sent[BATCH].kind.tolist() == [0, 2, 1]
    assert sent[STAKING].kind.tolist() == [3, 4]


def test_an_event_id_is_block_transaction_and_log_index() -> None:
    """Blocks and log indexes are decimal, the hash is in lower-case hex with 0x."""
    assert event_id(12, b"\xab" * 32, 7) == "12-0x" + "ab" * 32 + "-7"
    events = columns(STORY)
    hashes = [row.tobytes() for row in events.tx_hash]
    assert ids(events) == [
        event_id(e.block, h, e.log_index) for e, h in zip(STORY, hashes, strict=True)
    ]


def test_rows_hold_what_the_interfaces_say() -> None:
    """`from` is absent on a mint, `to` is zero on a burn, the staker is the event's account."""
    events = columns(STORY)
    batch = events.take(np.array([0, 2, 4]))
    parties = [(row[1], row[4], row[5]) for row in batch_rows(batch, 1, (0, None, 0))]
    a, b = bytes.fromhex(A[2:]), bytes.fromhex(B[2:])
    assert parties == [
        ("BatchMint", None, a),
        ("BatchTransfer", b, a),
        ("BatchBurn", a, bytes(20)),
    ]
    staking = staking_rows(events.take(np.array([1, 3])), 1, (0, None, 0))
    assert [(row[1], row[3]) for row in staking] == [("Stake", a), ("Unstake", a)]


def test_an_event_expires_seven_days_after_it_was_processed(store: Store) -> None:
    """Unprocessed rows never expire; processed ones do after 7 days, once they are archived."""
    assert {row[:2] for row in rows(store, "processed, processedAt")} == {(0, None)}
    assert store.prune(9, 9, NOW + 10_000 * DAY) == 0
    assert process(store, Rules(), NOW) is not None
    assert set(rows(store, "processed, processedAt, ttl")) == {(1, NOW, NOW + 7 * DAY)}
    assert store.prune(9, 9, NOW + 7 * DAY) == 0
    assert store.prune(9, 3, NOW + 7 * DAY + 1) == len(STORY) - 1
    assert store.prune(9, 9, NOW + 7 * DAY + 1) == 1


def test_a_contradiction_is_noted_at_its_event(store: Store) -> None:
    """`error` says what the event contradicts; the others have none."""
    process(store, Rules(), NOW)
    notes = dict(rows(store, "blockNumber || '-' || logIndex, error"))
    assert {k: str(v).split()[0] for k, v in notes.items() if v} == {
        "3-2": "NOT_OWNER",
        "3-10": "NOT_STAKED",
    }


def test_the_buffer_is_due_at_1_mb_or_60_seconds() -> None:
    """Either limit is enough, and an empty buffer is never due."""
    assert (buffer.SIZE, buffer.INTERVAL) == (1024 * 1024, 60)
    held = buffer.Buffer()
    assert not held.due(1e9)
    held.add(announced(Chain(STORY, 9, 200).covered(0, 9), 1), 100.0)
    assert not held.due(159.9)
    assert held.due(160.0)
    assert len(held.take()) == 1
    assert not held.due(1e9)
    many = replace(Chain(STORY, 9, 200).covered(0, 9), events=columns(STORY * 2000))
    held.add(announced(many, 2), 0.0)
    assert held.due(0.0)


def test_the_schedule_has_the_specifications_jobs() -> None:
    """Points Recalc at 00:00 UTC, Metrics Aggregation every five minutes."""
    every = {job.name: job.every for job in JOBS}
    assert every["points-recalc"] == DAY
    assert every["metrics-aggregation"] == 300


def test_log_level_takes_the_specifications_four_values() -> None:
    """debug, info, warn and error; anything else is refused with what is allowed."""
    logger = logging.getLogger("ngu")
    before = logger.handlers, logger.level, logger.propagate
    try:
        for level, number in (("debug", 10), ("info", 20), ("warn", 30), ("error", 40)):
            configure_logging(level)
            assert logger.level == number
        with pytest.raises(UsageError, match="debug, info, warn, error"):
            configure_logging("loud")
    finally:
        logger.handlers, logger.level, logger.propagate = before
