"""What lasts: tables, the bucket of archive and backups, the key of deliveries, the error topic."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import Aws, Duration, RemovalPolicy, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions

from infra.settings import Settings
from ngu_points.aws.archive import PREFIX as SEGMENTS
from ngu_points.aws.repairs import PREFIX as REPAIRS
from ngu_points.aws.saved import BACKUP, FAILED
from ngu_points.aws.tables import TABLES, Key, Table, creation

TYPES = {"S": dynamodb.AttributeType.STRING, "N": dynamodb.AttributeType.NUMBER}
LEFT_METRIC = "undelivered"
"""Of the bucket's request metrics: what Firehose leaves under `failed/`."""
REPAIR_DAYS = 90
"""A repair takes its object away when it is done, so what is older was given up before it began, or
was broken off. A broken-off one could still be finished, but while it waits nothing is folded and
alarms are on: nobody leaves that for a season. If somebody does, a rebuild begins anew."""


@dataclass(frozen=True, slots=True)
class Data:
    """What other stacks need of it besides names."""

    bucket: s3.Bucket
    secret: secretsmanager.Secret
    topic: sns.Topic
    topic_key: kms.Key


def data(stack: Stack, settings: Settings) -> Data:
    """Build all of it."""
    for declared in TABLES:
        table(stack, declared, settings)
    topic, key = error_topic(stack, settings)
    return Data(bucket(stack, settings), secret(stack, settings), topic, key)


def table(stack: Stack, declared: Table, settings: Settings) -> dynamodb.Table:
    """A table as `ngu_points.aws.tables` declares it."""
    writes = settings.writes[declared.name]
    made = dynamodb.Table(
        stack,
        _camel(declared.name),
        table_name=settings.name(declared.name),
        partition_key=_attribute(declared.key.hash),
        sort_key=_sort_key(declared.key),
        billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
        max_write_request_units=writes,
        time_to_live_attribute="ttl" if declared.expires else None,
        encryption=dynamodb.TableEncryption.AWS_MANAGED,
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=settings.lasting
        ),
        deletion_protection=settings.lasting,
        removal_policy=_kept(settings),
    )
    asked = creation(declared, settings.name(declared.name))
    for index, request in zip(
        declared.indexes, asked.get("GlobalSecondaryIndexes", []), strict=True
    ):
        projection = request["Projection"]
        made.add_global_secondary_index(
            index_name=index.name,
            partition_key=_attribute(index.key.hash),
            sort_key=_sort_key(index.key),
            projection_type=dynamodb.ProjectionType[projection["ProjectionType"]],
            non_key_attributes=projection.get("NonKeyAttributes"),
            max_write_request_units=writes,
        )
    return made


def _attribute(part: tuple[str, str]) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=part[0], type=TYPES[part[1]])


def _sort_key(key: Key) -> dynamodb.Attribute | None:
    return _attribute(key.range) if key.range else None


def bucket_name(settings: Settings) -> str:
    """The bucket's name, which is the only one in the world."""
    return f"{settings.name('archive')}-{Aws.ACCOUNT_ID}-{Aws.REGION}"


def bucket(stack: Stack, settings: Settings) -> s3.Bucket:
    """Segments for ever; what Firehose leaves for a set time."""
    return s3.Bucket(
        stack,
        "Archive",
        bucket_name=bucket_name(settings),
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        encryption=s3.BucketEncryption.S3_MANAGED,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        versioned=True,
        removal_policy=RemovalPolicy.RETAIN,
        lifecycle_rules=[
            s3.LifecycleRule(
                id="segments",
                prefix=SEGMENTS,
                transitions=[
                    _to(s3.StorageClass.INFREQUENT_ACCESS, 60),
                    _to(s3.StorageClass.GLACIER_INSTANT_RETRIEVAL, 365),
                ],
            ),
            s3.LifecycleRule(
                id="backup",
                prefix=BACKUP,
                transitions=[_to(s3.StorageClass.GLACIER_INSTANT_RETRIEVAL, 30)]
                if settings.backup_days > 120
                else None,
                expiration=Duration.days(settings.backup_days),
            ),
            s3.LifecycleRule(
                id="failed", prefix=FAILED, expiration=Duration.days(settings.failed_days)
            ),
            s3.LifecycleRule(id="repairs", prefix=REPAIRS, expiration=Duration.days(REPAIR_DAYS)),
            s3.LifecycleRule(
                id="leftovers",
                abort_incomplete_multipart_upload_after=Duration.days(7),
                noncurrent_version_expiration=Duration.days(30),
                expired_object_delete_marker=True,
            ),
        ],
        metrics=[s3.BucketMetrics(id=LEFT_METRIC, prefix=FAILED)],
    )


def _to(storage: s3.StorageClass, days: int) -> s3.Transition:
    return s3.Transition(storage_class=storage, transition_after=Duration.days(days))


def secret(stack: Stack, settings: Settings) -> secretsmanager.Secret:
    """The access key that Firehose shows to `persist`, as Firehose wants it."""
    return secretsmanager.Secret(
        stack,
        "AccessKey",
        secret_name=settings.name("access-key"),
        description="What Firehose shows to the persist functions; see docs/deploy.md to rotate it",
        generate_secret_string=secretsmanager.SecretStringGenerator(
            secret_string_template="{}",
            generate_string_key="api_key",
            password_length=64,
            exclude_punctuation=True,
        ),
        removal_policy=RemovalPolicy.DESTROY,
    )


def error_topic(stack: Stack, settings: Settings) -> tuple[sns.Topic, kms.Key]:
    """ERROR_SNS_TOPIC and its key, which alarms may use: they cannot use AWS's own key."""
    key = kms.Key(
        stack,
        "TopicKey",
        description=f"Messages of {settings.name('errors')}",
        enable_key_rotation=True,
        removal_policy=RemovalPolicy.DESTROY,
    )
    topic = sns.Topic(
        stack, "Errors", topic_name=settings.name("errors"), master_key=key, enforce_ssl=True
    )
    ours = {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
    alarms = iam.ServicePrincipal("cloudwatch.amazonaws.com", conditions=ours)
    key.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[alarms], actions=["kms:Decrypt", "kms:GenerateDataKey*"], resources=["*"]
        )
    )
    topic.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[alarms], actions=["sns:Publish"], resources=[topic.topic_arn]
        )
    )
    if settings.alarm_email:
        topic.add_subscription(subscriptions.EmailSubscription(settings.alarm_email))
    return topic, key


def _kept(settings: Settings) -> RemovalPolicy:
    return RemovalPolicy.RETAIN if settings.lasting else RemovalPolicy.DESTROY


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))
