"""`ngu run` follows the chain, stops when told, goes on, and takes the branch that wins."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.faulty import serving
from cli.program import busy_chain, ngu, place, started
from ngu_points.demo.contract import Event
from ngu_points.demo.node import SimNode
from ngu_points.engine.events import ZERO_ADDRESS, Kind

ALICE, BOB, CAROL = bytes([0xA1] * 20), bytes([0xB0] * 20), bytes([0xCA] * 20)
FAST = {"NGU_CHAIN_POLL_INTERVAL": "0.02"}
PATIENCE = 30.0


def until(what: Callable[[], bool], program: Any) -> None:
    """Wait for something that the running program will bring about."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert program.poll() is None, program.stderr.read()
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def mint(wallet: bytes, first: int) -> Event:
    return Event(Kind.MINT, ZERO_ADDRESS, wallet, first, 3)


def hash_at(db: Path) -> str | None:
    """The hash of the last covered block, None before there is one."""
    status = ngu("status", "--db", db, "--json")
    return None if status.code == 1 else str(status.json["blockHash"])


def at_head(node: SimNode, db: Path) -> Callable[[], bool]:
    return lambda: hash_at(db) == "0x" + node.head.hash.hex()


def fresh(node: SimNode, url: str, db: Path) -> str:
    """The fingerprint of a sync from the beginning, now."""
    ended = ngu("sync", *place(node, url, db), "--finality", 0, "--json")
    assert ended.code == 0, ended.err
    return str(ended.json["fingerprint"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_follows_stops_and_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    """New blocks are taken as they come; a signal ends it with exit 0; a new start goes on."""
    node, db = busy_chain(20), tmp_path / "ngu.db"
    with serving(node) as served:
        words = ("run", *place(node, served.url, db), "--finality", 0, "--json")
        for turn in range(2):
            with started(*words, env=FAST) as program:
                for _ in range(3):
                    node.mine([mint(ALICE, 10**6 + 10 * node.head.number)])
                    until(at_head(node, db), program)
                program.send_signal(number)
                out, err = program.communicate(timeout=PATIENCE)
            assert program.returncode == 0, err
            assert "Traceback" not in err
            summary = json.loads(out.splitlines()[-1])
            assert summary["block"] == node.head.number
            assert summary["fingerprint"] == fresh(node, served.url, tmp_path / f"{turn}.db")


@pytest.mark.parametrize("longer", [0, 2])
def test_run_takes_the_branch_that_wins(longer: int, tmp_path: Path) -> None:
    """After a fork of depth 3 the state is that of a fresh sync of the new branch."""
    node, db = busy_chain(20), tmp_path / "ngu.db"
    node.set_finalized(10)
    with serving(node) as served:
        words = ("run", *place(node, served.url, db), "--finality", 0, "--json")
        with started(*words, env=FAST) as program:
            for block in range(3):
                node.mine([mint(ALICE, 10**6 + 10 * block)])
                until(at_head(node, db), program)
            branch = [[mint(BOB, 10**6 + 10 * block)] for block in range(3)]
            node.reorg(3, [*branch, *[[]] * longer])
            until(at_head(node, db), program)
            node.mine([mint(ALICE, 2 * 10**6)])
            until(at_head(node, db), program)
            program.send_signal(signal.SIGTERM)
            out, err = program.communicate(timeout=PATIENCE)
        assert program.returncode == 0, err
        summary = json.loads(out.splitlines()[-1])
        assert summary["fingerprint"] == fresh(node, served.url, tmp_path / "fresh.db")
        assert (summary["anomalies"], summary["deadLetters"]) == (0, 0)
    token = ngu("token", 10**6, "--db", db, "--json").json
    assert token["owner"] == "0x" + BOB.hex()
    assert ngu("rebuild", "--db", db, "--json").json["same"]


def test_sync_after_a_fork_takes_the_branch_that_wins(tmp_path: Path) -> None:
    """What forked between two runs of `ngu sync` is undone by the second."""
    node, db = busy_chain(20), tmp_path / "ngu.db"
    node.set_finalized(10)
    with serving(node) as served:
        node.mine([mint(ALICE, 10**6)])
        before = fresh(node, served.url, db)
        node.reorg(3, [[], [mint(BOB, 10**6)], [], []])
        after = fresh(node, served.url, db)
        assert before != after == fresh(node, served.url, tmp_path / "fresh.db")
    assert ngu("token", 10**6, "--db", db, "--json").json["owner"] == "0x" + BOB.hex()


def test_points_that_a_fork_takes_back_are_listed(tmp_path: Path) -> None:
    """Whoever was shown points for a mint that the winning branch gives to another is told."""
    node, db = busy_chain(20, seconds_per_block=43_200), tmp_path / "ngu.db"
    node.set_finalized(10)
    with serving(node) as served:
        node.mine([mint(CAROL, 10**6)])
        node.mine([])
        node.mine([])
        fresh(node, served.url, db)
        shown = ngu("points", "0x" + CAROL.hex(), "--db", db, "--json").json["points"]
        node.reorg(3, [[mint(BOB, 10**6)], []])
        fresh(node, served.url, db)
        assert ngu("retractions", "--db", db, "--json").json["retractions"] == []
        node.mine([])
        fresh(node, served.url, db)
    found = ngu("retractions", "--db", db, "--json").json["retractions"]
    assert [(r["wallet"], r["shown"], r["now"]) for r in found] == [
        ("0x" + CAROL.hex(), shown, "0.000000")
    ]
    assert shown == "3.000000"  # three tokens for a day
    assert found[0]["why"].startswith("fork at block ")
    told = ngu("points", "0x" + CAROL.hex(), "--db", db)
    assert "taken back: 3.000000 became 0.000000: fork at block " in told.out


def test_a_sync_after_a_fork_of_equal_height(tmp_path: Path) -> None:
    """A head at the same height with another hash is a fork, not the end of the work."""
    node, db = busy_chain(20), tmp_path / "ngu.db"
    node.set_finalized(10)
    with serving(node) as served:
        node.mine([mint(ALICE, 10**6)])
        fresh(node, served.url, db)
        node.reorg(2, [[], [mint(BOB, 10**6)]])
        assert fresh(node, served.url, db) == fresh(node, served.url, tmp_path / "fresh.db")


def test_a_chain_that_went_back_and_on_another_way(tmp_path: Path) -> None:
    """Shorter than before, with other blocks where we hold events: a fork, not a node that lags."""
    node, db = busy_chain(60), tmp_path / "ngu.db"
    node.set_finalized(5)
    with serving(node) as served:
        fresh(node, served.url, db)
        node.rollback(15)
        for number in range(10):
            node.mine([mint(BOB, 10**6 + 10 * number)])
        assert fresh(node, served.url, db) == fresh(node, served.url, tmp_path / "fresh.db")
    assert ngu("status", "--db", db, "--json").json["block"] == node.head.number


def alarms(db: Path) -> str:
    return "; ".join(ngu("status", "--db", db, "--json").json["alarms"])


def test_a_run_that_was_killed_is_an_alarm(tmp_path: Path) -> None:
    """Until it is started again: whoever looks at the status need not guess."""
    node, db = busy_chain(20), tmp_path / "ngu.db"
    with serving(node) as served:
        words = ("run", *place(node, served.url, db), "--finality", 0)
        with started(*words, env=FAST) as program:
            until(at_head(node, db), program)
            assert "ended without being stopped" not in alarms(db)
            program.kill()
            program.wait(PATIENCE)
        assert "ended without being stopped: start it again" in alarms(db)
        with started(*words, env=FAST) as program:
            node.mine([mint(ALICE, 10**6)])
            until(at_head(node, db), program)
            assert "ended without" not in alarms(db)
            program.send_signal(signal.SIGTERM)
            assert program.wait(PATIENCE) == 0
    assert alarms(db) == ""


def test_run_outlives_a_node_that_is_away(tmp_path: Path) -> None:
    """While no node answers it waits and says so; when the node is back it goes on."""
    node, db = busy_chain(20), tmp_path / "ngu.db"
    with serving(node) as served:
        words = ("run", *place(node, served.url, db), "--finality", 0)
        with started(*words, env={**FAST, "NGU_CHAIN_RETRIES": "0"}) as program:
            until(at_head(node, db), program)
            served.away = True
            log = ""
            while "chain not readable" not in log:
                line = program.stderr.readline()
                assert line, log
                log += line
            assert "the chain cannot be read since" in alarms(db)
            node.mine([mint(ALICE, 10**6)])
            served.away = False
            until(at_head(node, db), program)
            until(lambda: "cannot be read" not in alarms(db), program)
            program.send_signal(signal.SIGTERM)
            assert program.wait(PATIENCE) == 0
