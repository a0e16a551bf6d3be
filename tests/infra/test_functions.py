"""Functions, what calls them, and where their failures go."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from templates import ROOT, Deployment, needs_cdk

from ngu_points.aws import environment as environments
from ngu_points.engine.coverage import STREAMS
from ngu_points.pipeline.schedule import JOBS

needs_cdk()

NAMES = (*(f"persist-{stream}" for stream in STREAMS), "process", "jobs", "scale", "api")
KIND = "AWS::Lambda::Function"
CALLED_BY_EVENTS = ("process", "jobs", "scale")


@pytest.fixture(params=NAMES)
def function(request: pytest.FixtureRequest, deployed: Deployment) -> dict:
    """One function of one stage, with its short name."""
    made = deployed["events"].one(KIND, FunctionName=deployed.name(request.param))
    return {**made, "name": request.param}


def test_there_are_no_other_functions(deployed: Deployment) -> None:
    """Nothing comes along unseen, such as helpers of CDK."""
    found = [
        properties["Properties"].get("FunctionName")
        for _, _, properties in deployed.resources()
        if properties["Type"] == KIND
    ]
    assert sorted(found) == sorted(map(deployed.name, NAMES))


def test_functions_run_what_is_packaged(function: dict) -> None:
    """arm64 and the Python of the locked wheels; the handler is there and can be called."""
    assert function["Architectures"] == ["arm64"]
    assert function["Runtime"] == "python3.13"
    module, _, name = function["Handler"].rpartition(".")
    path = ROOT / "src" / (module.replace(".", "/") + ".py")
    assert f"def {name}(" in path.read_text(encoding="utf-8")


def test_functions_stay_within_their_limits(function: dict) -> None:
    """Firehose waits 180 seconds for persist; Lambda takes 900 and 10,240 MB, arm64 from 128."""
    assert 128 <= function["MemorySize"] <= 10_240
    assert 1 <= function["Timeout"] <= (170 if "persist" in function["name"] else 900)
    assert function["ReservedConcurrentExecutions"] >= 1


def test_every_function_knows_its_stage(deployed: Deployment, function: dict) -> None:
    """The specification's EnvConfig, as the code reads it; AWS_REGION is the runtime's."""
    told = deployed["events"].plain(function["Environment"]["Variables"])
    assert {
        "NODE_ENV": deployed.stage,
        "BATCH_FIREHOSE_NAME": deployed.name("batch-events"),
        "STAKING_FIREHOSE_NAME": deployed.name("staking-events"),
        "BATCH_EVENTS_TABLE": deployed.name("batch-events"),
        "STAKING_EVENTS_TABLE": deployed.name("staking-events"),
        "LOG_LEVEL": "info",
        "SERVICE": "ngu",
    }.items() <= told.items()
    assert "Errors" in told["ERROR_SNS_TOPIC"]
    assert "AWS_REGION" not in told
    known = environments.environment({**told, "AWS_REGION": "us-east-1"})
    assert (known.service, known.stage) == ("ngu", deployed.stage)
    bucket = deployed["data"].one("AWS::S3::Bucket")["BucketName"]
    assert known.archive == deployed["data"].plain(bucket)


def test_persist_functions_know_their_stream(deployed: Deployment) -> None:
    """Stream, buffer size, secret, and the function to tell: that of this stage."""
    for stream in STREAMS:
        made = deployed["events"].one(KIND, FunctionName=deployed.name(f"persist-{stream}"))
        told = deployed["events"].plain(made["Environment"]["Variables"])
        assert told["STREAM"] == stream
        assert told["BUFFER_BYTES"] == str(1 << 20)
        assert told["PROCESS_FUNCTION"] == deployed.name("process")
        assert "AccessKey" in told["ACCESS_KEY_SECRET"]


def test_only_persist_can_be_called_from_outside(deployed: Deployment) -> None:
    """Firehose needs public URLs, and they need both permissions; the access key is the lock."""
    stack = deployed["events"]
    persists = {
        f"<{logical}.Arn>"
        for logical, made in stack.all(KIND).items()
        if "persist" in made["FunctionName"]
    }
    urls = stack.all("AWS::Lambda::Url").values()
    assert {stack.plain(url["TargetFunctionArn"]) for url in urls} == persists
    assert {url["AuthType"] for url in urls} == {"NONE"}
    public: dict[str, set[str]] = {}
    for made in stack.all("AWS::Lambda::Permission").values():
        if made["Principal"] == "*":
            public.setdefault(stack.plain(made["FunctionName"]), set()).add(made["Action"])
            assert made.get("FunctionUrlAuthType") == "NONE" or made["InvokedViaFunctionUrl"]
    assert public == {
        arn: {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"} for arn in persists
    }


def test_alarms_of_this_stage_may_call_scale(deployed: Deployment) -> None:
    """And those of nobody else."""
    stack = deployed["events"]
    made = stack.one("AWS::Lambda::Permission", Principal="lambda.alarms.cloudwatch.amazonaws.com")
    assert stack.plain(made["SourceAccount"]) == "<AWS::AccountId>"
    assert stack.plain(made["SourceArn"]).endswith(f":alarm:{deployed.name('*')}")


def test_what_events_fail_at_is_kept(deployed: Deployment) -> None:
    """No second try by Lambda, ticks that are late are dropped in time, failures are queued."""
    stack = deployed["events"]
    for name in CALLED_BY_EVENTS:
        function = stack.one(KIND, FunctionName=deployed.name(name))
        arn = stack.plain(function["DeadLetterConfig"]["TargetArn"])
        queue = stack.all("AWS::SQS::Queue")[arn.strip("<>").partition(".")[0]]
        assert queue["QueueName"] == deployed.name(f"{name}-failed")
    by_function = {
        stack.plain(made["FunctionName"]).strip("<>"): made
        for made in stack.all("AWS::Lambda::EventInvokeConfig").values()
    }
    ages = {}
    for logical, made in by_function.items():
        assert made["MaximumRetryAttempts"] == 0
        assert 60 <= made["MaximumEventAgeInSeconds"] <= 21_600
        ages[stack.all(KIND)[logical]["FunctionName"]] = made["MaximumEventAgeInSeconds"]
    assert ages[deployed.name("process")] == 60
    assert len(ages) == len(CALLED_BY_EVENTS)


def test_queues_are_closed_and_kept_for_two_weeks(deployed: Deployment) -> None:
    """Encrypted, TLS only."""
    stack = deployed["events"]
    queues = stack.all("AWS::SQS::Queue")
    assert len(queues) == 4
    for queue in queues.values():
        assert queue["SqsManagedSseEnabled"] is True
        assert queue["MessageRetentionPeriod"] == 14 * 86_400
    tls_only = {
        stack.plain(queue)
        for policy in stack.all("AWS::SQS::QueuePolicy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        for queue in policy["Queues"]
        if statement["Effect"] == "Deny" and "aws:SecureTransport" in json.dumps(statement)
    }
    assert tls_only == {f"<{logical}>" for logical in queues}


def test_logs_do_not_last_for_ever(deployed: Deployment) -> None:
    """Every log group has a retention, every function one of its own."""
    groups = {}
    for _, _, resource in deployed.resources():
        if resource["Type"] == "AWS::Logs::LogGroup":
            groups[resource["Properties"]["LogGroupName"]] = resource["Properties"]
    assert all(group["RetentionInDays"] <= 90 for group in groups.values())
    assert {f"/aws/lambda/{deployed.name(name)}" for name in NAMES} <= groups.keys()


# Schedules -----------------------------------------------------------------------------------


def moments(expression: str) -> Callable[[int, int], bool]:
    """Whether a schedule goes off at an hour and a minute, of the expressions that we use."""
    minutes, hours, *rest = expression.removeprefix("cron(").removesuffix(")").split()
    assert rest == ["*", "*", "?", "*"], expression

    def holds(field: str, value: int) -> bool:
        if "/" in field:
            start, step = map(int, field.split("/"))
            return value >= start and (value - start) % step == 0
        return field == "*" or int(field) == value

    return lambda hour, minute: holds(hours, hour) and holds(minutes, minute)


def calls(deployed: Deployment) -> dict[str, dict]:
    """Schedules by name."""
    stack = deployed["events"]
    return {
        made["Name"]: stack.plain(made) for made in stack.all("AWS::Scheduler::Schedule").values()
    }


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_each_job_is_called_at_its_moments(deployed: Deployment, job) -> None:
    """At every multiple of its period in UTC, and at no other minute of the day."""
    made = calls(deployed)[deployed.name(f"job-{job.name}")]
    assert made["ScheduleExpressionTimezone"] == "UTC"
    assert made["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert json.loads(made["Target"]["Input"]) == {"job": job.name}
    assert made["Target"]["Arn"].endswith(f":function:{deployed.name('jobs')}")
    due = moments(made["ScheduleExpression"])
    for minute in range(24 * 60):
        assert due(*divmod(minute, 60)) is (minute * 60 % job.every == 0)


def test_process_runs_every_minute_and_scale_every_five(deployed: Deployment) -> None:
    """The backstop; and what raises another notch or puts back what was raised."""
    for name, expression in (("process", "cron(* * * * ? *)"), ("scale", "cron(0/5 * * * ? *)")):
        made = calls(deployed)[deployed.name(name)]
        assert made["ScheduleExpression"] == expression
        assert made["Target"]["Arn"].endswith(f":function:{deployed.name(name)}")
    assert len(calls(deployed)) == len(JOBS) + 2


def test_missed_calls_do_not_pile_up_and_are_kept(deployed: Deployment) -> None:
    """Scheduler takes 60..86400 seconds and 0..185 attempts; the rest goes to a queue."""
    stack = deployed["events"]
    for made in calls(deployed).values():
        policy = made["Target"]["RetryPolicy"]
        assert 60 <= policy["MaximumEventAgeInSeconds"] <= 3_600
        assert 0 <= policy["MaximumRetryAttempts"] <= 185
        queue = made["Target"]["DeadLetterConfig"]["Arn"].strip("<>").partition(".")[0]
        assert stack.all("AWS::SQS::Queue")[queue]["QueueName"] == deployed.name("missed-schedules")


def test_a_period_that_cannot_be_scheduled_is_refused() -> None:
    """A job every 7 minutes would drift from its multiples."""
    from infra.schedules import cron

    for every in (420, 90, 7_200):
        with pytest.raises(ValueError, match="minutes that divide an hour"):
            cron(every)
