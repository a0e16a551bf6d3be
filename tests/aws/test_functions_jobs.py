"""jobs as the scheduler calls it: what is published, ranked, noted, archived, and what it reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from aws.deployed import SETTINGS, Deployed, deployed, figures
from chains import CONTRACT, Chain, block_hash
from conformance.test_stores import ALICE, BOB, CAROL, START, deliveries_of, event
from ngu_points.aws import health, jobs, wiring
from ngu_points.aws.archive import Archive
from ngu_points.aws.dynamo import Where
from ngu_points.aws.figures import WINDOWS
from ngu_points.aws.functions import jobs as function
from ngu_points.aws.gaps import NO_FILE, NOT_ANNOUNCED, OUTSTANDING
from ngu_points.aws.records import write
from ngu_points.aws.store import UNDO_KEPT
from ngu_points.aws.tables import (
    BATCH_EVENTS,
    COVERAGE,
    FEAST_POOL,
    LEADERBOARD,
    METRICS,
    STAKING_EVENTS,
)
from ngu_points.config import rules_of
from ngu_points.engine.coverage import Delivery, Head
from ngu_points.engine.events import Rejected
from ngu_points.errors import StoreError, TransientError, UsageError
from ngu_points.pipeline import query
from ngu_points.pipeline.process import process
from ngu_points.pipeline.schedule import JOBS

EVENTS = [
    event("BatchMint", 1, 0, "", ALICE, 1, 9),
    event("BatchMint", 1, 1, "", BOB, 20, 3),
    event("Stake", 2, 0, ALICE, "", 2),
    event("BatchTransfer", 26, 0, ALICE, CAROL, 4, 2),
    event("BatchTransfer", 27, 0, BOB, ALICE, 9, 1),
]
UNTIL = START + 30 * 3600
CHAIN = Chain(EVENTS, 30, UNTIL)
DELIVERIES = deliveries_of(CHAIN, [0, 5, 26])


@pytest.fixture
def stage(emulator_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """A deployed stage."""
    with deployed(emulator_url, monkeypatch) as made:
        yield made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The wall clock of all functions, to be moved."""
    now = [1_800_000_000.0]
    monkeypatch.setattr(function.time, "time", lambda: now[0])
    return now


def done(stage: Deployed, deliveries: list[Delivery] = DELIVERIES) -> None:
    stage.deliver(deliveries, write)
    stage.process()


def test_every_job_of_the_table_runs_and_no_other(stage) -> None:
    """The schedule's names are those of the functions; another one is an error."""
    assert list(jobs.RUNS) == [job.name for job in JOBS]
    done(stage)
    for job in JOBS:
        assert json.loads(json.dumps(stage.job(job.name)))
    with pytest.raises(UsageError, match="no job 'nonsense': it is one of points-recalc"):
        stage.job("nonsense")


def test_the_heartbeat_tells_how_old_the_oldest_unprocessed_event_is(stage, clock, capsys) -> None:
    """Since it was received, block time apart; nothing waits: no delay, no backlog."""
    stage.deliver(DELIVERIES[:4], write)
    clock[0] += 250
    capsys.readouterr()
    stage.job("heartbeat")
    found = figures(capsys.readouterr().out)
    assert found == {"EventProcessingDelay": 250, "Backlog": 3, "ProcessedBlock": -1, "Gaps": 0,
                     "DeadLetters": 0, "Heartbeat": 1}  # fmt: skip
    stage.process()
    clock[0] += 500
    stage.deliver(DELIVERIES[4:], write)
    clock[0] += 30
    capsys.readouterr()
    stage.job("heartbeat")
    found = figures(capsys.readouterr().out)
    assert (found["EventProcessingDelay"], found["Backlog"], found["ProcessedBlock"]) == (30, 2, 25)
    stage.process()
    clock[0] += 4_000
    capsys.readouterr()
    stage.job("heartbeat")
    found = figures(capsys.readouterr().out)
    assert (found["EventProcessingDelay"], found["Backlog"], found["ProcessedBlock"]) == (0, 0, 30)


def test_an_announced_event_that_never_came_is_a_delay_too(stage, clock, capsys) -> None:
    """Only its record has come: the age is that of the record."""
    batch, staking = DELIVERIES[:2]
    stage.deliver([replace(batch, events=batch.events.take([])), staking], write)
    clock[0] += 400
    capsys.readouterr()
    stage.job("heartbeat")
    found = figures(capsys.readouterr().out)
    assert (found["EventProcessingDelay"], found["Backlog"]) == (400, 3)


