"""The two stores behind one face, for tests that hold for both."""

from __future__ import annotations

import random
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from aws.dynamo.faults import Client
from ngu_points.aws.dynamo import Dynamo
from ngu_points.aws.store import Store as CloudStore
from ngu_points.aws.tables import BATCH_EVENTS, DEAD_LETTERS, STAKING_EVENTS, TABLES, creation
from ngu_points.embedded.store import Store as FileStore
from ngu_points.engine.coverage import Coverage
from ngu_points.engine.events import Events, Rejected
from ngu_points.engine.rules import Rules
from ngu_points.pipeline.segments import Identity

NOW = 1_800_000_000


class Past(Protocol):
    """What was announced and processed, by blocks: what an archive is made of."""

    def recent(self, first: int, last: int) -> Events: ...
    def letters(self, first: int, last: int) -> tuple[Rejected, ...]: ...
    def end_at(self, block: int) -> Coverage | None: ...
    def parent_of(self, block: int) -> bytes: ...


class Kept(Protocol):
    """A store that can be closed and opened again, and what tests ask of it."""

    store: Any

    def again(self, now: int = NOW) -> None: ...
    def undo(self, block: int) -> int: ...
    def backlog(self) -> int: ...
    def dead_letters(self) -> int: ...
    def anomalies(self) -> list[tuple[str, int, str]]: ...
    def uncertain(self) -> set[bytes]: ...
    def days(self) -> list[tuple[Any, bytes]]: ...
    def shares(self, day: int) -> list[tuple[bytes, int]]: ...
    def gaps(self) -> list[tuple[str, int, int, str]]: ...

    @property
    def past(self) -> Past: ...


class InFile:
    """SQLite in a folder."""

    def __init__(self, folder: Path, rules: Rules) -> None:
        self.path, self.rules = folder / "ngu.db", rules
        self.store = FileStore.open(self.path, rules, write=True)
        self.store.identify(Identity(1, "0xab", "ngu"))

    def again(self, now: int = NOW) -> None:
        self.store.close()
        self.store = FileStore.open(self.path, self.rules, write=True)

    def undo(self, block: int) -> int:
        return self.store.undo(block).block

    def backlog(self) -> int:
        return self.store.queue.backlog()

    def dead_letters(self) -> int:
        return self.store.queue.dead_letters()

    def anomalies(self) -> list[tuple[str, int, str]]:
        found = self.store.db.execute("SELECT id, blockNumber, note FROM anomalies")
        return sorted(found.fetchall())

    def uncertain(self) -> set[bytes]:
        return {row[0] for row in self.store.db.execute("SELECT wallet FROM uncertain")}

    def days(self) -> list[tuple[Any, bytes]]:
        return self.store.feasts.days()

    def shares(self, day: int) -> list[tuple[bytes, int]]:
        return self.store.feasts.shares(day)

    def gaps(self) -> list[tuple[str, int, int, str]]:
        found = self.store.db.execute("SELECT stream, fromBlock, toBlock, why FROM gaps")
        return found.fetchall()

    @property
    def past(self) -> Past:
        past: Past = self.store.queue
        return past


class InCloud:
    """DynamoDB on the emulator, in tables of its own."""

    def __init__(self, client: Any, rules: Rules) -> None:
        self.client, self.rules = Client(client), rules
        self.service = f"ngu{secrets.token_hex(4)}"
        self.dynamo = dynamo_for(self.client, self.service)
        for table in TABLES:
            client.create_table(**creation(table, self.dynamo.names[table.name]))
        self.store = CloudStore(self.dynamo, rules)
        self.store.identify(1, "0xab", "ngu")
        self.store.lead("first", NOW)

    def again(self, now: int = NOW) -> None:
        """What another process finds: it has the tables and nothing else."""
        self.store = CloudStore(self.dynamo, self.rules)
        self.store.lead("first", now)

    def undo(self, block: int) -> int:
        return self.store.undo(block, NOW).block

    def backlog(self) -> int:
        tables = (BATCH_EVENTS, STAKING_EVENTS)
        return sum(not row["processed"] for t in tables for row in self.dynamo.scan(t))

    def dead_letters(self) -> int:
        return len(list(self.dynamo.scan(DEAD_LETTERS)))

    def anomalies(self) -> list[tuple[str, int, str]]:
        return sorted(self.store.anomalies())

    def uncertain(self) -> set[bytes]:
        return set(self.store.uncertain())

    def days(self) -> list[tuple[Any, bytes]]:
        return self.store.feast_days()

    def shares(self, day: int) -> list[tuple[bytes, int]]:
        return self.store.feast_shares(day)

    def gaps(self) -> list[tuple[str, int, int, str]]:
        return [gap.place for gap in self.store.gaps()]

    @property
    def past(self) -> Past:
        past: Past = self.store
        return past

    def drop(self) -> None:
        for name in self.dynamo.names.values():
            self.client.real.delete_table(TableName=name)


def dynamo_for(client: Any, service: str) -> Dynamo:
    return Dynamo(client, service, "test", lambda _: None, random.Random(1))


@contextmanager
def kept(where: str, client: Any, rules: Rules) -> Iterator[Any]:
    """An empty store: `where` is "sqlite" or "dynamodb"."""
    if where == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            made = InFile(Path(folder), rules)
            try:
                yield made
            finally:
                made.store.close()
        return
    cloud = InCloud(client, rules)
    try:
        yield cloud
    finally:
        cloud.drop()
