"""persist as AWS calls it: who is let in, what is stored, what is answered, what is told."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aws.deployed import KEY, ORIGIN, Deployed, context, deployed, figures, said, url_payload
from aws.test_firehose_payloads import payload_of
from chains import Chain
from conformance.test_stores import ALICE, START, event
from ngu_points.aws import wiring
from ngu_points.aws.functions import keys as keys_module
from ngu_points.aws.functions import persist
from ngu_points.aws.records import write
from ngu_points.aws.tables import BATCH_EVENTS, COVERAGE, QUARANTINE
from ngu_points.engine.coverage import announce

CAPTURED = json.loads(
    (Path(__file__).parent.parent / "data/firehose/aws-guide-examples.json").read_text()
)
EVENTS = [event("BatchMint", n, 0, "", ALICE, 10 * n, 3) for n in range(1, 6)]
BATCH, STAKING = announce(Chain(EVENTS, 9, START + 9 * 3600).covered(0, 9), 1)
RECORDS = write(BATCH, ORIGIN)


@pytest.fixture
def stage(emulator_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """A deployed stage."""
    with deployed(emulator_url, monkeypatch) as made:
        yield made


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert KEY not in out + err
    return out


def test_a_delivery_becomes_rows_and_process_is_told(stage, capsys) -> None:
    """Events with the moment they came, coverage; figures as CloudWatch wants them."""
    assert "timestamp" in said(stage.persist(url_payload(RECORDS)))
    rows = stage.rows(BATCH_EVENTS)
    assert len(rows) == len(EVENTS)
    assert all(row["receivedAt"] > START and not row["processed"] for row in rows)
    assert [row["count"] for row in stage.rows(COVERAGE)] == [len(EVENTS)]
    assert stage.functions.names == [stage.variables["PROCESS_FUNCTION"]]
    out = printed(capsys)
    size = sum(map(len, RECORDS))
    wanted = {"DeliveryToDynamoDB.Records": 6, "DeliveryToDynamoDB.Success": 100,
              "DuplicateRecords": 0, "QuarantinedRecords": 0, "FailedRecords": 0,
              "BufferUtilization": 100 * size / 2**20}  # fmt: skip
    assert figures(out) == wanted
    (line,) = [json.loads(text) for text in out.splitlines() if "_aws" in text]
    (about,) = line["_aws"]["CloudWatchMetrics"]
    assert about["Dimensions"] == [["Service", "Stage", "Stream"]]
    assert (line["Service"], line["Stage"], line["Stream"]) == (
        stage.env.service,
        "staging",
        "batch",
    )
    assert {"Name": "BufferUtilization", "Unit": "Percent"} in about["Metrics"]


def test_a_redelivery_changes_nothing(stage, capsys) -> None:
    """Twice the same: 200 again, every record a duplicate, rows as they were."""
    stage.persist(url_payload(RECORDS))
    before = stage.rows(BATCH_EVENTS)
    printed(capsys)
    assert stage.persist(url_payload(RECORDS))["statusCode"] == 200
    assert stage.rows(BATCH_EVENTS) == before
    found = figures(printed(capsys))
    assert (found["DeliveryToDynamoDB.Records"], found["DuplicateRecords"]) == (0, 6)
    assert found["DeliveryToDynamoDB.Success"] == 100


@pytest.mark.parametrize("key", ["", "the-wrong-key", KEY[:-1], KEY + "x", "ключ"])
def test_a_wrong_key_is_refused_before_anything_is_looked_at(stage, capsys, key) -> None:
    """401; no table and no settings were asked for, and neither key is printed."""
    bomb = gzip.compress(bytes(200 << 20), 1)
    stage.asked.clear()
    answer = stage.persist(url_payload([], key, body=bomb))
    assert answer["statusCode"] == 401
    assert "access key" in said(answer)["errorMessage"]
    assert set(stage.asked) <= {"secretsmanager"}
    out = printed(capsys)
    assert figures(out) == {"RefusedRequests": 1}
    assert not key or key not in out + answer["body"]


def test_two_keys_are_good_while_the_secret_is_rotated(stage, monkeypatch) -> None:
    """The new one at once although the old was at hand, the old one still; then the one before."""
    now = [1_800_000_000.0]
    monkeypatch.setattr(persist.time, "time", lambda: now[0])
    assert stage.persist(url_payload(RECORDS))["statusCode"] == 200
    stage.rotate(json.dumps({"api_key": "second"}))
    now[0] += keys_module.REFETCHED + 1
    for key in ("second", KEY):
        assert stage.persist(url_payload(RECORDS, key))["statusCode"] == 200
    stage.rotate(json.dumps({"api_key": "third"}))
    now[0] += keys_module.KEPT + 1
    statuses = [stage.persist(url_payload(RECORDS, k))["statusCode"] for k in ("third", "second")]
    assert statuses == [200, 200]
    assert stage.persist(url_payload(RECORDS))["statusCode"] == 401


def test_strangers_cause_one_look_at_the_secret_a_minute(stage, monkeypatch) -> None:
    """However often they try."""
    now = [1_800_000_000.0]
    monkeypatch.setattr(persist.time, "time", lambda: now[0])
    stage.persist(url_payload(RECORDS))
    real = stage.clients["secretsmanager"].get_secret_value
    looks = []
    monkeypatch.setattr(
        stage.clients["secretsmanager"],
        "get_secret_value",
        lambda **asked: looks.append(asked) or real(**asked),
    )
    now[0] += keys_module.REFETCHED
    for _ in range(20):
        assert stage.persist(url_payload(RECORDS, "guess"))["statusCode"] == 401
        now[0] += 1
    assert len(looks) == 2  # the present key and the one before


def test_without_a_key_to_compare_with_nothing_is_let_in(stage, capsys) -> None:
    """Secrets Manager is not there: 503 in Firehose's form, so that it comes again."""
    stage.variables["ACCESS_KEY_SECRET"] = "no-such-secret"
    persist._unit.cache_clear()
    answer = stage.persist(url_payload(RECORDS))
    assert answer["statusCode"] == 503
    assert "try again" in said(answer)["errorMessage"]
    assert stage.rows(BATCH_EVENTS) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\x1f\x8b" + b"damaged", "damaged gzip"),
        (gzip.compress(b"[1, 2"), "neither JSON"),
        (b'{"requestId": "x"', "no delivery request"),
        (gzip.compress(b'{"requestId": "x", "records": [' + b" " * (65 << 20), 1), "64 MiB"),
        (b'{"records": []}', "no delivery request"),
    ],
    ids=["bad gzip", "no JSON", "half JSON", "bomb", "no id"],
)
def test_an_unreadable_body_is_refused_and_never_by_413(stage, capsys, body, why) -> None:
    """400 with the reason; nothing is stored, process is not told."""
    answer = stage.persist(url_payload([], body=body))
    assert answer["statusCode"] == 400
    assert why in said(answer)["errorMessage"]
    assert (stage.rows(BATCH_EVENTS), stage.rows(QUARANTINE)) == ([], [])
    assert stage.functions.names == []
    assert figures(printed(capsys)) == {"RefusedRequests": 1}


