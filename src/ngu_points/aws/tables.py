"""The tables: names, keys, indexes, expiry. The store and the stacks are made from these alone.

Indexes hold nothing that ever changes, so that marking an event as processed costs one write unit.
Token ids are decimal text padded to 78 digits, which sorts; numbers of DynamoDB end at 38 digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BATCH_EVENTS, STAKING_EVENTS = "batch-events", "staking-events"
TOKENS, POINTS, FEAST_POOL = "tokens", "points", "feast-pool"
COVERAGE, DEAD_LETTERS, META, CHANGES = "coverage", "dead-letters", "meta", "changes"
QUARANTINE, LEADERBOARD, METRICS = "quarantine", "leaderboard", "metrics"

TYPE_BLOCK, STAKER_TOKEN = "TypeBlockIndex", "StakerTokenIndex"
OWNER, STREAM_BLOCK = "OwnerIndex", "StreamBlockIndex"

_OF_ALL_EVENTS = ("timestamp", "transactionHash", "transactionIndex", "logIndex",
                  "contract", "blockHash", "receivedAt")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Key:
    """Attributes of a key with their DynamoDB types ("S" text, "N" number)."""

    hash: tuple[str, str]
    range: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """A global secondary index; `holds` are the attributes it has besides all keys."""

    name: str
    key: Key
    holds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table by its short name; rows of one that `expires` go when their `ttl` has passed."""

    name: str
    key: Key
    indexes: tuple[Index, ...] = ()
    expires: bool = False


TABLES = (
    Table(
        BATCH_EVENTS,
        Key(("id", "S")),
        (
            Index(
                TYPE_BLOCK,
                Key(("type", "S"), ("blockNumber", "N")),
                (*_OF_ALL_EVENTS, "startTokenId", "quantity", "from", "to"),
            ),
        ),
        expires=True,
    ),
    Table(
        STAKING_EVENTS,
        Key(("id", "S")),
        (
            Index(STAKER_TOKEN, Key(("staker", "S"), ("tokenId", "S"))),
            Index(
                TYPE_BLOCK,
                Key(("type", "S"), ("blockNumber", "N")),
                (*_OF_ALL_EVENTS, "tokenId", "staker"),
            ),
        ),
        expires=True,
    ),
    Table(
        TOKENS,
        Key(("part", "S"), ("last", "S")),
        (Index(OWNER, Key(("owner", "S"), ("last", "S")), ("first",)),),
        expires=True,
    ),
    Table(POINTS, Key(("wallet", "S")), expires=True),
    Table(FEAST_POOL, Key(("day", "N"), ("piece", "N")), expires=True),
    Table(COVERAGE, Key(("stream", "S"), ("end", "S"))),
    Table(
        DEAD_LETTERS,
        Key(("id", "S")),
        (
            Index(
                STREAM_BLOCK,
                Key(("stream", "S"), ("blockNumber", "N")),
                ("logIndex", "transactionHash", "blockHash"),
            ),
        ),
    ),
    Table(QUARANTINE, Key(("id", "S"))),
    Table(LEADERBOARD, Key(("season", "S"), ("piece", "N"))),
    Table(METRICS, Key(("window", "S"), ("at", "N")), expires=True),
    Table(META, Key(("key", "S"))),
    Table(CHANGES, Key(("kind", "S"), ("at", "S")), expires=True),
)
KEYS = {table.name: table.key for table in TABLES}


def table_name(service: str, name: str, stage: str) -> str:
    """The full name of a table: `${service}-<name>-${stage}`."""
    return f"{service}-{name}-{stage}"


def creation(table: Table, full_name: str) -> dict[str, Any]:
    """The arguments of CreateTable; the table's expiry is set by a call of its own."""
    keys = [table.key, *(index.key for index in table.indexes)]
    types = {part for key in keys for part in (key.hash, key.range) if part}
    request: dict[str, Any] = {
        "TableName": full_name,
        "KeySchema": _schema(table.key),
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, kind in sorted(types)
        ],
        "BillingMode": "PAY_PER_REQUEST",
    }
    if table.indexes:
        request["GlobalSecondaryIndexes"] = [
            {
                "IndexName": index.name,
                "KeySchema": _schema(index.key),
                "Projection": _projection(table, index),
            }
            for index in table.indexes
        ]
    return request


def _schema(key: Key) -> list[dict[str, str]]:
    schema = [{"AttributeName": key.hash[0], "KeyType": "HASH"}]
    if key.range:
        schema.append({"AttributeName": key.range[0], "KeyType": "RANGE"})
    return schema


def _projection(table: Table, index: Index) -> dict[str, Any]:
    parts = (table.key.hash, table.key.range, index.key.hash, index.key.range)
    keys = {part[0] for part in parts if part}
    more = [name for name in index.holds if name not in keys]
    if not more:
        return {"ProjectionType": "KEYS_ONLY"}
    return {"ProjectionType": "INCLUDE", "NonKeyAttributes": more}
