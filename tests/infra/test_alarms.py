"""Alarms and dashboard: the specification's, with arithmetic that is computed here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest
from templates import Deployment, Stack, needs_cdk

from ngu_points.aws.functions import scale
from ngu_points.aws.metrics import METRICS, NAMESPACE, STREAM
from ngu_points.aws.tables import TABLES
from ngu_points.engine.coverage import STREAMS

needs_cdk()

PLACES = [t.name for t in TABLES] + [f"{t.name}/{i.name}" for t in TABLES for i in t.indexes]
REAL = {
    "AWS/Firehose": {
        "IncomingBytes", "IncomingRecords", "ThrottledRecords", "BytesPerSecondLimit",
        "DeliveryToHttpEndpoint.Records", "DeliveryToHttpEndpoint.DataFreshness",
    },
    "AWS/DynamoDB": {
        "SuccessfulRequestLatency", "ConsumedWriteCapacityUnits", "OnDemandMaxWriteRequestUnits",
        "WriteThrottleEvents", "ThrottledRequests",
    },
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible"},
    "AWS/S3": {"PutRequests"},
    "AWS/Lambda": {"Errors", "Throttles", "Duration", "Invocations"},
    NAMESPACE: {metric.name for metric in METRICS},
}  # fmt: skip
"""Metrics that exist: AWS's lists, and what `aws.metrics` publishes."""
BY_THE_MINUTE = {
    "SuccessfulRequestLatency", "ConsumedWriteCapacityUnits", "WriteThrottleEvents",
    "ThrottledRequests",
}  # fmt: skip
"""Of those of AWS the ones that, as its pages say, have a value for every minute."""


