"""Policies out of what `permissions` says in short names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import Aws, CfnOutput, Stack
from aws_cdk import aws_iam as iam

from infra.permissions import OPERATOR, TABLE_ACTIONS, May
from infra.settings import Settings
from infra.stores import bucket_name
from ngu_points.aws.tables import KEYS


@dataclass(frozen=True, slots=True)
class Outside:
    """ARNs that have no name of their own."""

    topic: str
    topic_key: str
    secret: str


class Arns:
    """ARNs by short names."""

    def __init__(self, stack: Stack, settings: Settings) -> None:
        self._stack = stack
        self._settings = settings
        self.bucket = f"arn:{Aws.PARTITION}:s3:::{bucket_name(settings)}"

    def of(self, service: str, resource: str) -> str:
        """An ARN in this account and region."""
        return f"arn:{Aws.PARTITION}:{service}:{Aws.REGION}:{Aws.ACCOUNT_ID}:{resource}"

    def table(self, name: str) -> str:
        """Of a table, or of an index named `table/Index`."""
        table, _, index = name.partition("/")
        assert table in KEYS, table
        full = f"table/{self._settings.name(table)}"
        return self.of("dynamodb", f"{full}/index/{index}" if index else full)

    def function(self, name: str) -> str:
        return self.of("lambda", f"function:{self._settings.name(name)}")

    def stream(self, name: str) -> str:
        return self.of("firehose", f"deliverystream/{self._settings.name(name)}")

    def queue(self, name: str) -> str:
        return self.of("sqs", self._settings.name(name))

    def parameter(self, name: str) -> str:
        return self.of("ssm", f"parameter{self._settings.parameters}/{name}")

    def alarm(self, name: str) -> str:
        """Of an alarm of the stage, or with * of several."""
        return self.of("cloudwatch", f"alarm:{self._settings.name(name)}")

    def log(self, group: str) -> str:
        """Of the streams of a log group."""
        return self.of("logs", f"log-group:{group}:log-stream:*")


def policy(may: May, arns: Arns, outside: Outside, log_group: str = "") -> iam.PolicyDocument:
    """The policy that says so."""
    found = [
        *_tables(may, arns),
        *_objects(may, arns),
        *(
            _allow(_of("ssm", verbs), [arns.parameter(name)])
            for name, verbs in may.parameters.items()
        ),
        *(
            _allow(_of("lambda", verbs), [arns.function(name)])
            for name, verbs in may.functions.items()
        ),
    ]
    if may.streams:
        found.append(_allow("firehose:PutRecordBatch", [arns.stream(s) for s in may.streams]))
    if may.dead_letters:
        found.append(_allow("sqs:SendMessage", [arns.queue(q) for q in may.dead_letters]))
    if may.tells:
        found.append(_allow("sns:Publish", [outside.topic]))
        found.append(_allow("kms:Decrypt kms:GenerateDataKey", [outside.topic_key]))
    if may.key:
        found.append(_allow("secretsmanager:GetSecretValue", [outside.secret]))
    if may.alarms:
        found.append(_allow("cloudwatch:DescribeAlarms", [arns.alarm(a) for a in may.alarms]))
    if may.all_alarms:
        found.append(_allow("cloudwatch:DescribeAlarms", [arns.of("cloudwatch", "alarm:*")]))
    if may.metrics:
        only = {"StringEquals": {"cloudwatch:namespace": may.metrics}}
        found.append(_allow("cloudwatch:PutMetricData", ["*"], only))
    if log_group:
        found.append(_allow("logs:CreateLogStream logs:PutLogEvents", [arns.log(log_group)]))
    return iam.PolicyDocument(statements=found)


def operators(stack: Stack, settings: Settings, outside: Outside) -> None:
    """A policy for whoever types commands; it is attached to nobody: that is the account's."""
    made = iam.ManagedPolicy(
        stack,
        "operator",
        managed_policy_name=settings.name("operator"),
        description=f"Commands of ngu on {settings.service} {settings.stage}: look, repair, drain",
        document=policy(OPERATOR, Arns(stack, settings), outside),
    )
    CfnOutput(
        stack,
        "OperatorPolicy",
        value=made.managed_policy_arn,
        description="What a role needs for `ngu … --store dynamodb`",
    )


def _tables(may: May, arns: Arns) -> list[iam.PolicyStatement]:
    """One statement for all tables that the same may be done with."""
    alike: dict[str, list[str]] = {}
    for name, verbs in may.tables.items():
        actions = sorted(f"dynamodb:{TABLE_ACTIONS[verb]}" for verb in verbs.split())
        alike.setdefault(" ".join(actions), []).append(arns.table(name))
    return [_allow(actions, resources) for actions, resources in alike.items()]


def _objects(may: May, arns: Arns) -> list[iam.PolicyStatement]:
    found = [
        _allow(_of("s3", verbs), [f"{arns.bucket}/{prefix}*"])
        for prefix, verbs in may.objects.items()
    ]
    if may.lists:
        # "IfExists": GetObject of what is not there is answered NoSuchKey only to who may list,
        # and has no prefix.
        under = {"StringLikeIfExists": {"s3:prefix": [f"{prefix}*" for prefix in may.lists]}}
        found.append(_allow("s3:ListBucket", [arns.bucket], under))
    return found


def _of(service: str, verbs: str) -> str:
    return " ".join(f"{service}:{verb}" for verb in verbs.split())


def _allow(
    actions: str, resources: list[str], conditions: Mapping[str, object] | None = None
) -> iam.PolicyStatement:
    return iam.PolicyStatement(
        actions=actions.split(), resources=resources, conditions=conditions or None
    )