def test_empty_ranges_that_wait_are_no_delay(stage, clock, capsys) -> None:
    """A quiet chain whose records come one stream after the other."""
    quiet = deliveries_of(Chain([], 9, START), [0])
    stage.deliver(quiet[:1], write)
    clock[0] += 400
    capsys.readouterr()
    stage.job("heartbeat")
    found = figures(capsys.readouterr().out)
    assert (found["EventProcessingDelay"], found["Backlog"]) == (0, 0)


def test_dead_letters_and_late_events_are_counted(stage, clock, capsys) -> None:
    """A log that cannot be an event; an event that nothing announces."""
    bad = Rejected(3, 7, 0, START, b"t" * 32, block_hash(3), CONTRACT, "batch", "no", b"{}")
    done(stage, deliveries_of(Chain(EVENTS, 30, UNTIL, [bad]), [0]))
    (late, _) = deliveries_of(Chain([event("BatchTransfer", 4, 0, ALICE, BOB, 8)], 9, UNTIL), [0])
    stage.deliver([replace(late, coverage=())], write)
    clock[0] += 60
    capsys.readouterr()
    stage.job("heartbeat")
    found = figures(capsys.readouterr().out)
    assert (found["DeadLetters"], found["Backlog"], found["EventProcessingDelay"]) == (1, 1, 60)


def test_health_reads_no_table_of_events(stage, clock) -> None:
    """Neither a scan nor more than one page with one row of an index for each type of event."""
    stage.deliver(DELIVERIES, write)
    events = {f"{stage.env.service}-{t}-staging" for t in (BATCH_EVENTS, STAKING_EVENTS)}
    asked: list[tuple[str, Any]] = []
    stage.dynamo.before = lambda name, request: asked.append((name, request))
    health.look(stage.store(), int(clock[0]))
    stage.dynamo.before = None
    assert "scan" not in [name for name, _ in asked]
    mine = [request for _, request in asked if request.get("TableName") in events]
    assert len(mine) == 5
    assert {request["Limit"] for request in mine} == {1}


def test_figures_are_those_of_the_whole_state(stage, clock) -> None:
    """Tokens, staked tokens and wallets were counted along the way, also when it was taken back."""
    done(stage)
    measured = stage.job("metrics-aggregation")
    state = stage.store().state()
    assert measured["tokens"] == str(int(state.wallets.held.sum() + state.wallets.staked.sum()))
    assert measured["staked"] == str(int(state.wallets.staked.sum())) == "1"
    assert measured["wallets"] == len(state.wallets) == 3
    assert (measured["events"], measured["anomalies"], measured["block"]) == (5, 1, 30)
    kept = {row["window"]: row for row in stage.rows(METRICS)}
    assert kept.keys() == {"5m", "hour", "day"}
    for window in WINDOWS:
        row = kept[window.name]
        assert json.loads(row["measured"]) == measured
        assert row["at"] == int(clock[0]) // window.seconds * window.seconds
        ends = None if window.kept is None else row["at"] + window.kept
        assert row.get("ttl") == ends
    stage.job("metrics-aggregation")
    assert len(stage.rows(METRICS)) == len(WINDOWS)
    store = stage.store()
    before = store.totals()
    store.lead("test", int(clock[0]))
    store.undo(-1, int(clock[0]))
    store.release()
    assert store.totals() == {"tokens": "0", "staked": "0", "wallets": 0}
    stage.process()
    assert store.totals() == before


def test_the_metrics_scan_neither_events_nor_wallets(stage) -> None:
    """Running counters only."""
    done(stage)
    asked: list[str] = []
    stage.dynamo.before = lambda name, request: asked.append(name)
    stage.job("metrics-aggregation")
    assert "scan" not in asked


def test_the_ranks_are_those_of_the_state_in_pieces_with_its_block(stage, monkeypatch) -> None:
    """Season's points and total, best first; a reader gets one whole snapshot."""
    monkeypatch.setattr(jobs, "PIECE", 2)
    done(stage)
    result = stage.job("points-recalc")
    assert (result["block"], result["wallets"]) == (30, 3)
    rules = rules_of(wiring.settings(stage.env, 0))
    view = query.View.of(stage.store().state(), rules)
    found = jobs.ranks(stage.store())
    assert found is not None
    about, ranks = found
    assert ranks == query.leaderboard(view, 100)
    assert (about["block"], about["season"], about["timestamp"]) == (30, "1", UNTIL)
    first = {row["piece"] for row in stage.rows(LEADERBOARD) if row["season"] == "1"}
    assert first == {0, 1, 2}
    stage.job("points-recalc")
    second = stage.store().dynamo.get(LEADERBOARD, {"season": "1", "piece": 0})
    assert second is not None
    assert second["first"] == jobs.BANK + 1
    assert jobs.ranks(stage.store())[1] == ranks  # type: ignore[index]


