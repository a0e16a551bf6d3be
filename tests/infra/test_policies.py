"""The roles in the templates: who may take them on, and to what exactly they are good."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import pytest
from calls import Call, allowed
from infra.permissions import May
from templates import Deployment, lines_of, needs_cdk

from infra import permissions
from ngu_points.aws.metrics import NAMESPACE
from ngu_points.engine.coverage import STREAMS

needs_cdk()

MAY: dict[str, May] = {
    **{f"events/persist{stream}role": permissions.persist(stream) for stream in STREAMS},
    "events/processrole": permissions.PROCESS,
    "events/jobsrole": permissions.JOBS,
    "events/scalerole": permissions.SCALE,
    "events/apirole": permissions.API,
    "monitor/Role": permissions.MONITOR,
}
TRUSTED = {
    **dict.fromkeys((role for role in MAY if role.startswith("events")), "lambda.amazonaws.com"),
    "monitor/Role": "ec2.amazonaws.com",
    "events/batcheventsstreamrole": "firehose.amazonaws.com",
    "events/stakingeventsstreamrole": "firehose.amazonaws.com",
    "events/schedulesrole": "scheduler.amazonaws.com",
    "network/FlowLogRole": "vpc-flow-logs.amazonaws.com",
}
IN_ITS_NAME = {
    "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams",
    "sqs:SendMessage", "kms:Decrypt", "kms:GenerateDataKey",
}  # fmt: skip
"""What AWS does for who calls it: logs, dead letters, messages under a key."""
AGENT = re.compile(r"(ssm|ssmmessages|ec2messages):\w+")
OPERATED = re.compile(r":alarm:\*$|/(segments|ledger|repairs|backup|failed)/\*$")
"""Of resources of the operators' policy that end in *."""
LONGEST = 6_144
"""Characters of a managed policy, without white space; names here are as long as an account's."""
ENDS = re.compile(r"(log-stream:|(segments|ledger)/|/ngu-[\w-]+/|:alarm:ngu-\w+-\*-\w+)\*?$")
"""Of resources that may end in *."""
PLACES = (
    re.compile(r":table/ngu-(?P<table>[\w-]+)-\w+?(?P<index>/index/\w+)?$"),
    re.compile(r":s3:::ngu-archive-\w+-<AWS::AccountId>-<AWS::Region>/(?P<prefix>[\w/-]+)\*$"),
    re.compile(r":parameter/ngu/\w+/(?P<parameter>\w+)$"),
    re.compile(r":function:ngu-(?P<function>[\w-]+)-\w+$"),
    re.compile(r":deliverystream/ngu-(?P<stream>[\w-]+)-\w+$"),
)


def place(resource: str) -> str:
    """A resource in the short words of `allowed`."""
    for pattern in PLACES:
        if found := pattern.search(resource):
            groups = found.groupdict()
            index = (groups.pop("index", None) or "").replace("/index", "")
            return str(next(iter(groups.values()))) + index
    return ""


def written(
    deployed: Deployment, lines: Iterable[tuple[str, str, str]], *, all_alarms: bool = False
) -> set[Call]:
    """What lines of policies let their holder do, in those words."""
    found: set[Call] = set()
    for action, resource, condition in lines:
        if action == "s3:ListBucket":
            prefixes = json.loads(condition)["StringLikeIfExists"]["s3:prefix"]
            found |= {(action, prefix.removesuffix("*")) for prefix in [*prefixes]}
        elif action == "cloudwatch:PutMetricData":
            assert json.loads(condition) == {"StringEquals": {"cloudwatch:namespace": NAMESPACE}}
            found.add((action, NAMESPACE))
        elif action == "cloudwatch:DescribeAlarms":
            names = ["*"] if all_alarms else [deployed.name(name) for name in permissions.SCALING]
            assert resource.partition(":alarm:")[2] in names
            found.add((action, "alarms"))
        elif action not in IN_ITS_NAME and resource != "*" and "cdk-hnb659fds" not in resource:
            assert deployed.stage in resource or place(resource) == "", resource
            found.add((action, place(resource)))
    return found


@pytest.mark.parametrize("role", MAY)
def test_the_template_says_what_the_tables_of_permissions_say(
    deployed: Deployment, role: str
) -> None:
    """Action by action and resource by resource; other tests compare those with the code."""
    assert written(deployed, deployed.allowed(role)) == allowed(MAY[role])


