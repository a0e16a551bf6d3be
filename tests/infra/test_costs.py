"""What a stage costs: computed from what its templates have, and from units that were counted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from templates import ROOT, STAGES, needs_cdk

from infra import costs

PRICES, UNITS = costs.prices(), costs.units()


@pytest.mark.parametrize("stage", STAGES)
def test_the_counts_are_those_of_the_templates(stage, request: pytest.FixtureRequest) -> None:
    """What is assumed without CDK is what a stage has."""
    needs_cdk()
    folder: Path = request.getfixturevalue("synthesized")
    assert costs.counts(stage, folder) == costs.told(stage)


def test_the_memory_is_that_of_the_functions() -> None:
    """Idle runs are priced with the sizes that the functions have."""
    needs_cdk()
    from infra import functions

    for name, gigabytes in costs.MEMORY.items():
        size = getattr(functions, name.upper())
        assert gigabytes == pytest.approx(size.memory / 1024, abs=0.05)


def test_without_templates_the_settings_are_counted(tmp_path: Path) -> None:
    """No template, no difference: prod has two zones, staging one."""
    assert costs.counts("prod", tmp_path) == costs.told("prod")
    assert costs.told("prod").endpoints == 2 * costs.told("staging").endpoints


def test_a_bill_adds_up() -> None:
    """By hand: what dominates a month, and a million events of 5 KB a record through Firehose."""
    lines = {
        line.what: line.usd for line in costs.monthly(costs.told("prod"), PRICES, UNITS["idle"])
    }
    assert lines["interface endpoints"] == pytest.approx(14 * 730 * 0.01)
    assert lines["DynamoDB"] == pytest.approx(
        UNITS["idle"]["write"] / 1e6 * 0.625 + UNITS["idle"]["read"] / 1e6 * 0.125
    )
    assert all(usd > 0 for usd in lines.values())
    units = {"write": {"batch-events": 3.0, "meta": 0.001}, "read": 1.0, "put_bytes": 5120,
             "deliveries": 0.001, "seconds": 0.01}  # fmt: skip
    found = {line.what: line.usd for line in costs.per_million(units, PRICES)}
    assert "writes of `meta`" not in found
    assert found["writes of `batch-events`"] == pytest.approx(1.875)
    assert found["Firehose"] == pytest.approx(5120e6 / 2**30 * 0.029)
    assert found["Lambda"] == pytest.approx(1e6 * 0.01 * 0.5 * 0.0000133334 + 0.001 * 0.2)


def test_what_the_api_costs_grows_with_requests_and_looks() -> None:
    """By hand: a dollar a million for the gateway, reads of a look times the minutes of a month."""
    look = {"read": 1_000, "seconds": 0.0, "tokens": 1, "runs": 1, "wallets": 1}
    found = {line.what: line.usd for line in costs.asking(look, PRICES)}
    assert found["API Gateway"] == 1.0
    assert found["Lambda"] == pytest.approx(0.2 + 5_000 * 1.73 * 0.0000133334)
    (looks,) = (usd for what, usd in found.items() if "tables" in what)
    assert looks == pytest.approx(730 * 60 * 1_000 / 1e6 * 0.125)


def test_the_units_keep_to_the_targets() -> None:
    """An event costs at most 3 write units in its table, a staking event 4."""
    for name, units in UNITS["traffic"].items():
        assert units["put_bytes"] == pytest.approx(5120, rel=0.02), name
        assert units["write"].get("batch-events", 0) <= 3
        assert units["write"].get("staking-events", 0) <= 4


def test_measured_units_are_taken_over(tmp_path: Path) -> None:
    """Results of bench.load become units of one event; the command prints what they cost."""
    written, index = {"write": 20, "read": 0}, {"write": 10, "read": 5}
    rows = [{"table": "batch-events", **written}, {"table": "batch-events", **index}]
    found = {"traffic": "mine", "events": 10, "rows": rows, "put": {"bytes": 51_200},
             "deliveries": 1, "calls": {"put_item": 10}}  # fmt: skip
    path = tmp_path / "load.json"
    path.write_text(json.dumps({"traffic": [found]}))
    assert costs.units_of({"traffic": [found]})["mine"] == {
        "events": 10, "write": {"batch-events": 3.0}, "read": 0.5, "put_bytes": 5120.0,
        "deliveries": 0.1, "seconds": 0.003,
    }  # fmt: skip
    command = [sys.executable, "-m", "infra.costs", "--load", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "|  | mine |" in done.stdout
    assert "| writes of `batch-events` | 1.88 | 3.00 |" in done.stdout
