"""Worlds full of faults end in the right state; worlds with a broken guarantee do not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from simulation.knobs import Knobs, Report
from simulation.mutations import MUTATIONS, altered_headers_believed
from simulation.transport import FAULTS
from simulation.world import play

SEEDS = 250
PARTS = 5
OMITTING = 110
PATIENCE = 300
KEPT = Path(__file__).with_name("seeds.txt")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The worlds are full of warnings, of which nobody reads a word."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def kept() -> list[int]:
    lines = KEPT.read_text(encoding="utf-8").splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("part", range(PARTS))
def test_worlds_end_as_if_nothing_had_gone_wrong(part: int) -> None:
    """Whatever fails, lies, forks and crashes: at last the state is that of a fresh sync."""
    size = SEEDS // PARTS
    broken = [
        f"seed {report.seed}: {report.violation}"
        for report in map(play, range(part * size, (part + 1) * size))
        if report.violation
    ]
    assert not broken


@pytest.mark.parametrize("seed", kept())
def test_what_was_found_once_stays_found(seed: int) -> None:
    """A seed that once showed a fault of ours shows none any more."""
    assert play(seed).violation is None


def test_a_seed_makes_the_same_world_again() -> None:
    """Two runs of a seed inject the same faults and meet the same messages."""
    one, two = play(7), play(7)
    assert (one.faults, one.stops, one.violation) == (two.faults, two.stops, two.violation)


def test_what_nodes_leave_out_is_found_and_repaired() -> None:
    """What nobody noticed while reading is found by the audit and repaired."""
    reports = [play(seed, Knobs(omissions=True)) for seed in range(OMITTING)]
    assert not [f"seed {r.seed}: {r.violation}" for r in reports if r.violation]
    seen = sum((report.faults for report in reports), Report(0).faults)
    assert seen["ranges that Reader saw to be incomplete"]
    assert seen["blocks in which the audit found something missing"]


def test_every_kind_of_fault_is_injected() -> None:
    """Two hundred seeds hold forks, crashes, power cuts, lies, late deliveries, cut answers."""
    seen = sum((play(seed).faults for seed in range(200)), Report(0).faults)
    wanted = {
        "forks", "forks deeper than 20", "forks below the first block read", "flip-flops",
        "crashes", "power cuts", "SQLite errors", "graceful stops", "jumps of the wall clock",
        "deliveries late", "deliveries repeated", "deliveries in pieces",
        "deliveries in another order", "heads that lag", "heads that go back and forth",
        "swapped logs", "a log repeated", "a log from beyond the range", "logs of another fork",
        "stale for eth_getLogs only", "stale for eth_getBlockByNumber only",
        "one header of a batch from another fork", "range limits: too many blocks",
        "range limits: too many logs", "sockets: drops", "sockets: silent", "sockets: refused",
        "sockets: nonsense", "heads that a socket did not announce", "audits of lying nodes",
        *FAULTS,
    }  # fmt: skip
    assert sorted(wanted - set(+seen)) == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__)
def test_a_broken_guarantee_is_noticed(
    mutation: Callable[[], AbstractContextManager[None]],
) -> None:
    """With one safeguard taken out, one of the first few hundred worlds ends wrong."""
    with mutation():
        assert any(play(seed).violation for seed in range(PATIENCE))


def test_a_proof_that_proves_nothing_is_noticed() -> None:
    """If altered headers were believed, some lying node would have an omission called proven."""
    omitting = Knobs(omissions=True)
    with altered_headers_believed():
        assert any(play(seed, omitting).violation for seed in range(PATIENCE))
