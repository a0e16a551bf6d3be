"""The scheduled jobs: EventBridge Scheduler calls with the name of one."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from aws_lambda_powertools import Logger

from ngu_points.aws import environment as environments
from ngu_points.aws import jobs, metrics, wiring
from ngu_points.aws.environment import Environment
from ngu_points.aws.functions.telemetry import logger, publish
from ngu_points.config import rules_of
from ngu_points.errors import TransientError
from ngu_points.pipeline.schedule import JOBS

RARE = frozenset(job.name for job in JOBS if job.every >= 3_600)
"""Jobs for whose next moment nobody should wait if one comes to nothing."""
PAUSE = 60.0
"""Seconds until a rare job is tried again: by then the schedule has made `process` run."""
TIME_FOR_ONE = 300.0


def handler(payload: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Run the job {"job": name} and give its result; a failing one is counted and raised."""
    env, log = _unit()
    log.append_keys(request=context.aws_request_id)
    now, name = int(time.time()), str(payload.get("job", ""))
    try:
        store = wiring.store(env, rules_of(wiring.settings(env, now)))
        archive = wiring.archive(env, store) if env.archive else None
        owner = f"{context.function_name}#{context.aws_request_id}#{store.dynamo.nonce()}"
        on = jobs.Deployment(store, archive, partial(publish, env), owner)
        result = _patiently(name, on, context, log)
    except Exception:
        publish(env, {metrics.JOB_FAILURES: 1})
        log.exception("job failed", extra={"fields": {"job": name}})
        raise
    log.info("job done", extra={"fields": {"job": name, **result}})
    return result


def _patiently(name: str, on: jobs.Deployment, context: Any, log: Logger) -> dict[str, Any]:
    """Run a job; a rare one again and again while something is in the way that will pass."""
    while True:
        try:
            return jobs.run(name, on, int(time.time()))
        except TransientError as error:
            if name not in RARE or context.get_remaining_time_in_millis() / 1000 < TIME_FOR_ONE:
                raise
            log.warning("job tried again", extra={"fields": {"job": name, "why": str(error)}})
            time.sleep(PAUSE)


@cache
def _unit() -> tuple[Environment, Logger]:
    env = environments.environment(os.environ)
    return env, logger(f"{env.service}-jobs", env.log_level)
