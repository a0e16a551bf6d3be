"""The machine of the event monitor: one at a time, replaced by itself, reached by nobody."""

from __future__ import annotations

import json
from pathlib import Path

from aws_cdk import Aws, Duration, RemovalPolicy, Stack
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3_assets as assets

from infra import permissions
from infra.functions import environment, outside, retention
from infra.network import Network
from infra.package import HOST
from infra.roles import Arns, policy
from infra.settings import Settings
from infra.stores import Data

INSTANCE = "t4g.small"
DISK = 16  # GB, for the outbox
INSTALLED_WITHIN = Duration.minutes(15)
"""A deployment whose machine does not say within that time that it is installed is rolled back."""
"""The agent of Systems Manager, which knows no ARNs: a shell without an open port."""
AGENT = (
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
    "ec2messages:AcknowledgeMessage",
    "ec2messages:DeleteMessage",
    "ec2messages:FailMessage",
    "ec2messages:GetEndpoint",
    "ec2messages:GetMessages",
    "ec2messages:SendReply",
)


def host(stack: Stack, settings: Settings, network: Network, data: Data, code: Path | None) -> None:
    """Build a group of one machine that installs itself from the packaged folder."""
    shipped = assets.Asset(stack, "Package", path=str(code or HOST))
    role = _role(stack, settings, data, shipped)
    start = _first_start(settings, data, shipped)
    template = ec2.LaunchTemplate(
        stack,
        "Machine",
        launch_template_name=settings.name("monitor"),
        instance_type=ec2.InstanceType(INSTANCE),
        machine_image=ec2.MachineImage.latest_amazon_linux2023(
            cpu_type=ec2.AmazonLinuxCpuType.ARM_64
        ),
        security_group=network.monitor,
        role=role.without_policy_updates(),  # cfn-signal needs none
        require_imdsv2=True,
        http_put_response_hop_limit=1,
        detailed_monitoring=True,
        block_devices=[
            ec2.BlockDevice(
                device_name="/dev/xvda",
                volume=ec2.BlockDeviceVolume.ebs(
                    DISK, encrypted=True, volume_type=ec2.EbsDeviceVolumeType.GP3
                ),
            )
        ],
        user_data=start,
    )
    group = autoscaling.AutoScalingGroup(
        stack,
        "Group",
        auto_scaling_group_name=settings.name("monitor"),
        vpc=network.vpc,
        vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
        launch_template=template,
        min_capacity=1,
        max_capacity=1,
        signals=autoscaling.Signals.wait_for_all(timeout=INSTALLED_WITHIN),
        update_policy=autoscaling.UpdatePolicy.rolling_update(
            max_batch_size=1, min_instances_in_service=0
        ),
    )
    start.add_signal_on_exit_command(group)


def _role(stack: Stack, settings: Settings, data: Data, shipped: assets.Asset) -> iam.Role:
    agent = [
        iam.PolicyStatement(actions=list(AGENT), resources=["*"]),
        iam.PolicyStatement(
            actions=["s3:GetObject"],
            resources=[
                f"arn:{Aws.PARTITION}:s3:::{shipped.s3_bucket_name}/{shipped.s3_object_key}"
            ],
        ),
    ]
    group = logs.LogGroup(
        stack,
        "Log",
        log_group_name=log_group(settings),
        retention=retention(settings),
        removal_policy=RemovalPolicy.DESTROY,
    )
    does = policy(permissions.MONITOR, Arns(stack, settings), outside(data), log_group(settings))
    agent.append(
        iam.PolicyStatement(actions=["logs:DescribeLogStreams"], resources=[group.log_group_arn])
    )
    return iam.Role(
        stack,
        "Role",
        description=f"What {settings.name('monitor')} does",
        assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
        inline_policies={"does": does, "machine": iam.PolicyDocument(statements=agent)},
    )


def _first_start(settings: Settings, data: Data, shipped: assets.Asset) -> ec2.UserData:
    """Shell commands: fetch the package, write the environment, install, start."""
    told = {**environment(settings, data.topic.topic_arn), "AWS_REGION": Aws.REGION}
    lines = [f"{name}={value}" for name, value in told.items()]
    made = ec2.UserData.for_linux()
    made.add_commands(
        "set -euxo pipefail",
        "dnf install -y aws-cfn-bootstrap python3.13 unzip",
        f"aws s3 cp --region {Aws.REGION} s3://{shipped.s3_bucket_name}/{shipped.s3_object_key}"
        " /tmp/package.zip",
        "mkdir -p /opt/ngu /etc/ngu",
        "unzip -q -o /tmp/package.zip -d /opt/ngu/package",
        "cat > /etc/ngu/monitor.env <<'END'",
        *lines,
        "END",
        "chmod 0640 /etc/ngu/monitor.env",
        *_write_log(),
        "sh /opt/ngu/package/install.sh",
        *_ship_log(log_group(settings)),
    )
    return made


def log_group(settings: Settings) -> str:
    """Where the monitor's log goes, so that it outlives the machine."""
    return f"/{settings.service}/{settings.stage}/monitor"


LOG_FILE = "/var/log/ngu-monitor.log"
LOG_UNIT = f"""
[Unit]
Description=The event monitor's journal as a file, for CloudWatch
[Service]
ExecStart=/bin/sh -c 'exec journalctl -u ngu-monitor -f -n 0 -o cat >> {LOG_FILE}'
Restart=always
[Install]
WantedBy=multi-user.target
"""
ROTATION = f"""
{LOG_FILE} {{
    size 50M
    rotate 2
    copytruncate
    missingok
}}
"""


def _write_log() -> list[str]:
    """CloudWatch's agent reads no journal: a small unit writes the monitor's part to a file."""
    return [
        f"cat > /etc/systemd/system/ngu-monitor-log.service <<'END'{LOG_UNIT}END",
        "systemctl daemon-reload",
        "systemctl enable --now ngu-monitor-log",
        f"cat > /etc/logrotate.d/ngu-monitor <<'END'{ROTATION}END",
    ]


def _ship_log(group: str) -> list[str]:
    one = {"file_path": LOG_FILE, "log_group_name": group, "log_stream_name": "{instance_id}"}
    agent = {"logs": {"logs_collected": {"files": {"collect_list": [one]}}}}
    control = "/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl"
    return [
        "dnf install -y amazon-cloudwatch-agent logrotate",
        f"printf '%s' '{json.dumps(agent)}' > /etc/ngu/logs.json",
        f"{control} -a fetch-config -m ec2 -s -c file:/etc/ngu/logs.json",
    ]
