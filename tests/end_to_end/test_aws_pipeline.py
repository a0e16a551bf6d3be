"""The way of events on AWS from end to end: whatever goes wrong, the numbers are the same.

A simulated chain, the event monitor, Firehose over HTTP with its duplicates, delays and lost
answers, the functions, DynamoDB on the emulator; processes die at random calls. More seeds:
NGU_TEST_SEEDS=20.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from aws.backups import copied
from aws.deployed import deployed
from aws.dynamo import ministack
from aws.firehose.stream import Faults
from cli.program import address, ngu
from cli.truth import events_on, told
from end_to_end.deployment import Deployment, empty, running
from localnode import served
from ngu_points.aws import wiring
from ngu_points.aws.backup import replay
from ngu_points.aws.records import Origin
from ngu_points.aws.refill import Tables
from ngu_points.aws.saved import in_folder
from ngu_points.aws.store import Store
from ngu_points.aws.tables import QUARANTINE
from ngu_points.demo.node import SimNode
from ngu_points.demo.traffic import Traffic, events_of, wallets
from ngu_points.engine import invariants
from ngu_points.pipeline.query import View
from ngu_points.pipeline.schedule import JOBS

SEEDS = range(int(os.environ.get("NGU_TEST_SEEDS", "3")))
ROUNDS, BLOCKS, ACTIONS = 3, 10, 2


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    """Where the emulator's services answer."""
    with ministack.server() as url:
        yield url


def grow(node: SimNode, traffic: Traffic) -> None:
    """Some more blocks, half an hour apart, with events of all types."""
    for _ in range(BLOCKS):
        node.mine_transactions([events_of(action) for action in traffic.take(ACTIONS)])


def unkind(seed: int) -> Faults:
    """Everything that Firehose may do."""
    return Faults(
        random.Random(seed), refuse=0.1, throttle=0.1, lose_put=0.1, lose_request=0.1,
        lose_answer=0.2, repeat=0.3, shuffle=True, delay=90.0,
    )  # fmt: skip


def trouble(world: Deployment, node: SimNode, traffic: Traffic) -> None:
    """Rounds of a chain that grows and of processes that come and go."""
    world.deaths = 0.25
    world.stage.dynamo.throttles, world.stage.dynamo.leaves = 0.02, 0.2
    for _ in range(ROUNDS):
        grow(node, traffic)
        world.send(world.rng.choice([None, 1, 2, 5]))
        world.wait(world.rng.uniform(20, 200))
        world.process(calls=world.rng.randrange(1, 5))
        world.process()
        world.job(world.rng.choice(JOBS).name)
    grow(node, traffic)


def points_of(store: Store) -> dict[str, Fraction]:
    """Every wallet that has points, as the tables have them."""
    view = View.of(store.state(), store.rules)
    numerators, denominator = view.points()
    return {
        "0x" + wallet.tobytes().hex(): Fraction(int(n), denominator)
        for wallet, n in zip(view.state.wallets.address, numerators, strict=True)
        if int(n)
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_the_numbers_are_those_of_one_machine(
    emulator: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seed: int
) -> None:
    """Fingerprint of the embedded pipeline, points of the oracle; the backup gives both again."""
    node = SimNode(seconds_per_block=1_800, max_span=5)
    node.mine()
    traffic = Traffic(seed, wallets(6))
    with (
        served(node) as where,
        running(node, where.url, emulator, monkeypatch, tmp_path / "state", seed,
                unkind(seed)) as world,
    ):  # fmt: skip
        trouble(world, node, traffic)
        world.settle()
        for job in JOBS:
            world.job(job.name)
        assert set(world.jobs) >= {job.name for job in JOBS}
        store, last = world.stage.store(), world.last
        mark = store.fingerprint()
        invariants.check(store.state(), store.rules)

        db = tmp_path / "ngu.db"
        synced = ngu("sync", "--rpc", where.url, "--contract", address(node), "--kind", "ngu",
                     "--db", db, "--finality", "1", "--json")  # fmt: skip
        assert (synced.code, synced.json["block"]) == (0, last)
        assert mark == synced.json["fingerprint"]

        events = events_on(where.url, address(node), last, span=5)
        view = told(events, store.position().timestamp)
        wanted = {wallet: points for wallet, points in view.points["1"].items() if points}
        assert points_of(store) == wanted
        assert len(view.feasts) >= 1
        assert len(wanted) == 6

        assert world.stage.rows(QUARANTINE) == []
        assert world.died >= ROUNDS
        folder = copied(world.bucket, tmp_path / "bucket")
        assert again(folder, emulator, monkeypatch, node, where.url) == (mark, last)


def again(
    folder: Path, emulator: str, patch: pytest.MonkeyPatch, node: SimNode, rpc: str
) -> tuple[str, int]:
    """Fingerprint and block of new tables that nothing but the backup was put into."""
    with deployed(emulator, patch) as stage:
        empty(stage, node, rpc)
        stage.store().identify(node.chain_id, address(node), "ngu", 1)
        store = stage.store()
        place = Tables(store, wiring.archive(stage.env, store), "replay")
        origin = Origin(stage.env.stage, node.chain_id, (node.contract,))
        done = replay(in_folder(folder), place, origin, 1_800_100_000)
        assert done.poison == 0
        return stage.store().fingerprint(), store.position().block