def test_a_body_that_is_no_base64_is_refused(stage) -> None:
    """The flag says base64, the text is not."""
    payload = url_payload(RECORDS) | {"body": "%%% not base64 %%%"}
    assert stage.persist(payload)["statusCode"] == 400


def test_what_is_no_record_of_this_stage_goes_to_the_quarantine(stage, capsys) -> None:
    """Another stage's, another stream's, noise, the guide's own examples: kept, and 200."""
    others = [
        *write(BATCH, replace(ORIGIN, stage="prod"))[:1],
        *write(STAKING, ORIGIN)[:1],
        *(base64.b64decode(r["data"]) for r in CAPTURED["request_example"]["records"]),
        b"\xff\xfe\x00",
        b"x" * 400_000,
    ]
    answer = stage.persist(url_payload([*others, *RECORDS]))
    assert answer["statusCode"] == 200
    rows = {bytes(row["raw"]): row for row in stage.rows(QUARANTINE)}
    assert [raw[:300_000] in rows for raw in others] == [True] * len(others)
    assert rows[others[0]]["reason"].endswith("it is of stage 'prod', this is 'staging'")
    assert rows[b"x" * 300_000]["size"] == 400_000
    assert len(stage.rows(BATCH_EVENTS)) == len(EVENTS)
    found = figures(printed(capsys))
    assert found["QuarantinedRecords"] == len(others)
    assert found["DeliveryToDynamoDB.Success"] == pytest.approx(50.0)
    stage.persist(url_payload(others))
    assert len(stage.rows(QUARANTINE)) == len(others)


def test_the_guides_request_is_answered_as_firehose_wants_it(stage) -> None:
    """The captured request of the developer guide, through the function URL."""
    body = json.dumps(CAPTURED["request_example"]).encode()
    payload = url_payload([], body=body)
    payload["headers"]["x-amz-firehose-request-id"] = CAPTURED["request_example"]["requestId"]
    answer = stage.persist(payload)
    shown = json.loads(answer["body"])
    assert (answer["statusCode"], shown.keys()) == (200, {"requestId", "timestamp"})
    assert shown["requestId"] == CAPTURED["request_example"]["requestId"]


