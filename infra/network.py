"""The network of the event monitor: private subnets, a way out to the node, endpoints of AWS."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs

from infra.settings import Settings

ZONES = 2
GATEWAYS = {
    "dynamodb": ec2.GatewayVpcEndpointAwsService.DYNAMODB,
    "s3": ec2.GatewayVpcEndpointAwsService.S3,
}
INTERFACES = {
    "kinesis-firehose": ec2.InterfaceVpcEndpointAwsService.KINESIS_FIREHOSE,
    "monitoring": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_MONITORING,
    "logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
    "ssm": ec2.InterfaceVpcEndpointAwsService.SSM,
    "ssmmessages": ec2.InterfaceVpcEndpointAwsService.SSM_MESSAGES,
    "ec2messages": ec2.InterfaceVpcEndpointAwsService.EC2_MESSAGES,
    "secretsmanager": ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
}


@dataclass(frozen=True, slots=True)
class Network:
    """Where the monitor lives."""

    vpc: ec2.Vpc
    monitor: ec2.SecurityGroup


def network(stack: Stack, settings: Settings) -> Network:
    """Build it: nothing is let in, and out go HTTPS and the ports of Ethereum nodes."""
    vpc = ec2.Vpc(
        stack,
        "Vpc",
        vpc_name=settings.name("vpc"),
        max_azs=ZONES,
        nat_gateways=settings.nat_gateways,
        subnet_configuration=[
            ec2.SubnetConfiguration(
                name="public",
                subnet_type=ec2.SubnetType.PUBLIC,
                cidr_mask=24,
                map_public_ip_on_launch=False,
            ),
            ec2.SubnetConfiguration(
                name="private", subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS, cidr_mask=24
            ),
        ],
    )
    _flow_log(stack, vpc, settings)
    for name, service in GATEWAYS.items():
        vpc.add_gateway_endpoint(name, service=service)
    monitor = ec2.SecurityGroup(
        stack,
        "Monitor",
        vpc=vpc,
        security_group_name=settings.name("monitor"),
        description="Event monitor: nothing in, HTTPS and Ethereum nodes out",
        allow_all_outbound=False,
    )
    for port in settings.rpc_ports:
        monitor.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(port), f"out on port {port}")
    _interfaces(stack, vpc, monitor, settings)
    return Network(vpc, monitor)


def _interfaces(stack: Stack, vpc: ec2.Vpc, monitor: ec2.SecurityGroup, settings: Settings) -> None:
    endpoints = ec2.SecurityGroup(
        stack,
        "Endpoints",
        vpc=vpc,
        security_group_name=settings.name("endpoints"),
        description="Endpoints of AWS: HTTPS from the event monitor in, nothing out",
        allow_all_outbound=False,
    )
    endpoints.add_ingress_rule(monitor, ec2.Port.tcp(443), "HTTPS of the event monitor")
    zones = ec2.SubnetSelection(subnets=vpc.private_subnets[: settings.endpoint_zones])
    for name, service in INTERFACES.items():
        vpc.add_interface_endpoint(
            name, service=service, subnets=zones, security_groups=[endpoints], open=False
        )


def _flow_log(stack: Stack, vpc: ec2.Vpc, settings: Settings) -> None:
    group = logs.LogGroup(
        stack,
        "FlowLog",
        log_group_name=f"/{settings.service}/{settings.stage}/network",
        retention=logs.RetentionDays.TWO_WEEKS,
        removal_policy=RemovalPolicy.DESTROY,
    )
    writer = iam.PolicyStatement(
        actions=["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
        resources=[group.log_group_arn],
    )
    role = iam.Role(
        stack,
        "FlowLogRole",
        assumed_by=iam.ServicePrincipal("vpc-flow-logs.amazonaws.com"),
        inline_policies={"logs": iam.PolicyDocument(statements=[writer])},
    )
    ec2.FlowLog(
        stack,
        "Flows",
        resource_type=ec2.FlowLogResourceType.from_vpc(vpc),
        destination=ec2.FlowLogDestination.to_cloud_watch_logs(
            group, role.without_policy_updates()
        ),
        traffic_type=ec2.FlowLogTrafficType.REJECT,
    )
