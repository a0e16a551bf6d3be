"""kill -9 at random moments of `ngu run` under load: nothing is lost, nothing counts twice.

`python -m bench.kills --times 200` does the same for longer.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from bench.kills import killed, same

from ngu_points.errors import NguError

KILLS = 15
SEED = 15


def test_killed_again_and_again_it_ends_as_a_fresh_sync(tmp_path: Path) -> None:
    """Each event of the chain is held once, no gap, no alarm, and the fingerprint is the same."""
    found = asyncio.run(killed(KILLS, SEED, tmp_path))
    assert found["kills"]["all"] == KILLS
    assert found["kills"]["places"] >= KILLS // 3, "it was hardly killed at work"
    assert found["forks"] >= 1
    assert found["events"] > 0


def test_a_difference_is_not_passed_over() -> None:
    """What is not as it must be ends the run with a line that names it."""
    with pytest.raises(NguError, match=r"after the kills, the gaps: \[1\] instead of \[\]"):
        same("the gaps", [1], [])
