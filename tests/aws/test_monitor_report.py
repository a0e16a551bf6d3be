"""The event monitor's figures: what is published when, and what fails without harm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from aws.monitored import Deployment, followed, sent_through
from cli.program import busy_chain
from ngu_points.aws import metrics
from ngu_points.aws.environment import environment
from ngu_points.aws.metrics import METRICS, NAMESPACE
from ngu_points.aws.monitor import Monitor
from ngu_points.aws.monitor_health import NODE, Health, patiently
from ngu_points.aws.monitor_report import Figure, Seen, figures, prometheus, publish, since
from ngu_points.aws.tables import META
from ngu_points.engine.coverage import BATCH, STAKING, Head
from ngu_points.errors import BadInput, TransientError, UsageError

Make = Callable[..., AbstractContextManager[Deployment]]
ENV = environment({"SERVICE": "ngu", "NODE_ENV": "prod", "AWS_REGION": "eu-west-1"})


def seen() -> Seen:
    """A monitor in the middle of its work."""
    made = Seen(Head(1_000, 990, 900), accepted=900, watermark=700)
    made.sent.update({BATCH: 5, STAKING: 3})
    made.resent.update({BATCH: 1})
    return made


def by_name(found: list[Figure]) -> dict[tuple[str, str], float]:
    return {(f.metric.name, f.per): f.value for f in found}


def test_all_metrics_of_the_monitor_are_figures() -> None:
    """Each metric that is declared for the monitor is published, and no other."""
    declared = METRICS[METRICS.index(metrics.MONITOR_HEARTBEAT) :]
    assert {f.metric for f in figures(seen(), {BATCH: 7}, well=True)} == set(declared)


def test_figures_are_differences_that_mean_something() -> None:
    """Lag counts blocks that may be sent, the backlog those that are sent and not processed."""
    found = by_name(figures(seen(), {BATCH: 7, STAKING: 2}, well=True))
    assert found["MonitorLag", ""] == 90
    assert found["UnprocessedBlocks", ""] == 200
    assert found["OutboxRecords", ""] == 9
    assert found["SentRecords", STAKING] == 3
    assert found["MonitorHeartbeat", ""] == 1


def test_what_is_not_known_is_not_published() -> None:
    """Before the first look at node and tables there are no made-up zeros."""
    found = {name for name, _ in by_name(figures(Seen(), {}, well=False))}
    assert not found & {"HeadBlock", "SentBlock", "MonitorLag", "ProcessedWatermark"}
    assert by_name(figures(Seen(), {}, well=False))["MonitorHeartbeat", ""] == 0


def test_counters_are_published_as_what_was_added() -> None:
    """Since the last time that it worked; levels as they are."""
    before = figures(seen(), {}, well=True)
    later = seen()
    later.sent[BATCH] += 10
    later.forks += 1
    found = by_name(since(figures(later, {}, well=True), before))
    assert found["SentRecords", BATCH] == 10
    assert found["SentRecords", STAKING] == 0
    assert found["Forks", ""] == 1
    assert found["SentBlock", ""] == 900


def test_prometheus_reads_the_same() -> None:
    """Names in its style, counters as totals, streams as labels."""
    text = prometheus(figures(seen(), {BATCH: 7}, well=True), ready=True).decode()
    found = {family.name: family for family in text_string_to_metric_families(text)}
    assert [sample.value for sample in found["ngu_ready"].samples] == [1]
    assert [sample.value for sample in found["ngu_monitor_lag"].samples] == [90]
    assert found["ngu_sent_records"].type == "counter"
    assert {
        (sample.name, sample.labels["stream"]): sample.value
        for sample in found["ngu_sent_records"].samples
    } == {("ngu_sent_records_total", BATCH): 5, ("ngu_sent_records_total", STAKING): 3}


class Recorder:
    """A client of CloudWatch that may be down."""

    def __init__(self) -> None:
        self.down = False
        self.calls: list[dict[str, Any]] = []

    def put_metric_data(self, **call: Any) -> None:
        if self.down:
            raise ConnectionError("no route")
        self.calls.append(call)


def test_one_call_with_service_stage_and_stream() -> None:
    """All figures fit into one call, under our namespace, with the dimensions of the alarms."""
    client = Recorder()
    publish(client, ENV, figures(seen(), {BATCH: 7}, well=True))
    (call,) = client.calls
    assert call["Namespace"] == NAMESPACE
    (sent,) = (
        d for d in call["MetricData"] if d["MetricName"] == "SentRecords" and d["Value"] == 5
    )
    assert sent["Unit"] == "Count"
    assert sent["Dimensions"] == [
        {"Name": "Service", "Value": "ngu"},
        {"Name": "Stage", "Value": "prod"},
        {"Name": "Stream", "Value": "batch"},
    ]


def test_a_report_that_fails_loses_no_count(make: Make) -> None:
    """While CloudWatch is away the monitor goes on, and what was counted is published later."""
    chain = busy_chain(20, per_block=3)
    client = Recorder()
    with make(chain) as deployment:

        def away(monitor: Monitor) -> None:
            monitor.clients = {**monitor.clients, "cloudwatch": client}
            client.down = True

        monitor = asyncio.run(followed(deployment, sent_through(chain.head.number - 1), away))
        assert client.calls == []
        later = by_name(since(figures(monitor.seen, {}, well=True), monitor.reported))
        assert later["SentRecords", BATCH] == len(deployment.accepted(BATCH))


def test_the_watermark_is_the_position_of_the_tables(make: Make) -> None:
    """It is read from the one row that processing moves, and its lack is no trouble."""
    chain = busy_chain(20, per_block=3)
    with make(chain) as deployment:
        values: list[float] = []

        def processed(monitor: Monitor) -> None:
            row = {
                "key": "position",
                "block": 5,
                "hash": "00" * 32,
                "timestamp": 1,
                "counters": "{}",
            }
            monitor.store.dynamo.put(META, row)

        def done(monitor: Monitor) -> bool:
            values[:] = [f.value for f in monitor.reported if f.metric is metrics.WATERMARK]
            return bool(values)

        asyncio.run(followed(deployment, done, processed))
        assert values == [5]


def test_trouble_is_waited_out_and_shown() -> None:
    """What may pass is tried again until it works; meanwhile it is shown with its reason."""
    health = Health()
    shown: list[str] = []
    answers: list[Exception | int] = [TransientError("one"), BadInput("two"), 3]

    async def work() -> int:
        if NODE in health.troubles:
            shown.append(health.troubles[NODE].why)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ngu_points.aws.monitor_health.SHORTEST", 0.0)
        assert asyncio.run(patiently(health, NODE, work)) == 3
    assert shown == ["not reached yet", "one", "two"]
    assert NODE not in health.troubles


def test_what_cannot_pass_is_not_waited_out() -> None:
    """Wrong settings end it at once."""

    async def work() -> None:
        raise UsageError("wrong")

    with pytest.raises(UsageError, match="wrong"):
        asyncio.run(patiently(Health(), NODE, work))


def test_trouble_counts_from_its_first_time() -> None:
    """Another reason does not begin the time anew, so that the heartbeat ends at last."""
    health = Health({})
    health.fails(NODE, "one")
    since_first = health.troubles[NODE].since
    health.fails(NODE, "two")
    assert health.troubles[NODE].since == since_first
    assert health.lasting(0)
    assert not health.lasting(300)
    health.well(NODE)
    assert health.ready
