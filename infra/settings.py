"""What the stages differ in, and what an operator may choose (`cdk deploy -c name=value`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ngu_points.aws.environment import Stage
from ngu_points.aws.tables import TABLES, table_name

STAGES: tuple[Stage, ...] = ("staging", "prod")


@dataclass(frozen=True, slots=True)
class Settings:
    """One stage of one service."""

    stage: Stage
    service: str
    lasting: bool  # what is kept for ever: tables and archive outlive the stacks
    nat_gateways: int
    endpoint_zones: int  # zones in which the interface endpoints are
    log_days: int
    backup_days: int  # Firehose's copies of all records
    failed_days: int  # what could not be delivered
    writes: Mapping[str, int]  # write units a second at most, by table
    most_writes: int  # how far the scale function may raise them
    most_memory: int  # MB, of the process function
    buffer_mb: int
    buffer_seconds: int
    encoding: str  # of Firehose's requests: GZIP or NONE
    reserve: bool  # reserved concurrency; small accounts have none to reserve
    rpc_ports: tuple[int, ...]  # on which Ethereum nodes are reached
    api: bool  # whether there is an API for all to ask
    api_rate: int  # requests a second that it takes
    log_level: str
    alarm_email: str  # empty: nobody is subscribed

    def name(self, what: str) -> str:
        """`${service}-what-${stage}`."""
        return table_name(self.service, what, self.stage)

    @property
    def parameters(self) -> str:
        """The path in Parameter Store."""
        return f"/{self.service}/{self.stage}"


LARGEST_BUFFER = 4
"""MB. Firehose takes 64, but a function no request over 6 MB, and base64 adds a third."""
WRITES = {table.name: 1_000 for table in TABLES} | {
    "batch-events": 4_000,
    "staking-events": 4_000,
    "tokens": 2_000,
    "points": 2_000,
    "changes": 2_000,
}
"""To begin with; the scale function goes further within its limits."""


def settings(stage: Stage, given: Callable[[str], Any]) -> Settings:
    """A stage's settings; `given` looks up what the operator chose. ValueError on nonsense."""
    prod = stage == "prod"
    return Settings(
        stage=stage,
        service=_text(given, "service", "ngu"),
        lasting=prod,
        nat_gateways=2 if prod else 1,
        endpoint_zones=2 if prod else 1,
        log_days=90 if prod else 14,
        backup_days=400 if prod else 30,
        failed_days=400 if prod else 90,
        writes=WRITES,
        most_writes=_within(given, "mostWrites", 10_000, max(WRITES.values()), 40_000),
        most_memory=_within(given, "mostMemory", 3_008, 1_769, 10_240),
        buffer_mb=_within(given, "bufferMb", 1, 1, LARGEST_BUFFER),
        buffer_seconds=_within(given, "bufferSeconds", 60, 0, 900),
        encoding=_one_of(given, "contentEncoding", ("GZIP", "NONE")),
        reserve=_one_of(given, "reserve", ("true", "false")) == "true",
        rpc_ports=_ports(_text(given, "rpcPorts", "443")),
        api=_one_of(given, "api", ("true", "false", *STAGES)) in ("true", stage),
        api_rate=_within(given, "apiRate", 20, 1, 1_000),
        log_level=_one_of(given, "logLevel", ("info", "debug", "warn", "error")),
        alarm_email=_text(given, "alarmEmail", ""),
    )


def _text(given: Callable[[str], Any], name: str, default: str) -> str:
    value = given(name)
    return default if value is None else str(value)


def _one_of(given: Callable[[str], Any], name: str, allowed: tuple[str, ...]) -> str:
    value = _text(given, name, allowed[0])
    if value not in allowed:
        raise ValueError(f"-c {name}={value}: it takes {', '.join(allowed)}")
    return value


def _within(given: Callable[[str], Any], name: str, default: int, low: int, high: int) -> int:
    text = _text(given, name, str(default))
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise ValueError(f"-c {name}={text}: it takes a whole number from {low} to {high}")
    return int(text)


def _ports(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(p.isascii() and p.isdigit() and 0 < int(p) < 1 << 16 for p in parts):
        raise ValueError(f"-c rpcPorts={text}: it takes ports like 443 or 443,8545")
    return tuple(sorted({443, *map(int, parts)}))
