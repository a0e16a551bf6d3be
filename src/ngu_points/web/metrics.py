"""Metrics for Prometheus: the pipeline, the programme, and this server.

Where the specification has a CloudWatch metric of the same meaning, its name is in the help text.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ngu_points.engine.events import TYPES
from ngu_points.web.interfaces import Seen, Source
from ngu_points.web.live import Hub
from ngu_points.web.standing import delay, totals

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


@dataclass(slots=True)
class Noted:
    """How a request ended."""

    status: int = 500


class Meter:
    """Counts and times requests, and writes what Prometheus reads."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "ngu_http_request_seconds", "Time to answer a request.", ["path", "status"],
            registry=self.registry, buckets=BUCKETS,
        )  # fmt: skip

    @contextmanager
    def measured(self, path: str) -> Iterator[Noted]:
        noted, began = Noted(), time.perf_counter()
        try:
            yield noted
        finally:
            taken = time.perf_counter() - began
            self.requests.labels(path, str(noted.status)).observe(taken)

    def text(self, source: Source, hub: Hub | None) -> bytes:
        """Everything as it is now."""
        registry = CollectorRegistry()
        registry.register(_Now(source, hub))
        return generate_latest(registry) + generate_latest(self.registry)


class _Now:
    """What there is to say of a source at this moment."""

    def __init__(self, source: Source, hub: Hub | None) -> None:
        self.source, self.hub = source, hub

    def collect(self) -> Iterator[Any]:
        standing, seen = self.source.standing(), self.source.newest()
        if self.hub is not None:
            yield _gauge("ngu_live_listeners", "Who listens to live events.", self.hub.listeners)
        if standing is None:
            return
        figures = standing.figures
        gauges = (
            ("ngu_position_block", "The last processed block.", figures.get("block")),
            ("ngu_head_block", "The newest block of the chain.", figures.get("head")),
            ("ngu_final_block", "The newest final block.", figures.get("finalBlock")),
            ("ngu_lag_blocks", "Blocks behind the head.", figures.get("lag")),
            ("ngu_processing_delay_seconds",
             "Clock minus block time of the position (EventProcessingDelay).",
             delay(seen, int(time.time()))),
            ("ngu_backlog_events", "Events that wait to be processed.", figures.get("backlog")),
            ("ngu_gaps", "Block ranges with something missing.", len(standing.gaps)),
            ("ngu_alarms", "Alarms of `ngu status`.", len(figures.get("alarms", ()))),
            ("ngu_uncertain_wallets", "Wallets that contradicted events concern.",
             figures.get("uncertainWallets")),
            ("ngu_pipeline_running", "1 while a pipeline writes.", int(standing.running)),
        )  # fmt: skip
        for name, text, value in gauges:
            if value is not None:
                yield _gauge(name, text, value)
        yield _counter("ngu_dead_letters", "Logs that cannot be events (FailedRecords).",
                       figures.get("deadLetters", 0))  # fmt: skip
        yield _counter("ngu_anomalies", "Events that contradict the record.",
                       figures.get("anomalies", 0))  # fmt: skip
        yield self._events(standing.counters)
        yield from self._nodes(figures.get("endpoints", []))
        yield from _programme(seen)

    def _events(self, counters: Any) -> CounterMetricFamily:
        family = CounterMetricFamily(
            "ngu_events", "Processed events (IncomingRecords).", labels=["type"]
        )
        for kind, name in enumerate(TYPES):
            family.add_metric([name], counters.get(str(kind), 0))
        return family

    def _nodes(self, endpoints: Any) -> Iterator[CounterMetricFamily]:
        for key, text in (
            ("requests", "Requests to a node."),
            ("failures", "Requests to a node that failed."),
            ("contradictions", "Answers of a node that were shown to be wrong."),
        ):
            family = CounterMetricFamily(f"ngu_node_{key}", text, labels=["host"])
            for endpoint in endpoints:
                family.add_metric([endpoint["host"]], endpoint[key])
            yield family


def _programme(seen: Seen | None) -> Iterator[GaugeMetricFamily]:
    """The programme itself, in figures."""
    if seen is None:
        return
    now = totals(seen)
    yield _gauge("ngu_tokens", "Tokens that exist.", float(now.tokens))
    yield _gauge("ngu_staked_tokens", "Tokens that are staked.", float(now.staked))
    yield _gauge("ngu_wallets", "Wallets that were seen.", now.wallets)
    yield _gauge("ngu_position_final", "1 if the position is final.", int(seen.final))
    pool = seen.view.state.carry + seen.view.rules.feast_emission + seen.view.state.contribution
    yield _gauge("ngu_feast_pool_points", "The open feast's pool so far.", pool / 1_000_000)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=value)
