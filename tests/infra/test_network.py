"""The network, the machine of the event monitor, the bucket, the topic."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from templates import ROOT, Deployment, needs_cdk

from ngu_points.aws.archive import PREFIX as SEGMENTS
from ngu_points.aws.environment import environment

needs_cdk()

INTERFACES = {
    "kinesis-firehose", "monitoring", "logs", "ssm", "ssmmessages", "ec2messages", "secretsmanager",
}  # fmt: skip
IMAGE = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"


def test_aws_is_reached_within_the_network(deployed: Deployment) -> None:
    """Endpoints for all that the monitor calls; their zones are what the stage pays for."""
    stack = deployed["network"]
    found: dict[str, set[str]] = {"Gateway": set(), "Interface": set()}
    for made in stack.all("AWS::EC2::VPCEndpoint").values():
        name = stack.plain(made["ServiceName"]).removeprefix("com.amazonaws.<AWS::Region>.")
        found[made["VpcEndpointType"]].add(name)
        if made["VpcEndpointType"] == "Interface":
            assert made["PrivateDnsEnabled"] is True
            assert len(made["SubnetIds"]) == {"staging": 1, "prod": 2}[deployed.stage]
    assert found == {"Gateway": {"dynamodb", "s3"}, "Interface": INTERFACES}


def test_the_node_is_reached_through_nat(deployed: Deployment) -> None:
    """Private subnets in two zones whose way out is a NAT gateway; no public address is given."""
    stack = deployed["network"]
    gateways = stack.all("AWS::EC2::NatGateway")
    assert len(gateways) == {"staging": 1, "prod": 2}[deployed.stage]
    subnets = stack.all("AWS::EC2::Subnet")
    assert len(subnets) == 4
    assert all(not made["MapPublicIpOnLaunch"] for made in subnets.values())
    ways_out = [
        stack.plain(route["NatGatewayId"])
        for route in stack.all("AWS::EC2::Route").values()
        if "NatGatewayId" in route
    ]
    assert len(ways_out) == 2
    assert set(ways_out) == {f"<{name}>" for name in gateways}
    refused = stack.one("AWS::EC2::FlowLog")
    assert refused["TrafficType"] == "REJECT"


def test_nothing_is_let_in_but_https_to_the_endpoints(deployed: Deployment) -> None:
    """The monitor has no way in; out go HTTPS and the node's ports."""
    stack = deployed["network"]
    groups = stack.all("AWS::EC2::SecurityGroup")
    assert {made["GroupName"] for made in groups.values()} == {
        deployed.name("monitor"),
        deployed.name("endpoints"),
    }
    assert all("SecurityGroupIngress" not in made for made in groups.values())
    ports = {name: made["SecurityGroupEgress"] for name, made in groups.items()}
    for name, rules in ports.items():
        if groups[name]["GroupName"] == deployed.name("monitor"):
            assert [(rule["FromPort"], rule["ToPort"]) for rule in rules] == [(443, 443)]
        else:  # CDK's way to say nothing: an address that does not exist
            assert [rule["CidrIp"] for rule in rules] == ["255.255.255.255/32"]
    (rule,) = stack.all("AWS::EC2::SecurityGroupIngress").values()
    assert (rule["FromPort"], rule["ToPort"], rule["IpProtocol"]) == (443, 443, "tcp")
    assert "Endpoints" in stack.plain(rule["GroupId"])
    assert "Monitor" in stack.plain(rule["SourceSecurityGroupId"])


def test_one_small_machine_in_the_private_subnets(deployed: Deployment) -> None:
    """A group of exactly one, which replaces it by itself; a new one only after the old."""
    stack = deployed["monitor"]
    group = stack.one("AWS::AutoScaling::AutoScalingGroup")
    assert (group["MinSize"], group["MaxSize"]) == ("1", "1")
    assert all("private" in subnet for subnet in stack.plain(group["VPCZoneIdentifier"]))
    (policy,) = (
        resource["UpdatePolicy"]["AutoScalingRollingUpdate"]
        for resource in stack.content["Resources"].values()
        if "UpdatePolicy" in resource
    )
    assert policy["MinInstancesInService"] == 0
    assert policy["WaitOnResourceSignals"] is True


def test_the_machine_is_closed(deployed: Deployment) -> None:
    """IMDSv2, an encrypted disk, no key pair, Amazon Linux 2023 on arm64."""
    stack = deployed["monitor"]
    data = stack.one("AWS::EC2::LaunchTemplate")["LaunchTemplateData"]
    assert data["InstanceType"] == "t4g.small"
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert "KeyName" not in data
    assert all(device["Ebs"]["Encrypted"] for device in data["BlockDeviceMappings"])
    image = stack.content["Parameters"][data["ImageId"]["Ref"]]["Default"]
    assert re.fullmatch(re.escape(IMAGE).replace("default", r"[\w.]+"), image), image


