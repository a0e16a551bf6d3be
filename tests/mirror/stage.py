"""A deployed stage on the emulator, beside a database that was made from the same chain."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from bench.dynamo.client import Client as Model

from aws.dynamo.faults import Client
from cli.faulty import FaultyNode, serving
from cli.program import Ended, address, ngu
from ngu_points.aws import wiring
from ngu_points.aws.archive import Archive
from ngu_points.aws.dynamo import Dynamo, key_of
from ngu_points.aws.environment import Environment, environment
from ngu_points.aws.parameters import Sent
from ngu_points.aws.records import write
from ngu_points.aws.store import Store
from ngu_points.aws.tables import TABLES, creation
from ngu_points.chain.reader import Reader
from ngu_points.chain.rpc import Rpc
from ngu_points.config import Config, contract_of, rules_of
from ngu_points.demo.node import SimNode
from ngu_points.engine.coverage import Covered, Delivery, announce
from ngu_points.engine.rules import DAY
from ngu_points.pipeline.process import process

SPAN = 5  # blocks of a range


@dataclass
class Stage:
    """A stage with its own tables and bucket, and what it was made from."""

    node: SimNode
    served: FaultyNode
    config: Config
    env: Mapping[str, str]
    folder: Path
    sequence: int = 0
    sent: list[Delivery] = field(default_factory=list)

    @property
    def environment(self) -> Environment:
        return environment(self.env)

    @property
    def store(self) -> Store:
        """The tables and their archive, as another process would open them."""
        return wiring.store(self.environment, rules_of(self.config))

    @property
    def archive(self) -> Archive:
        archive = self.store.archive
        assert isinstance(archive, Archive)
        return archive

    def client(self, name: str) -> Any:
        return wiring.client(name, self.env["AWS_REGION"])

    def ngu(self, *words: object, **env: str) -> Ended:
        """Run a command on the tables."""
        return ngu(*words, "--store", "dynamodb", env={**self.env, **env})

    def beside(self, *words: object, db: str = "ngu.db") -> Ended:
        """Run a command on the database."""
        place = ("--rpc", self.served.url, "--contract", address(self.node))
        return ngu(*words, *place, "--finality", 0, "--db", self.folder / db)

    def read(self, first: int, last: int) -> Covered:
        """Blocks as the node tells of them."""

        async def asked() -> Covered:
            async with Rpc([self.served.url]) as rpc:
                return await Reader(rpc, contract_of(self.config), 0).read(first, last)

        return asyncio.run(asked())

    def send(self, first: int, last: int, now: int) -> None:
        """Announce blocks, as the monitor and the streams do."""
        for start in range(first, last + 1, SPAN):
            self.sequence += 1
            covered = self.read(start, min(start + SPAN - 1, last))
            self.sent += announce(covered, self.sequence)
            self.store.put(self.sent[-2:], now, processed=False)
        end = (covered.to_block, covered.last_hash, covered.timestamp)
        parameter(self, "position", Sent(*end, self.sequence).text())

    def process(self, now: int) -> None:
        """What is complete is folded, as the function does."""
        store = self.store
        store.lead("process", now)
        while process(store, store.rules, now, 100):
            pass
        store.release()


def parameter(stage: Stage, name: str, value: str) -> None:
    stage.client("ssm").put_parameter(
        Name=f"{stage.environment.parameters}/{name}", Value=value, Type="String", Overwrite=True
    )


def position(stage: Stage) -> dict[str, Any]:
    """From where the event monitor would go on."""
    name = f"{stage.environment.parameters}/position"
    found: dict[str, Any] = json.loads(
        stage.client("ssm").get_parameter(Name=name)["Parameter"]["Value"]
    )
    return found


@contextlib.contextmanager
def modelled() -> Iterator[Client]:
    """DynamoDB is the model of it, in this process and on order dead, for as long as this lasts."""
    exceptions = pytest.importorskip("botocore.exceptions", reason="boto3 is not installed")
    made, other = Client(Model(), exceptions=exceptions), wiring.client

    def client(service: str, *more: Any) -> Any:
        return made if service == "dynamodb" else other(service, *more)

    def dynamo(env: Environment, *_: Any) -> Dynamo:
        return Dynamo(made, env.service, env.stage, lambda _: None, random.Random(1), threads=1)

    with patch.object(wiring, "client", client), patch.object(wiring, "dynamo", dynamo):
        client.cache_clear = other.cache_clear  # type: ignore[attr-defined]
        yield made


@contextlib.contextmanager
def stage_of(node: SimNode, url: str, folder: Path) -> Iterator[Stage]:
    """An empty stage, with the settings that belong to the chain; the emulator is at `url`."""
    service = f"ngu{secrets.token_hex(4)}"
    env = {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "SERVICE": service,
        "NODE_ENV": "staging",
        "ARCHIVE_BUCKET": f"{service}-archive",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    contract = address(node)
    node.set_finalized(node.head.number)
    with serving(node) as served, patch.dict("os.environ", env):
        wiring.client.cache_clear()
        wiring._settings.cache_clear()
        config = Config()
        stage = Stage(node, served, config, env, folder)
        text = f'[contract]\naddress = "{contract}"\n[chain]\nfinality = 0\n'
        stage.config = wiring.parsed(text, "the test")
        dynamo = wiring.dynamo(stage.environment)
        for table in TABLES:
            stage.client("dynamodb").create_table(**creation(table, dynamo.names[table.name]))
        stage.client("s3").create_bucket(Bucket=env["ARCHIVE_BUCKET"])
        parameter(stage, "settings", text)
        parameter(stage, "rpc", served.url)
        stage.store.identify(node.chain_id, contract, "ngu", 1)
        yield stage
        for name in dynamo.names.values():
            if not isinstance(dynamo.client, Client):
                stage.client("dynamodb").delete_table(TableName=name)
        wiring.client.cache_clear()


def backed_up(stage: Stage) -> list[str]:
    """All that was sent, as Firehose leaves it: an object for each delivery; their keys."""
    config, env = stage.config, stage.environment
    origin = wiring.origin(env, config, stage.node.chain_id)
    keys = []
    for number, delivery in enumerate(stage.sent):
        table = env.tables[f"{delivery.stream}-events"]
        name = f"{table}-1-2026-01-31-12-{number // 60:02d}-{number % 60:02d}-{number}.gz"
        keys.append(f"backup/{table}/2026/01/31/12/{name}")
        body = gzip.compress(b"".join(write(delivery, origin)))
        stage.client("s3").put_object(Bucket=env.archive, Key=keys[-1], Body=body)
    return keys


def emptied(stage: Stage) -> None:
    """All rows of all tables are gone."""
    dynamo = stage.store.dynamo
    for table in TABLES:
        keys = [key_of(table.name, row) for row in dynamo.scan(table.name)]
        dynamo.each(lambda key, name=table.name: dynamo.delete(name, key), keys)


def filled(stage: Stage, last: int) -> None:
    """Blocks 1 to `last`: the first half in the archive, the rest behind it in the tables."""
    now, half = int(time.time()), last // 2 // SPAN * SPAN
    long_ago = now - 6 * DAY
    stage.send(1, half, long_ago)
    stage.process(long_ago)
    stage.send(half + 1, last, now)
    stage.process(now)
    stage.store.prune(now)
    stage.archive.seal(now)
