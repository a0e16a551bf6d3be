"""The worked example of docs/points.md, its numbers read from the page and computed anew."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from pages import ROOT, page, table

from ngu_points.config import load, rules_of
from ngu_points.engine.events import TYPES, ids_column
from ngu_points.engine.facts import coefficients, names, shown
from ngu_points.engine.feast import FeastDay
from ngu_points.engine.rules import DAY, MICRO, Rules
from ngu_points.engine.runs import NOBODY, Moves
from ngu_points.engine.state import State, advance, no_state, no_wallets
from ngu_points.pipeline.query import View

PAGE = page("docs/points.md").partition("## A worked example")[2]
ADDRESS = {"Alice": "a11ce" + "0" * 35, "Bob": "b0b" + "0" * 37}
WALLET = {"Alice": 0, "Bob": 1, "": NOBODY}


@dataclass(frozen=True, slots=True)
class Told:
    """What the engine makes of the page's events."""

    rules: Rules
    state: State
    days: tuple[FeastDay, ...]
    view: View


def seconds(text: str) -> int:
    """A time of the page as unix seconds."""
    return int(dt.datetime.fromisoformat(text + "+00:00").timestamp())


@pytest.fixture(scope="module")
def told() -> Told:
    """The events of the page, folded by the real engine under the example's rules."""
    events = table(PAGE, "time", "event")
    ids = [(row["tokens"] + "–" + row["tokens"]).split("–")[:2] for row in events]
    first, end = [int(i[0]) for i in ids], [int(i[1]) + 1 for i in ids]
    moves = Moves(
        np.array([TYPES.index(row["event"]) for row in events], np.uint8),
        ids_column(first),
        ids_column(end),
        np.array([WALLET[row["by or from"]] for row in events], np.int64),
        np.array([WALLET[row["to"]] for row in events], np.int64),
        np.array([seconds(row["time"]) for row in events], np.int64),
    )
    rules = rules_of(load(ROOT / "docs/example/ngu.toml", {}, {}))
    address = np.array([list(bytes.fromhex(a)) for a in ADDRESS.values()], np.uint8)
    asked = re.search(r"We ask at (.*)\.", PAGE)
    assert asked is not None
    start = State(no_state(rules).runs, no_wallets(rules, address))
    done = advance(start, moves, rules, 73, seconds(asked[1]))
    assert not len(done.anomalies)
    return Told(rules, done.state, done.days, View.of(done.state, rules))


def test_the_facts_on_the_page_are_the_engines(told: Told) -> None:
    """Every fact but the feasts' is in the table, with the engine's number."""
    kinds = names(told.rules)
    rows = table(PAGE, "fact", "Alice")
    assert [row["fact"] for row in rows] == [k for k in kinds if k != "feast_micro"]
    for row in rows:
        for who in ADDRESS:
            mine = told.view.facts[0, kinds.index(row["fact"]), WALLET[who]]
            assert int(row[who].replace(",", "")) == mine, (row["fact"], who)


def test_the_feasts_on_the_page_are_the_engines(told: Told) -> None:
    """Pool, shares and carry of each closed day, to the last micro-point."""
    rows = table(PAGE, "day", "pool")
    assert len(rows) == len(told.days)
    for row, day in zip(rows, told.days, strict=True):
        assert seconds(row["day"]) // DAY == day.day
        shares = dict(zip(day.wallet.tolist(), day.share.tolist(), strict=True))
        theirs = [day.pool, shares.get(0, 0), shares.get(1, 0), day.carry_out]
        mine = [row[name] for name in ("pool", "Alice", "Bob", "carried over")]
        assert [int(Decimal(text) * MICRO) for text in mine] == theirs


def test_the_points_on_the_page_are_the_engines(told: Told) -> None:
    """Each line is its fact times its rate, and the last line is what `ngu` would show."""
    kinds = names(told.rules)
    worth = coefficients(told.rules.seasons[0], told.rules)
    *lines, total = table(PAGE, "for", "Alice")
    fact_of = {"holding": "held_seconds", "minting": "minted", "feasts": "feast_micro"}
    numerators, denominator = told.view.points()
    for who in ADDRESS:
        for line in lines:
            named = re.search(r"staked_seconds_\d", line["for"])
            kind = kinds.index(named[0] if named else fact_of[line["for"].partition(":")[0]])
            mine = int(told.view.facts[0, kind, WALLET[who]]) * worth[kind]
            assert shown(mine) == line[who], (line["for"], who)
        points = Fraction(int(numerators[WALLET[who]]), denominator)
        assert shown(points) == total[who]
