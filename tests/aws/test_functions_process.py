"""process as AWS calls it: one at a time, until nothing is left or time is over, told once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import oracle
from aws.deployed import CHAIN_ID, SETTINGS, Deployed, deployed, figures
from chains import Chain
from conformance.test_stores import ALICE, BOB, START, deliveries_of, event
from engine.test_against_oracle import run
from ngu_points.aws import wiring
from ngu_points.aws.functions import process
from ngu_points.aws.lease import SECONDS
from ngu_points.aws.records import write
from ngu_points.aws.store import Store
from ngu_points.aws.tables import BATCH_EVENTS, STAKING_EVENTS
from ngu_points.config import rules_of
from ngu_points.engine.fingerprint import fingerprint, shares_digest
from ngu_points.engine.rules import Rules
from ngu_points.errors import StoreError

EVENTS = [
    event("BatchMint", 1, 0, "", ALICE, 1, 9),
    event("Stake", 2, 0, ALICE, "", 2),
    event("BatchTransfer", 6, 0, BOB, ALICE, 3),
    event("Unstake", 7, 0, ALICE, "", 2),
]
UNTIL = START + 9 * 3600
DELIVERIES = deliveries_of(Chain(EVENTS, 9, UNTIL), [0, 3, 6])


@pytest.fixture
def stage(emulator_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """A deployed stage."""
    with deployed(emulator_url, monkeypatch) as made:
        yield made


def clean_pass(rules: Rules, events: list[oracle.Event], until: int) -> str:
    """The fingerprint that the engine alone gives, in one batch."""
    state, _, days, _ = run(rules, events, [], until)
    closed = [(day, shares_digest(day, state.wallets.address)) for day in days]
    return fingerprint(replace(state, block=9), closed, rules, CHAIN_ID)


def mark(stage: Deployed) -> str:
    rules = rules_of(wiring.settings(stage.env, 0))
    return clean_pass(rules, EVENTS, UNTIL)


def told(stage: Deployed) -> list[str]:
    """What the error topic sent to a queue that was subscribed with `listen`."""
    sqs, url = stage.clients["sqs"], stage.variables["QUEUE"]
    found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(one["Body"])["Message"] for one in found]


def listen(stage: Deployed) -> None:
    made = stage.clients["sqs"].create_queue(QueueName=f"{stage.env.service}-told")
    stage.variables["QUEUE"] = made["QueueUrl"]
    attributes = stage.clients["sqs"].get_queue_attributes(
        QueueUrl=made["QueueUrl"], AttributeNames=["QueueArn"]
    )
    stage.clients["sns"].subscribe(
        TopicArn=stage.env.error_topic,
        Protocol="sqs",
        Endpoint=attributes["Attributes"]["QueueArn"],
    )


def test_what_was_delivered_is_folded_to_the_fingerprint_of_one_clean_pass(stage, capsys) -> None:
    """Delivered late and out of order; every event is marked, figures say what was done."""
    stage.deliver(DELIVERIES[::-1], write)
    capsys.readouterr()
    result = stage.process()
    assert (result["events"], result["block"]) == (len(EVENTS), 9)
    assert "waitsFor" not in result
    assert stage.store().fingerprint() == mark(stage)
    rows = stage.rows(BATCH_EVENTS) + stage.rows(STAKING_EVENTS)
    assert all(row["processed"] for row in rows)
    found = figures(capsys.readouterr().out)
    assert found == {"ProcessedEvents": 4, "Anomalies": 1, "ProcessingSteps": result["steps"]}
    assert stage.process() == {"steps": 0, "events": 0, "block": -1}


def test_nothing_delivered_is_nothing_to_do(stage, capsys) -> None:
    """A tick of the schedule costs some reads and changes nothing."""
    assert stage.process() == {"steps": 0, "events": 0, "block": -1}
    assert figures(capsys.readouterr().out)["ProcessedEvents"] == 0


def test_while_another_one_processes_it_ends_quietly(stage, capsys) -> None:
    """No error, no failure counted; afterwards everything is done."""
    stage.deliver(DELIVERIES, write)
    other = stage.store()
    other.lead("other", int(process.time.time()))
    capsys.readouterr()
    assert "written by other" in stage.process()["waitsFor"]
    assert "JobFailures" not in figures(capsys.readouterr().out)
    other.release()
    assert stage.process()["events"] == len(EVENTS)


def test_the_lease_is_given_back_and_each_run_has_a_name_of_its_own(stage, monkeypatch) -> None:
    """The same request, run a second time, does not take the lease of the first for its own."""
    names: list[str] = []
    lead = Store.lead
    monkeypatch.setattr(
        Store, "lead", lambda store, owner, now: (names.append(owner), lead(store, owner, now))
    )
    stage.process()
    stage.process()
    assert len(set(names)) == 2


def test_a_lease_that_another_took_ends_it_quietly(stage, monkeypatch, capsys) -> None:
    """It slept past its lease in the middle of a step: the other goes on, nothing is lost."""
    stage.deliver(DELIVERIES, write)
    apply = Store.apply

    def slow(store: Store, change: Any, now: int) -> None:
        monkeypatch.setattr(Store, "apply", apply)
        stage.store().lead("other", now + SECONDS + 1)
        apply(store, change, now)

    monkeypatch.setattr(Store, "apply", slow)
    capsys.readouterr()
    assert "lost the right to write" in stage.process()["waitsFor"]
    assert "JobFailures" not in figures(capsys.readouterr().out)
    later = process.time.time() + 2 * SECONDS + 2
    monkeypatch.setattr(process.time, "time", lambda: later)
    stage.process()
    assert stage.store().fingerprint() == mark(stage)


def test_time_that_runs_out_leaves_the_rest_to_the_next_run(stage, monkeypatch) -> None:
    """No step is begun that might be cut off."""
    monkeypatch.setattr(process, "STEP", 1)
    stage.deliver(DELIVERIES, write)
    assert stage.process(seconds=19) == {
        "steps": 0,
        "events": 0,
        "block": -1,
        "waitsFor": "the next run: time is over",
    }
    assert stage.process()["events"] == len(EVENTS)
    assert stage.store().fingerprint() == mark(stage)


def test_a_throttled_table_ends_it_quietly(stage, capsys) -> None:
    """It is called again soon."""
    stage.deliver(DELIVERIES, write)
    stage.dynamo.throttles = 1.0
    assert "throttles" in stage.process()["waitsFor"]
    stage.dynamo.throttles = 0.0
    assert stage.process()["events"] == len(EVENTS)


def test_what_stops_it_for_good_is_raised_counted_and_told_once_an_hour(
    stage, capsys, monkeypatch
) -> None:
    """Other rules than the facts were folded by: one message, however often it is called."""
    listen(stage)
    stage.deliver(DELIVERIES, write)
    stage.process()
    stage.put_settings(SETTINGS.replace("emission = 1000", "emission = 1"))
    capsys.readouterr()
    for _ in range(3):
        with pytest.raises(StoreError, match="folded by other rules"):
            stage.process()
    assert figures(capsys.readouterr().out)["JobFailures"] == 1
    assert len(messages := told(stage)) == 1
    assert messages[0].startswith("Processing has stopped: the tables were folded by other rules")
    later = process.time.time() + process.TOLD_AGAIN + 1
    monkeypatch.setattr(process.time, "time", lambda: later)
    with pytest.raises(StoreError):
        stage.process()
    assert len(told(stage)) == 1


def test_a_message_that_cannot_be_sent_hides_nothing(stage, capsys) -> None:
    """The error itself is raised and logged, and that nobody was told."""
    stage.clients["sns"].delete_topic(TopicArn=stage.env.error_topic)
    stage.deliver(DELIVERIES, write)
    stage.process()
    stage.put_settings(SETTINGS.replace("emission = 1000", "emission = 1"))
    with pytest.raises(StoreError, match="folded by other rules"):
        stage.process()
    out = capsys.readouterr().out
    assert "processing has stopped" in out
    assert "nobody was told" in out


def test_events_that_come_too_late_are_settled_by_the_next_run(stage, monkeypatch) -> None:
    """An unannounced event is put aside after an hour, with a gap that asks for it."""
    stage.deliver(DELIVERIES, write)
    stage.process()
    stray = Chain([event("BatchTransfer", 4, 0, ALICE, BOB, 8)], 9, UNTIL)
    (late, _) = deliveries_of(stray, [0])
    stage.deliver([replace(late, coverage=())], write)
    assert stage.process()["steps"] == 0
    assert stage.store().gaps() == []
    later = process.time.time() + 4_100
    monkeypatch.setattr(process.time, "time", lambda: later)
    stage.process()
    assert [gap.place[:3] for gap in stage.store().gaps()] == [("batch", 4, 4)]
    assert stage.store().fingerprint() == mark(stage)