def used(alarm: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The metrics of an alarm by id."""
    return {
        query["Id"]: {**query["MetricStat"]["Metric"], **query["MetricStat"]}
        for query in alarm["Metrics"]
        if "MetricStat" in query
    }


def only(alarm: Mapping[str, Any]) -> tuple[str, str, str]:
    """Namespace, name and statistic of an alarm without arithmetic."""
    (metric,) = used(alarm).values()
    assert len(alarm["Metrics"]) == 1
    return metric["Namespace"], metric["MetricName"], metric["Stat"]


def formula(alarm: Mapping[str, Any]) -> str:
    """The expression that is compared with the threshold."""
    (found,) = (query for query in alarm["Metrics"] if "Expression" in query)
    assert found.get("ReturnData", True)
    return str(found["Expression"])


def value(alarm: Mapping[str, Any], given: Mapping[str, float | None]) -> float | None:
    """What CloudWatch makes of metric values: no data where one is missing or nothing divides."""
    periods = {name: metric["Period"] for name, metric in used(alarm).items()}

    def at(name: str) -> float | None:
        (found,) = (v for short, v in given.items() if name.startswith(short))
        return found

    text = re.sub(r"PERIOD\((\w+)\)", lambda m: str(periods[m[1]]), formula(alarm))
    text = re.sub(r"FILL\((\w+), 0\)", lambda m: str(at(m[1]) or 0), text)
    text = re.sub(r"FILL\((\w+), REPEAT\)", r"\1", text)
    names = [name for name in periods if re.search(rf"\b{name}\b", text)]
    values = {name: at(name) for name in names}
    if None in values.values():
        return None
    cases = {"IF": lambda holds, yes, no: yes if holds else no}
    try:
        return float(eval(text, cases, values))
    except ZeroDivisionError:
        return None


def goes_off(alarm: Mapping[str, Any], given: Mapping[str, float | None]) -> bool:
    """Whether such a period breaches."""
    found = value(alarm, given)
    if found is None:
        return alarm["TreatMissingData"] == "breaching"
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    return found > alarm["Threshold"]


def places(alarm: Mapping[str, Any]) -> set[str]:
    """Values of all dimensions."""
    return {
        str(dimension["Value"])
        for metric in used(alarm).values()
        for dimension in metric["Dimensions"]
    }


@pytest.mark.parametrize("stream", STREAMS)
def test_delivery_delay_over_15_minutes(deployed: Deployment, stream: str) -> None:
    """Critical: the age of the oldest record that Firehose has not delivered."""
    alarm = deployed.alarm(f"delivery-delay-{stream}")
    assert "[critical]" in alarm["AlarmDescription"]
    assert only(alarm) == (
        "AWS/Firehose", "DeliveryToHttpEndpoint.DataFreshness", "Maximum",
    )  # fmt: skip
    assert places(alarm) == {deployed.name(f"{stream}-events")}
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 15 * 60)
    assert alarm["TreatMissingData"] == "notBreaching"


@pytest.mark.parametrize("place", PLACES)
def test_dynamodb_throttling_over_10_percent(deployed: Deployment, place: str) -> None:
    """Critical, for each table and index: throttle events of all writes, also where all fail."""
    alarm = deployed.alarm(f"throttling-{place.replace('/', '-')}")
    assert "[critical]" in alarm["AlarmDescription"]
    table, _, index = place.partition("/")
    assert places(alarm) == {deployed.name(table), "PutItem", "UpdateItem"} | ({index} - {""})
    stats = {metric["MetricName"]: metric["Stat"] for metric in used(alarm).values()}
    assert stats == {"WriteThrottleEvents": "Sum", "SuccessfulRequestLatency": "SampleCount"}
    quiet = {"throttled": None, "puts": 90, "updates": None}
    assert not goes_off(alarm, quiet)
    assert not goes_off(alarm, {**quiet, "throttled": 10})
    assert goes_off(alarm, {**quiet, "throttled": 11})
    assert goes_off(alarm, {"throttled": 5, "puts": None, "updates": None})
    assert not goes_off(alarm, {"throttled": None, "puts": None, "updates": None})


@pytest.mark.parametrize("stream", STREAMS)
def test_failed_records_over_1_percent(deployed: Deployment, stream: str) -> None:
    """Critical: refused deliveries and the quarantine, of everything that came."""
    alarm = deployed.alarm(f"failed-records-{stream}")
    assert "[critical]" in alarm["AlarmDescription"]
    assert stream in places(alarm)
    fine = {"failed": 0, "aside": 0, "new": 99, "known": 0}
    assert not goes_off(alarm, {**fine, "failed": 1})
    assert goes_off(alarm, {**fine, "failed": 1, "aside": 1})
    assert goes_off(alarm, {"failed": 500, "aside": None, "new": None, "known": None})
    assert not goes_off(alarm, {"failed": 0, "aside": 0, "new": 0, "known": 0})


@pytest.mark.parametrize("stream", STREAMS)
def test_buffer_utilisation_over_80_percent(deployed: Deployment, stream: str) -> None:
    """Warning, a substitute that says so; and the stream's own limit beside it."""
    alarm = deployed.alarm(f"buffer-{stream}")
    assert "[warning]" in alarm["AlarmDescription"]
    assert "substitute" in alarm["AlarmDescription"]
    assert only(alarm) == (NAMESPACE, "BufferUtilization", "Average")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 80)
    limit = deployed.alarm(f"stream-limit-{stream}")
    megabyte = 1 << 20
    assert not goes_off(limit, {"bytes": 240 * megabyte, "most": megabyte})
    assert goes_off(limit, {"bytes": 241 * megabyte, "most": megabyte})


@pytest.mark.parametrize("place", PLACES)
def test_consumed_capacity_over_80_percent(deployed: Deployment, place: str) -> None:
    """Warning, for each table and index: units per second of the maximum that holds now."""
    alarm = deployed.alarm(f"capacity-{place.replace('/', '-')}")
    assert "[warning]" in alarm["AlarmDescription"]
    table, _, index = place.partition("/")
    assert places(alarm) == {deployed.name(table)} | ({index} - {""})
    assert not goes_off(alarm, {"consumed": 240_000, "most": 1_000})
    assert goes_off(alarm, {"consumed": 240_001, "most": 1_000})
    assert not goes_off(alarm, {"consumed": None, "most": 1_000})


def test_no_metric_is_looked_at_more_often_than_aws_publishes_it(deployed: Deployment) -> None:
    """Else most periods have no value, and an alarm never goes off, or by turns."""
    for alarm in deployed["alarms"].all("AWS::CloudWatch::Alarm").values():
        for metric in used(alarm).values():
            often = metric["Namespace"] == NAMESPACE or metric["MetricName"] in BY_THE_MINUTE
            assert metric["Period"] >= (60 if often else 300), (alarm["AlarmName"], metric)


def test_processing_delay_over_5_minutes(deployed: Deployment) -> None:
    """Warning: the age of the oldest unprocessed event since it was received."""
    alarm = deployed.alarm("processing-delay")
    assert "[warning]" in alarm["AlarmDescription"]
    assert only(alarm) == (
        NAMESPACE, "EventProcessingDelay", "Maximum",
    )  # fmt: skip
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 5 * 60)


