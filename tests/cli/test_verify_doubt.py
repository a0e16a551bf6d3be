"""`ngu verify` and the wallets that contradictions concern: who becomes certain again, and when."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from cli.program import busy_chain, ngu, place
from cli.verified import (
    ALICE,
    BOB,
    CAROL,
    named,
    noted,
    omitting,
    small_chain,
    synced,
    uncertain,
    verify,
)
from ngu_points.config import load, rules_of
from ngu_points.demo.contract import Event
from ngu_points.demo.node import SimNode
from ngu_points.embedded.database import writer_lock
from ngu_points.embedded.history import History
from ngu_points.embedded.store import Store
from ngu_points.embedded.verify import cleared as settle
from ngu_points.embedded.verify import planned
from ngu_points.embedded.verify import verify as compared
from ngu_points.engine.events import ZERO_ADDRESS, Kind

DAVE = bytes([0xDA] * 20)


def doubted(tmp_path: Path) -> tuple[SimNode, Path]:
    """A chain on which Bob gets a token from Alice that was never minted."""
    node = busy_chain(5)
    node.mine([Event(Kind.TRANSFER, ALICE, BOB, 10**6)])
    return node, tmp_path / "ngu.db"


def test_wallets_that_agree_become_certain(tmp_path: Path) -> None:
    """Uncertain wallets are cleared once the contract confirms all their tokens, however small
    the sample."""
    node, db = doubted(tmp_path)
    with synced(node, db) as served:
        assert uncertain(db) == {ALICE, BOB}
        ended = verify(served, db, "--sample", 1, "--json")
    assert ended.code == 0
    assert (ended.json["uncertain"], ended.json["cleared"]) == (2, 2)
    assert uncertain(db) == set()
    assert ngu("points", named(BOB), "--db", db, "--json").json["uncertain"] is False


def test_nothing_is_cleared_beside_another_writer(tmp_path: Path) -> None:
    """While `ngu run` holds the database the outcome is still told, and nothing is written."""
    node, db = doubted(tmp_path)
    with synced(node, db) as served, writer_lock(db):
        ended = verify(served, db, "--json")
    assert ended.code == 0
    assert (ended.json["agrees"], ended.json["cleared"]) == (True, 0)
    assert "is in use by another ngu" in ended.json["notWritten"]
    assert uncertain(db) == {ALICE, BOB}
    assert noted(db) is None


@pytest.mark.parametrize(
    ("blocks", "said"), [(1, "gone on to block 8"), (-1, "gone back to block")]
)
def test_nothing_is_cleared_at_another_block(blocks: int, said: str, tmp_path: Path) -> None:
    """What was compared at a block clears nobody once the record stands at another."""
    node, db = doubted(tmp_path)
    with synced(node, db) as served:
        config = load(None, {}, {"chain.rpc": [served.url], "store.db": str(db)})
        rules = rules_of(config)
        store = Store.open(db, rules)
        with closing(store):
            history = History(store)
            found = asyncio.run(compared(config, history, planned(history, 9), lambda _: None))
        assert set(found.settled()) == {ALICE, BOB}
        if blocks > 0:
            node.mine([])
            assert ngu("sync", *place(node, served.url, db), "--finality", 0).code == 3
        else:
            assert ngu("rewind", 6, "--db", db).code == 0
        before = uncertain(db)
        cleared, why = settle(config, rules, found, 1)
    assert (cleared, uncertain(db)) == (0, before)
    assert said in why


def test_only_wallets_without_a_difference_become_certain(tmp_path: Path) -> None:
    """Whoever has a token that differs, by our record or by the chain's, stays uncertain."""
    db, node = tmp_path / "ngu.db", small_chain()
    node.mine([Event(Kind.TRANSFER, BOB, CAROL, 10)])
    with synced(node, db, omitting(7)) as served:
        assert uncertain(db) == {ALICE, BOB, CAROL}
        ended = verify(served, db, "--json")
    assert (ended.code, ended.json["differences"], ended.json["cleared"]) == (3, 9, 1)
    assert uncertain(db) == {ALICE, BOB}


def test_whoever_a_contradicted_event_names_answers_for_its_tokens(tmp_path: Path) -> None:
    """A wallet that only passed a token on stays uncertain while that token differs."""
    db, node = tmp_path / "ngu.db", SimNode()
    node.mine([])
    node.mine([Event(Kind.MINT, ZERO_ADDRESS, ALICE, 1, 20)])
    for sender, recipient in ((ALICE, BOB), (BOB, CAROL), (CAROL, DAVE)):
        node.mine([Event(Kind.TRANSFER, sender, recipient, 10)])
    with synced(node, db, omitting(3, 5)) as served:
        assert uncertain(db) == {ALICE, BOB, CAROL}
        ended = verify(served, db, "--json")
    assert (ended.json["differences"], ended.json["cleared"]) == (1, 0)
    assert uncertain(db) == {ALICE, BOB, CAROL}


def test_unverifiable_stakers_clear_nobody(tmp_path: Path) -> None:
    """Where tokens are staked and nobody can say by whom, owners alone make no wallet certain."""
    node, db = doubted(tmp_path)
    with synced(node, db) as served:
        words = ("--rpc", served.url, "--db", db, "--json")
        ended = ngu("verify", *words, env={"NGU_STAKING_VIEW": "depositor(uint256)"})
    assert ended.json["stakers"].endswith("does not answer depositor(uint256)")
    assert (ended.code, ended.json["cleared"]) == (0, 0)
    assert uncertain(db) == {ALICE, BOB}
