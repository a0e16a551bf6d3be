"""The measurement of the API function, made small."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ngu_points.mirror.function", reason="the extra aws is missing")

from bench import api
from infra import costs


def test_looks_and_answers_are_measured(tmp_path: Path) -> None:
    """Every path is answered, looks are counted, and costs know the figures."""
    found = api.measured(tmp_path, events=6_000, asked=2)
    assert found["runs"] > 100
    assert min(found["next look, read units"], found["first look, read units"]) > 100
    assert all(f"{path}, ms" in found for path in api.PATHS)
    look = costs.look_of(found)
    assert look.keys() == costs.units()["api"].keys()
    assert sum(line.usd for line in costs.asking(look, costs.prices())) > 1
