"""`python -m infra.costs`: what a stage costs a month while nothing happens, and a million events.

From list prices (`prices.toml`), units that were counted on the model of DynamoDB (`units.json`),
and what a stage consists of. CDK is not needed. The tables are those of docs/deploy.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.settings import STAGES, Settings, settings
from ngu_points.aws.environment import Stage
from ngu_points.aws.metrics import METRICS
from ngu_points.engine.coverage import STREAMS
from ngu_points.engine.rules import DAY
from ngu_points.pipeline.schedule import JOBS

HERE = Path(__file__).parent
HOURS = 730  # a month
MINUTES = HOURS * 60
GB = 2**30
SECONDS = {"persist": 0.2, "process": 0.5, "jobs": 0.5, "scale": 0.5}
"""What an idle run of each function is assumed to take."""
MEMORY = {"persist": 0.5, "process": 1.73, "jobs": 1.73, "scale": 0.25, "api": 1.73}
"""GB, as functions.py says."""
ANSWER = 0.005  # seconds of an answer of the API, assumed: bench.api measures a tenth of it
ASKED_BYTES = 700  # of logs of a request: of the API and of the function, assumed
LOG_BYTES = 2_000  # of one run, assumed: what Lambda writes, our line, the metrics
MACHINE_METRICS = 7  # of detailed monitoring
DISK = 16  # GB of the monitor
LOOK_BYTES = 8_000  # to and from the node when the monitor looks, assumed
EVENT_BYTES = 1_000  # of a log and its part of headers, as nodes send them


@dataclass(frozen=True, slots=True)
class Counts:
    """What a stage has of the things that cost by the month."""

    nat_gateways: int
    endpoints: int  # interface endpoints × zones
    alarm_metrics: int  # metrics that alarms look at
    dashboards: int
    secrets: int
    keys: int
    recovered: bool  # point-in-time recovery


@dataclass(frozen=True, slots=True)
class Line:
    """One item of a bill."""

    what: str
    how: str
    usd: float


ENDPOINTS, ALARM_METRICS = 7, 127
"""As the templates have it; tests/infra counts them there."""


def told(stage: Stage) -> Counts:
    """What a stage has by its settings."""
    chosen: Settings = settings(stage, lambda _: None)
    endpoints = ENDPOINTS * chosen.endpoint_zones
    return Counts(chosen.nat_gateways, endpoints, ALARM_METRICS, 1, 1, 1, chosen.lasting)


def counted(templates: Sequence[Mapping[str, Any]]) -> Counts:
    """What a stage has by its templates."""
    made = [r for t in templates for r in t["Resources"].values()]

    def all_of(kind: str) -> list[dict[str, Any]]:
        return [r.get("Properties", {}) for r in made if r["Type"] == kind]

    tables = all_of("AWS::DynamoDB::Table")
    return Counts(
        len(all_of("AWS::EC2::NatGateway")),
        sum(len(e["SubnetIds"]) for e in all_of("AWS::EC2::VPCEndpoint") if "SubnetIds" in e),
        sum(_metrics(alarm) for alarm in all_of("AWS::CloudWatch::Alarm")),
        len(all_of("AWS::CloudWatch::Dashboard")),
        len(all_of("AWS::SecretsManager::Secret")),
        len(all_of("AWS::KMS::Key")),
        any(
            t.get("PointInTimeRecoverySpecification", {}).get("PointInTimeRecoveryEnabled")
            for t in tables
        ),
    )


def _metrics(alarm: Mapping[str, Any]) -> int:
    """An alarm over an expression is billed for each metric in it."""
    return sum("MetricStat" in part for part in alarm.get("Metrics", [{"MetricStat": {}}]))


def counts(stage: Stage, folder: Path = HERE / "cdk.out") -> Counts:
    """By the templates where they have been written, else by the settings."""
    paths = sorted(folder.glob(f"*-{stage}.template.json"))
    if not paths:
        return told(stage)
    return counted([json.loads(path.read_text(encoding="utf-8")) for path in paths])


def monthly(has: Counts, prices: Mapping[str, Any], idle: Mapping[str, int]) -> Iterator[Line]:
    """A month in which nothing happens on the contract: the machine looks, functions run."""
    net, watch, secrets = prices["network"], prices["cloudwatch"], prices["secrets"]
    yield Line(
        "interface endpoints",
        f"{has.endpoints} (endpoint × zone)",
        has.endpoints * HOURS * net["endpoint_hour"],
    )
    nat = HOURS * (net["nat_hour"] + net["address_hour"])
    looks = HOURS * 360 * LOOK_BYTES / GB * net["nat_gb"]
    yield Line("NAT", f"{has.nat_gateways} with an address each", has.nat_gateways * nat + looks)
    machine = HOURS * prices["ec2"]["t4g_small_hour"] + DISK * prices["ec2"]["gp3_gb_month"]
    yield Line("event monitor", f"t4g.small, {DISK} GB gp3", machine)
    yield Line(
        "alarms",
        f"{has.alarm_metrics} metrics looked at",
        has.alarm_metrics * watch["alarm_month"],
    )
    ours = sum(len(STREAMS) if metric.per else 1 for metric in METRICS)
    sent = MINUTES / 1e3 * watch["request_thousand"]
    yield Line(
        "metrics",
        f"{ours} of ours, {MACHINE_METRICS} of the machine",
        (ours + MACHINE_METRICS) * watch["metric_month"] + sent,
    )
    yield Line("dashboard", f"{has.dashboards}", has.dashboards * watch["dashboard_month"])
    yield Line(
        "secret, KMS key",
        f"{has.secrets}, {has.keys}",
        has.secrets * secrets["secret_month"] + has.keys * secrets["key_month"],
    )
    yield from _running(prices, idle)


def _running(prices: Mapping[str, Any], idle: Mapping[str, int]) -> Iterator[Line]:
    tables, functions = prices["dynamodb"], prices["lambda"]
    writes = idle["write"] / 1e6 * tables["write_million"]
    reads = idle["read"] / 1e6 * tables["read_million"]
    yield Line(
        "DynamoDB",
        f"{idle['write'] / 1e6:.1f} million write units, {idle['read'] / 1e6:.1f} read",
        writes + reads,
    )
    scheduled = {
        "process": MINUTES,
        "scale": MINUTES / 5,
        "jobs": sum(MINUTES * 60 / job.every for job in JOBS if job.every < DAY) + HOURS / 24,
    }
    runs = scheduled | {"persist": idle["deliveries"]}
    runs["process"] += idle["deliveries"]
    seconds = sum(runs[name] * SECONDS[name] * MEMORY[name] for name in runs)
    total = sum(runs.values())
    yield Line(
        "Lambda",
        f"{total / 1e3:.0f} thousand runs",
        total / 1e6 * functions["request_million"] + seconds * functions["gb_second"],
    )
    yield Line(
        "logs",
        f"{total * LOG_BYTES / 1e9:.1f} GB",
        total * LOG_BYTES / GB * prices["cloudwatch"]["logs_gb"],
    )
    calls = sum(scheduled.values())
    scheduler = prices["scheduler"]
    yield Line(
        "Scheduler", f"{calls / 1e3:.0f} thousand", calls / 1e6 * scheduler["invocation_million"]
    )
    put = idle["records"] * prices["firehose"]["record_bytes"] / GB * prices["firehose"]["gb"]
    yield Line("Firehose", f"{idle['records'] / 1e3:.0f} thousand coverage records of 5 KB", put)
    backups = len(STREAMS) * HOURS * 12
    yield Line(
        "S3", f"{backups / 1e3:.0f} thousand backups", backups / 1e3 * prices["s3"]["put_thousand"]
    )


def per_million(units: Mapping[str, Any], prices: Mapping[str, Any]) -> Iterator[Line]:
    """A million events of one kind of traffic; `units` are those of one event."""
    tables, functions = prices["dynamodb"], prices["lambda"]
    for name, writes in units["write"].items():
        if round(writes, 2):
            yield Line(f"writes of `{name}`", f"{writes:.2f}", writes * tables["write_million"])
    yield Line("reads", f"{units['read']:.2f}", units["read"] * tables["read_million"])
    yield Line(
        "Firehose",
        "each record rounded up to 5 KB",
        units["put_bytes"] * 1e6 / GB * prices["firehose"]["gb"],
    )
    yield Line(
        "Lambda",
        "3 ms a call of DynamoDB, assumed",
        units["seconds"] * MEMORY["persist"] * 1e6 * functions["gb_second"]
        + units["deliveries"] * functions["request_million"],
    )
    puts = 2 * units["deliveries"] * 1e6  # the backup, and at most as many segments
    yield Line("S3", "backups", puts / 1e3 * prices["s3"]["put_thousand"])
    node = EVENT_BYTES * 1e6 / GB * prices["network"]["nat_gb"]
    yield Line("NAT", "1 KB an event from the node", node)


def asking(look: Mapping[str, Any], prices: Mapping[str, Any]) -> Iterator[Line]:
    """A million requests of the API, and a month in which somebody asks every minute."""
    functions, each = prices["lambda"], prices["apigateway"]["request_million"]
    yield Line("API Gateway", "a million requests", each)
    seconds = 1e6 * ANSWER * MEMORY["api"]
    yield Line(
        "Lambda",
        f"{1_000 * ANSWER:.0f} ms each, assumed",
        functions["request_million"] + seconds * functions["gb_second"],
    )
    yield Line(
        "logs",
        f"{ASKED_BYTES} bytes each, assumed",
        1e6 * ASKED_BYTES / GB * prices["cloudwatch"]["logs_gb"],
    )
    reads = MINUTES * look["read"] / 1e6 * prices["dynamodb"]["read_million"]
    copying = MINUTES * look["seconds"] * MEMORY["api"] * functions["gb_second"]
    yield Line(
        "looking at the tables every minute, all month",
        f"{look['read']:,} read units for {look['tokens']:,} tokens in {look['runs']:,} ranges and"
        f" {look['wallets']:,} wallets; of each instance that is asked",
        reads + copying,
    )


def levers(has: Counts, prices: Mapping[str, Any]) -> Iterator[Line]:
    """What an operator can change in a stage, and what that saves a month."""
    net, ec2 = prices["network"], prices["ec2"]
    hour, zones = HOURS * net["endpoint_hour"], has.endpoints // ENDPOINTS
    nat = HOURS * (net["nat_hour"] + net["address_hour"])
    if zones > 1:
        how = (
            "`endpoint_zones`; while that zone fails, the monitor waits, and catches up afterwards"
        )
        yield Line("interface endpoints in one zone", how, (zones - 1) * ENDPOINTS * hour)
    how = "`INTERFACES` in `infra/network.py`; AWS is then reached through the NAT gateway"
    yield Line("no interface endpoints", how, has.endpoints * hour)
    if has.nat_gateways > 1:
        how = "`nat_gateways`; the same"
        yield Line("one NAT gateway", how, (has.nat_gateways - 1) * nat)
    instance = HOURS * (ec2["t4g_nano_hour"] + net["address_hour"])
    how = "a t4g.nano that you set up and look after yourself"
    yield Line("a NAT instance instead", how, has.nat_gateways * nat - instance)


def choices(prices: Mapping[str, Any]) -> str:
    """The levers of prod as a table."""
    rows = [f"| {one.what} | {one.usd:.2f} | {one.how} |" for one in levers(told("prod"), prices)]
    return "\n".join(["| prod with | saves a month | how |", "| --- | ---: | --- |", *rows])


def units_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Units of one event of each kind of traffic, from the results of `python -m bench.load`."""
    return {found["traffic"]: _of_one(found) for found in result["traffic"]}


