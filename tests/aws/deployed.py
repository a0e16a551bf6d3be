"""A deployed stage on the emulator, and the calls that AWS makes to its functions."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from aws.dynamo.faults import Client
from aws.firehose.protocol import Answer, fault_of, request_of
from chains import CONTRACT
from ngu_points.aws import wiring
from ngu_points.aws.environment import Environment, environment
from ngu_points.aws.functions import jobs, persist, process, telemetry
from ngu_points.aws.records import Origin
from ngu_points.aws.store import Store
from ngu_points.aws.tables import META, TABLES, creation, table_name
from ngu_points.config import rules_of
from ngu_points.engine.coverage import BATCH, Delivery

REGION, STAGE, KEY = "us-east-1", "staging", "the-present-key-0123456789"
CHAIN_ID = 8453
SETTINGS = f"""
[chain]
rpc = ["http://127.0.0.1:1"]
chain_id = {CHAIN_ID}
[contract]
address = "0x{CONTRACT.hex()}"
[[season]]
name = "1"
held = 1
staked = 2
[feast]
emission = 1000
"""
ORIGIN = Origin(STAGE, CHAIN_ID, (CONTRACT,))
REQUEST = "0b1f1bd2-7a43-4f6c-9d58-5a1f6f2f5f11"


class Calls:
    """Lambda's client: who was called."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.error: Exception | None = None

    def invoke(self, *, FunctionName: str, **_: Any) -> None:  # noqa: N803 -- botocore's names
        if self.error:
            raise self.error
        self.names.append(FunctionName)


@dataclass
class Deployed:
    """The tables, bucket, secret, settings and topic of one stage, with faults to order."""

    variables: dict[str, str]
    clients: dict[str, Any]
    functions: Calls = field(default_factory=Calls)
    asked: list[str] = field(default_factory=list)  # services whose client was asked for

    @property
    def dynamo(self) -> Client:
        """The client that the functions use, which fails on order."""
        made: Client = self.clients["dynamodb"]
        return made

    @property
    def env(self) -> Environment:
        return environment(self.variables)

    def store(self) -> Store:
        """The tables as another process sees them."""
        return wiring.store(self.env, rules_of(wiring.settings(self.env, 0)))

    def rows(self, table: str) -> list[dict[str, Any]]:
        return list(wiring.dynamo(self.env).scan(table))

    def persist(self, payload: dict[str, Any], seconds: float = 100.0) -> dict[str, Any]:
        result: dict[str, Any] = persist.handler(payload, context(seconds))
        return result

    def deliver(self, deliveries: Sequence[Delivery], written: Any) -> None:
        """Bring deliveries by way of both persist functions; `written` makes their records."""
        for delivery in deliveries:
            self.of_stream(delivery.stream)
            answer = self.persist(url_payload(written(delivery, ORIGIN)))
            assert answer["statusCode"] == 200, answer

    def of_stream(self, stream: str) -> None:
        """Be the persist function of a stream from now on."""
        self.variables["STREAM"] = stream
        persist._unit.cache_clear()

    def process(self, seconds: float = 100.0) -> dict[str, Any]:
        result: dict[str, Any] = process.handler({}, context(seconds))
        return result

    def job(self, name: str) -> dict[str, Any]:
        result: dict[str, Any] = jobs.handler({"job": name}, context(900))
        return result

    def put_settings(self, text: str) -> None:
        self.clients["ssm"].put_parameter(
            Name=f"{self.env.parameters}/settings", Value=text, Type="String", Overwrite=True
        )
        wiring._settings.cache_clear()

    def begin(self, text: str = SETTINGS) -> None:
        """Put settings, and note what the tables are of, as the event monitor does."""
        self.put_settings(text)
        wiring.dynamo(self.env).delete(META, {"key": "identity"})
        self.store().identify(CHAIN_ID, "0x" + CONTRACT.hex(), "ngu")

    def rotate(self, secret: str) -> None:
        """Give the secret another value; the one before becomes AWSPREVIOUS."""
        self.clients["secretsmanager"].put_secret_value(
            SecretId=self.variables["ACCESS_KEY_SECRET"], SecretString=secret
        )


