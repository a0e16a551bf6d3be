"""docs/requirements.md: each line of the specification has a row, and every link is alive."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest
from pages import ROOT, page, tables

LINK = re.compile(r"`((?:src|tests|infra)/[\w/.-]+\.py)(?:::([\w.]+))?`")
ISSUE = re.compile(r"issue ([1-5]) \(([\w ]+)\)")
ISSUES = {"1": "pipeline", "2": "nothing lost", "3": "AWS", "4": "fast", "5": "show it"}

# The specification, line by line, in words of our own; by its sections.
LINES: dict[str, list[str]] = {
    "Components and how they are joined": [
        "the blockchain is read by an event monitor",
        "batch events travel on a stream of their own",
        "staking events travel on a stream of their own",
        "each stream fills its event table",
        "event processors read both tables",
        "tokens table",
        "points table",
        "feast pool table",
        "CloudWatch watches streams and tables",
        "Points Recalc on a schedule",
        "Metrics Aggregation on a schedule",
    ],
    "BatchEvent": [
        "batch id: block, transaction hash, log index",
        "batch type: BatchMint, BatchBurn, BatchTransfer",
        "batch startTokenId",
        "batch quantity",
        "batch from, absent on a mint",
        "batch to, zero on a burn",
        "batch timestamp: block time",
        "batch blockNumber",
        "batch transactionHash",
        "batch transactionIndex",
        "batch logIndex: block-wide, compared as a number",
        "batch processed",
        "batch processedAt",
        "batch error",
        "batch ttl: 7 days, counted from processing",
    ],
    "StakingEvent": [
        "staking id: block, transaction hash, log index",
        "staking type: Stake, Unstake",
        "staking tokenId",
        "staking staker",
        "staking timestamp: block time",
        "staking blockNumber",
        "staking transactionHash",
        "staking transactionIndex",
        "staking logIndex: block-wide, compared as a number",
        "staking processed",
        "staking processedAt",
        "staking error",
        "staking ttl: 7 days, counted from processing",
    ],
    "Firehose of batch events": [
        "batch firehose: name from service and stage",
        "batch firehose: destination is its events table",
        "batch firehose: buffer size 1 MB",
        "batch firehose: buffer interval 60 seconds",
        "batch firehose: dead letter queue",
        "batch firehose: CloudWatch metrics and alarms",
    ],
    "Firehose of staking events": [
        "staking firehose: name from service and stage",
        "staking firehose: destination is its events table",
        "staking firehose: buffer size 1 MB",
        "staking firehose: buffer interval 60 seconds",
        "staking firehose: dead letter queue",
        "staking firehose: CloudWatch metrics and alarms",
    ],
    "Table of batch events": [
        "batch table: name from service and stage",
        "batch table: primary key id",
        "batch table: TypeBlockIndex: type, blockNumber",
        "batch table: TTL 7 days",
        "batch table: on-demand capacity",
    ],
    "Table of staking events": [
        "staking table: name from service and stage",
        "staking table: primary key id",
        "staking table: StakerTokenIndex: staker, tokenId",
        "staking table: TTL 7 days",
        "staking table: on-demand capacity",
    ],
    "Event monitor": [
        "monitor: runs on EC2",
        "monitor: parses blockchain events",
        "monitor: routes events to their stream",
        "monitor: watches the health of processing",
        "monitor: reports metrics to CloudWatch",
    ],
    "Event flow": [
        "detection: an event is detected",
        "detection: its type is determined",
        "detection: it is formatted by the schema",
        "detection: it is routed",
        "ingestion: events are buffered",
        "ingestion: failed writes are retried",
        "ingestion: metrics are reported",
        "ingestion: events are written to their table",
        "processing: unprocessed events are looked for",
        "processing: in order by block number",
        "processing: token and points tables are updated",
        "processing: events are marked as processed",
    ],
    "Metrics": [
        "metric: Firehose IncomingRecords",
        "metric: Firehose DeliveryToDynamoDB.Records",
        "metric: Firehose DeliveryToDynamoDB.Success",
        "metric: Firehose ThrottledRecords",
        "metric: DynamoDB SuccessfulRequestLatency",
        "metric: DynamoDB ThrottledRequests",
        "metric: DynamoDB ConsumedWriteCapacityUnits",
    ],
    "Alarms": [
        "alarm: Firehose delivery delay over 15 minutes (critical)",
        "alarm: DynamoDB throttling over 10% (critical)",
        "alarm: failed records over 1% (critical)",
        "alarm: Firehose buffer over 80% (warning)",
        "alarm: DynamoDB consumed capacity over 80% (warning)",
        "alarm: event processing delay over 5 minutes (warning)",
    ],
    "Cost": [
        "cost: buffering keeps writes few",
        "cost: streams are compressed",
        "cost: retries with exponential backoff",
        "cost: on-demand capacity",
        "cost: TTL removes old records",
        "cost: indexes for efficient queries",
    ],
    "Security": [
        "security: Firehose role may write to DynamoDB",
        "security: Firehose role may write logs",
        "security: Firehose role has no more than it needs",
        "security: monitor role may write to Firehose",
        "security: monitor role may write metrics",
        "security: monitor role may use Systems Manager",
        "security: VPC endpoints for AWS services",
        "security: private subnets for EC2",
        "security: security groups with minimal access",
    ],
    "Deployment": [
        "deployment: Kinesis Firehose",
        "deployment: DynamoDB",
        "deployment: CloudWatch",
        "deployment: EventBridge",
        "deployment: EC2",
        "deployment: private subnets",
        "deployment: NAT gateway",
        "deployment: VPC endpoints",
    ],
    "Environment variables": [
        "variable: NODE_ENV",
        "variable: AWS_REGION",
        "variable: BATCH_FIREHOSE_NAME",
        "variable: STAKING_FIREHOSE_NAME",
        "variable: BATCH_EVENTS_TABLE",
        "variable: STAKING_EVENTS_TABLE",
        "variable: ERROR_SNS_TOPIC",
        "variable: LOG_LEVEL",
    ],
    "Testing": [
        "unit tests: event parsing and validation",
        "unit tests: Firehose record formatting",
        "unit tests: error handling and retries",
        "integration tests: event flow end to end",
        "integration tests: Firehose delivery",
        "integration tests: DynamoDB writes",
        "load tests: high volume",
        "load tests: Firehose buffering",
        "load tests: DynamoDB scaling",
    ],
    "Recovery": [
        "event loss: identify the missing block range",
        "event loss: replay from the chain",
        "event loss: verify processing",
        "event loss: update metrics",
        "processing delay: scale up if needed",
        "processing delay: clear the backlog",
        "processing delay: verify ordering",
        "processing delay: update metrics",
    ],
    "Future improvements": [
        "future: custom dashboard",
        "future: real-time processing metrics",
        "future: automated scaling",
        "future: Firehose buffer tuning",
        "future: DynamoDB capacity optimisation",
        "future: parallel processing",
        "future: event replay",
        "future: analysis of the past",
        "future: real-time analytics",
    ],
}


ROWS = [row for table in tables(page("docs/requirements.md")) for row in table]
LINKS = sorted({link for row in ROWS for cell in row.values() for link in LINK.findall(cell)})


@cache
def symbols(path: str) -> frozenset[str]:
    """What a module defines: functions, classes with their members, constants."""
    found = set()
    for node in ast.parse(page(path)).body:
        found |= _names(node)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for inner in node.body for name in _names(inner)}
    return frozenset(found)


def _names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {t.id for t in targets if isinstance(t, ast.Name)}


def test_every_line_of_the_specification_has_one_row() -> None:
    """No line is left out, none stands twice, and no row is about something else."""
    named = [row["requirement"] for row in ROWS]
    assert len(named) == len(set(named))
    assert named == [line for lines in LINES.values() for line in lines]


@pytest.mark.parametrize("title", LINES)
def test_lines_stand_under_their_section(title: str) -> None:
    """The headings are the specification's parts."""
    section = page("docs/requirements.md").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    for line in LINES[title]:
        assert f"| {line} |" in section


def test_every_row_is_carried() -> None:
    """A row names code and a test, or the issue that will bring them."""
    for row in ROWS:
        carried = row["test, or issue"]
        done = LINK.search(row["code"]) and re.search(r"`tests/", carried)
        assert done or ISSUE.search(carried), row["requirement"]
        for number, name in ISSUE.findall(carried):
            assert ISSUES[number] == name, row["requirement"]


@pytest.mark.parametrize(("path", "symbol"), LINKS, ids=["::".join(link) for link in LINKS])
def test_every_link_is_alive(path: str, symbol: str) -> None:
    """The file exists and defines what is named; a test named there is a test."""
    assert (ROOT / path).is_file()
    if symbol:
        assert symbol in symbols(path)
    if path.startswith("tests/"):
        assert symbol.startswith("test_")
