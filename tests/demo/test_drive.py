"""Driving traffic: the same chain every time, paced, and until it is told to stop."""

import asyncio
import itertools
from collections import Counter
from typing import Any

import pytest

from localnode import local_anvil, served
from ngu_points.demo.blocks import logs_of
from ngu_points.demo.contract import event_of
from ngu_points.demo.drive import (
    Played,
    bulk_on_anvil,
    bulk_on_node,
    deploy_on_anvil,
    run_on_anvil,
    run_on_node,
)
from ngu_points.demo.holdings import Holdings
from ngu_points.demo.node import SimNode
from ngu_points.demo.wire import Wire
from ngu_points.engine.events import Kind
from ngu_points.errors import NguError


async def blocks_of(url: str) -> list[dict[str, Any]]:
    async with Wire(url) as wire:
        height = int(await wire.call("eth_blockNumber"), 16)
        return [
            await wire.call("eth_getBlockByNumber", hex(number), False)
            for number in range(height + 1)
        ]


def test_anvil_has_the_same_hashes_every_time() -> None:
    """The same traffic on two fresh anvils with fixed times gives the same block hashes."""
    hashes = []
    for _ in range(2):
        with local_anvil() as anvil:
            asyncio.run(bulk_on_anvil(anvil, 300, seed=3))
            hashes.append([block["hash"] for block in asyncio.run(blocks_of(anvil.url))])
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 4


def test_simulated_chain_is_the_same_every_time() -> None:
    """The same seed gives the same chain and state; another seed another."""
    chains = [SimNode() for _ in range(3)]
    for node, seed in zip(chains, (1, 1, 2), strict=True):
        played = bulk_on_node(node, 600, seed)
        assert node.holdings() == played.holdings
        assert (played.first_block, played.last_block) == (0, 3)
    assert chains[0].head.hash == chains[1].head.hash != chains[2].head.hash


def test_simulated_events_are_the_state() -> None:
    """Folding the events in the blocks gives the state that the traffic expects, all kinds used."""
    node = SimNode()
    played = bulk_on_node(node, 600)
    events = [event_of(log) for block in node.blocks for log in logs_of(block)]
    known = [event for event in events if event is not None]
    held = Holdings()
    held.play(known)
    assert held == played.holdings
    assert set(Counter(event.kind for event in known)) == set(Kind)


async def until_mined(url: str, height: int, stop: asyncio.Event) -> None:
    async with Wire(url) as wire:
        while int(await wire.call("eth_blockNumber"), 16) < height:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    stop.set()


def test_running_on_anvil_until_stopped() -> None:
    """Traffic goes on until it is stopped; block times pass at the asked rate."""
    with local_anvil(seconds_per_block=3600) as anvil:

        async def run() -> Played:
            contract = await deploy_on_anvil(anvil)
            stop = asyncio.Event()
            async with asyncio.timeout(60):
                driving = asyncio.create_task(run_on_anvil(anvil, contract, 50, stop))
                await until_mined(anvil.url, 4, stop)
                return await driving

        played = asyncio.run(run())
        blocks = asyncio.run(blocks_of(anvil.url))
    times = [int(block["timestamp"], 16) for block in blocks]
    assert {later - earlier for earlier, later in itertools.pairwise(times[1:])} == {3600}
    assert sum(len(block["transactions"]) for block in blocks) == played.transactions + 1
    assert played.last_block == len(blocks) - 1


def test_running_on_a_simulated_node_until_stopped() -> None:
    """The same on a simulated node, where each action is one transaction."""
    node = SimNode(seconds_per_block=3600)

    async def run(url: str) -> Played:
        stop = asyncio.Event()
        async with asyncio.timeout(60):
            driving = asyncio.create_task(run_on_node(node, 50, stop))
            await until_mined(url, 3, stop)
            return await driving

    with served(node) as where:
        played = asyncio.run(run(where.url))
    assert sum(len(block.tx_hashes) for block in node.blocks) == played.transactions > 0
    assert node.head.timestamp == node.timestamp + 3600 * node.head.number
    assert node.holdings() == played.holdings


def test_traffic_needs_a_fresh_contract() -> None:
    """On a contract that has tokens already, traffic is refused before anything is sent."""
    node = SimNode()
    bulk_on_node(node, 10)
    height = node.head.number
    with pytest.raises(NguError, match="without tokens"):
        bulk_on_node(node, 10)
    assert node.head.number == height
    with local_anvil() as anvil:
        played = asyncio.run(bulk_on_anvil(anvil, 10))
        with pytest.raises(NguError, match="without tokens"):
            asyncio.run(run_on_anvil(anvil, played.contract, 5, asyncio.Event()))
