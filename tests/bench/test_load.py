"""What events cost on AWS stays within what is aimed at; the measurement itself is checked."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.load import EVENTS, PRICES, main, measured, missed, table
from bench.streams import KINDS, traffic

from ngu_points.aws.tables import BATCH_EVENTS, CHANGES, POINTS, STAKING_EVENTS, TOKENS
from ngu_points.config import Config, rules_of
from ngu_points.engine.state import advance, no_state, no_wallets
from ngu_points.pipeline.process import moves_of

PRICE = tomllib.loads(PRICES.read_text())
FEW = 2_500


@pytest.fixture(scope="module", params=KINDS)
def found(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The figures of each kind of traffic."""
    return measured(request.param, FEW, PRICE)


def writes(found: dict[str, Any], name: str) -> float:
    return sum(row["write"] for row in found["rows"] if row["table"] == name)


def test_an_event_costs_what_is_aimed_at(found: dict[str, Any]) -> None:
    """Batch events at most 3 write units over their life, staking events 4; indexes included."""
    for name in (BATCH_EVENTS, STAKING_EVENTS):
        assert writes(found, name) <= EVENTS[name] * found["of"][name]
    assert sum(found["of"].values()) == FEW


def test_a_changed_row_of_state_costs_one_unit(found: dict[str, Any]) -> None:
    """A row of tokens or points that a step changes is written once, and so is its index entry."""
    assert missed(found) == []
    rows = found["changed"]
    assert writes(found, POINTS) == rows[POINTS]
    assert writes(found, TOKENS) == rows[TOKENS] + rows["OwnerIndex"]
    assert writes(found, CHANGES) < 0.3 * FEW


def test_a_target_that_is_missed_is_told(found: dict[str, Any]) -> None:
    """A unit too many in any of the tables ends the command with a line that says which."""
    for name in (TOKENS, POINTS):
        worse = {**found, "rows": [*found["rows"], {"table": name, "index": "", "write": 1}]}
        assert [line.split()[0] for line in missed(worse)] == [name]
    more = {**found, "rows": [*found["rows"], {"table": BATCH_EVENTS, "index": "", "write": FEW}]}
    assert any(line.startswith(BATCH_EVENTS) for line in missed(more))


def test_a_mint_of_10000_costs_what_a_mint_of_1_costs() -> None:
    """Tokens are kept in ranges: how long one is costs nothing."""
    one, many = (measured("mints", 200, PRICE, parcel) for parcel in (1, 10_000))
    for figures in (one, many):
        figures["units"] = {
            (row["table"], row["index"]): row["write"]
            for row in figures["rows"]
            if row["table"] != CHANGES  # compressed: its size varies by some bytes
        }
    assert one["units"] == many["units"]
    assert abs(writes(one, CHANGES) - writes(many, CHANGES)) <= 3
    assert one["changed"] == many["changed"]


@pytest.mark.parametrize("name", KINDS)
def test_traffic_is_possible(name: str) -> None:
    """No event contradicts the ones before it, and the same is made every time."""
    events, rules = traffic(name, 5_000).events, rules_of(Config())
    address, moves = moves_of(events)
    empty = no_state(rules)
    object.__setattr__(empty, "wallets", no_wallets(rules, address))
    after = advance(empty, moves, rules, int(events.block[-1]), int(events.timestamp[-1]))
    assert len(after.anomalies.event) == 0
    np.testing.assert_array_equal(events.first, traffic(name, 5_000).events.first)


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path, capsys: Any) -> None:
    """What is printed and what is written are the same figures, with the date of the prices."""
    path = tmp_path / "load.json"
    assert main(["--events", "300", "--traffic", "staking", "--json", str(path)]) == 0
    results = json.loads(path.read_text())
    assert results["prices"] == PRICE["date"]
    assert table(results["traffic"][0]) in capsys.readouterr().out
    assert results["traffic"][0]["cost"]["total"] > 2
