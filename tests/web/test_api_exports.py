"""Exports over HTTP are what `ngu export` writes, and are sent while they are made."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cli.program import busy_chain, ngu
from embedded.test_store import NOW, chain_of, new_store
from ngu_points.embedded import exports
from ngu_points.embedded.history import History
from ngu_points.embedded.replica import Replica
from ngu_points.engine.coverage import announce
from ngu_points.engine.rules import MICRO, Rules
from ngu_points.errors import TransientError
from ngu_points.pipeline.process import ingest
from ngu_points.pipeline.query import View
from ngu_points.web.interfaces import Export
from oracle import Event
from web.api import Api, running

TABLES = ("tokens", "points", "events", "feast")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running(busy_chain(40), tmp_path_factory.mktemp("exports")) as served:
        yield served


@pytest.mark.parametrize("table", TABLES)
def test_text_is_what_the_command_writes(api: Api, table: str) -> None:
    """CSV and JSON byte for byte, now and in the past, with a name that says the block."""
    past = f"@{api.node.head.timestamp - 5_000}"
    for form in ("csv", "json"):
        for at in (None, past):
            words = () if at is None else ("--at", at)
            written = ngu("export", table, "--format", form, "--db", api.db, *words).out
            answered = api.ask(f"/api/exports/{table}", format=form, at=at)
            assert answered.status == 200
            assert answered.body.decode() == written
    name = f'filename="{table}-{api.node.head.number}.csv"'
    assert name in api.ask(f"/api/exports/{table}").headers["content-disposition"]
    ranges = ngu("export", "tokens", "--ranges", "--db", api.db).out
    assert api.ask("/api/exports/tokens", ranges="true").body.decode() == ranges


@pytest.mark.parametrize("table", TABLES)
def test_parquet_has_the_same_rows(api: Api, table: str) -> None:
    """What Parquet holds is what CSV holds."""
    found = pq.read_table(io.BytesIO(api.ask(f"/api/exports/{table}", format="parquet").body))
    lines = api.ask(f"/api/exports/{table}").body.decode().splitlines()
    assert found.column_names == lines[0].split(",")
    assert found.num_rows == len(lines) - 1


def test_a_table_is_sent_in_parts(tmp_path: Path) -> None:
    """However long a table is, its parts are small: no more of it is held than a part."""
    rules = Rules()
    events = [Event("BatchMint", 1, 0, NOW, "", "0x" + "11" * 20, 1, 300_000)]
    chain = chain_of(events, NOW + 10)
    store = new_store(tmp_path, rules)
    list(ingest(store, announce(chain.covered(0, chain.last_block), 1), rules, NOW))
    parts = exports.streamed("tokens", "csv", View.of(store.state(), rules), History(store))
    sizes = [len(part) for part in parts]
    store.close()
    assert len(sizes) > 100
    assert max(sizes) < 500_000


def test_too_many_exports_at_once_are_refused(api: Api) -> None:
    """Two are made at a time; a place is free again when one ends, fails, or is given up."""
    replica = Replica(api.db, Rules(feast_emission=1000 * MICRO, feast_burn=MICRO))
    replica.refresh()

    def made() -> Export:
        return replica.export("events", "csv", None, ranges=False)

    one, two = made(), made()
    with pytest.raises(TransientError, match="too many exports"):
        made()
    assert b"BatchMint" in b"".join(one.parts)
    three = made()
    del two
    made()
    assert b"BatchMint" in b"".join(three.parts)
    for _ in range(5):
        made()