def test_a_throttled_table_is_answered_503_and_the_redelivery_completes_it(stage, capsys) -> None:
    """Part of it is written; the same batch again writes the rest and no more."""
    name = wiring_name(stage, BATCH_EVENTS)
    written = []

    def throttled(call: str, request: dict[str, Any]) -> None:
        if call == "put_item" and request["TableName"] == name:
            written.append(request)
            if len(written) > 2:
                stage.dynamo.throttles = 1.0

    stage.dynamo.before = throttled
    answer = stage.persist(url_payload(RECORDS))
    assert answer["statusCode"] == 503
    assert "throttles" in said(answer)["errorMessage"]
    found = figures(printed(capsys))
    assert found == {"FailedRecords": len(RECORDS), "DeliveryToDynamoDB.Success": 0}
    assert stage.functions.names == []
    stage.dynamo.before, stage.dynamo.throttles = None, 0.0
    assert len(stage.rows(BATCH_EVENTS)) < len(EVENTS)
    assert stage.rows(COVERAGE) == []
    assert stage.persist(url_payload(RECORDS))["statusCode"] == 200
    assert len(stage.rows(BATCH_EVENTS)) == len(EVENTS)


def test_a_table_that_stays_busy_is_answered_before_time_is_over(stage, monkeypatch) -> None:
    """It is not waited for longer than this invocation lives: the answer is ours, not Lambda's."""
    clock = [20.0]
    name = wiring_name(stage, BATCH_EVENTS)

    def sleep(seconds: float) -> None:
        clock[0] -= 1

    def busy(call: str, request: dict[str, Any]) -> None:
        stage.dynamo.throttles = 0.9 if request.get("TableName") == name else 0.0

    monkeypatch.setattr(wiring, "time", SimpleNamespace(sleep=sleep))
    stage.dynamo.before = busy
    told = SimpleNamespace(
        aws_request_id="r", get_remaining_time_in_millis=lambda: int(clock[0] * 1000)
    )
    answer = persist.handler(url_payload(RECORDS), told)
    assert (answer["statusCode"], "time is over" in said(answer)["errorMessage"]) == (503, True)
    assert clock[0] >= 0


def test_time_that_runs_out_ends_in_503_with_what_is_written_kept(stage, monkeypatch) -> None:
    """The clock is looked at before each chunk; coverage comes only after all events."""
    monkeypatch.setattr(persist, "CHUNK", 2)
    answer = persist.handler(url_payload(RECORDS), context(100, 100, 14))
    assert answer["statusCode"] == 503
    assert "time ran out" in said(answer)["errorMessage"]
    assert (len(stage.rows(BATCH_EVENTS)), stage.rows(COVERAGE)) == (4, [])
    assert stage.persist(url_payload(RECORDS))["statusCode"] == 200
    assert (len(stage.rows(BATCH_EVENTS)), len(stage.rows(COVERAGE))) == (5, 1)


def test_a_process_function_that_cannot_be_called_fails_no_delivery(stage, capsys) -> None:
    """The minute's schedule calls it anyway; the log says what happened."""
    stage.functions.error = stage.dynamo._error("TooManyRequestsException")
    assert stage.persist(url_payload(RECORDS))["statusCode"] == 200
    assert "process was not told" in printed(capsys)


def test_a_delivery_without_coverage_does_not_wake_process(stage) -> None:
    """There is nothing new that could be complete."""
    only = write(replace(BATCH, coverage=()), ORIGIN)
    assert stage.persist(url_payload(only))["statusCode"] == 200
    assert stage.functions.names == []


def test_settings_that_are_missing_or_wrong_lose_nothing(stage) -> None:
    """500, the batch comes again; the answer names the parameter and not what it holds."""
    stage.put_settings("[chain]\nrpc = 'https://node/secret-token'\nchain_id = 'x'\n")
    answer = stage.persist(url_payload(RECORDS))
    assert answer["statusCode"] == 500
    message = said(answer)["errorMessage"]
    assert f"{stage.env.parameters}/settings" in message
    assert "secret-token" not in message


def test_the_transformation_delivers_without_a_url(stage) -> None:
    """Each record by its id: Ok once stored, or ProcessingFailed where nothing could be."""
    payload = {
        "invocationId": "i",
        "deliveryStreamArn": "arn",
        "region": "us-east-1",
        "records": [
            {"recordId": str(n), "data": base64.b64encode(raw).decode()}
            for n, raw in enumerate(RECORDS)
        ],
    }
    results = stage.persist(payload)["records"]
    assert [r["result"] for r in results] == ["Ok"] * len(RECORDS)
    assert len(stage.rows(BATCH_EVENTS)) == len(EVENTS)
    results = persist.handler(payload, context(5))["records"]
    assert [r["result"] for r in results] == ["ProcessingFailed"] * len(RECORDS)


def test_a_payload_as_a_function_url_makes_it_is_refused_by_its_key(stage) -> None:
    """The payload of the protocol's own tests, whose key is none of ours."""
    assert stage.persist(payload_of("{}", flag=False))["statusCode"] == 401


def wiring_name(stage: Deployed, table: str) -> str:
    return f"{stage.env.service}-{table}-staging"
