"""Alarms raise limits, quiet puts them back.

Called by an alarm (directly or through a topic), by a person with `{"restore": true}`, and with
anything else by the schedule.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from ngu_points.aws import environment as environments
from ngu_points.aws import metrics, wiring
from ngu_points.aws.environment import Environment
from ngu_points.aws.functions.process import tell_once
from ngu_points.aws.functions.telemetry import logger, publish
from ngu_points.aws.limits import FUNCTION, TABLE, Alarm, Limits
from ngu_points.aws.trouble import naming

ASKED = 100
"""Alarms that one call tells the states of."""


def handler(payload: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Do what an alarm or the time asks for; gives what was changed. Raises what prevents it."""
    env, log = _unit()
    log.append_keys(request=context.aws_request_id)
    limits = limits_of(env, context.function_name)
    try:
        told = list(alarms(payload, limits.function))
        for alarm in told:
            if alarm.subjects:
                limits.alarmed(alarm)
            else:
                log.warning("an alarm about nothing that can be raised",
                            extra={"fields": {"alarm": alarm.name}})  # fmt: skip
        if payload.get("restore"):
            limits.restore()
        elif not told:
            limits.tick(lambda names: states(env, names))
    except Exception:
        log.exception("limits could not be changed")
        raise
    finally:
        if limits.changes:
            text = f"Limits changed: {'; '.join(limits.changes)}"
            tell_once(env, limits.dynamo, text, int(time.time()))
    causes = limits.load().causes
    raised = {subject for cause in causes.values() for subject in cause.subjects}
    publish(env, {metrics.RAISED: len(raised)})
    result = {"changes": limits.changes, "causes": sorted(causes)}
    log.info("limits", extra={"fields": result})
    return result


@cache
def _unit() -> tuple[Environment, Logger]:
    env = environments.environment(os.environ)
    return env, logger(f"{env.service}-scale", env.log_level)


def limits_of(env: Environment, owner: str) -> Limits:
    """The limits of a stage, within what the environment allows."""
    return Limits(
        wiring.dynamo(env),
        wiring.client("lambda", env.region),
        wiring.bounds(os.environ),
        wiring.variable("PROCESS_FUNCTION", ""),
        owner,
        lambda: int(time.time()),
        time.sleep,
    )


def states(env: Environment, names: list[str]) -> set[str]:
    """Which of some alarms are on."""
    cloudwatch = wiring.client("cloudwatch", env.region)
    with naming("the alarms"):
        answer = cloudwatch.describe_alarms(AlarmNames=names[:ASKED], MaxRecords=ASKED)
    found = answer.get("MetricAlarms", [])
    return {alarm["AlarmName"] for alarm in found if alarm["StateValue"] == "ALARM"}


def alarms(payload: Mapping[str, Any], function: str) -> Iterator[Alarm]:
    """What alarms say in a payload; none in one that no alarm sent."""
    if "alarmData" in payload:
        data = payload["alarmData"]
        used = [metric.get("metricStat", {}).get("metric", {})
                for metric in data.get("configuration", {}).get("metrics", [])]  # fmt: skip
        seen = [(m.get("name", ""), m.get("dimensions", {})) for m in used]
        state = data["state"]
        yield _alarm(data["alarmName"], state["value"], state["timestamp"], seen, function)
    for record in payload.get("Records", []):
        message = json.loads(record["Sns"]["Message"])
        trigger = message.get("Trigger", {})
        used = [m.get("MetricStat", {}).get("Metric", {}) for m in trigger.get("Metrics", [])]
        seen = [
            (m.get("MetricName", ""), {d["name"]: d["value"] for d in m.get("Dimensions", [])})
            for m in (*used, trigger)
        ]
        since = message["StateChangeTime"]
        yield _alarm(message["AlarmName"], message["NewStateValue"], since, seen, function)


def _alarm(
    name: str, state: str, since: str, seen: list[tuple[str, Mapping[str, str]]], function: str
) -> Alarm:
    """An alarm with what is raised for it: the tables that it looks at, or the processor."""
    subjects = {TABLE + dims["TableName"] for _, dims in seen if "TableName" in dims}
    if function and any(metric == metrics.DELAY.name for metric, _ in seen):
        subjects.add(FUNCTION + function)
    return Alarm(name, state == "ALARM", since, tuple(sorted(subjects)))
