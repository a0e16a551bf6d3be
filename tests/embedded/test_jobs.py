"""The jobs of the schedule: run when due, once for all that was missed, and never end the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import oracle
from chains import Chain
from embedded.test_store import NOW, new_store
from ngu_points.embedded import jobs
from ngu_points.embedded.history import History
from ngu_points.embedded.status import status
from ngu_points.embedded.store import Store
from ngu_points.embedded.windows import windows
from ngu_points.engine.coverage import Head, announce
from ngu_points.engine.rules import DAY, Rules, Season
from ngu_points.errors import StoreError
from ngu_points.pipeline.process import ingest
from ngu_points.pipeline.schedule import JOBS, due, next_moment

ALICE = "0x" + "a1" * 20
EVENTS = [
    oracle.Event("BatchMint", 1, 0, 5 * DAY + 100, "", ALICE, 1, 10),
    oracle.Event("Stake", 2, 0, 5 * DAY + 200, ALICE, "", 3, 1),
]


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """A small store, all of it final, with its archive."""
    rules = Rules(seasons=(Season("1", end=6 * DAY), Season("2", start=6 * DAY)),
                  feast_emission=1000)  # fmt: skip
    store = new_store(tmp_path, rules)
    store.note_head(Head(9, 9, 9))
    made = History(store)
    for step in ingest(store, announce(Chain(EVENTS, 9, 8 * DAY).covered(0, 9), 1), rules, NOW):
        made.add(step.events)
    yield made
    store.close()


def last_runs(store: Store) -> dict[str, int]:
    return dict(store.db.execute("SELECT name, lastRun FROM jobs"))


def test_a_job_is_due_once_for_each_moment_however_many_were_missed(history: History) -> None:
    """After a week away every job runs once; then only what has come due again."""
    assert jobs.catch_up(history, NOW) == [job.name for job in JOBS]
    assert jobs.catch_up(history, NOW) == []
    later = NOW - NOW % 300 + 300
    assert jobs.catch_up(history, later) == ["metrics-aggregation", "gap-check", "heartbeat"]
    assert set(jobs.catch_up(history, NOW + 7 * DAY)) == {job.name for job in JOBS}
    assert set(last_runs(history.store).values()) == {NOW + 7 * DAY}


def test_points_recalc_is_due_at_midnight_utc() -> None:
    """One second before 00:00 UTC it is not due, at 00:00 it is."""
    recalc = JOBS[0]
    assert not due(recalc, 5 * DAY + 1, 6 * DAY - 1)
    assert due(recalc, 6 * DAY - 1, 6 * DAY)
    assert due(recalc, None, 0)
    assert 0 < next_moment(6 * DAY - 0.5) <= 0.5


def test_points_recalc_ranks_and_freezes_what_is_over(history: History) -> None:
    """The snapshot holds the ranked wallets; the season that ended is frozen from then on."""
    store = history.store
    result = jobs.points_recalc(history, NOW)
    assert result["frozenSeasons"] == ["1"]
    rows = store.db.execute("SELECT rank, wallet FROM leaderboard").fetchall()
    assert rows == [(1, bytes.fromhex(ALICE[2:]))]
    store.close()
    other = Rules(seasons=(Season("1", end=6 * DAY, held=Season("x").held * 9),
                           Season("2", start=6 * DAY)), feast_emission=1000)  # fmt: skip
    again = Store.open(store.path, other)
    with pytest.raises(StoreError, match="season '1' is closed and its rates are frozen"):
        again.check_rules()
    again.close()


def test_points_recalc_notices_a_feast_that_does_not_add_up(history: History) -> None:
    """Shares that are not the pool are an error that names the day, and raise an alarm."""
    store = history.store
    store.db.execute("UPDATE feast_pool SET carryOut = 1 WHERE day = 5")
    with pytest.raises(StoreError, match="feast of day 5 does not add up"):
        jobs.points_recalc(history, NOW)
    ran = jobs.catch_up(history, NOW)
    assert len(ran) == len(JOBS)
    assert any("points-recalc failed" in alarm for alarm in status(store)["alarms"])


def test_metrics_keep_a_row_for_each_five_minutes(history: History) -> None:
    """Running figures, one row a window, the latest in it."""
    for at in (NOW, NOW + 1, NOW + 300):
        measured = jobs.metrics_aggregation(history, at)
    rows = history.store.db.execute("SELECT at, measured FROM metrics ORDER BY at").fetchall()
    assert [at for at, _ in rows] == [NOW // 300 * 300, NOW // 300 * 300 + 300]
    assert json.loads(rows[-1][1]) == measured
    assert (measured["events"], measured["tokens"], measured["staked"]) == (2, "10", "1")


def test_old_windows_are_thinned_to_hours_and_days(history: History) -> None:
    """After 30 days the last row of each hour stays, after a year that of each day."""
    start = NOW // DAY * DAY
    first = [start + 300 * n for n in range(0, 600, 7)]  # two days and a bit, not every window
    for at in first:
        jobs.metrics_aggregation(history, at)

    def kept(now: int) -> list[int]:
        jobs.metrics_aggregation(history, now)
        rows = history.store.db.execute("SELECT at FROM metrics WHERE at < ?", (start + 9 * DAY,))
        return sorted(row[0] for row in rows)

    def last_of_each(seconds: int) -> list[int]:
        return sorted({at // seconds: at for at in first}.values())

    assert kept(start + 9 * DAY) == first
    assert kept(start + 40 * DAY) == last_of_each(3_600)
    days = last_of_each(DAY)
    assert kept(start + 400 * DAY) == days
    found = windows(history.store, DAY, start, start + 8 * DAY, 10)
    assert [row["at"] for row in found] == [at // DAY * DAY for at in days]


def test_processed_events_expire_only_once_they_are_archived(history: History) -> None:
    """Seven days after processing a row goes, if the archive has it; what it says stays."""
    store = history.store
    mark = store.fingerprint()
    week = NOW + 7 * DAY
    assert store.prune(store.final, store.archived(), week + 1) == 0
    history.seal(store.final, least=1)
    assert store.prune(store.final, store.archived(), week - 1) == 0
    assert store.prune(store.final, store.archived(), week + 1) == 2
    assert len(store.queue.recent(0, 9)) == 0
    assert sum(len(covered.events) for covered in history.covered()) == 2
    assert store.fingerprint() == mark


def test_what_is_not_processed_does_not_expire(tmp_path: Path) -> None:
    """However old, an event that waits for its coverage stays."""
    store = new_store(tmp_path, Rules())
    batch, staking = announce(Chain(EVENTS, 9, 8 * DAY).covered(0, 9), 1)
    list(ingest(store, [batch], Rules(), NOW))
    assert store.prune(99, 99, NOW + 10_000 * DAY) == 0
    assert store.queue.backlog() == 1
    list(ingest(store, [staking], Rules(), NOW))
    assert (store.queue.backlog(), store.position().block) == (0, 9)
    store.close()
