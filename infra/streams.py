"""The two delivery streams: to the persist functions, and all records to the bucket as well.

Firehose has no DynamoDB destination: it delivers over HTTPS to a function that writes the table.
"""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Aws, Fn, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesisfirehose as firehose
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs

from infra.functions import retention
from infra.permissions import EVENT_TABLES
from infra.roles import Arns
from infra.settings import Settings
from infra.stores import Data
from ngu_points.aws.saved import BACKUP, FAILED

RETRIED = 3_600  # seconds; then it lies under failed/
BY_HOUR = "!{timestamp:yyyy/MM/dd/HH}/"
BY_ERROR = "!{firehose:error-output-type}/"
LOG_STREAMS = ("delivery", "backup")


def streams(
    stack: Stack, settings: Settings, data: Data, urls: Mapping[str, lambda_.FunctionUrl]
) -> None:
    """Build the stream of each of our streams' events."""
    for stream, url in urls.items():
        _stream(stack, settings, data, EVENT_TABLES[stream], url)


def _stream(
    stack: Stack, settings: Settings, data: Data, table: str, url: lambda_.FunctionUrl
) -> None:
    full, arns = settings.name(table), Arns(stack, settings)
    group = logs.LogGroup(
        stack,
        f"{table}-log",
        log_group_name=f"/aws/kinesisfirehose/{full}",
        retention=retention(settings),
        removal_policy=RemovalPolicy.DESTROY,
    )
    delivery, backup = (
        logs.LogStream(
            stack,
            f"{table}-log-{name}",
            log_group=group,
            log_stream_name=name,
            removal_policy=RemovalPolicy.DESTROY,
        )
        for name in LOG_STREAMS
    )
    made = firehose.CfnDeliveryStream(
        stack,
        f"{table}-stream",
        delivery_stream_name=full,
        delivery_stream_type="DirectPut",
        delivery_stream_encryption_configuration_input={"keyType": "AWS_OWNED_CMK"},
        http_endpoint_destination_configuration=_destination(
            settings, data, arns, table, url, _role(stack, settings, data, arns, table).role_arn
        ),
    )
    made.node.add_dependency(delivery, backup)


def _destination(
    settings: Settings,
    data: Data,
    arns: Arns,
    table: str,
    url: lambda_.FunctionUrl,
    role: str,
) -> dict[str, object]:
    full = settings.name(table)
    buffer = {"sizeInMBs": settings.buffer_mb, "intervalInSeconds": settings.buffer_seconds}
    return {
        "endpointConfiguration": {"name": settings.name("persist"), "url": url.url},
        "requestConfiguration": {"contentEncoding": settings.encoding},
        "secretsManagerConfiguration": {
            "enabled": True,
            "secretArn": data.secret.secret_arn,
            "roleArn": role,
        },
        "bufferingHints": buffer,
        "retryOptions": {"durationInSeconds": RETRIED},
        "roleArn": role,
        "cloudWatchLoggingOptions": _logging(full, "delivery"),
        "s3BackupMode": "AllData",
        "s3Configuration": {
            "bucketArn": arns.bucket,
            "roleArn": role,
            "prefix": f"{BACKUP}{full}/{BY_HOUR}",
            "errorOutputPrefix": f"{FAILED}{full}/{BY_ERROR}{BY_HOUR}",
            "compressionFormat": "GZIP",
            "bufferingHints": {"sizeInMBs": 5, "intervalInSeconds": 300},
            "cloudWatchLoggingOptions": _logging(full, "backup"),
        },
    }


def _logging(full: str, name: str) -> dict[str, object]:
    group = f"/aws/kinesisfirehose/{full}"
    return {"enabled": True, "logGroupName": group, "logStreamName": name}


def _role(stack: Stack, settings: Settings, data: Data, arns: Arns, table: str) -> iam.Role:
    """Of Firehose: its own prefixes of the bucket, its log, the access key; no table."""
    full = settings.name(table)
    may = [
        iam.PolicyStatement(
            actions=["s3:PutObject", "s3:AbortMultipartUpload"],
            resources=[f"{arns.bucket}/{prefix}{full}/*" for prefix in (BACKUP, FAILED)],
        ),
        iam.PolicyStatement(
            actions=["s3:GetBucketLocation", "s3:ListBucketMultipartUploads"],
            resources=[arns.bucket],
        ),
        iam.PolicyStatement(
            actions=["secretsmanager:GetSecretValue"], resources=[data.secret.secret_arn]
        ),
        iam.PolicyStatement(
            actions=["logs:PutLogEvents"],
            resources=[
                Fn.join("", [arns.of("logs", f"log-group:/aws/kinesisfirehose/{full}"), end])
                for end in (f":log-stream:{name}" for name in LOG_STREAMS)
            ],
        ),
    ]
    return iam.Role(
        stack,
        f"{table}-stream-role",
        description=f"What the delivery stream {full} does",
        assumed_by=iam.ServicePrincipal(
            "firehose.amazonaws.com",
            conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
        ),
        inline_policies={"does": iam.PolicyDocument(statements=may)},
    )
