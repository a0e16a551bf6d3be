"""When functions run: the one table of jobs in EventBridge, and process as backstop."""

from __future__ import annotations

import json

from aws_cdk import Aws, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler

from infra.functions import dead_letters
from infra.roles import Arns
from infra.settings import Settings
from ngu_points.engine.rules import DAY
from ngu_points.pipeline.schedule import JOBS

MISSED = "missed-schedules"
MINUTE, HOUR = 60, 3_600
OTHERS: tuple[tuple[str, int, str, dict[str, str]], ...] = (
    ("process", MINUTE, "process", {}),  # should persist not have told it
    ("scale", 5 * MINUTE, "scale", {}),  # another notch, or back to normal
)


def cron(every: int) -> str:
    """At each multiple of `every` seconds of UTC, as schedules are written."""
    if every == DAY:
        return "cron(0 0 * * ? *)"
    if every == HOUR:
        return "cron(0 * * * ? *)"
    minutes, rest = divmod(every, MINUTE)
    if rest or HOUR % every:
        raise ValueError(f"a job every {every} seconds: it takes minutes that divide an hour")
    return "cron(* * * * ? *)" if minutes == 1 else f"cron(0/{minutes} * * * ? *)"


def schedules(stack: Stack, settings: Settings) -> None:
    """Build them in a group of their own."""
    arns = Arns(stack, settings)
    queue = dead_letters(stack, settings, MISSED)
    group = scheduler.CfnScheduleGroup(stack, "Schedules", name=settings.name("schedules"))
    role = _role(stack, arns)
    calls = [(f"job-{job.name}", job.every, "jobs", {"job": job.name}) for job in JOBS]
    for name, every, function, payload in [*calls, *OTHERS]:
        made = scheduler.CfnSchedule(
            stack,
            f"schedule-{name}",
            name=settings.name(name),
            group_name=settings.name("schedules"),
            schedule_expression=cron(every),
            schedule_expression_timezone="UTC",
            flexible_time_window={"mode": "OFF"},
            target={
                "arn": arns.function(function),
                "roleArn": role.role_arn,
                "input": json.dumps(payload),
                "retryPolicy": {
                    "maximumEventAgeInSeconds": max(60, min(every, HOUR)),
                    "maximumRetryAttempts": 3,
                },
                "deadLetterConfig": {"arn": queue.queue_arn},
            },
        )
        made.node.add_dependency(group)


def _role(stack: Stack, arns: Arns) -> iam.Role:
    may = [
        iam.PolicyStatement(
            actions=["lambda:InvokeFunction"],
            resources=[arns.function(name) for name in ("jobs", "process", "scale")],
        ),
        iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[arns.queue(MISSED)]),
    ]
    return iam.Role(
        stack,
        "schedules-role",
        description="Calls functions when it is time",
        assumed_by=iam.ServicePrincipal(
            "scheduler.amazonaws.com",
            conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
        ),
        inline_policies={"does": iam.PolicyDocument(statements=may)},
    )