def test_the_machine_installs_and_starts_the_monitor(deployed: Deployment) -> None:
    """The package is fetched, the environment written as the unit reads it, the script run."""
    stack = deployed["monitor"]
    data = stack.one("AWS::EC2::LaunchTemplate")["LaunchTemplateData"]
    commands = stack.plain(data["UserData"])
    unit = (ROOT / "infra" / "monitor" / "ngu-monitor.service").read_text()
    assert "EnvironmentFile=/etc/ngu/monitor.env" in unit
    written = re.search(r"cat > /etc/ngu/monitor.env <<'END'\n(.*?)\nEND\n", commands, re.S)
    assert written
    told = dict(line.split("=", 1) for line in written[1].splitlines())
    known = environment(told)
    assert (known.stage, known.region) == (deployed.stage, "<AWS::Region>")
    assert known.error_topic
    steps = [
        "aws s3 cp --region",
        "unzip -q",
        "monitor.env",
        "install.sh",
        "amazon-cloudwatch-agent-ctl",
    ]
    at = [commands.index(step) for step in steps]
    assert at == sorted(at)
    assert (ROOT / "infra" / "monitor" / "install.sh").is_file()
    assert "/opt/ngu/package" in unit
    assert len(commands.encode()) < 16_384 * 3 / 4
    subprocess.run(["bash", "-n"], input=commands, text=True, check=True)
    (agent,) = re.findall(r"printf '%s' '(.*)' > /etc/ngu/logs.json", commands)
    (file,) = json.loads(agent)["logs"]["logs_collected"]["files"]["collect_list"]
    group = stack.one("AWS::Logs::LogGroup")
    assert file["log_group_name"] == group["LogGroupName"]
    assert commands.count(file["file_path"]) == 3  # written, rotated, shipped


def test_the_bucket_is_closed_and_keeps_what_it_must(deployed: Deployment) -> None:
    """No public access, TLS only, versions; segments stay, backups and failures for a set time."""
    stack = deployed["data"]
    made = stack.one("AWS::S3::Bucket")
    assert set(made["PublicAccessBlockConfiguration"].values()) == {True}
    assert made["VersioningConfiguration"] == {"Status": "Enabled"}
    assert made["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    denied = json.dumps(stack.one("AWS::S3::BucketPolicy")["PolicyDocument"])
    assert '"aws:SecureTransport": "false"' in denied
    rules = {rule["Id"]: rule for rule in made["LifecycleConfiguration"]["Rules"]}
    assert rules["segments"]["Prefix"] == SEGMENTS
    assert "ExpirationInDays" not in rules["segments"]
    kinds = [one["StorageClass"] for one in rules["segments"]["Transitions"]]
    assert kinds == ["STANDARD_IA", "GLACIER_IR"]  # both are read at once
    prod = deployed.stage == "prod"
    assert rules["backup"]["ExpirationInDays"] == (400 if prod else 30)
    assert rules["failed"]["ExpirationInDays"] == (400 if prod else 90)
    assert all(rule["Status"] == "Enabled" for rule in rules.values())
    assert all("Prefix" in rule or "Expiration" not in str(rule) or name == "leftovers"
               for name, rule in rules.items())  # fmt: skip


def test_alarms_may_use_the_topic(deployed: Deployment) -> None:
    """Its key and its policy let CloudWatch of this account in, and TLS only."""
    stack = deployed["data"]
    for kind, field, action in (
        ("AWS::KMS::Key", "KeyPolicy", "kms:GenerateDataKey*"),
        ("AWS::SNS::TopicPolicy", "PolicyDocument", "sns:Publish"),
    ):
        statements = stack.plain(stack.one(kind)[field]["Statement"])
        (alarms,) = (
            one for one in statements
            if one["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
        )  # fmt: skip
        assert alarms["Effect"] == "Allow"
        assert action in alarms["Action"]
        assert alarms["Condition"] == {"StringEquals": {"aws:SourceAccount": "<AWS::AccountId>"}}
    assert stack.one("AWS::KMS::Key")["EnableKeyRotation"] is True
    assert "KmsMasterKeyId" in stack.one("AWS::SNS::Topic", TopicName=deployed.name("errors"))
    assert any(
        one["Effect"] == "Deny"
        for one in stack.one("AWS::SNS::TopicPolicy")["PolicyDocument"]["Statement"]
    )


def test_everything_that_can_be_is_tagged(deployed: Deployment) -> None:
    """Costs can be told apart by service, stage and component."""
    for stack, logical, resource in deployed.resources():
        tags = resource.get("Properties", {}).get("Tags")
        if isinstance(tags, list) and tags:
            shown = {tag["Key"]: tag["Value"] for tag in tags}
            assert shown["service"] == "ngu", (stack, logical)
            assert shown["stage"] == deployed.stage
            assert shown["component"] == stack.split("-")[1]
    tagged = {
        resource["Type"]
        for _, _, resource in deployed.resources()
        if resource.get("Properties", {}).get("Tags")
    }
    assert {
        "AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::Lambda::Function", "AWS::EC2::NatGateway",
        "AWS::KinesisFirehose::DeliveryStream", "AWS::AutoScaling::AutoScalingGroup",
        "AWS::EC2::VPCEndpoint", "AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::Logs::LogGroup",
    } <= tagged  # fmt: skip


@pytest.mark.parametrize("name", ["network", "data", "events", "monitor", "alarms"])
def test_no_template_names_an_account(deployed: Deployment, name: str) -> None:
    """One template for any account and region."""
    assert not re.search(r"\b\d{12}\b|us-east-1", json.dumps(deployed[name].content))
