"""The scale function as alarms and the schedule call it, on the emulator's tables and alarms."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from aws.deployed import Deployed, context, deployed, figures
from ngu_points.aws.functions import scale
from ngu_points.aws.limits import KEY
from ngu_points.aws.tables import BATCH_EVENTS, META

OWN = {"MaxReadRequestUnits": 500, "MaxWriteRequestUnits": 1_000}


@pytest.fixture
def stage(emulator_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """A deployed stage with a processor function and an alarm on its batch events."""
    import boto3
    from botocore.config import Config

    with deployed(emulator_url, monkeypatch) as made:
        more = {"endpoint_url": emulator_url, "region_name": "us-east-1",
                "aws_access_key_id": "test", "aws_secret_access_key": "test",
                "config": Config(retries={"total_max_attempts": 1})}  # fmt: skip
        for name in ("lambda", "cloudwatch"):
            made.clients[name] = boto3.client(name, **more)
        made.clients["lambda"].create_function(
            FunctionName=made.variables["PROCESS_FUNCTION"], Runtime="python3.13",
            Role="arn:aws:iam::000000000000:role/r", Handler="h.handler", MemorySize=1_769,
            Code={"ZipFile": packed()},
        )  # fmt: skip
        made.dynamo.real.update_table(TableName=events(made), OnDemandThroughput=OWN)
        alarm(made)
        monkeypatch.setattr(scale, "os", SimpleNamespace(environ=made.variables))
        scale._unit.cache_clear()
        yield made
        made.clients["lambda"].delete_function(FunctionName=made.variables["PROCESS_FUNCTION"])
        made.clients["cloudwatch"].delete_alarms(AlarmNames=[named(made)])
        for name in ("lambda", "cloudwatch"):
            made.clients[name].close()


def packed() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("h.py", "def handler(event, context):\n    return {}\n")
    return content.getvalue()


def events(stage: Deployed) -> str:
    return stage.env.tables[BATCH_EVENTS]


def named(stage: Deployed) -> str:
    return f"{stage.variables['SERVICE']}-capacity"


def alarm(stage: Deployed) -> None:
    """An alarm as the deployment has one."""
    stage.clients["cloudwatch"].put_metric_alarm(
        AlarmName=named(stage), Namespace="AWS/DynamoDB", MetricName="ConsumedWriteCapacityUnits",
        Dimensions=[{"Name": "TableName", "Value": events(stage)}], Statistic="Sum", Period=60,
        EvaluationPeriods=1, Threshold=48_000, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip


def is_now(stage: Deployed, state: str) -> None:
    stage.clients["cloudwatch"].set_alarm_state(
        AlarmName=named(stage), StateValue=state, StateReason="as ordered"
    )


def payload(stage: Deployed, state: str = "ALARM", metric: str = "") -> dict[str, Any]:
    """What Lambda gets from an alarm that calls it."""
    dimensions = {} if metric else {"TableName": events(stage)}
    used = {"name": metric or "ConsumedWriteCapacityUnits", "dimensions": dimensions}
    return {
        "source": "aws.cloudwatch",
        "alarmData": {
            "alarmName": metric or named(stage),
            "state": {"value": state, "timestamp": "2026-11-30T10:00:00.000+0000"},
            "configuration": {"metrics": [{"id": "m", "metricStat": {"metric": used}}]},
        },
    }


def now(stage: Deployed) -> tuple[int, int]:
    """Write units of the batch events, memory of the processor."""
    table = stage.dynamo.real.describe_table(TableName=events(stage))["Table"]
    function = stage.clients["lambda"].get_function_configuration(
        FunctionName=stage.variables["PROCESS_FUNCTION"]
    )
    return table["OnDemandThroughput"]["MaxWriteRequestUnits"], function["MemorySize"]


def test_an_alarm_raises_and_quiet_puts_back(stage, monkeypatch, capsys) -> None:
    """The table by one notch; told and counted; back when the alarm was over long enough."""
    clock = SimpleNamespace(time=lambda: clock.at, sleep=lambda _: None, at=1_800_000_000)
    monkeypatch.setattr(scale, "time", clock)
    is_now(stage, "ALARM")
    result = scale.handler(payload(stage), context())
    assert now(stage) == (2_000, 1_769)
    assert result["causes"] == [named(stage)]
    assert any("write 1000 to 2000" in change for change in result["changes"])
    told = [row["text"] for row in stage.rows(META) if row["key"].startswith("told#")]
    assert told == [f"Limits changed: {result['changes'][0]}"]
    assert figures(capsys.readouterr().out)["RaisedLimits"] == 1
    clock.at += 301
    scale.handler({"tick": True}, context())
    assert now(stage) == (4_000, 1_769)
    is_now(stage, "OK")
    scale.handler({"tick": True}, context())
    clock.at += 1_800
    capsys.readouterr()
    assert scale.handler({"tick": True}, context())["causes"] == []
    assert now(stage) == (1_000, 1_769)
    assert figures(capsys.readouterr().out)["RaisedLimits"] == 0
    assert [row for row in stage.rows(META) if row["key"] == KEY["key"]] == []


def test_a_delay_gives_the_processor_more_memory(stage, capsys) -> None:
    """Within its limit, and the tables stay as they are."""
    stage.variables["PROCESS_MEMORY_MAX"] = "2048"
    scale.handler(payload(stage, metric="EventProcessingDelay"), context())
    assert now(stage) == (1_000, 2_048)


def test_a_person_can_put_everything_back(stage, capsys) -> None:
    """Whatever raised it, and although the alarm is still on."""
    is_now(stage, "ALARM")
    scale.handler(payload(stage), context())
    assert now(stage) == (2_000, 1_769)
    assert scale.handler({"restore": True}, context())["causes"] == []
    assert now(stage) == (1_000, 1_769)


def test_an_alarm_about_nothing_that_can_be_raised_is_only_logged(stage, capsys) -> None:
    """No row, no change, a warning that names it."""
    result = scale.handler(payload(stage, metric="Errors"), context())
    assert result == {"changes": [], "causes": []}
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any(line.get("fields", {}).get("alarm") == "Errors" for line in lines)
    assert now(stage) == (1_000, 1_769)
