"""The event monitor's figures, for CloudWatch and for Prometheus."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from ngu_points.aws import metrics
from ngu_points.aws.environment import Environment
from ngu_points.aws.metrics import NAMESPACE, SERVICE, STAGE, Metric
from ngu_points.aws.trouble import naming
from ngu_points.engine.coverage import STREAMS, Head

Family = CounterMetricFamily | GaugeMetricFamily
COUNTERS = frozenset({metrics.SENT_RECORDS, metrics.RESENT_RECORDS, metrics.FORKS})
"""Metrics that are published as what was added since the last time."""


class Figure(NamedTuple):
    """A value of a metric; `per` is the stream of one that there is for each."""

    metric: Metric
    per: str
    value: float


@dataclass(slots=True)
class Seen:
    """What the monitor's tasks have seen and done since the process began."""

    head: Head | None = None  # as of the last look
    accepted: int | None = None  # the last block of which both streams have everything
    watermark: int | None = None  # the last block that is processed
    sent: Counter[str] = field(default_factory=Counter)  # records by stream
    resent: Counter[str] = field(default_factory=Counter)
    forks: int = 0


def figures(seen: Seen, waiting: Mapping[str, int], *, well: bool) -> list[Figure]:
    """All that is known now; counters since the process began.

    `waiting` are the records of the outbox by stream. The heartbeat is 0 while the monitor runs
    and something has not worked for long: it then counts as down.
    """
    found: list[tuple[Metric, float | None]] = [
        (metrics.MONITOR_HEARTBEAT, int(well)),
        (metrics.OUTBOX, sum(waiting.values())),
        (metrics.SENT, seen.accepted),
        (metrics.WATERMARK, seen.watermark),
        (metrics.FORKS, seen.forks),
    ]
    if seen.head:
        found.append((metrics.HEAD, seen.head.newest))
    if seen.head and seen.accepted is not None:
        found.append((metrics.LAG, max(0, seen.head.readable - seen.accepted)))
    if seen.accepted is not None and seen.watermark is not None:
        found.append((metrics.UNPROCESSED, max(0, seen.accepted - seen.watermark)))
    shown = [Figure(metric, "", value) for metric, value in found if value is not None]
    shown += [Figure(metrics.SENT_RECORDS, stream, seen.sent[stream]) for stream in STREAMS]
    shown += [Figure(metrics.RESENT_RECORDS, stream, seen.resent[stream]) for stream in STREAMS]
    return shown


def since(now: Iterable[Figure], before: Iterable[Figure]) -> list[Figure]:
    """The same, with counters reduced by what they were."""
    known = {(f.metric, f.per): f.value for f in before if f.metric in COUNTERS}
    return [f._replace(value=f.value - known.get((f.metric, f.per), 0)) for f in now]


def publish(client: Any, env: Environment, found: Iterable[Figure]) -> None:
    """Put figures into CloudWatch, in one call. TransientError or UsageError if it fails."""
    data = [_datum(env, figure) for figure in found]
    with naming("the metrics in CloudWatch"):
        client.put_metric_data(Namespace=NAMESPACE, MetricData=data)


def _datum(env: Environment, figure: Figure) -> dict[str, Any]:
    names = {SERVICE: env.service, STAGE: env.stage}
    if figure.metric.per:
        names[figure.metric.per] = figure.per
    return {
        "MetricName": figure.metric.name,
        "Dimensions": [{"Name": name, "Value": value} for name, value in names.items()],
        "Value": figure.value,
        "Unit": figure.metric.unit,
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Families:
    """What a registry collects: families of metrics as they are at one moment."""

    found: Iterable[Family]

    def collect(self) -> Iterable[Family]:
        return self.found


def prometheus(found: Iterable[Figure], *, ready: bool) -> bytes:
    """Figures as Prometheus reads them, and whether the monitor is ready."""
    families: dict[Metric, Family] = {}
    for figure in found:
        metric = figure.metric
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", metric.name).lower()
        kind = CounterMetricFamily if metric in COUNTERS else GaugeMetricFamily
        labels = [metric.per.lower()] if metric.per else []
        text = f"{metric.name} in CloudWatch."
        family = families.setdefault(metric, kind(f"ngu_{words}", text, labels=labels))
        family.add_metric([figure.per] if labels else [], figure.value)
    state = GaugeMetricFamily("ngu_ready", "1 while all works that is needed.", value=int(ready))
    registry = CollectorRegistry()
    registry.register(_Families([state, *families.values()]))
    return generate_latest(registry)
