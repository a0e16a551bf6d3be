"""What functions tell CloudWatch: JSON lines, and metrics in the embedded metric format."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics

from ngu_points.aws.environment import Environment
from ngu_points.aws.metrics import NAMESPACE, SERVICE, STAGE, Metric

OURS = ("ngu", "ngu_points")
"""The loggers that the code beneath writes to."""


@cache
def logger(service: str, level: str) -> Logger:
    """The process's log; what the code beneath logs goes the same way."""
    made = Logger(service=service, level=level.upper())
    for name in OURS:
        beneath = logging.getLogger(name)
        beneath.handlers = [made.registered_handler]
        beneath.setLevel(made.log_level)
        beneath.propagate = False
    return made


def publish(env: Environment, values: Mapping[Metric, float], per: str = "") -> None:
    """Publish metrics that share their dimensions; `per` is the stream or table of those of one."""
    metrics = EphemeralMetrics(namespace=NAMESPACE)
    metrics.set_default_dimensions(**{SERVICE: env.service, STAGE: env.stage})
    for dimension in {metric.per for metric in values} - {None}:
        metrics.add_dimension(str(dimension), per)
    for metric, value in values.items():
        metrics.add_metric(metric.name, metric.unit, value)
    metrics.flush_metrics()