@pytest.mark.parametrize("part", ["monitor", "jobs"])
def test_silence_is_an_alarm(deployed: Deployment, part: str) -> None:
    """A dead monitor or schedule publishes nothing, and just that goes off."""
    alarm = deployed.alarm(f"heartbeat-{part}")
    assert alarm["TreatMissingData"] == "breaching"
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    (metric,) = used(alarm).values()
    assert alarm["EvaluationPeriods"] * metric["Period"] == 300


@pytest.mark.parametrize("stream", STREAMS)
def test_less_delivered_than_came_in(deployed: Deployment, stream: str) -> None:
    """For two hours, so that what is on its way at the full hour does not count."""
    alarm = deployed.alarm(f"undelivered-{stream}")
    assert (alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]) == (2, 2)
    assert goes_off(alarm, {"came": 1_000, "went": None})
    assert goes_off(alarm, {"came": 1_000, "went": 989})
    assert not goes_off(alarm, {"came": 1_000, "went": 990})
    assert not goes_off(alarm, {"came": 1_000, "went": 2_000})
    assert not goes_off(alarm, {"came": 0, "went": None})


def test_everything_left_behind_is_an_alarm(deployed: Deployment) -> None:
    """Undelivered objects, quarantine, dead letters, each dead-letter queue, failures, forks."""
    bucket = deployed["data"].one("AWS::S3::Bucket")
    undelivered = deployed.alarm("undelivered-objects")
    (filter_,) = bucket["MetricsConfigurations"]
    assert filter_["Prefix"] == "failed/"
    assert filter_["Id"] in places(undelivered)
    queues = {q["QueueName"] for q in deployed["events"].all("AWS::SQS::Queue").values()}
    watched = set()
    for alarm in deployed["alarms"].all("AWS::CloudWatch::Alarm").values():
        if any(metric["Namespace"] == "AWS/SQS" for metric in used(alarm).values()):
            watched |= places(alarm)
    assert watched == queues
    names = ["job-failures", "forks", "gaps", "dead-letters", "undelivered-objects"]
    names += [f"quarantine-{stream}" for stream in STREAMS]
    for name in names:
        alarm = deployed.alarm(name)
        assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)


def test_limits_that_stay_raised_are_an_alarm(deployed: Deployment) -> None:
    """Warning: at no moment of a whole day was nothing raised."""
    alarm = deployed.alarm("limits-raised")
    assert "[warning]" in alarm["AlarmDescription"]
    assert only(alarm) == (NAMESPACE, "RaisedLimits", "Minimum")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)
    (metric,) = used(alarm).values()
    assert alarm["EvaluationPeriods"] == alarm["DatapointsToAlarm"]
    assert alarm["EvaluationPeriods"] * metric["Period"] == 86_400
    assert alarm["TreatMissingData"] == "notBreaching"


def test_every_alarm_tells_the_topic(deployed: Deployment) -> None:
    """When it goes off and when it is over, with a severity and a sentence."""
    stack = deployed["alarms"]
    alarms = stack.all("AWS::CloudWatch::Alarm").values()
    assert len(alarms) > 50
    for alarm in alarms:
        for field in ("AlarmActions", "OKActions"):
            assert any("Errors" in action for action in stack.plain(alarm[field]))
        assert re.match(r"\[(critical|warning)\] \S.*\.", alarm["AlarmDescription"])


def test_alarms_about_limits_call_the_scale_function(deployed: Deployment) -> None:
    """Throttling, capacity, processing delay, and no others; also when they are over."""
    limits = [
        f"{kind}-{p.replace('/', '-')}" for kind in ("throttling", "capacity") for p in PLACES
    ]
    assert calling(deployed) == set(map(deployed.name, [*limits, "processing-delay"]))


def calling(deployed: Deployment) -> set[str]:
    """The names of the alarms that call the scale function."""
    stack = deployed["alarms"]
    scale, found = f":function:{deployed.name('scale')}", set()
    for alarm in stack.all("AWS::CloudWatch::Alarm").values():
        ends = [str(action).endswith(scale) for action in stack.plain(alarm["AlarmActions"])]
        assert ends == [str(action).endswith(scale) for action in stack.plain(alarm["OKActions"])]
        if any(ends):
            found.add(alarm["AlarmName"])
    return found


