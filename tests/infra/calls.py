"""Which calls to AWS a part of the deployment makes: recorded where botocore makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from infra.permissions import TABLE_ACTIONS, May

Call = tuple[str, str]
"""An action as IAM names it, and what it is done to: a table, a prefix, a parameter…"""

IN_TRANSACTIONS = {
    "ConditionCheck": "ConditionCheckItem",
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
}
S3_ACTIONS = {"ListObjectsV2": "ListBucket"}
LAMBDA_ACTIONS = {"Invoke": "InvokeFunction"}


@dataclass
class Record:
    """The calls of each role."""

    calls: dict[str, set[Call]] = field(default_factory=dict)
    role: str = ""  # whose calls are being made; empty: those of a test

    @contextmanager
    def acting(self, role: str) -> Iterator[None]:
        """Calls meanwhile are the role's."""
        before, self.role = self.role, role
        try:
            yield
        finally:
            self.role = before

    def note(self, service: str, operation: str, arguments: Mapping[str, Any]) -> None:
        """Write a call down."""
        if self.role:
            self.calls.setdefault(self.role, set()).update(meant(service, operation, arguments))


def recording(patch: pytest.MonkeyPatch) -> Record:
    """Write down what all clients of this process call from now on."""
    from botocore.client import BaseClient

    record, real = Record(), BaseClient._make_api_call

    def made(client: Any, operation: str, arguments: Mapping[str, Any]) -> Any:
        record.note(client.meta.service_model.service_name, operation, arguments)
        return real(client, operation, arguments)

    patch.setattr(BaseClient, "_make_api_call", made)
    return record


def wrapped(record: Record, role: Callable[[], str], handler: Callable[..., Any]) -> Any:
    """A handler whose calls are those of a role."""

    def handle(payload: Any, context: Any) -> Any:
        with record.acting(role()):
            return handler(payload, context)

    return handle


def meant(service: str, operation: str, arguments: Mapping[str, Any]) -> Iterator[Call]:
    """The permissions that a call needs; SSM's versions and KMS, which SNS asks, aside."""
    if service == "dynamodb":
        for action, table in _tables(operation, arguments):
            yield f"dynamodb:{action}", table
    elif service == "s3":
        place = arguments.get("Key") or arguments.get("Prefix") or ""
        prefix = place.partition("/")[0] + "/"
        yield f"s3:{S3_ACTIONS.get(operation, operation)}", prefix
        if operation == "GetObject":  # "not there" is said only to who may list
            yield "s3:ListBucket", prefix
    elif service == "ssm":
        name = arguments["Name"].rpartition("/")[2].partition(":")[0]
        yield f"ssm:{operation}", name
    elif service == "lambda":
        action = LAMBDA_ACTIONS.get(operation, operation)
        yield f"lambda:{action}", short(arguments["FunctionName"])
    elif service == "firehose":
        yield f"firehose:{operation}", short(arguments["DeliveryStreamName"])
    elif service == "cloudwatch":
        yield f"cloudwatch:{operation}", arguments.get("Namespace", "alarms")
    else:
        yield f"{service}:{operation}", ""


def _tables(operation: str, arguments: Mapping[str, Any]) -> Iterator[Call]:
    if operation == "BatchGetItem":
        yield from ((operation, short(name)) for name in arguments["RequestItems"])
    elif operation == "TransactWriteItems":
        for item in arguments["TransactItems"]:
            for kind, what in item.items():
                yield IN_TRANSACTIONS[kind], short(what["TableName"])
    else:
        index = arguments.get("IndexName")
        table = short(arguments["TableName"])
        yield operation, f"{table}/{index}" if index else table


def short(name: str) -> str:
    """A name without service and stage."""
    return name.partition("-")[2].rpartition("-")[0]


def allowed(may: May) -> set[Call]:
    """What a role may do, in the same words; what AWS itself does in its name aside."""
    found = {
        (f"dynamodb:{TABLE_ACTIONS[verb]}", table)
        for table, verbs in may.tables.items()
        for verb in verbs.split()
    }
    kinds = (("s3", may.objects), ("ssm", may.parameters), ("lambda", may.functions))
    for service, places in kinds:
        for place, verbs in places.items():
            found |= {(f"{service}:{verb}", place) for verb in verbs.split()}
    found |= {("s3:ListBucket", prefix) for prefix in may.lists}
    found |= {("firehose:PutRecordBatch", stream) for stream in may.streams}
    found |= {("sns:Publish", "")} if may.tells else set()
    found |= {("secretsmanager:GetSecretValue", "")} if may.key else set()
    asks = may.alarms or may.all_alarms
    found |= {("cloudwatch:DescribeAlarms", "alarms")} if asks else set()
    return found | ({("cloudwatch:PutMetricData", may.metrics)} if may.metrics else set())
