"""What is complete is folded, by one process at a time, until nothing is left or time runs out."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from ngu_points.aws import environment as environments
from ngu_points.aws import metrics, wiring
from ngu_points.aws.dynamo import Dynamo, Where
from ngu_points.aws.environment import Environment
from ngu_points.aws.functions.telemetry import logger, publish
from ngu_points.aws.lease import LeaseLostError
from ngu_points.aws.tables import META
from ngu_points.aws.trouble import naming
from ngu_points.config import rules_of
from ngu_points.errors import NguError, TransientError
from ngu_points.pipeline.process import process

STEP = 2_000
"""Events of one step: few enough that it is done long before the function's time is over."""
RESERVE = 20.0
"""Seconds that must be left to begin another step, and twice what the longest one took."""
TOLD_AGAIN = 3_600  # seconds until the same trouble is told once more


@dataclass(slots=True)
class Run:
    """What an invocation has done."""

    steps: int = 0
    events: int = 0
    anomalies: int = 0
    block: int = -1
    waits_for: str = ""  # why it ended before everything was done

    def shown(self) -> dict[str, Any]:
        """As the function's result and its log have it."""
        told = {"steps": self.steps, "events": self.events, "block": self.block}
        return told | ({"waitsFor": self.waits_for} if self.waits_for else {})


def handler(payload: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001
    """Process what is complete; the payload says nothing. Raises what stops it for good.

    While another one processes, or AWS is slow, it ends quietly: it is called again soon. So it
    does where another one has taken over, which goes on from there.
    """
    env, log = _unit()
    log.append_keys(request=context.aws_request_id)
    run = Run()
    try:
        called = f"{context.function_name}#{context.aws_request_id}"
        _work(env, run, called, lambda: context.get_remaining_time_in_millis() / 1000)
    except (TransientError, LeaseLostError) as error:
        run.waits_for = str(error)
    except Exception as error:
        publish(env, _figures(run) | {metrics.JOB_FAILURES: 1})
        log.exception("processing has stopped")
        why = error if isinstance(error, NguError) else f"{type(error).__name__}, see the log"
        tell_once(env, wiring.dynamo(env), f"Processing has stopped: {why}", int(time.time()))
        raise
    publish(env, _figures(run))
    log.info("processed", extra={"fields": run.shown()})
    return run.shown()


@cache
def _unit() -> tuple[Environment, Logger]:
    env = environments.environment(os.environ)
    return env, logger(f"{env.service}-process", env.log_level)


def _work(env: Environment, run: Run, called: str, left: wiring.Left) -> None:
    rules = rules_of(wiring.settings(env, time.time()))
    store = wiring.store(env, rules, left)
    try:
        # the same request may come again while its first run still goes on: no name twice
        store.lead(f"{called}#{store.dynamo.nonce()}", int(time.time()))
        longest = 0.0
        while left() > max(RESERVE, 2 * longest):
            before = left()
            step = process(store, rules, int(time.time()), STEP)
            longest = max(longest, before - left())
            if step is None:
                return
            run.steps += 1
            run.events += len(step.events)
            run.anomalies += step.anomalies
            run.block = step.position.block
        run.waits_for = "the next run: time is over"
    finally:
        with suppress(NguError):  # it runs out by itself
            store.release()


def _figures(run: Run) -> dict[metrics.Metric, float]:
    return {
        metrics.PROCESSED: run.events,
        metrics.ANOMALIES: run.anomalies,
        metrics.STEPS: run.steps,
    }


def tell_once(env: Environment, dynamo: Dynamo, text: str, now: int) -> bool:
    """Send a message to the error topic; whether it was sent.

    The same text, whatever numbers are in it, is sent once an hour. Trouble with sending is
    nobody's business but the log's: the alarms tell too.
    """
    if not env.error_topic:
        return False
    name = hashlib.sha256(re.sub(r"\d+", "#", text).encode()).hexdigest()[:32]
    fresh = Where("attribute_not_exists(#key) OR #at <= :before", {"before": now - TOLD_AGAIN})
    log = logger(f"{env.service}-process", env.log_level)
    try:
        if not dynamo.put(META, {"key": f"told#{name}", "at": now, "text": text}, fresh):
            return False
        with naming(f"the topic {env.error_topic}"):
            wiring.client("sns", env.region).publish(
                TopicArn=env.error_topic, Subject=f"{env.service} {env.stage}"[:100], Message=text
            )
    except NguError as error:
        log.warning("nobody was told", extra={"fields": {"why": str(error)}})
        return False
    return True
