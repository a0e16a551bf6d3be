"""A fork below what was sent stops the event monitor; what only looks like one does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from aws.monitored import Deployment, arrived, followed, sent_through
from cli.program import busy_chain, ngu
from ngu_points.aws import items
from ngu_points.aws.monitor import Monitor
from ngu_points.aws.monitor_fork import ForkedBelow, judged
from ngu_points.aws.monitor_health import NODE
from ngu_points.aws.tables import COVERAGE
from ngu_points.demo.node import SimNode
from ngu_points.errors import TransientError
from ngu_points.pipeline.interfaces import Position

Make = Callable[..., AbstractContextManager[Deployment]]


@pytest.fixture
def chain() -> SimNode:
    """Some blocks, read in ranges of five."""
    return busy_chain(40, per_block=2, max_span=5)


def persisted(monitor: Monitor, deployment: Deployment) -> None:
    """The coverage that was sent lies in its table, as the persisting function puts it there."""
    for record in arrived(deployment).coverage:
        monitor.store.dynamo.put(COVERAGE, items.coverage_row(record))


def heard(deployment: Deployment) -> tuple[str, Callable[[], list[str]]]:
    """An error topic, and what has been published to it."""
    sns = deployment.client("sns")
    sqs = deployment.client("sqs")
    name = deployment.env.service
    topic = sns.create_topic(Name=name)["TopicArn"]
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["QueueArn"])

    def messages() -> list[str]:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        return [json.loads(m["Body"])["Message"] for m in answer.get("Messages", [])]

    return topic, messages


def published(deployment: Deployment, name: str) -> list[float]:
    """The values of a metric of the deployment in CloudWatch."""
    dimensions = {"Service": deployment.env.service, "Stage": deployment.env.stage}
    answer = deployment.client("cloudwatch").get_metric_statistics(
        Namespace="NGU/Points",
        MetricName=name,
        Dimensions=[{"Name": k, "Value": v} for k, v in dimensions.items()],
        StartTime="2020-01-01T00:00:00Z",
        EndTime="2100-01-01T00:00:00Z",
        Period=86_400 * 30,
        Statistics=["Sum"],
    )
    return [point["Sum"] for point in answer["Datapoints"]]


def test_a_fork_below_what_was_sent_stops_it(make: Make, chain: SimNode) -> None:
    """It ends with the block to go back to, tells the topic, counts the fork, and sends nothing of
    the other branch."""
    with make(chain) as deployment:
        topic, messages = heard(deployment)
        deployment.variables["ERROR_SNS_TOPIC"] = topic
        sent = chain.head.number - 1
        asyncio.run(followed(deployment, sent_through(sent)))
        asyncio.run(stored(deployment))
        before = arrived(deployment).records
        chain.reorg(12)
        for _ in range(3):
            chain.mine()
        with pytest.raises(ForkedBelow) as error:
            asyncio.run(followed(deployment, lambda m: False))
        common = max(c.to_block for c in arrived(deployment).coverage if c.to_block <= sent - 11)
        assert str(error.value) == (
            f"the chain forked at block {common}, below block {sent}, which was sent as final:"
            f" `ngu rewind {common} --store dynamodb --stage staging --service"
            f" {deployment.env.service}` takes the tables back to it; then start the event monitor"
            " again"
        )
        assert arrived(deployment).records == before
        assert messages() == [str(error.value)]
        assert published(deployment, "Forks") == [1]
        del deployment.variables["ERROR_SNS_TOPIC"]
        words = ("monitor", "--state", deployment.folder, "--port", 0, "--json")
        ended = ngu(*words, env=deployment.variables)
        assert ended.code == 3
        assert ended.complaint == f"ngu: {error.value}"
        assert ended.json == {"error": str(error.value), "exit": 3}


async def stored(deployment: Deployment) -> None:
    """Persist what was sent, with a monitor that does nothing else."""
    await followed(deployment, lambda m: True, lambda m: persisted(m, deployment))


def test_a_fork_of_everything_names_the_start(make: Make, chain: SimNode) -> None:
    """Where no range end is the chain's any more, all of it must be taken back."""
    with make(chain) as deployment:
        sent = chain.head.number - 1
        asyncio.run(followed(deployment, sent_through(sent)))
        asyncio.run(stored(deployment))
        chain.reorg(chain.head.number - 1)
        for _ in range(3):
            chain.mine()
        with pytest.raises(ForkedBelow, match="`ngu rewind 0 --store dynamodb"):
            asyncio.run(followed(deployment, lambda m: False))


class Answering:
    """A chain that gives these hashes, one after the other, whatever it is asked."""

    def __init__(self, *hashes: bytes | None) -> None:
        self.hashes = list(hashes)
        self.rpc = self
        self.answered = self
        self.host = "node"
        self.avoided_at: list[float] = []

    async def hash_of(self, block: int) -> bytes | None:
        return self.hashes.pop(0)

    def avoided(self, now: float) -> None:
        self.avoided_at.append(now)


@pytest.mark.parametrize("second", [bytes([1]) * 32, None], ids=["the same", "none"])
def test_one_nodes_word_is_no_fork(second: bytes | None) -> None:
    """A second look at another endpoint that has the block, or none yet, is trouble that passes."""
    known = Position(7, bytes([1]) * 32, 0)
    reader: Any = Answering(bytes([2]) * 32, second)
    found = asyncio.run(judged(reader, None, None, known))  # type: ignore[arg-type]
    assert isinstance(found, TransientError)
    assert len(reader.avoided_at) == 1


def test_a_node_that_falls_behind_is_waited_for(make: Make, chain: SimNode) -> None:
    """A head below what was sent is lag: nothing is sent, nothing stops, and it goes on after."""
    with make(chain) as deployment:
        sent = chain.head.number - 1
        asyncio.run(followed(deployment, sent_through(sent)))
        blocks = chain.blocks
        chain.blocks = blocks[:-10]
        looks: list[int] = []

        def looked(monitor: Monitor) -> bool:
            if monitor.seen.head:
                looks.append(monitor.seen.head.newest)
            return len(looks) > 5

        monitor = asyncio.run(followed(deployment, looked))
        assert NODE not in monitor.health.troubles
        chain.blocks = blocks
        chain.mine()
        asyncio.run(followed(deployment, sent_through(sent + 1)))
