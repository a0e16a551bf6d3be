"""Buffers and limits have the effect that the page says, and none of them loses anything."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from bench.load import PRICES
from bench.scaling import SETTINGS, backfill, contention, live, markdown, tables, written
from infra.settings import settings

from ngu_points.aws.sender import RECORDS_A_SECOND
from ngu_points.errors import NguError

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
PRICE = tomllib.loads(PRICES.read_text())
EVENTS = 2_000
ALARM = 10
"""Percent of throttled writes at which the alarm goes off."""


def test_a_shorter_buffer_is_earlier_and_costs_more_deliveries() -> None:
    """Latency follows the interval, the number of deliveries its inverse."""
    short, long = (live(1, interval, 75, PRICE) for interval in (10, 60))
    assert short["most"] <= 11 < 59 < long["most"] <= 61
    assert short["processed after, median s"] < long["processed after, median s"]
    assert short["deliveries a million events"] > 3 * long["deliveries a million events"]


def test_the_buffers_shown_can_be_deployed() -> None:
    """Each row of the page is one that `bufferMb` and `bufferSeconds` take."""
    for size, seconds in SETTINGS:
        given = {"bufferMb": size, "bufferSeconds": seconds}
        chosen = settings("prod", given.get)
        assert (chosen.buffer_mb, chosen.buffer_seconds) == (size, seconds)


def test_a_full_buffer_does_not_wait_for_its_interval() -> None:
    """With more than a megabyte in the interval its size decides."""
    row = live(0.05, 300, 30, PRICE)
    assert row["written after, median s"] < 10


@pytest.mark.parametrize("rate", [RECORDS_A_SECOND, None])
def test_a_backfill_under_a_low_maximum_is_slow_and_complete(rate: float | None) -> None:
    """Throttled writes are tried again until all are in; the state is that of a fold in memory."""
    low, high = (backfill(EVENTS, maximum, rate) for maximum in (100, 4_000))
    assert low["throttled calls"] > high["throttled calls"]
    assert low["all processed after, s"] >= EVENTS / 100 + 60 > high["all processed after, s"]


def test_the_pace_of_a_catch_up_keeps_below_the_alarm() -> None:
    """At the sender's pace hardly a write is throttled; without it, so many that it alarms."""
    paced, unpaced = (contention(10, 1_700, rate) for rate in (RECORDS_A_SECOND, 5_000.0))
    assert paced["throttled, % of all attempts"] < ALARM / 2
    assert unpaced["throttled, % of all attempts"] > ALARM
    assert paced["rows"] == unpaced["rows"] == 17_000
    assert paced["rows given up at first"] == 0


def test_the_page_has_the_tables_that_the_script_makes() -> None:
    """Names of columns and the settings of each row; figures are those of a longer run."""
    page = PAGE.read_text(encoding="utf-8")
    for name, rows in tables(20, 500).items():
        place = page.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- /{name} -->")[0]
        mine, theirs = markdown(rows).splitlines(), place.splitlines()
        assert mine[:2] == theirs[:2]
        firsts = [[line.split("|")[1] for line in lines] for lines in (mine, theirs)]
        assert firsts[0] == firsts[1]


def test_a_page_without_a_place_for_a_table_is_told() -> None:
    """The tables are not put anywhere else."""
    with pytest.raises(NguError, match="buffers"):
        written("nothing", {"buffers": [{"a": 1}]})
    page = "x\n<!-- a -->\nold\n<!-- /a -->\ny"
    assert written(page, {"a": [{"b": 1_000}]}) == (
        "x\n<!-- a -->\n| b |\n| --- |\n| 1,000 |\n<!-- /a -->\ny"
    )
