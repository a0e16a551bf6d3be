"""What the rules of cdk-nag (AwsSolutions) object to and why it stays so; all else fails synth."""

from __future__ import annotations

from collections.abc import Iterator

import aws_cdk as cdk
import cdk_nag

from infra.permissions import SCALING
from infra.settings import Settings
from ngu_points.aws.archive import PREFIX as SEGMENTS
from ngu_points.aws.repairs import PREFIX as REPAIRS
from ngu_points.aws.saved import BACKUP, FAILED
from ngu_points.aws.tables import BATCH_EVENTS, STAKING_EVENTS
from ngu_points.mirror.ledger import PREFIX as LEDGER

LOGS = "arn:<AWS::Partition>:logs:<AWS::Region>:<AWS::AccountId>:log-group"
FUNCTIONS = ("persist-batch", "persist-staking", "process", "jobs", "scale", "api")


def checked(app: cdk.App) -> None:
    """Have everything compared with the rules when templates are written."""
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app))


def acknowledge(stack: cdk.Stack, name: str, settings: Settings) -> None:
    """Mark the findings of one of the stacks that are meant."""
    for rule, reason in _meant(name, settings):
        cdk.Validations.of(stack).acknowledge(
            cdk.Acknowledgment(id=f"AwsSolutions::AwsSolutions-{rule}", reason=reason)
        )


def _meant(name: str, settings: Settings) -> Iterator[tuple[str, str]]:
    if name == "data":
        yield "S1", "Only the roles of this stage touch the bucket, and each names its prefix"
        yield "SMG4", "Firehose and persist must change keys together: docs/deploy.md has the steps"
        if not settings.lasting:
            yield "DDB3", "Staging's tables can be folded again from archive or chain"
    if name == "events":
        yield "L1", "3.13 is what the locked wheels are built for and the tests run on"
        yield "SQS3", "These queues are the dead-letter queues"
        yield "APIG4", "The API is for everybody: it only reads, and shows what the chain shows"
        for arn, reason in _wildcards(settings):
            yield f"IAM5[Resource::{arn}]", reason
    if name == "monitor":
        yield (
            "IAM5[Resource::*]",
            "Session Manager's agent and PutMetricData know no resources; the latter is held to"
            " one namespace",
        )
        yield (
            f"IAM5[Resource::{LOGS}:/{settings.service}/{settings.stage}/monitor:log-stream:*]",
            "CloudWatch's agent names its log stream after the machine",
        )
        yield (
            "AS3",
            "A machine that is replaced shows in the heartbeat alarm, which tells the topic",
        )


def _wildcards(settings: Settings) -> Iterator[tuple[str, str]]:
    """Resources that end in *, as the rule writes them."""
    for function in FUNCTIONS:
        arn = f"{LOGS}:/aws/lambda/{settings.name(function)}:log-stream:*"
        yield arn, "Lambda names its log streams itself, in a group of the function's own"
    alarms = "arn:<AWS::Partition>:cloudwatch:<AWS::Region>:<AWS::AccountId>:alarm"
    for name in (name for name in SCALING if "*" in name):
        yield f"{alarms}:{settings.name(name)}", "Each table has one, and they all call scale"
    yield f"{alarms}:*", "`ngu status` asks for alarms by a prefix, which no narrower ARN allows"
    bucket = f"arn:<AWS::Partition>:s3:::{settings.name('archive')}-<AWS::AccountId>-<AWS::Region>"
    yield f"{bucket}/{SEGMENTS}*", "Segments are named after the blocks in them"
    yield f"{bucket}/{LEDGER}*", "Each version of the ledger is an object of its own"
    yield f"{bucket}/{REPAIRS}*", "Each repair is an object of its own; operators finish any"
    for prefix in (BACKUP, FAILED):
        yield f"{bucket}/{prefix}*", "Operators read what Firehose left of either stream"
    for table in (BATCH_EVENTS, STAKING_EVENTS):
        for prefix in (BACKUP, FAILED):
            yield (
                f"{bucket}/{prefix}{settings.name(table)}/*",
                "Firehose names its objects after the time, under a prefix of the stream's own",
            )
