"""docs/schema.md is the schema, which has all that the specification asks of the event tables."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from pages import page
from schema_page import render

from ngu_points.embedded.database import open_database
from ngu_points.errors import StoreError

COMMON = ["id", "type", "timestamp", "blockNumber", "transactionHash", "transactionIndex",
          "logIndex", "processed", "processedAt", "error", "ttl"]  # fmt: skip
FIELDS = {
    "batch_events": [*COMMON, "startTokenId", "quantity", "from", "to"],
    "staking_events": [*COMMON, "tokenId", "staker"],
}
INDEXES = {
    "batch_events": ("TypeBlockIndex", ["type", "blockNumber"]),
    "staking_events": ("StakerTokenIndex", ["staker", "tokenId"]),
}
OPTIONAL = {"processedAt", "error", "from"}


@pytest.fixture
def database(tmp_path: Path) -> sqlite3.Connection:
    """A new, empty database."""
    return open_database(tmp_path / "ngu.db", write=True)


def test_the_page_is_current() -> None:
    """Made anew, the page is what is there: else run tests/docs/schema_page.py."""
    assert page("docs/schema.md") == render()


def test_the_page_names_every_table_and_column(database: sqlite3.Connection) -> None:
    """Nothing that SQLite knows is missing from the page."""
    text = page("docs/schema.md")
    for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
        section = text.partition(f"## `{table}`\n")[2].partition("\n## ")[0]
        assert section, table
        for row in database.execute(f"PRAGMA table_info({table})"):
            assert row[1] in section, (table, row[1])
    database.close()


@pytest.mark.parametrize("table", FIELDS)
def test_the_event_tables_have_the_specifications_fields(
    database: sqlite3.Connection, table: str
) -> None:
    """Every field of the interface is a column, optional where it may be absent, keyed by id."""
    columns = {row[1]: row for row in database.execute(f"PRAGMA table_info({table})")}
    assert set(FIELDS[table]) <= set(columns)
    assert columns["id"][5] == 1
    for name in FIELDS[table]:
        if name != "id":
            assert columns[name][3] == (name not in OPTIONAL), name
    database.close()


@pytest.mark.parametrize("table", INDEXES)
def test_the_event_tables_have_the_specifications_indexes(
    database: sqlite3.Connection, table: str
) -> None:
    """The index by type and block, and the one by staker and token."""
    name, columns = INDEXES[table]
    found = [row[2] for row in database.execute(f"PRAGMA index_info({name})")]
    assert found == columns
    assert name in [row[1] for row in database.execute(f"PRAGMA index_list({table})")]
    database.close()


def test_a_database_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """Opened for writing it gets the tables that it lacks; a reader is told what to do."""
    path = tmp_path / "old.db"
    old = open_database(path, write=True)
    for table in ("gaps", "shown", "retractions", "corrections", "certificates", "endpoints"):
        old.execute(f"DROP TABLE {table}")
    old.execute("INSERT INTO meta VALUES ('kept', '1')")
    old.execute("PRAGMA user_version = 1")
    old.close()
    with pytest.raises(StoreError, match=r"older ngu-points .*`ngu sync` or `ngu recalc`"):
        open_database(path, write=False)
    new = open_database(path, write=True)
    assert new.execute("SELECT count(*) FROM retractions").fetchone() == (0,)
    assert new.execute("SELECT value FROM meta").fetchone() == ("1",)
    new.close()
