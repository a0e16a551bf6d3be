"""Any history at all: the copy is what the tables are, and what is taken back is a clean pass."""

from __future__ import annotations

import random
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.dynamo.client import Client as Model
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.kept import NOW
from embedded.test_store import chain_of, expected, ranges
from engine.test_against_oracle import engine_rules
from histories import histories
from mirror.objects import Objects, Position
from ngu_points.aws.archive import Archive
from ngu_points.aws.dynamo import Dynamo
from ngu_points.aws.environment import environment
from ngu_points.aws.repairs import Plan, Repairs
from ngu_points.aws.store import UNDO_KEPT, Store
from ngu_points.aws.tables import TABLES, creation
from ngu_points.config import Config, ContractSettings
from ngu_points.embedded.database import writer_lock
from ngu_points.embedded.history import History
from ngu_points.embedded.rebuild import rebuild
from ngu_points.embedded.repair import rewind
from ngu_points.embedded.store import Store as Local
from ngu_points.engine.coverage import announce
from ngu_points.engine.rules import Rules
from ngu_points.errors import UsageError
from ngu_points.mirror.copy import checked, copy
from ngu_points.mirror.deployment import Deployment
from ngu_points.mirror.difference import Scope, nothing, rows_of, step_of
from ngu_points.pipeline.process import process

ENV = {"SERVICE": "ngu", "NODE_ENV": "staging", "AWS_REGION": "here", "ARCHIVE_BUCKET": "bucket"}
CONTRACT = "0x" + "ab" * 20


class Deployed(Deployment):
    """A stage in memory, under any rules."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(environment(ENV), Config(contract=ContractSettings(address=CONTRACT)))
        model = Model()
        dynamo = Dynamo(model, "ngu", "staging", lambda _: None, random.Random(1), threads=1)
        for table in TABLES:
            model.create_table(**creation(table, dynamo.names[table.name]))
        self.__dict__["objects"] = Objects()
        self.__dict__["store"] = Store(dynamo, rules)
        self.store.identify(1, CONTRACT, "ngu", 0)
        self.__dict__["parameters"] = Position()
        self.__dict__["archive"] = Archive(self.s3, "bucket", self.store)

    @property
    def s3(self) -> Any:
        return self.__dict__["objects"]

    def fold(self, now: int) -> None:
        self.store.lead("process", now)
        while process(self.store, self.store.rules, now, 5):
            pass
        self.store.release()


@settings(max_examples=8)
@given(history=histories(max_events=24), data=st.data())
def test_copied_rebuilt_and_taken_back(history: Any, data: Any) -> None:
    """A part of it archived: no row differs; rewound anywhere and read again it ends the same."""
    oracle_rules, events, until = history
    rules, chain = engine_rules(oracle_rules), chain_of(events, until)
    on = Deployed(rules)
    sent = [chain.covered(a, b) for a, b in ranges(chain, data)]
    old = data.draw(st.integers(0, len(sent)))
    for number, covered in enumerate(sent, 1):
        now = NOW if number > old else NOW - 2 * UNDO_KEPT
        on.store.put(announce(covered, number), now, processed=False)
        on.fold(now)
    on.store.prune(NOW)
    on.archive.seal(NOW)
    right = expected(rules, events, until, chain.last_block)
    assert on.store.fingerprint() == right
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy.db"
        copy(on, path, led=False, strict=True)
        checked(on, path)
        on.store.lead_repair("ngu", NOW)
        assert nothing(changed(on, path, lambda h: rebuild(h.store, h, rules, NOW)))
        block = data.draw(st.integers(0, chain.last_block))
        try:
            plan = changed(on, path, lambda h: rewind(h.store, h, rules, block, NOW))
        except UsageError:
            return
        repairs = Repairs(on.store.dynamo, on.s3, "bucket", on.parameters)
        marker = repairs.begin(on.store.lease, plan, NOW)
        repairs.apply(on.store.lease, marker, NOW)
        repairs.close(marker)
        on.store.release()
        left = on.store.position().block
        assert left <= block
        again = chain.covered(left + 1, chain.last_block)
        on.store.put(announce(again, 1_000), NOW, processed=False)
        on.fold(NOW)
        assert on.store.fingerprint() == right
        copy(on, path, led=False, strict=True)
        checked(on, path)


def changed(on: Deployed, path: Path, work: Any) -> Plan:
    """What a repair on the copy changes."""
    base = path.with_name("before.db")
    with closing(sqlite3.connect(path)) as now, closing(sqlite3.connect(base)) as before:
        now.backup(before)
    with writer_lock(path), closing(Local.open(path, on.store.rules, write=True)) as local:
        work(History(local))
    with (
        closing(Local.open(path, on.store.rules)) as local,
        closing(sqlite3.connect(base)) as before,
    ):
        before.execute("ATTACH ? AS now", (str(path),))
        at, _ = on.store.here(lambda _: None)
        scope = Scope(on, local, before, dict(at), NOW)
        return Plan("a repair", step_of(scope), rows_of(scope))
