"""What each part may do: no more than its code does. Tests compare both, in both directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ngu_points.aws.archive import PREFIX as SEGMENTS
from ngu_points.aws.metrics import NAMESPACE
from ngu_points.aws.parameters import POSITION, RPC, SETTINGS
from ngu_points.aws.repairs import PREFIX as REPAIRS
from ngu_points.aws.saved import BACKUP, FAILED
from ngu_points.aws.tables import (
    BATCH_EVENTS,
    CHANGES,
    COVERAGE,
    DEAD_LETTERS,
    FEAST_POOL,
    LEADERBOARD,
    META,
    METRICS,
    POINTS,
    QUARANTINE,
    STAKING_EVENTS,
    STREAM_BLOCK,
    TABLES,
    TOKENS,
    TYPE_BLOCK,
)
from ngu_points.mirror.ledger import PREFIX as LEDGER

TABLE_ACTIONS = {
    "get": "GetItem",
    "many": "BatchGetItem",
    "put": "PutItem",
    "update": "UpdateItem",
    "delete": "DeleteItem",
    "check": "ConditionCheckItem",
    "query": "Query",
    "scan": "Scan",
    "describe": "DescribeTable",
    "scale": "UpdateTable",
}


@dataclass(frozen=True, slots=True)
class May:
    """What a role may do. Tables and indexes ("table/Index") by verbs, objects by prefix."""

    tables: Mapping[str, str] = field(default_factory=dict)
    objects: Mapping[str, str] = field(default_factory=dict)  # of the bucket
    lists: Sequence[str] = ()  # prefixes of the bucket
    parameters: Mapping[str, str] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)
    streams: Sequence[str] = ()  # into which it puts
    dead_letters: Sequence[str] = ()  # queues that its failures go to
    tells: bool = False  # the error topic
    key: bool = False  # reads the access key of deliveries
    metrics: str = ""  # the namespace in which it publishes
    alarms: Sequence[str] = ()  # of whose states it asks, each by its whole name
    all_alarms: bool = False  # asks by a prefix, which IAM allows for all alarms or not at all


SCALING = ("throttling-*", "capacity-*", "processing-delay")
"""The alarms that call the scale function; it asks which of them go on."""
EVENT_TABLES = {"batch": BATCH_EVENTS, "staking": STAKING_EVENTS}


def persist(stream: str) -> May:
    """Of one stream's persist function: its own event table, not the other's."""
    return May(
        tables={
            EVENT_TABLES[stream]: "put",
            COVERAGE: "put",
            DEAD_LETTERS: "put",
            QUARANTINE: "put",
            CHANGES: "put",
            META: "get",
        },
        parameters={SETTINGS: "GetParameter"},
        functions={"process": "InvokeFunction"},
        key=True,
    )


PROCESS = May(
    tables={
        BATCH_EVENTS: "get update delete",
        STAKING_EVENTS: "get update delete",
        f"{BATCH_EVENTS}/{TYPE_BLOCK}": "query",
        f"{STAKING_EVENTS}/{TYPE_BLOCK}": "query",
        TOKENS: "query scan put",
        POINTS: "many scan put",
        FEAST_POOL: "put",
        COVERAGE: "query",
        DEAD_LETTERS: "put",
        f"{DEAD_LETTERS}/{STREAM_BLOCK}": "query",
        META: "get put update check",
        CHANGES: "many put delete query",
    },
    objects={SEGMENTS: "GetObject"},
    lists=(SEGMENTS,),
    parameters={SETTINGS: "GetParameter"},
    dead_letters=("process-failed",),
    tells=True,
)

JOBS = May(
    tables={
        f"{BATCH_EVENTS}/{TYPE_BLOCK}": "query",
        f"{STAKING_EVENTS}/{TYPE_BLOCK}": "query",
        TOKENS: "scan",
        POINTS: "scan",
        FEAST_POOL: "query scan",
        COVERAGE: "query delete",
        DEAD_LETTERS: "many",
        f"{DEAD_LETTERS}/{STREAM_BLOCK}": "query",
        LEADERBOARD: "get put",
        METRICS: "put",
        META: "get put update delete",
        CHANGES: "put delete query",
    },
    objects={SEGMENTS: "GetObject PutObject DeleteObject"},
    lists=(SEGMENTS,),
    parameters={SETTINGS: "GetParameter"},
    dead_letters=("jobs-failed",),
)

API = May(
    tables={
        f"{BATCH_EVENTS}/{TYPE_BLOCK}": "query",
        f"{STAKING_EVENTS}/{TYPE_BLOCK}": "query",
        TOKENS: "scan",
        POINTS: "scan",
        FEAST_POOL: "scan",
        COVERAGE: "query",
        DEAD_LETTERS: "scan",
        METRICS: "query",
        META: "get",
        CHANGES: "query",
    },
    objects={SEGMENTS: "GetObject", LEDGER: "GetObject"},
    lists=(SEGMENTS, LEDGER),
    parameters={SETTINGS: "GetParameter", POSITION: "GetParameter"},
)

SCALE = May(
    tables={table.name: "describe scale" for table in TABLES}
    | {META: "describe scale get put delete"},
    functions={"process": "GetFunctionConfiguration UpdateFunctionConfiguration"},
    dead_letters=("scale-failed",),
    tells=True,
    alarms=SCALING,
)

MONITOR = May(
    tables={COVERAGE: "query", META: "get put"},
    parameters={
        SETTINGS: "GetParameter",
        RPC: "GetParameter",
        POSITION: "GetParameter PutParameter",
    },
    streams=(BATCH_EVENTS, STAKING_EVENTS),
    tells=True,
    metrics=NAMESPACE,
)

OPERATOR = May(
    tables={t.name: "get many query scan put update delete check describe scale" for t in TABLES}
    | {
        f"{BATCH_EVENTS}/{TYPE_BLOCK}": "query",
        f"{STAKING_EVENTS}/{TYPE_BLOCK}": "query",
        f"{DEAD_LETTERS}/{STREAM_BLOCK}": "query",
    },
    objects={
        SEGMENTS: "GetObject PutObject",
        LEDGER: "GetObject PutObject",
        REPAIRS: "GetObject PutObject DeleteObject",
        BACKUP: "GetObject",
        FAILED: "GetObject",
    },
    lists=(SEGMENTS, LEDGER, REPAIRS, BACKUP, FAILED),
    parameters={
        SETTINGS: "GetParameter",
        RPC: "GetParameter",
        POSITION: "GetParameter PutParameter",
    },
    functions={
        "process": "GetFunctionConfiguration UpdateFunctionConfiguration",
        "scale": "GetFunctionConfiguration",
    },
    all_alarms=True,
)
"""Of people: what the commands with `--store dynamodb` call, to look, to repair and to drain."""
