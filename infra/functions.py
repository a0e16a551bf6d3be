"""The functions: persist for each stream, process, jobs, scale, api; logs, queues and roles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs

from infra import permissions
from infra.package import SOURCE
from infra.permissions import May
from infra.roles import Arns, Outside, policy
from infra.settings import Settings
from infra.stores import Data, bucket_name
from ngu_points.aws.tables import BATCH_EVENTS, STAKING_EVENTS
from ngu_points.engine.coverage import STREAMS

RUNTIME = lambda_.Runtime.PYTHON_3_13


@dataclass(frozen=True, slots=True)
class Size:
    """Of a function. Memory brings CPU with it: 1,769 MB are one core."""

    memory: int  # MB
    seconds: int
    at_once: int  # reserved concurrency
    events_kept: int = 0  # seconds that an event waits; 0 where Firehose waits for the answer


PERSIST = Size(512, 170, 10)  # Firehose waits for 180 seconds
PROCESS = Size(1769, 300, 3, 60)  # a tick that comes too late is dropped: another one comes
JOBS = Size(1769, 900, 5, 3_600)
SCALE = Size(256, 60, 1, 300)
API = Size(1769, 300, 20)  # the first look at a long history outlasts its caller, not the function
HANDLERS = {"api": "ngu_points.mirror.function.handler"}
"""Of functions that are not in `ngu_points.aws.functions`."""
COPY = cdk.Size.gibibytes(4)
"""What the copy of the tables may take in the storage of a function that has one."""


@dataclass(frozen=True, slots=True)
class Functions:
    """The functions by name, and the queues of what they failed at."""

    persist: Mapping[str, lambda_.Function]  # by stream
    urls: Mapping[str, lambda_.FunctionUrl]
    process: lambda_.Function
    jobs: lambda_.Function
    scale: lambda_.Function
    api: lambda_.Function | None


@dataclass(frozen=True, slots=True)
class _Parts:
    """What all functions of a stage share."""

    stack: Stack
    settings: Settings
    code: lambda_.Code
    arns: Arns
    outside: Outside
    told: Mapping[str, str]


def environment(settings: Settings, topic_arn: str) -> dict[str, str]:
    """The specification's EnvConfig and what is ours; AWS_REGION comes from the runtime."""
    return {
        "NODE_ENV": settings.stage,
        "BATCH_FIREHOSE_NAME": settings.name(BATCH_EVENTS),
        "STAKING_FIREHOSE_NAME": settings.name(STAKING_EVENTS),
        "BATCH_EVENTS_TABLE": settings.name(BATCH_EVENTS),
        "STAKING_EVENTS_TABLE": settings.name(STAKING_EVENTS),
        "ERROR_SNS_TOPIC": topic_arn,
        "LOG_LEVEL": settings.log_level,
        "SERVICE": settings.service,
        "ARCHIVE_BUCKET": bucket_name(settings),
    }


def outside(data: Data) -> Outside:
    """The ARNs of the data stack that no name leads to."""
    return Outside(data.topic.topic_arn, data.topic_key.key_arn, data.secret.secret_arn)


def functions(stack: Stack, settings: Settings, data: Data, code: Path | None) -> Functions:
    """Build them; `code` is the folder that was packaged, the bare source without."""
    parts = _Parts(
        stack,
        settings,
        lambda_.Code.from_asset(str(code or SOURCE), exclude=["**/__pycache__", "*.pyc"]),
        Arns(stack, settings),
        outside(data),
        environment(settings, data.topic.topic_arn),
    )
    persists = {stream: _persist(parts, stream, data) for stream in STREAMS}
    urls = {
        stream: function.add_function_url(auth_type=lambda_.FunctionUrlAuthType.NONE)
        for stream, function in persists.items()
    }
    return Functions(
        persists,
        urls,
        _function(parts, "process", PROCESS, permissions.PROCESS),
        _function(parts, "jobs", JOBS, permissions.JOBS),
        _function(parts, "scale", SCALE, permissions.SCALE, _limits(settings)),
        _function(parts, "api", API, permissions.API, storage=COPY) if settings.api else None,
    )


def _persist(parts: _Parts, stream: str, data: Data) -> lambda_.Function:
    settings = parts.settings
    told = {
        "STREAM": stream,
        "PROCESS_FUNCTION": settings.name("process"),
        "BUFFER_BYTES": str(settings.buffer_mb << 20),
        "ACCESS_KEY_SECRET": data.secret.secret_arn,
    }
    return _function(parts, f"persist-{stream}", PERSIST, permissions.persist(stream), told)


def _limits(settings: Settings) -> dict[str, str]:
    """How far the scale function may go."""
    return {
        "PROCESS_FUNCTION": settings.name("process"),
        "WRITE_UNITS_MAX": str(settings.most_writes),
        "PROCESS_MEMORY_MAX": str(settings.most_memory),
    }


def _function(
    parts: _Parts,
    name: str,
    size: Size,
    may: May,
    told: Mapping[str, str] | None = None,
    storage: cdk.Size | None = None,
) -> lambda_.Function:
    """A function with a log, a role and, if it is called by events, a dead-letter queue."""
    stack, settings = parts.stack, parts.settings
    full = settings.name(name)
    group = logs.LogGroup(
        stack,
        f"{name}-log",
        log_group_name=f"/aws/lambda/{full}",
        retention=retention(settings),
        removal_policy=RemovalPolicy.DESTROY,
    )
    log_arn = f"/aws/lambda/{full}"
    role = iam.Role(
        stack,
        f"{name}-role",
        description=f"What {full} does",
        assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
        inline_policies={"does": policy(may, parts.arns, parts.outside, log_arn)},
    )
    queue = dead_letters(stack, settings, may.dead_letters[0]) if may.dead_letters else None
    return lambda_.Function(
        stack,
        name,
        function_name=full,
        runtime=RUNTIME,
        architecture=lambda_.Architecture.ARM_64,
        code=parts.code,
        handler=HANDLERS.get(name, f"ngu_points.aws.functions.{name.partition('-')[0]}.handler"),
        memory_size=size.memory,
        ephemeral_storage_size=storage,
        timeout=Duration.seconds(size.seconds),
        reserved_concurrent_executions=size.at_once if settings.reserve else None,
        environment={**parts.told, **(told or {})},
        role=role.without_policy_updates(),
        log_group=group,
        dead_letter_queue=queue,
        max_event_age=Duration.seconds(size.events_kept) if size.events_kept else None,
        retry_attempts=0 if size.events_kept else None,
    )


def dead_letters(stack: Stack, settings: Settings, name: str) -> sqs.Queue:
    """A queue of what failed for good; it is looked at by people, for two weeks."""
    return sqs.Queue(
        stack,
        name,
        queue_name=settings.name(name),
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        retention_period=Duration.days(14),
    )


def retention(settings: Settings) -> logs.RetentionDays:
    """How long logs are kept."""
    return {14: logs.RetentionDays.TWO_WEEKS, 90: logs.RetentionDays.THREE_MONTHS}[
        settings.log_days
    ]
