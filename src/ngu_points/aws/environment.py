"""What a unit of compute is told by its environment: the specification's EnvConfig and our own.

Read once at start; nothing else looks at the environment. On Lambda, AWS_REGION comes from the
runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ngu_points.aws.tables import BATCH_EVENTS, STAKING_EVENTS, table_name
from ngu_points.engine.coverage import BATCH, STAKING
from ngu_points.errors import UsageError

Level = Literal["debug", "info", "warn", "error"]
Stage = Literal["prod", "staging"]


@dataclass(frozen=True, slots=True)
class Environment:
    """Names of what one stage of a service consists of."""

    service: str  # SERVICE
    stage: str  # NODE_ENV: prod or staging
    region: str  # AWS_REGION
    streams: Mapping[str, str]  # BATCH_FIREHOSE_NAME, STAKING_FIREHOSE_NAME, by our stream names
    tables: Mapping[str, str]  # BATCH_EVENTS_TABLE, STAKING_EVENTS_TABLE, by our table names
    error_topic: str  # ERROR_SNS_TOPIC, an ARN
    log_level: str  # LOG_LEVEL
    archive: str  # ARCHIVE_BUCKET; empty where there is none

    @property
    def parameters(self) -> str:
        """The path in Parameter Store under which settings and position lie."""
        return f"/{self.service}/{self.stage}"


def environment(env: Mapping[str, str]) -> Environment:
    """The environment of this process. Raises UsageError naming the variable that is wrong."""
    service, stage = _told(env, "SERVICE"), _one_of(env, "NODE_ENV", get_args(Stage))
    tables = {BATCH_EVENTS: "BATCH_EVENTS_TABLE", STAKING_EVENTS: "STAKING_EVENTS_TABLE"}
    return Environment(
        service,
        stage,
        _told(env, "AWS_REGION"),
        {
            BATCH: env.get("BATCH_FIREHOSE_NAME") or table_name(service, BATCH_EVENTS, stage),
            STAKING: env.get("STAKING_FIREHOSE_NAME") or table_name(service, STAKING_EVENTS, stage),
        },
        {name: env.get(key) or table_name(service, name, stage) for name, key in tables.items()},
        env.get("ERROR_SNS_TOPIC", ""),
        _one_of(env, "LOG_LEVEL", get_args(Level), "info"),
        env.get("ARCHIVE_BUCKET", ""),
    )


def _told(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if not value:
        raise UsageError(f"{name} is not set in the environment: the deployment sets it, see"
                         " docs/deploy.md")  # fmt: skip
    return value


def _one_of(env: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str = "") -> str:
    value = env.get(name) or default
    if value not in allowed:
        raise UsageError(f"{name} in the environment is {value!r}: it takes {', '.join(allowed)}")
    return value
