"""Firehose delivers: the key is looked at, records become rows, `process` is told.

One code for both streams; STREAM says which one this function is of. What is no record of it goes
to the quarantine, and the delivery counts as made: Firehose would send all of it again for ever.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from ngu_points.aws import environment as environments
from ngu_points.aws import metrics, wiring
from ngu_points.aws.endpoint import handle_function_url, handle_transformation, unavailable
from ngu_points.aws.environment import Environment
from ngu_points.aws.functions.keys import Keys
from ngu_points.aws.functions.telemetry import logger, publish
from ngu_points.aws.quarantine import set_aside
from ngu_points.aws.records import read
from ngu_points.aws.store import Store
from ngu_points.aws.trouble import naming
from ngu_points.config import rules_of
from ngu_points.engine.coverage import STREAMS, Delivery
from ngu_points.errors import NguError, TransientError, UsageError

CHUNK = 1_000
"""Events that are written before the clock is looked at again."""
RESERVE = 15.0
"""Seconds that must be left to begin with a chunk: about as long as a throttled one waits."""
BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Unit:
    """What does not change while this process lives."""

    env: Environment
    stream: str
    process_function: str
    buffer_bytes: int
    keys: Keys
    log: Logger


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a delivery's records."""

    new: int
    known: int
    poisons: int
    covered: bool  # blocks are complete on this stream as far as the monitor goes


def handler(payload: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """The answer to a payload of a function URL, or of a Firehose Lambda transformation."""
    unit = _unit()
    unit.log.append_keys(request=context.aws_request_id)
    now = time.time()

    def deliver(records: Sequence[bytes]) -> None:
        _deliver(unit, records, now, lambda: context.get_remaining_time_in_millis() / 1000)

    if "deliveryStreamArn" in payload:
        return handle_transformation(payload, deliver)
    try:
        keys = unit.keys.now(now)
        answer = handle_function_url(payload, keys, deliver, int(now * 1000))
        if answer["statusCode"] == 401 and unit.keys.again(now):
            keys = unit.keys.now(now)
            answer = handle_function_url(payload, keys, deliver, int(now * 1000))
    except NguError as error:  # of the keys: nothing of the request was looked at
        unit.log.error("no access key can be had", extra={"fields": {"why": str(error)}})
        return unavailable(payload, int(now * 1000))
    if answer["statusCode"] in (400, 401):
        unit.log.warning("refused", extra={"fields": {"status": answer["statusCode"]}})
        publish(unit.env, {metrics.REFUSED: 1}, unit.stream)
    return answer


@cache
def _unit() -> Unit:
    env, stream = environments.environment(os.environ), wiring.variable("STREAM")
    if stream not in STREAMS:
        raise UsageError(f"STREAM in the environment is {stream!r}: it takes {', '.join(STREAMS)}")
    return Unit(
        env,
        stream,
        wiring.variable("PROCESS_FUNCTION", ""),
        wiring.whole("BUFFER_BYTES", BUFFER_BYTES),
        Keys(wiring.client("secretsmanager", env.region), wiring.variable("ACCESS_KEY_SECRET")),
        logger(f"{env.service}-persist", env.log_level),
    )


def _deliver(unit: Unit, records: Sequence[bytes], now: float, left: wiring.Left) -> None:
    """Store a batch, count it, tell `process`. Raises NguError if not all of it is stored."""
    count = len(records)
    try:
        taken = _take(unit, records, int(now), left)
    except NguError as error:
        why = {"why": str(error), "records": count}
        unit.log.warning("a delivery was not stored: it comes again", extra={"fields": why})
        publish(unit.env, {metrics.FAILED: count, metrics.SUCCESS: 0}, unit.stream)
        raise
    figures: dict[metrics.Metric, float] = {
        metrics.DELIVERED: taken.new,
        metrics.DUPLICATES: taken.known,
        metrics.QUARANTINED: taken.poisons,
        metrics.FAILED: 0,
        metrics.BUFFER: 100 * sum(map(len, records)) / unit.buffer_bytes,
    }
    if count:
        figures[metrics.SUCCESS] = 100 * (count - taken.poisons) / count
    publish(unit.env, figures, unit.stream)
    if taken.covered and unit.process_function:
        _tell(unit)


def _take(unit: Unit, records: Sequence[bytes], now: int, left: wiring.Left) -> Taken:
    config = wiring.settings(unit.env, now)
    store = Store(wiring.dynamo(unit.env, left), rules_of(config))
    origin = wiring.origin(unit.env, config, store.chain_id)
    deliveries, poisons = read(records, unit.stream, origin)
    for poison in poisons:
        _in_time(left)
        unit.log.warning("quarantined", extra={"fields": {"why": poison.reason}})
        set_aside(store.dynamo, poison, unit.stream, now)
    new = known = 0
    for part in (part for delivery in deliveries for part in parts(delivery)):
        _in_time(left)
        written = store.put([part], now, processed=False)
        new, known = new + written.new, known + written.known
    return Taken(new, known, len(poisons), any(d.coverage for d in deliveries))


def _in_time(left: wiring.Left) -> None:
    if left() < RESERVE:
        raise TransientError("time ran out before all records were written: the batch must come"
                             " again, what is written stays")  # fmt: skip


def parts(delivery: Delivery) -> Iterator[Delivery]:
    """A delivery cut into chunks of events; dead letters and coverage come with the last."""
    events = delivery.events
    for at in range(0, max(len(events), 1), CHUNK):
        some = events.take(slice(at, at + CHUNK))
        if at + CHUNK < len(events):
            yield Delivery(delivery.stream, some, (), ())
        else:
            yield replace(delivery, events=some)


def _tell(unit: Unit) -> None:
    """Have `process` run soon; if that fails, the schedule makes it run within a minute."""
    functions = wiring.client("lambda", unit.env.region)
    name = unit.process_function
    try:
        with naming(f"the function {name}"):
            functions.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({}))
    except NguError as error:
        unit.log.warning("process was not told", extra={"fields": {"why": str(error)}})
