"""Real reorgs of a real node, while `ngu run` follows its head: the winning branch is what counts.

A few depths here; NGU_TEST_REORGS=all tries every depth from 1 to 64 with every kind of branch.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from itertools import cycle, product
from pathlib import Path
from typing import get_args

import pytest
from bench.kills import covered

from cli.program import ngu
from end_to_end.live import PATIENCE, Branch, Chain, Following, compare, following, real_chain
from ngu_points.demo.drive import deploy_on_anvil

FEW = (1, 2, 3, 5, 8, 13, 21, 32, 48, 64)
BRANCHES: tuple[Branch, ...] = get_args(Branch)
ALL = os.environ.get("NGU_TEST_REORGS") == "all"
EVERY = range(1, 65)
# The lost transactions again, in a branch of one block: that would be the same block again.
REORGS = (
    [case for case in product(EVERY, BRANCHES) if case != (1, "same")]
    if ALL
    else list(zip(FEW, cycle(BRANCHES), strict=False))
)
# Each list on a chain of its own: anvil rolls back only to states that it still has.
ROLLBACKS = [list(EVERY[first::8]) for first in range(8)] if ALL else [[1, 5, 21, 64]]
SEED = 64


@pytest.fixture
def chain() -> Iterator[Chain]:
    """A chain of 70 blocks with traffic."""
    with real_chain() as anvil:
        address = asyncio.run(deploy_on_anvil(anvil))
        chain = Chain(anvil, "0x" + address.hex(), random.Random(SEED))
        chain.grow(70)
        yield chain


@pytest.fixture
def followed(chain: Chain, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Following]:
    """The program at the head of the chain; by WebSocket too, if the test asks for it."""
    with following(chain, tmp_path / "followed.db", socket=request.param) as found:
        yield found


def noted(title: str, cases: int, followed: Following, began: float) -> None:
    height, final = followed.chain.height, followed.chain.final()
    print(  # noqa: T201 -- figures for whoever runs all depths
        f"\n{title}: {cases} in {time.monotonic() - began:.1f} s, {followed.forks()} forks logged; "
        f"the chain ends at block {height}, final {height - final} below it"
    )


@pytest.mark.parametrize("followed", [True], ids=["websocket"], indirect=True)
def test_a_reorg_of_any_depth_ends_as_a_fresh_sync(followed: Following, tmp_path: Path) -> None:
    """Branches without, with other and with the same transactions win; each state is theirs."""
    chain, began = followed.chain, time.monotonic()
    for number, (depth, branch) in enumerate(REORGS):
        chain.grow(2)
        followed.wait()
        chain.reorg(depth, branch)
        chain.grow(number % 3)  # right away, or not at all: equal height is a fork as well
        chain.check_traffic()
        found = compare(followed, tmp_path / f"{number}.db")
        assert (found["anomalies"], found["deadLetters"]) == (0, 0), (depth, branch)
    assert followed.forks() >= len(REORGS)
    noted("reorgs", len(REORGS), followed, began)


@pytest.mark.parametrize("depths", ROLLBACKS, ids=str)
@pytest.mark.parametrize("followed", [False], ids=["polling"], indirect=True)
def test_a_chain_that_shrinks_and_grows_again(
    followed: Following, depths: list[int], tmp_path: Path
) -> None:
    """A shorter chain changes nothing by itself; grown again, with other blocks, it wins."""
    chain, began = followed.chain, time.monotonic()
    for number, depth in enumerate(depths):
        before = followed.step(depth)
        chain.rollback(depth)
        followed.see()
        assert covered(followed.db)[0] == before
        chain.grow(depth // 2)
        if depth > 1:  # a shorter chain has won
            compare(followed, tmp_path / f"{number}-short.db")
        chain.grow(depth - depth // 2 + number % 2)
        assert chain.height == before + number % 2
        compare(followed, tmp_path / f"{number}.db")
    assert followed.forks() >= len(depths)
    noted("rollbacks", len(depths), followed, began)


@pytest.mark.parametrize("followed", [True, False], ids=["websocket", "polling"], indirect=True)
def test_reorgs_that_wait_for_nobody(followed: Following, tmp_path: Path) -> None:
    """Forks on forks, while earlier ones are still being undone, end as a fresh sync ends."""
    chain, began = followed.chain, time.monotonic()
    rounds = 30 if ALL else 3
    for number in range(rounds):
        for _ in range(6):
            chain.grow(chain.chance.randrange(4))
            chain.reorg(chain.chance.randint(1, 30), chain.chance.choice(BRANCHES))
        chain.grow(1)
        chain.check_traffic()
        compare(followed, tmp_path / f"{number}.db")
    noted("reorgs in a row", 6 * rounds, followed, began)


def test_what_is_final_is_the_limit(chain: Chain, tmp_path: Path) -> None:
    """Down to what is archived as final a fork is followed; below, the program stops, harmless.

    Going back by hand and reading on then ends as a fresh sync does.
    """
    db = tmp_path / "followed.db"
    with following(chain, db) as program:
        program.step(4)  # each may become the end of the archive
        chain.grow(chain.height - chain.final() - 2)
        program.wait()
        program.stop()
    final = ngu("status", "--db", db, "--json").json["archivedThrough"]
    assert final == chain.final() == chain.height - 64
    with following(chain, db) as program:
        chain.reorg(64, "other")
        before = compare(program, tmp_path / "fresh.db")["fingerprint"]
        chain.reorg(65, "other")
        assert program.process.wait(PATIENCE) == 1
        assert program.said().splitlines()[-1].startswith("ngu: the chain forked at block ")
        assert f"`ngu rewind {final - 1}`" in program.said()
    assert ngu("fingerprint", "--db", db, "--json").json["fingerprint"] == before
    assert ngu("rewind", final - 1, "--db", db, "--json").json["block"] == final - 1
    with following(chain, db) as program:
        assert compare(program, tmp_path / "again.db")["fingerprint"] != before
