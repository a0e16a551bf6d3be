"""`ngu verify` asks a real contract on a real EVM node, at the newest block and at earlier ones."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import oracle
from cli.faulty import Call, Fault, FaultyNode, serving
from cli.program import ngu
from cli.truth import asked, events_on
from cli.verified import omitting
from localnode import local_anvil
from ngu_points.demo.drive import bulk_on_anvil
from ngu_points.demo.node import SimNode


@pytest.fixture(scope="module")
def played() -> Iterator[tuple[str, str, list[oracle.Event]]]:
    """An NGU on anvil that has seen many transactions, then none for 40 blocks: URL, address,
    events."""
    with local_anvil() as anvil:
        done = asyncio.run(bulk_on_anvil(anvil, 1500))
        asked(anvil.url, "anvil_mine", hex(40))
        contract = "0x" + done.contract.hex()
        yield anvil.url, contract, events_on(anvil.url, contract, done.last_block)


@contextmanager
def forwarding(url: str, fault: Fault | None) -> Iterator[FaultyNode]:
    """A real node behind a server that can spoil its answers."""

    def forwarded(call: Call) -> bytes:
        body = json.dumps(call).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: bytes = response.read()
        return answer

    with serving(SimNode(), fault) as served:
        served._answer = forwarded  # type: ignore[method-assign]
        yield served


def test_a_real_contract_agrees(
    played: tuple[str, str, list[oracle.Event]], tmp_path: Path
) -> None:
    """Every token of a collection on a real node is as its contract says."""
    url, contract, _ = played
    words = ("--rpc", url, "--contract", contract, "--db", tmp_path / "ngu.db")
    assert ngu("sync", *words, "--finality", 0).code == 0
    ended = ngu("verify", *words, "--all", "--json")
    assert ended.code == 0, ended.out
    assert ended.json["tokens"] > ended.json["living"] > 1000
    assert ended.json["supply"]["chain"] == ended.json["living"]


def test_a_missed_transfer_is_found_on_a_real_node(
    played: tuple[str, str, list[oracle.Event]], tmp_path: Path
) -> None:
    """A transfer that the node left out is traced to its very block by the contract's past."""
    url, contract, events = played
    later: set[int] = set()
    for lost in reversed(events):
        tokens = set(range(lost.first, lost.first + lost.quantity))
        moved = lost.kind == "BatchTransfer" and lost.sender != lost.recipient
        if moved and tokens.isdisjoint(later):
            break
        later |= tokens
    with forwarding(url, omitting(lost.block, index=lost.log_index)) as served:
        words = ("--rpc", served.url, "--contract", contract, "--db", tmp_path / "ngu.db")
        assert ngu("sync", *words, "--finality", 0).code == 0
        served.fault = None
        ended = ngu("verify", *words, "--all", "--json")
    assert ended.code == 3
    assert ended.json["differences"] == lost.quantity
    for one in ended.json["differing"]:
        assert int(one["tokenId"]) in tokens
        assert (one["ours"]["owner"], one["chain"]["owner"]) == (lost.sender, lost.recipient)
        assert one["firstBlock"] == lost.block