def test_the_operators_policy_says_what_the_table_of_permissions_says(
    deployed: Deployment,
) -> None:
    """As for roles; nobody has it by itself, and it is no longer than IAM takes."""
    stack = deployed["events"]
    ((name, made),) = stack.all("AWS::IAM::ManagedPolicy").items()
    assert {"Ref": name} in [output["Value"] for output in stack.content["Outputs"].values()]
    assert made["ManagedPolicyName"] == deployed.name("operator")
    assert not made.keys() & {"Roles", "Users", "Groups"}
    lines = list(lines_of(stack, made["PolicyDocument"]["Statement"]))
    assert written(deployed, lines, all_alarms=True) == allowed(permissions.OPERATOR)
    for action, resource, _ in lines:
        assert "*" not in action
        assert "*" not in resource or OPERATED.search(resource), resource
    document = json.dumps(stack.plain(made["PolicyDocument"]), separators=(",", ":"))
    assert len(document) < LONGEST


@pytest.mark.parametrize("role", TRUSTED)
def test_each_role_is_taken_on_by_one_service(deployed: Deployment, role: str) -> None:
    """One that acts for many accounts only for ours; no managed policies come along."""
    stack, made = deployed.roles()[role]
    (statement,) = stack.plain(made["AssumeRolePolicyDocument"]["Statement"])
    assert statement["Principal"] == {"Service": TRUSTED[role]}
    if TRUSTED[role].split(".")[0] in ("firehose", "scheduler"):
        ours = {"StringEquals": {"aws:SourceAccount": "<AWS::AccountId>"}}
        assert statement["Condition"] == ours
    assert "ManagedPolicyArns" not in made


def test_there_are_no_other_roles_and_policies(deployed: Deployment) -> None:
    """Every permission stands in a role that a test here looks at."""
    assert deployed.roles().keys() == TRUSTED.keys()
    kinds = {resource["Type"] for _, _, resource in deployed.resources()}
    assert not kinds & {"AWS::IAM::Policy", "AWS::IAM::User", "AWS::IAM::Group"}
    managed = [s for s in deployed.stacks.values() if s.all("AWS::IAM::ManagedPolicy")]
    assert [stack.name for stack in managed] == [deployed.name("events")]


def test_only_what_knows_no_resources_is_allowed_on_all(deployed: Deployment) -> None:
    """The agent of Systems Manager, and metrics of one namespace; actions are never wildcards."""
    for role in TRUSTED:
        for action, resource, _ in deployed.allowed(role):
            assert "*" not in action
            if resource == "*":
                assert role == "monitor/Role"
                assert action == "cloudwatch:PutMetricData" or AGENT.fullmatch(action)
            elif resource.endswith("*"):
                assert ENDS.search(resource), resource


@pytest.mark.parametrize("table", ["batch-events", "staking-events"])
def test_firehose_touches_its_prefixes_its_log_and_the_key(
    deployed: Deployment, table: str
) -> None:
    """And no table: the persist function writes those."""
    full = deployed.name(table)
    lines = deployed.allowed(f"events/{table.replace('-', '')}streamrole")
    bucket = f"arn:<AWS::Partition>:s3:::{deployed.name('archive')}-<AWS::AccountId>-<AWS::Region>"
    log = f":log-group:/aws/kinesisfirehose/{full}:log-stream:"
    may: dict[str, set[str]] = {}
    for action, resource, _ in lines:
        may.setdefault(action, set()).add(resource)
    objects = {f"{bucket}/backup/{full}/*", f"{bucket}/failed/{full}/*"}
    assert may.pop("s3:PutObject") == may.pop("s3:AbortMultipartUpload") == objects
    assert may.pop("s3:GetBucketLocation") == may.pop("s3:ListBucketMultipartUploads") == {bucket}
    ends = {resource.partition(log)[2] for resource in may.pop("logs:PutLogEvents")}
    assert ends == {"delivery", "backup"}
    (secret,) = may.pop("secretsmanager:GetSecretValue")
    assert "AccessKey" in secret
    assert may == {}


def test_the_schedule_calls_three_functions(deployed: Deployment) -> None:
    """And puts what it could not call about into its queue."""
    lines = deployed.allowed("events/schedulesrole")
    assert {(action, resource.rpartition(":")[2]) for action, resource, _ in lines} == {
        *(("lambda:InvokeFunction", deployed.name(name)) for name in ("jobs", "process", "scale")),
        ("sqs:SendMessage", deployed.name("missed-schedules")),
    }


def test_the_monitor_reads_one_object_and_its_parameters(deployed: Deployment) -> None:
    """The package that it is installed from; the position is all that it writes."""
    lines = deployed.allowed("monitor/Role")
    objects = [resource for action, resource, _ in lines if action == "s3:GetObject"]
    assert len(objects) == 1
    assert objects[0].endswith(".zip")
    puts = [resource for action, resource, _ in lines if action == "ssm:PutParameter"]
    assert [resource.rpartition("/")[2] for resource in puts] == ["position"]