def test_ranks_of_two_snapshots_are_never_mixed(stage, monkeypatch) -> None:
    """Who reads while a snapshot is being replaced is told to ask again."""
    monkeypatch.setattr(jobs, "PIECE", 2)
    done(stage)
    stage.job("points-recalc")
    store, key = stage.store(), {"season": "1", "piece": 2}
    piece = store.dynamo.get(LEADERBOARD, key)
    assert piece is not None
    store.dynamo.put(LEADERBOARD, piece | {"block": piece["block"] + 1})
    with pytest.raises(TransientError, match="replaced while it was read"):
        jobs.ranks(store)
    store.dynamo.delete(LEADERBOARD, key)
    with pytest.raises(TransientError, match="replaced while it was read"):
        jobs.ranks(store)


def test_no_ranks_before_the_first_snapshot(stage) -> None:
    """Nothing, not an error."""
    assert jobs.ranks(stage.store()) is None


def test_a_feast_that_does_not_add_up_stops_the_recalc(stage, capsys) -> None:
    """The day's close is checked to the last micro-point; the failure is counted."""
    done(stage)
    assert stage.job("points-recalc")["wallets"] == 3
    store = stage.store()
    (day,) = [row for row in stage.rows(FEAST_POOL) if row["piece"] == 0]
    store.dynamo.put(FEAST_POOL, {**day, "carryOut": str(int(day["carryOut"]) + 1)})
    capsys.readouterr()
    with pytest.raises(StoreError, match="feast of day 20000 does not add up"):
        stage.job("points-recalc")
    assert figures(capsys.readouterr().out) == {"JobFailures": 1}


def test_the_rates_of_a_season_that_is_over_are_frozen(stage) -> None:
    """Other rates are refused from then on, by the function that processes too."""
    over = SETTINGS.replace('name = "1"', f'name = "1"\nend = {START + 3600 * 4}')
    stage.begin(over)
    done(stage)
    assert stage.job("points-recalc")["frozenSeasons"] == ["1"]
    stage.put_settings(over.replace("held = 1", "held = 7"))
    with pytest.raises(StoreError, match="season '1' is closed and its rates are frozen"):
        stage.process()
    stage.put_settings(over)
    assert stage.process()["steps"] == 0


def test_no_ranks_under_rules_that_the_facts_were_not_folded_by(stage) -> None:
    """The job says what to do and leaves the last snapshot as it is."""
    done(stage)
    stage.job("points-recalc")
    before = jobs.ranks(stage.store())
    stage.put_settings(SETTINGS.replace("emission = 1000", "emission = 1"))
    with pytest.raises(StoreError, match="folded by other rules"):
        stage.job("points-recalc")
    assert jobs.ranks(stage.store()) == before


def test_the_recalc_keeps_writers_away_while_it_reads_and_no_longer(stage, monkeypatch) -> None:
    """A step in between would mean to read everything again."""
    done(stage)
    seen = []
    whole = jobs.pure.check

    def checked(*given: Any) -> None:
        seen.append(stage.process()["waitsFor"])
        whole(*given)

    monkeypatch.setattr(jobs.pure, "check", checked)
    stage.job("points-recalc")
    assert "written by a-function#" in seen[0]
    assert "waitsFor" not in stage.process()


def test_gaps_are_noted_with_reason_and_time_and_go_when_they_are_filled(stage, clock) -> None:
    """A range that nobody announced, an event that has not come; not before a while."""
    (b1, s1, b2, s2, b3, s3) = DELIVERIES
    half = replace(b1, events=b1.events.take([0]))
    stage.deliver([half, s1, s2, b3, s3], write)
    assert stage.job("gap-check") == {"gaps": 0}
    clock[0] += health.GRACE
    since = int(clock[0])
    assert stage.job("gap-check") == {"gaps": 2}
    clock[0] += 300
    stage.job("gap-check")
    found = {(*gap.place, gap.since) for gap in stage.store().gaps()}
    assert found == {("batch", 5, 25, NOT_ANNOUNCED, since), ("batch", 0, 4, OUTSTANDING, since)}
    stage.deliver([b1, b2], write)
    assert stage.job("gap-check") == {"gaps": 0}
    stage.process()
    assert stage.store().position().block == 30


