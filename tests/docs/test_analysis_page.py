"""docs/analysis.md: its queries run, and answer what the pipeline answers."""

from __future__ import annotations

import re
import sys
from contextlib import closing
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import pytest
import sqlglot
from pages import blocks, page, table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.program import busy_chain, ngu, place
from embedded.test_analysis import asked
from localnode import served
from ngu_points.embedded.datasets import DATASETS
from ngu_points.embedded.statements import statements

PAGE = page("docs/analysis.md")
DAY = 86_400


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory):
    """A chain's record, the copy of it, and the last day in the copy."""
    folder = tmp_path_factory.mktemp("analysis")
    node = busy_chain()
    with served(node) as there:
        options = (*place(node, there.url, folder / "ngu.db"), "--finality", "0")
        assert ngu("sync", *options).code == 0
        done = ngu("analysis", "-o", folder / "copy", "--location", "s3://b/a", *options, "--json")
        assert done.code == 0, done.err
        yield options, folder / "copy", done.json


def answers(folder: Path, query: int, dates: dict[str, str]) -> list[tuple]:
    """What one of the page's queries finds, asked about other dates than the page's."""
    text = blocks(PAGE, "sql")[query]
    for written, meant in dates.items():
        assert written in text
        text = text.replace(written, meant)
    with closing(asked(folder)) as db:
        return db.execute(text).fetchall()


def test_holders_at_a_date_are_those_of_the_pipeline(copied) -> None:
    """Wallet by wallet what `ngu export tokens --at` counts up to."""
    options, folder, _ = copied
    with closing(asked(folder)) as db:
        (day,) = db.execute("SELECT day FROM days ORDER BY day OFFSET 1").fetchone()
    path = folder.parent / "tokens.csv"
    at = f"{day}T00:00:00Z"
    assert ngu("export", "tokens", "--at", at, "-o", path, *options).code == 0
    expected: dict[str, list[int]] = {}
    for line in path.read_text().splitlines()[1:]:
        _, owner, staker, *_ = line.split(",")
        mine = expected.setdefault(staker or owner, [0, 0])
        mine[0] += 1
        mine[1] += bool(staker)
    found = answers(folder, 0, {"2026-01-31": day})
    assert {who: [int(n), int(s)] for who, n, s in found} == expected
    assert len(expected) > 3


def test_points_per_day_add_up_to_the_pipelines(copied) -> None:
    """All days of the copy together are the wallet's points at the end of the last one."""
    options, folder, told = copied
    with closing(asked(folder)) as db:
        (first,) = db.execute("SELECT min(day) FROM days").fetchone()
    rows = answers(folder, 1, {"2026-01-25": first, "2026-01-31": told["through"]})
    by_wallet: dict[str, int] = {}
    for _, wallet, micro in rows:
        by_wallet[wallet] = by_wallet.get(wallet, 0) + micro
    end = int(datetime.fromisoformat(f"{told['through']}T00:00:00Z").timestamp()) + DAY
    assert len(by_wallet) > 3
    for wallet, micro in by_wallet.items():
        record = ngu("points", wallet, "--at", f"@{end}", *options, "--json").json
        rounded_down = int(Fraction(record["totalPoints"]) * 10**6) - micro
        assert 0 <= rounded_down <= told["days"], wallet


def test_stakes_per_week_are_the_events(copied) -> None:
    """What was staked and stayed so for a second, by week."""
    _, folder, _ = copied
    rows = answers(folder, 2, {})
    with closing(asked(folder)) as db:
        (events,) = db.execute("SELECT count(*) FROM events WHERE type = 'Stake'").fetchone()
    assert 0 < sum(int(tokens) for _, tokens, _ in rows) <= events
    assert [week for week, _, _ in rows] == sorted(week for week, _, _ in rows)
    assert all(week.weekday() == 0 for week, _, _ in rows)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-o", ""), "-o '' names no folder"),
        (("-o", "ngu.db"), "cannot be written: ngu.db: File exists; name another with -o"),
        (("-o", "x", "--location", "here"), "--location 'here': give a place on S3"),
        ((), "Missing option '-o'"),
    ],
)
def test_a_folder_that_cannot_be_is_one_line(copied, monkeypatch, words, says) -> None:
    """What is wrong with it and what to do; nothing is written."""
    options, folder, _ = copied
    monkeypatch.chdir(folder.parent)
    before = sorted(folder.parent.iterdir())
    ended = ngu("analysis", *words, *options)
    assert ended.code != 0
    assert says in ended.complaint
    assert sorted(folder.parent.iterdir()) == before


@pytest.mark.parametrize("number", range(3))
def test_the_queries_are_athenas_sql(number: int) -> None:
    """They parse as Trino's, whose dialect Athena's queries have."""
    sqlglot.parse_one(blocks(PAGE, "sql")[number], read="trino")


def test_the_statements_are_athenas_sql() -> None:
    """Tables and views parse in Athena's dialect; tables lie where they were told to."""
    made = {n: t for n, t in statements("s3://b/a/", "2026-01-01").items() if n != "duckdb.sql"}
    assert len(made) == len(DATASETS) + 2
    for text in made.values():
        assert isinstance(sqlglot.parse_one(text, read="athena"), sqlglot.exp.Create)
    assert sum("LOCATION 's3://b/a/" in text for text in made.values()) == len(DATASETS)


def test_the_page_names_all_columns() -> None:
    """The table of columns is that of the files."""
    told = {row["table"]: re.findall(r"`(\w+)`", row["columns"]) for row in table(PAGE, "table")}
    for dataset in DATASETS:
        names = [name for name, _ in dataset.columns]
        plain = [n for n in names if not (n.endswith("_n") and n[:-2] in names)]
        assert told[f"`{dataset.name}`"] == plain