def test_the_scale_function_may_ask_about_these_alarms_and_no_others(deployed: Deployment) -> None:
    """DescribeAlarms takes alarms as resources where all of them are named, as it does."""
    lines = deployed.allowed("events/scalerole")
    asks = [place for action, place, _ in lines if action == "cloudwatch:DescribeAlarms"]
    here = "arn:<AWS::Partition>:cloudwatch:<AWS::Region>:<AWS::AccountId>:alarm:"
    alarms = deployed["alarms"].all("AWS::CloudWatch::Alarm").values()
    names = {alarm["AlarmName"] for alarm in alarms}
    covered = {name for name in names if any(fnmatchcase(here + name, one) for one in asks)}
    assert covered == calling(deployed) < names


def test_the_scale_function_understands_these_alarms(deployed: Deployment) -> None:
    """As CloudWatch tells them: each is about one table, or about the processor."""
    function = deployed.name("process")
    for place in [*PLACES, ""]:
        names = [f"{kind}-{place.replace('/', '-')}" for kind in ("throttling", "capacity")]
        for name in names if place else ["processing-delay"]:
            alarm = deployed.alarm(name)
            told = [
                {
                    "id": key,
                    "metricStat": {
                        "metric": {
                            "name": metric["MetricName"],
                            "dimensions": {d["Name"]: d["Value"] for d in metric["Dimensions"]},
                        }
                    },
                }
                for key, metric in used(alarm).items()
            ]
            data = {
                "alarmName": alarm["AlarmName"],
                "state": {"value": "ALARM", "timestamp": "2026-11-30T12:00:00.000+0000"},
                "configuration": {"metrics": told},
            }
            (understood,) = scale.alarms({"alarmData": data}, function)
            table = deployed.name(place.partition("/")[0])
            wanted = f"table:{table}" if place else f"function:{function}"
            assert understood.subjects == (wanted,)


def shown(stack: Stack) -> list[dict[str, Any]]:
    """The widgets of the dashboard."""
    body = stack.plain(stack.one("AWS::CloudWatch::Dashboard")["DashboardBody"])
    found: list[dict[str, Any]] = json.loads(body)["widgets"]
    return found


def test_the_dashboard_shows_every_metric(deployed: Deployment) -> None:
    """Those of the specification, and all of ours; per stream where there is one for each."""
    seen = set()
    for widget in shown(deployed["alarms"]):
        for metric in widget["properties"].get("metrics", []):
            if isinstance(metric[0], str):
                at = dict(zip(metric[2::2], metric[3::2], strict=False))
                seen.add((metric[0], metric[1], at.get("Stream") or at.get("DeliveryStreamName")))
    for table in ("batch-events", "staking-events"):
        for name in ("IncomingRecords", "ThrottledRecords"):
            assert ("AWS/Firehose", name, deployed.name(table)) in seen
    for name in ("SuccessfulRequestLatency", "ThrottledRequests", "ConsumedWriteCapacityUnits"):
        assert ("AWS/DynamoDB", name, None) in seen
    for metric in METRICS:
        for stream in STREAMS if metric.per == STREAM else [None]:
            assert (NAMESPACE, metric.name, stream) in seen, metric.name


def test_the_dashboard_says_what_is_a_substitute(deployed: Deployment) -> None:
    """In words, beside the alarms."""
    (text,) = (w for w in shown(deployed["alarms"]) if w["type"] == "text")
    for name in ("DeliveryToDynamoDB", "Buffer utilisation", "Processing delay"):
        assert name in text["properties"]["markdown"]


def test_nothing_watches_a_metric_that_nobody_publishes(deployed: Deployment) -> None:
    """Alarms and dashboard name only metrics that AWS or our code has."""
    for alarm in deployed["alarms"].all("AWS::CloudWatch::Alarm").values():
        for metric in used(alarm).values():
            assert metric["MetricName"] in REAL[metric["Namespace"]]
    for widget in shown(deployed["alarms"]):
        for metric in widget["properties"].get("metrics", []):
            if isinstance(metric[0], str):
                assert metric[1] in REAL[metric[0]]


def test_an_alarm_looks_back_a_day_at_most(deployed: Deployment) -> None:
    """CloudWatch takes no more: periods times their length, a day for those of an hour."""
    for alarm in deployed["alarms"].all("AWS::CloudWatch::Alarm").values():
        periods = [metric["Period"] for metric in used(alarm).values()]
        assert set(periods) <= {60, 300, 3_600}
        assert alarm["EvaluationPeriods"] * max(periods) <= 86_400
        assert alarm["DatapointsToAlarm"] <= alarm["EvaluationPeriods"]
        assert len(used(alarm)) <= 9
