"""Done, but something is in doubt: exit code 3; and nodes that are behind or of another history."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.faulty import serving
from cli.program import busy_chain, ngu, place
from ngu_points.demo.contract import Event
from ngu_points.demo.node import SimNode
from ngu_points.engine.events import ZERO_ADDRESS, Kind

ALICE, BOB, CAROL = bytes([0xA1] * 20), bytes([0xB0] * 20), bytes([0xCA] * 20)


@pytest.mark.parametrize(("finality", "allows"), [("finalized", 13), ("safe", 17), ("2", 19)])
def test_a_block_that_finality_does_not_allow_yet(
    finality: str, allows: int, tmp_path: Path
) -> None:
    """Asked for more than is final, sync does what it may, says why, and exits with 3."""
    node = busy_chain(20)
    with serving(node) as served:
        words = (*place(node, served.url, tmp_path / "ngu.db"), "--finality", finality, "--json")
        ended = ngu("sync", *words, "--to-block", 20)
        assert (ended.code, ended.json["block"]) == (3, allows)
        assert f"block 20 is not reached: the chain is at 21, and '{finality}' allows {allows}" in (
            ended.complaint
        )
        assert ngu("sync", *words, "--to-block", allows).code == 0
        assert ngu("sync", *words).code == 0


def test_events_that_contradict_the_record(tmp_path: Path) -> None:
    """The chain is believed, the wallets concerned are uncertain, and every command says so."""
    node = busy_chain(5)
    node.mine([Event(Kind.TRANSFER, ALICE, BOB, 10**6)])
    db = ("--db", tmp_path / "ngu.db", "--json")
    with serving(node) as served:
        ended = ngu("sync", *place(node, served.url, tmp_path / "ngu.db"), "--finality", 0,
                    "--json")  # fmt: skip
    assert (ended.code, ended.json["anomalies"]) == (3, 1)
    assert ngu("token", 10**6, *db).json["owner"] == "0x" + BOB.hex()
    status = ngu("status", *db)
    assert (status.code, status.json["anomalies"]) == (3, 1)
    assert status.json["uncertainWallets"] == 2
    for wallet, uncertain in ((ALICE, True), (BOB, True), (CAROL, False)):
        assert ngu("points", "0x" + wallet.hex(), *db).json["uncertain"] is uncertain


def test_a_node_that_lags_takes_nothing_back(tmp_path: Path) -> None:
    """A node behind the record is only late: the state stays, and goes on when it has caught up."""
    node = busy_chain(20)
    with serving(node) as served:
        words = (*place(node, served.url, tmp_path / "ngu.db"), "--finality", 0, "--json")
        before = ngu("sync", *words).json
        lost = node.blocks[-3:]
        node.rollback(3)
        lagging = ngu("sync", *words)
        assert lagging.code == 3
        assert "below the last covered block" in lagging.complaint
        assert lagging.json["fingerprint"] == before["fingerprint"]
        for block in lost:
            node.append(block)
        node.mine([Event(Kind.MINT, ZERO_ADDRESS, ALICE, 10**6)])
        after = ngu("sync", *words).json
        fresh = ngu("sync", *place(node, served.url, tmp_path / "fresh.db"), "--finality", 0,
                    "--json").json  # fmt: skip
    assert after["block"] == before["block"] + 1
    assert after["fingerprint"] == fresh["fingerprint"]


@pytest.mark.parametrize("more_blocks", [0, 5])
def test_another_history_below_finality_stops(more_blocks: int, tmp_path: Path) -> None:
    """A local node started anew is another chain with the same id: one line, nothing changed."""
    node, db = busy_chain(30, max_span=5), tmp_path / "ngu.db"
    with serving(node) as served:
        words = (*place(node, served.url, db), "--finality", 0, "--json")
        before = ngu("sync", *words).json["fingerprint"]
        other = SimNode(timestamp=1_600_000_000)
        for _ in range(31 + more_blocks):
            other.mine([])
        served.node = other
        ended = ngu("sync", *words)
        assert ended.code == 1
        assert "no block in common" in ended.complaint
        assert "name another --db" in ended.complaint
        served.node = node
        assert ngu("sync", *words).json["fingerprint"] == before


def test_a_fork_below_what_is_archived_is_repaired_by_one_command(tmp_path: Path) -> None:
    """It stops and names the command; then owners, points and record are those of a fresh sync."""
    node, db = busy_chain(150, max_span=20), tmp_path / "ngu.db"
    with serving(node) as served:
        words = (*place(node, served.url, db), "--finality", 0, "--json")
        assert ngu("sync", *words).code == 0
        fork = node.finalized - 20
        node.reorg(node.head.number - fork)
        for number in range(160):
            node.mine([Event(Kind.MINT, ZERO_ADDRESS, ALICE, 10**6 + number)])
        ended = ngu("sync", *words)
        assert ended.code == 1
        command = re.search(r"`ngu (rewind \d+)`", ended.complaint)
        assert command, ended.complaint
        back = ngu(*command[1].split(), "--db", db, "--json")
        assert back.code == 0
        assert back.json["block"] <= fork
        after = ngu("sync", *words).json
        fresh = ngu("sync", *place(node, served.url, tmp_path / "fresh.db"), "--finality", 0,
                    "--json").json  # fmt: skip
    assert after["block"] == fresh["block"]
    assert after["fingerprint"] == fresh["fingerprint"]
    taken = ngu("retractions", "--db", db, "--json").json["retractions"]
    assert {t["why"].split(" to ")[0] for t in taken} == {"rewind"}
