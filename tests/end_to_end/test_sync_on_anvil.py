"""A real EVM node and its contract agree with what `ngu sync` makes of a few thousand events."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import oracle
from cli.program import Ended, ngu
from cli.truth import asked, events_on, shown, told
from localnode import local_anvil
from ngu_points.demo.contract import (
    holdings,
    next_token_id,
    owner_of,
    read_address,
    read_holdings,
    read_integer,
    staker_of,
    total_supply,
)
from ngu_points.demo.drive import bulk_on_anvil

TRANSACTIONS = 3000
AT_ONCE = 400
NOBODY = "0x" + "00" * 20


@dataclass(frozen=True)
class Synced:
    """A chain that has been read, and what there is to compare."""

    url: str
    contract: str
    last: int
    db: Path
    sync: Ended
    events: list[oracle.Event]

    def call(self, data: str) -> str:
        """What a view of the contract returns at the last block."""
        answer = asked(self.url, "eth_call", {"to": self.contract, "data": data}, hex(self.last))
        assert isinstance(answer, str)
        return answer


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synced]:
    """An NGU on anvil with transactions in blocks half an hour apart, read by `ngu sync`."""
    db = tmp_path_factory.mktemp("anvil") / "ngu.db"
    with local_anvil(seconds_per_block=6 * 3600) as anvil:
        played = asyncio.run(bulk_on_anvil(anvil, TRANSACTIONS))
        contract = "0x" + played.contract.hex()
        sync = ngu("sync", "--rpc", anvil.url, "--contract", contract, "--db", db,
                   "--finality", "0", "--json")  # fmt: skip
        events = events_on(anvil.url, contract, played.last_block)
        yield Synced(anvil.url, contract, played.last_block, db, sync, events)


def test_sync_reads_every_event_and_doubts_none(synced: Synced) -> None:
    """All events up to the newest block are in the record, and none contradicts it."""
    assert synced.sync.code == 0, synced.sync.err
    found = synced.sync.json
    assert found["block"] == synced.last
    assert found["events"] == len(synced.events) > TRANSACTIONS
    assert (found["anomalies"], found["deadLetters"]) == (0, 0)
    status = ngu("status", "--db", synced.db, "--json")
    assert (status.code, status.json["alarms"]) == (0, [])


def test_every_token_is_as_the_contract_says(synced: Synced, tmp_path: Path) -> None:
    """Owner and staker of every id ever minted, and the supply, equal the contract's answers."""
    file = tmp_path / "tokens.csv"
    assert ngu("export", "tokens", "--db", synced.db, "-o", file).code == 0
    with file.open(newline="") as rows:
        ours = {int(r["token_id"]): (r["owner"], r["staker"]) for r in csv.DictReader(rows)}
    assert len(ours) == synced.sync.json["tokens"] == read_integer(synced.call(total_supply()))
    beyond = read_integer(synced.call(next_token_id()))
    assert max(ours) < beyond
    for first in range(1, beyond, AT_ONCE):
        ids = range(first, min(first + AT_ONCE, beyond))
        owners, stakers = read_holdings(synced.call(holdings(first, len(ids))))
        for token, owner, staker in zip(ids, owners, stakers, strict=True):
            mine, stakes = ours.get(token, (NOBODY, NOBODY))
            assert (mine, stakes or NOBODY) == ("0x" + owner.hex(), "0x" + staker.hex()), token


def test_single_tokens_are_as_ownerof_and_stakerof_say(synced: Synced) -> None:
    """`ngu token` gives what ownerOf and stakerOf give, for staked and unstaked tokens alike."""
    view = told(synced.events, synced.sync.json["timestamp"])
    some = [*list(view.stakers)[:5], *list(view.owners)[:5], max(view.owners)]
    for token in some:
        found = ngu("token", token, "--db", synced.db, "--json").json
        assert found["owner"] == "0x" + read_address(synced.call(owner_of(token))).hex()
        staker = "0x" + read_address(synced.call(staker_of(token))).hex()
        assert (found["staker"] or NOBODY) == staker


def test_points_of_every_wallet_are_the_oracles(synced: Synced) -> None:
    """`ngu points` equals, to the last decimal, what the oracle makes of the node's own logs."""
    timestamp = synced.sync.json["timestamp"]
    view = told(synced.events, timestamp)
    midnight = told(synced.events, timestamp // oracle.DAY * oracle.DAY)
    assert len(view.feasts) >= 3
    assert len(view.points["1"]) >= 8
    for wallet, points in view.points["1"].items():
        found = ngu("points", wallet, "--db", synced.db, "--json").json
        facts = view.facts["1"][wallet]
        assert found["points"] == found["totalPoints"] == shown(points)
        assert found["dailyPoints"] == shown(points - midnight.points["1"].get(wallet, 0))
        assert found["facts"]["held_seconds"] == facts.held
        assert found["facts"]["feast_micro"] == facts.awards_micro
        assert {name: found["facts"][name] for name in oracle.COUNTS} == facts.counts