def test_tidy_archives_forgets_and_drops(stage, clock) -> None:
    """What can no more be taken back lies in S3; its steps and coverage are gone."""
    done(stage)
    assert stage.job("tidy")["archivedThrough"] == -1
    clock[0] += UNDO_KEPT + 60
    stage.deliver(deliveries_of(Chain([], 40, UNTIL + 3600), [31])[:2], write)
    stage.process()
    result = stage.job("tidy")
    assert (result["archivedThrough"], result["steps"]) == (30, 1)
    store = stage.store()
    (segment,) = store.segments()
    assert (segment.from_block, segment.to_block, segment.events) == (0, 30, len(EVENTS))
    stage.job("tidy")
    ends = {int(row["toBlock"]) for row in stage.rows(COVERAGE)}
    assert ends == {30, 40}
    assert store.archive is not None
    assert stage.job("gap-check") == {"gaps": 0}
    bucket = stage.variables["ARCHIVE_BUCKET"]
    stage.clients["s3"].delete_object(Bucket=bucket, Key=f"segments/{segment.name}")
    assert stage.job("gap-check") == {"gaps": 1}
    assert store.gaps()[0].place == ("archive", 0, 30, NO_FILE)


def test_what_a_larger_segment_replaces_stays_until_the_next_run(stage, clock) -> None:
    """However old it is: who has just read that it is live can still fetch it."""
    done(stage)
    objects = []
    for block in (40, 50, 60):
        clock[0] += UNDO_KEPT + 60
        chain = Chain([], block, UNTIL + 3600 * block)
        stage.deliver(deliveries_of(chain, [block - 9])[:2], write)
        stage.process()
        archive = stage.store().archive
        assert isinstance(archive, Archive)
        live = {segment.name for segment in archive.store.segments()}
        stage.job("tidy")
        objects.append(archive.names().keys())
        assert live <= objects[-1]
    first = min(objects[0])
    assert [first in names for names in objects] == [True, True, False]


def test_the_lag_is_to_the_newest_block_that_the_monitor_saw(stage) -> None:
    """As the monitor notes it; 0 while it has noted none."""
    done(stage)
    assert stage.job("metrics-aggregation")["lag"] == 0
    stage.store().note_head(Head(75, 70, 70))
    assert stage.job("metrics-aggregation")["lag"] == 45


def test_a_job_that_fails_is_raised_and_counted(stage, capsys) -> None:
    """The scheduler tries again; an alarm hears of it."""
    stage.dynamo.throttles = 1.0
    capsys.readouterr()
    with pytest.raises(Exception, match="throttles"):
        stage.job("heartbeat")
    assert figures(capsys.readouterr().out) == {"JobFailures": 1}


def test_a_rare_job_is_tried_again_until_what_is_in_the_way_has_passed(
    stage, monkeypatch, capsys
) -> None:
    """A step that another one left half done: midnight's job waits for it to be finished."""
    stage.deliver(DELIVERIES, write)
    now = int(function.time.time())
    other = stage.store()
    other.lead("other", now)
    with monkeypatch.context() as patch:
        patch.setattr(other, "_finish", lambda step, now: None)
        assert process(other, other.rules, now) is not None
    other.release()
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        stage.process()

    moment = function.time.time
    monkeypatch.setattr(function, "time", SimpleNamespace(time=moment, sleep=sleep))
    assert stage.job("points-recalc")["block"] == 30
    assert pauses == [function.PAUSE]
    assert "change faster than they can be read" in capsys.readouterr().out


def test_records_that_a_later_one_covers_are_not_counted_twice(stage, clock) -> None:
    """A range announced again, alone or within a longer one, is one range."""
    again = deliveries_of(CHAIN, [0])
    later = [replace(d, coverage=tuple(replace(c, sequence=9) for c in d.coverage)) for d in again]
    stage.deliver([*DELIVERIES, *later], write)
    found = health.look(stage.store(), int(clock[0]))
    assert found.backlog == len(EVENTS)


def test_a_query_with_a_limit_of_one_stops_after_it(stage) -> None:
    """The first row alone is read, whatever lies behind it."""
    stage.deliver(DELIVERIES, write)
    asked: list[str] = []
    stage.dynamo.before = lambda name, request: asked.append(name)
    where = Where("#type = :type AND #blockNumber > :n", {"type": "BatchMint", "n": -1})
    rows = wiring.dynamo(stage.env).query(BATCH_EVENTS, where, index="TypeBlockIndex", limit=1)
    assert next(rows)["blockNumber"] == 1
    assert asked == ["query"]
