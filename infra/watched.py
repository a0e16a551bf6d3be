"""Metrics as alarms and dashboard ask for them: AWS's own, and ours from `aws.metrics`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch

from infra.settings import Settings
from infra.stores import LEFT_METRIC, bucket_name
from ngu_points.aws.metrics import NAMESPACE, SERVICE, STAGE, Metric
from ngu_points.aws.tables import TABLES

MINUTE, FIVE_MINUTES, HOUR = Duration.minutes(1), Duration.minutes(5), Duration.hours(1)


class Watched:
    """The metrics of one stage."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def ours(
        self, metric: Metric, statistic: str, period: Duration = MINUTE, per: str = ""
    ) -> cloudwatch.Metric:
        """One that we publish; `per` is the stream of those that have one."""
        known = {SERVICE: self._settings.service, STAGE: self._settings.stage}
        dimensions = known | ({metric.per: per} if metric.per else {})
        label = f"{metric.name} {per}".strip()
        return _metric(NAMESPACE, metric.name, dimensions, statistic, period, label)

    def firehose(
        self, table: str, name: str, statistic: str, period: Duration = FIVE_MINUTES
    ) -> cloudwatch.Metric:
        """One of a delivery stream, which is named like the table that it fills."""
        dimensions = {"DeliveryStreamName": self._settings.name(table)}
        return _metric("AWS/Firehose", name, dimensions, statistic, period, f"{name} {table}")

    def dynamodb(
        self, place: str, name: str, statistic: str, period: Duration, operation: str = ""
    ) -> cloudwatch.Metric:
        """One of a table, or of an index named `table/Index`."""
        table, _, index = place.partition("/")
        dimensions = {"TableName": self._settings.name(table)}
        dimensions |= {"GlobalSecondaryIndexName": index} if index else {}
        dimensions |= {"Operation": operation} if operation else {}
        label = f"{name} {place} {operation}".strip()
        return _metric("AWS/DynamoDB", name, dimensions, statistic, period, label)

    def queue(self, name: str) -> cloudwatch.Metric:
        """Messages in a dead-letter queue."""
        dimensions = {"QueueName": self._settings.name(name)}
        what = "ApproximateNumberOfMessagesVisible"
        return _metric("AWS/SQS", what, dimensions, "Maximum", FIVE_MINUTES, name)

    def undelivered(self) -> cloudwatch.Metric:
        """Objects that Firehose put under `failed/`."""
        dimensions = {"BucketName": bucket_name(self._settings), "FilterId": LEFT_METRIC}
        return _metric("AWS/S3", "PutRequests", dimensions, "Sum", FIVE_MINUTES, "failed/")

    def function(self, name: str, metric: str, statistic: str) -> cloudwatch.Metric:
        """One of a function."""
        dimensions = {"FunctionName": self._settings.name(name)}
        return _metric("AWS/Lambda", metric, dimensions, statistic, FIVE_MINUTES, name)

    # Sums of them -------------------------------------------------------------------------

    def throttling(self, place: str) -> cloudwatch.MathExpression:
        """Throttled writes, percent of all. An index has no requests: those of its table count.

        `WriteThrottleEvents`, because `ThrottledRequests` counts a request once, whatever in it
        was throttled.
        """
        table, at = place.partition("/")[0], _id(place)
        lost = f"throttled_{at}"
        used = {lost: self.dynamodb(place, "WriteThrottleEvents", "Sum", FIVE_MINUTES)}
        for name, operation in (("puts", "PutItem"), ("updates", "UpdateItem")):
            used[f"{name}_{_id(table)}"] = self.dynamodb(
                table, "SuccessfulRequestLatency", "SampleCount", FIVE_MINUTES, operation
            )
        done = " + ".join(f"FILL({name}, 0)" for name in used)
        return _math(f"100 * FILL({lost}, 0) / ({done})", used, f"throttled % {place}")

    def capacity(self, place: str) -> cloudwatch.MathExpression:
        """Consumed write units, percent of the maximum that the table has now.

        In periods of five minutes: no more often does AWS publish what the maximum is.
        """
        took, most = f"consumed_{_id(place)}", f"most_{_id(place)}"
        used = {
            took: self.dynamodb(place, "ConsumedWriteCapacityUnits", "Sum", FIVE_MINUTES),
            most: self.dynamodb(place, "OnDemandMaxWriteRequestUnits", "Maximum", FIVE_MINUTES),
        }
        text = f"100 * ({took} / PERIOD({took})) / FILL({most}, REPEAT)"
        return _math(text, used, f"capacity % {place}")


def places() -> Iterator[str]:
    """All tables, and their indexes as `table/Index`."""
    for table in TABLES:
        yield table.name
        yield from (f"{table.name}/{index.name}" for index in table.indexes)


def percent(
    part: Mapping[str, cloudwatch.Metric], rest: Mapping[str, cloudwatch.Metric], label: str
) -> cloudwatch.MathExpression:
    """The share of some metrics in all of them; nothing where all are 0."""
    used = {**part, **rest}
    of, whole = (" + ".join(f"FILL({n}, 0)" for n in names) for names in (part, used))
    return _math(f"100 * ({of}) / ({whole})", used, label)


def _math(
    text: str,
    used: Mapping[str, cloudwatch.Metric],
    label: str,
    period: Duration = FIVE_MINUTES,
) -> cloudwatch.MathExpression:
    return cloudwatch.MathExpression(
        expression=text, using_metrics=dict(used), label=label, period=period
    )


def changed(metric: cloudwatch.Metric, label: str) -> cloudwatch.MathExpression:
    """By how much a metric grew since the period before."""
    return _math("DIFF(value)", {"value": metric}, label)


def expression(
    text: str, used: Mapping[str, cloudwatch.Metric], label: str, period: Duration
) -> cloudwatch.MathExpression:
    """Any other arithmetic."""
    return _math(text, used, label, period)


def _id(place: str) -> str:
    """Of a table or an index, as names within expressions may be written."""
    return place.replace("-", "_").replace("/", "_")


def _metric(
    namespace: str,
    name: str,
    dimensions: Mapping[str, str],
    statistic: str,
    period: Duration,
    label: str,
) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name=name,
        dimensions_map=dict(dimensions),
        statistic=statistic,
        period=period,
        label=label,
    )