def _of_one(found: Mapping[str, Any]) -> dict[str, Any]:
    events, write = found["events"], dict[str, float]()
    for row in found["rows"]:
        write[row["table"]] = write.get(row["table"], 0.0) + row["write"] / events
    return {
        "events": events,
        "write": {table: round(units, 4) for table, units in sorted(write.items())},
        "read": round(sum(row["read"] for row in found["rows"]) / events, 4),
        "put_bytes": round(found["put"]["bytes"] / events, 1),
        "deliveries": round(found["deliveries"] / events, 6),
        "seconds": round(sum(found["calls"].values()) / events * 0.003, 5),
    }


def look_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a look of the API at the tables takes, from the results of `python -m bench.api`."""
    sizes = {name: found[name] for name in ("tokens", "runs", "wallets")}
    read, seconds = found["next look, read units"], found["next look, seconds"]
    return {"read": read, "seconds": seconds, **sizes}


def table(bills: Mapping[str, Sequence[Line]]) -> str:
    """Bills side by side as a table of Markdown, with their sums."""
    items: dict[str, dict[str, Line]] = {}
    for name, lines in bills.items():
        for line in lines:
            items.setdefault(line.what, {})[name] = line
    rows = [
        [what, *(f"{found[n].usd:.2f}" if n in found else "" for n in bills), _how(found)]
        for what, found in items.items()
    ]
    sums = [f"**{sum(line.usd for line in lines):.2f}**" for lines in bills.values()]
    head = [["", *bills, "units an event, or of what"], ["---", *("---:" for _ in bills), "---"]]
    every = [*head, *rows, ["**together**", *sums, ""]]
    return "\n".join("| " + " | ".join(row) + " |" for row in every)


def _how(found: Mapping[str, Line]) -> str:
    """What an item is made of; once where it is the same for all."""
    return "; ".join(dict.fromkeys(line.how for line in found.values()))


def largest(lines: Sequence[Line]) -> str:
    """What makes most of a bill, as a sentence."""
    total = sum(line.usd for line in lines)
    first, second = sorted(lines, key=lambda line: -line.usd)[:2]
    return (
        f"{first.what[0].upper()}{first.what[1:]} are {100 * first.usd / total:.0f} % of it,"
        f" {second.what} {100 * second.usd / total:.0f} %."
    )


def prices() -> dict[str, Any]:
    """The list prices."""
    return tomllib.loads((HERE / "prices.toml").read_text(encoding="utf-8"))


def units() -> dict[str, Any]:
    """The units that were counted last: by traffic, idle, and of the API."""
    found: dict[str, Any] = json.loads((HERE / "units.json").read_text(encoding="utf-8"))
    return found


def _last_line(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
    return found


def main(words: list[str]) -> int:
    """Print the tables; keep other units if told to."""
    parser = argparse.ArgumentParser("python -m infra.costs", description=__doc__)
    parser.add_argument("--load", type=Path, metavar="FILE", help="results of bench.load")
    parser.add_argument("--idle", type=Path, metavar="FILE", help="output of bench.idle")
    parser.add_argument("--api", type=Path, metavar="FILE", help="output of bench.api")
    parser.add_argument("--keep", action="store_true", help="keep these units in units.json")
    given = parser.parse_args(words)
    listed, known = prices(), units()
    if given.load:
        known["traffic"] = units_of(json.loads(given.load.read_text(encoding="utf-8")))
    if given.idle:
        known["idle"] = _last_line(given.idle)
    if given.api:
        known["api"] = look_of(_last_line(given.api))
    if given.keep:
        (HERE / "units.json").write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    write = sys.stdout.write
    write(f"USD, list prices of {listed['region']} on {listed['date']}, without free tiers\n")
    idle: dict[str, list[Line]] = {
        stage: list(monthly(counts(stage), listed, known["idle"])) for stage in STAGES
    }
    write(f"\nA month in which nothing happens\n\n{table(idle)}\n\n{largest(idle['prod'])}\n")
    busy = {name: list(per_million(one, listed)) for name, one in known["traffic"].items()}
    write(f"\nA million events\n\n{table(busy)}\n")
    write(f"\nThe API\n\n{table({'USD': list(asking(known['api'], listed))})}\n")
    write(f"\nWhat can be changed\n\n{choices(listed)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