def context(seconds: float = 100.0, *more: float) -> Any:
    """A Lambda context: what is left at the first look, at the second, and so on."""
    left = [seconds, *more]

    def remaining() -> int:
        return int(1000 * (left.pop(0) if len(left) > 1 else left[0]))

    return SimpleNamespace(
        aws_request_id=secrets.token_hex(8),
        function_name="a-function",
        get_remaining_time_in_millis=remaining,
    )


def url_payload(records: Sequence[bytes], key: str = KEY, body: bytes | None = None) -> Any:
    """What a function URL hands on of a delivery, gzip and base64 as Firehose and AWS make it."""
    request = request_of(records, REQUEST, 1_700_000_000_000, "arn", key=key)
    packed = gzip.compress(request.body) if body is None else body
    return {
        "version": "2.0",
        "rawPath": "/",
        "headers": {name.lower(): value for name, value in request.headers.items()},
        "body": base64.b64encode(packed).decode(),
        "isBase64Encoded": True,
    }


def said(answer: dict[str, Any]) -> dict[str, Any]:
    """The fields of an answer that Firehose accepts in form."""
    as_seen = Answer(answer["statusCode"], answer["headers"], answer["body"].encode())
    assert not fault_of(as_seen, REQUEST)
    shown: dict[str, Any] = json.loads(answer["body"])
    return shown


def figures(text: str) -> dict[str, Any]:
    """The metrics among the lines that functions printed, by name; each line is checked."""
    found: dict[str, Any] = {}
    for line in filter(None, text.splitlines()):
        shown = json.loads(line)
        if "_aws" not in shown:
            continue
        (about,) = shown["_aws"]["CloudWatchMetrics"]
        assert about["Namespace"] == "NGU/Points"
        (dimensions,) = about["Dimensions"]
        assert all(isinstance(shown[name], str) and shown[name] for name in dimensions)
        assert dimensions[:2] == ["Service", "Stage"]
        assert isinstance(shown["_aws"]["Timestamp"], int)
        for metric in about["Metrics"]:
            (value,) = shown[metric["Name"]]
            found[metric["Name"]] = value
    return found


@contextlib.contextmanager
def deployed(url: str, patch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """A stage of its own on the emulator; the functions of this process are its."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed (extra `aws`)")
    service = f"ngu{secrets.token_hex(4)}"
    variables = {
        "SERVICE": service,
        "NODE_ENV": STAGE,
        "AWS_REGION": REGION,
        "STREAM": BATCH,
        "PROCESS_FUNCTION": f"{service}-process-{STAGE}",
        "ACCESS_KEY_SECRET": f"{service}-key",
        "ARCHIVE_BUCKET": f"{service}-archive",
        "LOG_LEVEL": "info",
    }
    names = ("dynamodb", "s3", "secretsmanager", "ssm", "sns", "sqs")
    from botocore.config import Config

    calls = Config(max_pool_connections=wiring.CONNECTIONS, retries={"total_max_attempts": 1})
    own = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    made_for = {"endpoint_url": url, "region_name": REGION, "config": calls, **own}
    clients = {name: boto3.client(name, **made_for) for name in names}
    real = clients["dynamodb"]
    for table in TABLES:
        real.create_table(**creation(table, table_name(service, table.name, STAGE)))
    clients["s3"].create_bucket(Bucket=variables["ARCHIVE_BUCKET"])
    topic = clients["sns"].create_topic(Name=f"{service}-errors")["TopicArn"]
    variables["ERROR_SNS_TOPIC"] = topic
    clients["secretsmanager"].create_secret(
        Name=variables["ACCESS_KEY_SECRET"], SecretString=json.dumps({"api_key": KEY})
    )
    clients["dynamodb"] = Client(real)
    made = Deployed(variables, clients)
    clients["lambda"] = made.functions

    def client(name: str, region: str) -> Any:
        made.asked.append(name)
        return clients[name]

    patch.setattr(wiring, "client", client)
    patch.setattr(wiring, "time", SimpleNamespace(sleep=lambda _: None))
    for module in (persist, process, jobs):
        patch.setattr(module, "os", SimpleNamespace(environ=variables))
        module._unit.cache_clear()
    patch.setattr(wiring, "os", SimpleNamespace(environ=variables))
    telemetry.logger.cache_clear()
    made.begin()
    try:
        yield made
    finally:
        for table in TABLES:
            real.delete_table(TableName=table_name(service, table.name, STAGE))
        for one in (*(clients[n] for n in names[1:]), real):
            one.close()
