"""The dashboard: every metric of the specification and of ours, and what stands for what."""

from __future__ import annotations

from collections.abc import Iterable

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch

from infra.permissions import EVENT_TABLES
from infra.settings import Settings
from infra.watched import FIVE_MINUTES, MINUTE, Watched, places
from ngu_points.aws import metrics
from ngu_points.aws.metrics import METRICS, Metric

FUNCTIONS = ("persist-batch", "persist-staking", "process", "jobs", "scale")
API = "api"
SUBSTITUTES = """
### What stands for what
- `DeliveryToDynamoDB.Records` and `.Success` are ours: Firehose has no DynamoDB destination. They
are what the persist functions wrote, beside Firehose's own `DeliveryToHttpEndpoint.*`.
- **Buffer utilisation** is ours: the bytes of a delivery of the buffer's size. 100% means that the
buffer fills before its 60 seconds are over, 80% that it soon will.
- **Throttled** is `WriteThrottleEvents` of all writes; `ThrottledRequests` counts a request once.
- **Capacity** is of the table's on-demand maximum, which the scale function raises.
- **Processing delay** counts from when an event was received, not from its block's time.
"""


def dashboard(stack: Stack, settings: Settings, alarms: Iterable[cloudwatch.Alarm]) -> None:
    """Build it."""
    seen = Watched(settings)
    made = cloudwatch.Dashboard(
        stack,
        "Dashboard",
        dashboard_name=settings.name("points"),
        default_interval=Duration.hours(12),
    )
    made.add_widgets(
        cloudwatch.AlarmStatusWidget(alarms=list(alarms), title="Alarms", width=24, height=6)
    )
    made.add_widgets(cloudwatch.TextWidget(markdown=SUBSTITUTES.strip(), width=24, height=5))
    made.add_widgets(*_processing(seen))
    for stream, table in EVENT_TABLES.items():
        made.add_widgets(*_of_a_stream(seen, stream, table))
    made.add_widgets(*_of_tables(seen))
    made.add_widgets(*_of_functions(seen, (*FUNCTIONS, API) if settings.api else FUNCTIONS))


def _processing(seen: Watched) -> list[cloudwatch.GraphWidget]:
    heights = [metrics.HEAD, metrics.SENT, metrics.WATERMARK, metrics.POSITION]
    behind = [metrics.LAG, metrics.UNPROCESSED, metrics.BACKLOG, metrics.OUTBOX]
    done = [metrics.PROCESSED, metrics.STEPS, metrics.ANOMALIES]
    wrong = [metrics.GAPS, metrics.DEAD_LETTERS, metrics.JOB_FAILURES, metrics.FORKS]
    alive = [metrics.HEARTBEAT, metrics.MONITOR_HEARTBEAT]
    named = {metrics.DELAY, *heights, *behind, *done, *wrong, *alive}
    others = [metric for metric in METRICS if metric.per is None and metric not in named]
    return [
        _graph("Processing delay (s)", [_shown(seen, metrics.DELAY)]),
        _graph("Blocks", [_shown(seen, metric) for metric in heights]),
        _graph("Behind", [_shown(seen, metric, "Maximum") for metric in behind]),
        _graph("Processed", [_shown(seen, metric) for metric in done]),
        _graph(
            "In doubt",
            [_shown(seen, m, "Maximum" if m in wrong[:2] else "Sum") for m in wrong],
        ),
        _graph("Signs of life", [_shown(seen, metric) for metric in alive]),
        *([_graph("Others", [_shown(seen, m, "Maximum") for m in others])] if others else []),
    ]


def _of_a_stream(seen: Watched, stream: str, table: str) -> list[cloudwatch.GraphWidget]:
    counts = ("IncomingRecords", "DeliveryToHttpEndpoint.Records", "ThrottledRecords")
    ours = [metric for metric in METRICS if metric.per == metrics.STREAM]
    shares = [metric for metric in ours if metric.unit == "Percent"]
    records = [metric for metric in ours if metric.unit == "Count"]
    fresh = seen.firehose(table, "DeliveryToHttpEndpoint.DataFreshness", "Maximum")
    return [
        _graph(f"{stream}: Firehose", [seen.firehose(table, name, "Sum") for name in counts]),
        _graph(f"{stream}: delivery delay (s)", [fresh]),
        _graph(f"{stream}: records", [_shown(seen, m, per=stream) for m in records]),
        _graph(f"{stream}: success and buffer (%)", [_shown(seen, m, per=stream) for m in shares]),
    ]


def _of_tables(seen: Watched) -> list[cloudwatch.GraphWidget]:
    tables = [place for place in places() if "/" not in place]
    latency, throttled = "SuccessfulRequestLatency", "ThrottledRequests"
    return [
        _graph(
            "Write units consumed",
            [seen.dynamodb(p, "ConsumedWriteCapacityUnits", "Sum", FIVE_MINUTES) for p in places()],
        ),
        _graph("Capacity (% of maximum)", [seen.capacity(place) for place in places()]),
        _graph("Throttled writes (%)", [seen.throttling(place) for place in places()]),
        _graph(
            "Throttled requests",
            [seen.dynamodb(t, throttled, "Sum", FIVE_MINUTES, "PutItem") for t in tables],
        ),
        _graph(
            "Latency of PutItem (ms)",
            [seen.dynamodb(t, latency, "Average", FIVE_MINUTES, "PutItem") for t in tables],
        ),
    ]


def _of_functions(seen: Watched, names: Iterable[str]) -> list[cloudwatch.GraphWidget]:
    shown = (("Errors", "Sum"), ("Throttles", "Sum"), ("Duration", "p99"), ("Invocations", "Sum"))
    return [
        _graph(f"Functions: {name}", [seen.function(f, name, how) for f in names])
        for name, how in shown
    ]


def _shown(seen: Watched, metric: Metric, statistic: str = "", per: str = "") -> cloudwatch.Metric:
    usual = {"Count": "Sum", "Percent": "Average"}.get(metric.unit, "Maximum")
    return seen.ours(metric, statistic or usual, MINUTE, per)


def _graph(title: str, shown: Iterable[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(shown), width=12, height=6)
