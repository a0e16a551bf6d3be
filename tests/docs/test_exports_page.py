"""docs/exports.md: pandas and DuckDB read every table to the last digit, as the page says."""

from __future__ import annotations

import csv
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from pages import blocks, page, table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.program import busy_chain, ngu, place
from cli.truth import events_on
from localnode import served
from ngu_points.demo.contract import Event
from ngu_points.embedded.exports import FORMATS, NUMBERS, TABLES
from ngu_points.engine.events import ZERO_ADDRESS, Kind

PAGE = page("docs/exports.md")
LAST = 2**256 - 1
HOLDER = b"\x01" * 20
Rows = list[dict[str, str | None]]


@dataclass(frozen=True)
class Exported:
    """Every table in every format in a folder, and the node's own events."""

    folder: Path
    events: list[Any]

    def rows(self, name: str) -> Rows:
        """What CSV has, read by nothing that guesses."""
        with (self.folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            found = csv.DictReader(file)
            return [{k: v or None for k, v in row.items()} for row in found]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A chain with tokens at the end of uint256, and a range that no float can hold."""
    folder, node = tmp_path_factory.mktemp("exports"), busy_chain(60)
    huge = [(LAST, 1), (2**255, 2**200 + 1), (2**64 - 1, 3)]
    node.mine([Event(Kind.MINT, ZERO_ADDRESS, HOLDER, *these) for these in huge])
    node.mine([Event(Kind.STAKE, HOLDER, ZERO_ADDRESS, LAST)])
    for _ in range(60):
        node.mine()
    with served(node) as there:
        options = (*place(node, there.url, folder / "ngu.db"), "--finality", "0")
        assert ngu("sync", *options).code == 0
        for name in TABLES:
            for form in FORMATS:
                words = ["--ranges"] if name == "tokens" else []
                path = folder / f"{name}.{form}"
                ended = ngu("export", name, *words, "--format", form, "-o", path, *options)
                assert ended.code == 0, ended.err
        return Exported(folder, events_on(there.url, options[3], node.head.number))


def in_pandas(exported: Exported, name: str, form: str) -> pd.DataFrame:
    """The page's own line for a format, of a table."""
    (line,) = (line for line in blocks(PAGE, "python")[0].splitlines() if f"tokens.{form}" in line)
    code = line.partition(" = ")[2].replace(f"tokens.{form}", f"{exported.folder}/{name}.{form}")
    frame = eval(code, {"pandas": pd})
    assert isinstance(frame, pd.DataFrame)
    return frame


def in_duckdb(exported: Exported, name: str, form: str) -> pd.DataFrame:
    """The page's own query for a format, of a table, with all columns."""
    (query,) = (q for q in blocks(PAGE, "sql")[0].splitlines() if f"tokens.{form}" in q)
    query = query.replace("count(*)", "*").replace("'tokens.", f"'{exported.folder}/{name}.")
    found = duckdb.sql(query)
    return pd.DataFrame(found.fetchall(), columns=found.columns, dtype=object)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", TABLES)
def test_every_digit_survives(exported: Exported, name: str, form: str) -> None:
    """Both programs, read as the page says, have what the CSV has, text by text."""
    expected = exported.rows(name)
    assert expected
    for frame in (in_pandas(exported, name, form), in_duckdb(exported, name, form)):
        assert list(frame.columns) == list(expected[0])
        for column in frame.columns:
            values = [None if pd.isna(v) else v for v in frame[column]]
            number = column in NUMBERS and form != "csv"
            got = [None if v is None else str(int(v)) if number else v for v in values]
            assert got == [row[column] for row in expected], column


def test_the_numbers_are_the_chains(exported: Exported) -> None:
    """Event by event what the node has; tokens and points add up, and the page's sum is exact."""
    events = in_pandas(exported, "events", "csv")
    told = [(e.kind, e.block, e.log_index, e.first, e.quantity) for e in exported.events]
    columns = ["type", "block", "log_index", "start_token_id", "quantity"]
    found = events[columns].itertuples(index=False, name=None)
    assert [(kind, *map(int, rest)) for kind, *rest in found] == told
    tokens = in_pandas(exported, "tokens", "parquet")
    ends = zip(map(int, tokens["start"]), map(int, tokens["end"]), strict=True)
    alive = sum(end - start + 1 for start, end in ends)
    points = in_pandas(exported, "points", "json")
    assert sum(map(int, [*points["current_held"], *points["current_staked"]])) == alive
    assert alive > 2**200
    assert str(LAST) in set(tokens["end"])
    line = blocks(PAGE, "python")[1].replace("points.csv", f"{exported.folder}/points.csv")
    known: dict[str, Any] = {"pandas": pd}
    exec(line, known)
    rows = exported.rows("points")
    assert known["seconds"] == sum(int(row["held_token_seconds"] or 0) for row in rows)
    assert known["seconds"] > 2**200


def test_the_page_names_all_columns(exported: Exported) -> None:
    """And which of them are numbers."""
    told = {row["table"].strip("`"): row["columns"] for row in table(PAGE, "table")}
    for name in TABLES:
        said = re.findall(r"`(\w+)`", told["tokens --ranges" if name == "tokens" else name])
        assert said == list(exported.rows(name)[0])
    (numbers,) = re.findall(r"text, always;\n(.*) are numbers", PAGE)
    assert set(re.findall(r"`(\w+)`", numbers)) == NUMBERS
