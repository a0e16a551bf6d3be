"""The alarms: the specification's six, and those without which silence would look like health."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aws_cdk import Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_lambda as lambda_

from infra import watched
from infra.api import PATIENCE
from infra.permissions import EVENT_TABLES
from infra.roles import Arns
from infra.schedules import MISSED
from infra.settings import Settings
from infra.stores import Data
from infra.watched import FIVE_MINUTES, HOUR, Watched
from ngu_points.aws import metrics

CRITICAL, WARNING = "critical", "warning"
QUEUES = ("process-failed", "jobs-failed", "scale-failed", MISSED)
DELIVERY_DELAY, THROTTLED, FAILED_RECORDS = 900, 10, 1  # seconds, percent, percent
FULL, CAPACITY, PROCESSING_DELAY = 80, 80, 300  # percent, percent, seconds
BEHIND = 1_800  # blocks that finality allows and that are not sent: an hour of Base


@dataclass(frozen=True, slots=True)
class Watch:
    """One alarm: it goes off when `what` is above (or, if `below`, under) a threshold.

    In `of` of the last `last` periods. `silent` says that no data is as bad. One that `scales`
    calls the scale function too, when it goes off and when it is over.
    """

    name: str
    severity: str
    says: str
    what: cloudwatch.IMetric
    above: float
    last: int = 1
    of: int = 1
    below: bool = False
    silent: bool = False
    scales: bool = False


def alarms(stack: Stack, settings: Settings, data: Data) -> list[cloudwatch.Alarm]:
    """Build them all; each tells the error topic when it goes off and when it is over."""
    tell = actions.SnsAction(data.topic)
    scale = actions.LambdaAction(
        lambda_.Function.from_function_attributes(
            stack,
            "scale",
            function_arn=Arns(stack, settings).function("scale"),
            skip_permissions=True,
        )
    )
    made = []
    for watch in watches(settings):
        alarm = _alarm(stack, settings, watch)
        alarm.add_alarm_action(tell)
        alarm.add_ok_action(tell)
        if watch.scales:
            alarm.add_alarm_action(scale)
            alarm.add_ok_action(scale)
        made.append(alarm)
    return made


def watches(settings: Settings) -> Iterator[Watch]:
    """What is watched in a stage."""
    seen = Watched(settings)
    for stream, table in EVENT_TABLES.items():
        yield from _of_a_stream(seen, stream, table)
        yield from _of_records(seen, stream)
    for place in watched.places():
        yield from _of_a_table(seen, place)
    yield from _of_processing(seen)
    yield from _signs_of_life(seen)
    yield from _left_behind(seen)
    if settings.api:
        yield from _of_the_api(seen)


def _of_a_stream(seen: Watched, stream: str, table: str) -> Iterator[Watch]:
    """What Firehose says of a stream."""
    yield Watch(
        f"delivery-delay-{stream}",
        CRITICAL,
        f"The oldest record in the {stream} stream waits for more than 15 minutes.",
        seen.firehose(table, "DeliveryToHttpEndpoint.DataFreshness", "Maximum"),
        DELIVERY_DELAY,
    )
    used = {
        "bytes": seen.firehose(table, "IncomingBytes", "Sum"),
        "most": seen.firehose(table, "BytesPerSecondLimit", "Minimum"),
    }
    yield Watch(
        f"stream-limit-{stream}",
        WARNING,
        f"The {stream} stream takes in over 80% of the bytes per second that AWS allows it.",
        watched.expression(
            "100 * (bytes / PERIOD(bytes)) / most", used, f"limit % {stream}", FIVE_MINUTES
        ),
        FULL,
    )
    hourly = {
        "came": seen.firehose(table, "IncomingRecords", "Sum", HOUR),
        "went": seen.firehose(table, "DeliveryToHttpEndpoint.Records", "Sum", HOUR),
    }
    lost = "IF(came > 0, 100 * (came - FILL(went, 0)) / came, 0)"
    yield Watch(
        f"undelivered-{stream}",
        CRITICAL,
        f"For two hours the {stream} stream has delivered less than came in.",
        watched.expression(lost, hourly, f"undelivered % {stream}", HOUR),
        1,
        last=2,
        of=2,
    )


def _of_records(seen: Watched, stream: str) -> Iterator[Watch]:
    """What the persist function says of a stream."""
    failed = {
        "failed": seen.ours(metrics.FAILED, "Sum", FIVE_MINUTES, stream),
        "aside": seen.ours(metrics.QUARANTINED, "Sum", FIVE_MINUTES, stream),
    }
    good = {
        "new": seen.ours(metrics.DELIVERED, "Sum", FIVE_MINUTES, stream),
        "known": seen.ours(metrics.DUPLICATES, "Sum", FIVE_MINUTES, stream),
    }
    yield Watch(
        f"failed-records-{stream}",
        CRITICAL,
        f"More than 1% of the {stream} stream's records were not stored at the first attempt.",
        watched.percent(failed, good, f"failed % {stream}"),
        FAILED_RECORDS,
    )
    yield Watch(
        f"buffer-{stream}",
        WARNING,
        f"Deliveries of the {stream} stream fill over 80% of its buffer (our substitute: AWS has"
        " no such metric). Raise bufferMb.",
        seen.ours(metrics.BUFFER, "Average", FIVE_MINUTES, stream),
        FULL,
        last=3,
        of=3,
    )
    yield Watch(
        f"quarantine-{stream}",
        WARNING,
        f"Records of the {stream} stream are no events of this stage: see the table quarantine.",
        seen.ours(metrics.QUARANTINED, "Sum", FIVE_MINUTES, stream),
        0,
    )
    yield Watch(
        f"refused-{stream}",
        WARNING,
        f"Somebody calls the {stream} stream's endpoint with a wrong key or with rubbish.",
        seen.ours(metrics.REFUSED, "Sum", FIVE_MINUTES, stream),
        10,
    )


def _of_a_table(seen: Watched, place: str) -> Iterator[Watch]:
    name = place.replace("/", "-")
    yield Watch(
        f"throttling-{name}",
        CRITICAL,
        f"Over 10% of the writes to {place} are throttled.",
        seen.throttling(place),
        THROTTLED,
        scales=True,
    )
    yield Watch(
        f"capacity-{name}",
        WARNING,
        f"{place} takes over 80% of the write units that it may; its maximum is being raised.",
        seen.capacity(place),
        CAPACITY,
        last=2,
        of=1,
        scales=True,
    )


def _of_processing(seen: Watched) -> Iterator[Watch]:
    yield Watch(
        "processing-delay",
        WARNING,
        "The oldest unprocessed event was received over 5 minutes ago; process gets more memory.",
        seen.ours(metrics.DELAY, "Maximum"),
        PROCESSING_DELAY,
        last=3,
        of=2,
        scales=True,
    )
    yield Watch(
        "gaps",
        WARNING,
        "Block ranges are missing: `ngu gaps` names them, `ngu replay` reads them again.",
        seen.ours(metrics.GAPS, "Maximum", FIVE_MINUTES),
        0,
        last=3,
        of=3,
    )
    yield Watch(
        "job-failures",
        CRITICAL,
        "A job or the processor failed: its log says why.",
        seen.ours(metrics.JOB_FAILURES, "Sum", FIVE_MINUTES),
        0,
    )
    yield Watch(
        "forks",
        CRITICAL,
        "The chain has another branch than was sent: `ngu rewind` goes back.",
        seen.ours(metrics.FORKS, "Sum", FIVE_MINUTES),
        0,
    )
    yield Watch(
        "monitor-lag",
        WARNING,
        f"The event monitor is over {BEHIND:,} blocks behind what is final.",
        seen.ours(metrics.LAG, "Maximum", FIVE_MINUTES),
        BEHIND,
        last=3,
        of=3,
    )


def _signs_of_life(seen: Watched) -> Iterator[Watch]:
    """A dead stage publishes nothing, and nothing breaches no threshold."""
    for name, metric in (("monitor", metrics.MONITOR_HEARTBEAT), ("jobs", metrics.HEARTBEAT)):
        yield Watch(
            f"heartbeat-{name}",
            CRITICAL,
            f"No sign of life of {name} for five minutes.",
            seen.ours(metric, "Sum"),
            1,
            last=5,
            of=5,
            below=True,
            silent=True,
        )
    yield Watch(
        "chain-stalled",
        WARNING,
        "The node has had no new block for 15 minutes.",
        watched.changed(seen.ours(metrics.HEAD, "Maximum", FIVE_MINUTES), "new blocks"),
        1,
        last=3,
        of=3,
        below=True,
    )


def _of_the_api(seen: Watched) -> Iterator[Watch]:
    """What whoever asks the API notices."""
    yield Watch(
        "api-errors",
        WARNING,
        "The API's function fails: its log says why.",
        seen.function("api", "Errors", "Sum"),
        0,
        last=3,
        of=2,
    )
    yield Watch(
        "api-throttles",
        WARNING,
        "The API is asked more at once than its function may answer: some are refused.",
        seen.function("api", "Throttles", "Sum"),
        0,
        last=3,
        of=3,
    )
    yield Watch(
        "api-slow",
        WARNING,
        "The API takes longer to answer than API Gateway waits: whoever asked was told 503.",
        seen.function("api", "Duration", "Maximum"),
        1_000 * PATIENCE,
        last=3,
        of=3,
    )


def _left_behind(seen: Watched) -> Iterator[Watch]:
    yield Watch(
        "undelivered-objects",
        CRITICAL,
        "Firehose gave up on records: they lie under failed/, see `ngu replay --from-archive`.",
        seen.undelivered(),
        0,
    )
    yield Watch(
        "dead-letters",
        WARNING,
        "Logs that cannot be events: `ngu dead-letters` says why.",
        watched.changed(seen.ours(metrics.DEAD_LETTERS, "Maximum", FIVE_MINUTES), "dead letters"),
        0,
    )
    yield Watch(
        "limits-raised",
        WARNING,
        "Limits have been raised for a day: an alarm does not end, or the tables' own are too low.",
        seen.ours(metrics.RAISED, "Minimum", HOUR),
        0,
        last=24,
        of=24,
    )
    for queue in QUEUES:
        yield Watch(
            f"queue-{queue}",
            CRITICAL,
            f"{queue} holds what was tried in vain: read its messages, then purge it.",
            seen.queue(queue),
            0,
        )


def _alarm(stack: Stack, settings: Settings, watch: Watch) -> cloudwatch.Alarm:
    compared = cloudwatch.ComparisonOperator
    missing = cloudwatch.TreatMissingData
    return cloudwatch.Alarm(
        stack,
        watch.name,
        alarm_name=settings.name(watch.name),
        alarm_description=f"[{watch.severity}] {watch.says}",
        metric=watch.what,
        threshold=watch.above,
        comparison_operator=compared.LESS_THAN_THRESHOLD
        if watch.below
        else compared.GREATER_THAN_THRESHOLD,
        evaluation_periods=watch.last,
        datapoints_to_alarm=watch.of,
        treat_missing_data=missing.BREACHING if watch.silent else missing.NOT_BREACHING,
    )
