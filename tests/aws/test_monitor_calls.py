"""What the event monitor asks of AWS is what its role may do: `CALLS`, no more and no less."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from aws.monitored import Deployment, followed, sent_through
from cli.program import busy_chain
from ngu_points.aws.metrics import NAMESPACE
from ngu_points.aws.monitor import CALLS
from ngu_points.aws.monitor_fork import ForkedBelow

Make = Callable[..., AbstractContextManager[Deployment]]
Call = tuple[str, str]  # service:Operation, short name of what it is about
SERVICES = ("ssm", "dynamodb", "firehose", "cloudwatch", "sns")


def about(deployment: Deployment, request: dict[str, Any]) -> str:
    """The short name of what a request is about, as `CALLS` has it."""
    if "TopicArn" in request:
        return "topic"
    if "Namespace" in request:
        assert request["Namespace"] == NAMESPACE
        return "namespace"
    if "DeliveryStreamName" in request:
        names = {full: stream for stream, full in deployment.env.streams.items()}
        return f"stream:{names[request['DeliveryStreamName']]}"
    if "TableName" in request:
        service, stage = deployment.env.service, deployment.env.stage
        return "table:" + request["TableName"].removeprefix(f"{service}-").removesuffix(f"-{stage}")
    path, _, version = request["Name"].removeprefix(f"{deployment.env.parameters}/").partition(":")
    assert version == "" or path == "position"
    return f"parameter:{path}"


def test_it_calls_what_its_role_allows(make: Make) -> None:
    """From its start on an empty stage to the alarm of a fork, everything that it does is listed,
    and everything listed is done."""
    chain = busy_chain(20, per_block=2, max_span=5)
    made: set[Call] = set()
    with make(chain) as deployment:
        topic = deployment.client("sns").create_topic(Name=deployment.env.service)["TopicArn"]
        deployment.variables["ERROR_SNS_TOPIC"] = topic

        def note(params: dict[str, Any], model: Any, **more: object) -> None:
            service = model.service_model.endpoint_prefix
            known = {"monitoring": "cloudwatch"}.get(service, service)
            made.add((f"{known}:{model.name}", about(deployment, params)))

        for service in SERVICES:
            deployment.client(service).meta.events.register("provide-client-params", note)
        asyncio.run(followed(deployment, sent_through(chain.head.number - 1)))
        chain.reorg(10)
        chain.mine()
        chain.mine()
        with pytest.raises(ForkedBelow):
            asyncio.run(followed(deployment, lambda m: False))
    assert made == {(call, what) for call, allowed in CALLS.items() for what in allowed}
