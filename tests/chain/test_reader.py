"""The reader believes only what headers and logs agree on; where they may not, it asks again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ngu_points.chain.contract import ngu
from ngu_points.chain.reader import Reader
from ngu_points.chain.rpc import Filter, LogPage, Rpc
from ngu_points.demo.contract import Event
from ngu_points.demo.node import SimNode
from ngu_points.demo.server import serving
from ngu_points.engine.coverage import Covered
from ngu_points.engine.events import ZERO_ADDRESS, Kind
from ngu_points.errors import TransientError

ALICE = bytes.fromhex("a1" * 20)


def mint(first: int) -> Event:
    return Event(Kind.MINT, ZERO_ADDRESS, ALICE, first, 5)


class Forgetful(Rpc):
    """Leaves logs out of range answers, some of the time."""

    omits: Callable[[int], bool] = staticmethod(lambda call: True)
    calls = 0

    async def logs(self, filter: Filter, from_block: int, to_block: int) -> LogPage:
        page = await super().logs(filter, from_block, to_block)
        type(self).calls += 1
        return LogPage(page.from_block, page.to_block, b"[]") if self.omits(self.calls) else page


def read(kind: type[Rpc], first: int, last: int, **settings: Any) -> Covered:
    """One range of a small chain that logs in blocks 3 and 5."""

    async def asked() -> Covered:
        node = SimNode()
        for number in range(1, 60):
            node.mine([mint(number)] if number in (3, 5) else [])
        async with serving(node) as served, kind([served.url]) as rpc:
            return await Reader(rpc, ngu(node.contract), 0).read(first, last)

    return asyncio.run(asked())


def test_logs_left_out_near_the_head_are_asked_for_again() -> None:
    """An empty answer that a bloom contradicts is not taken for silence."""

    class Once(Forgetful):
        omits = staticmethod(lambda call: call == 1)

    covered = read(Once, 1, 6)
    assert covered.events.block.tolist() == [3, 5]
    assert Once.calls == 2


def test_a_node_that_keeps_leaving_logs_out_is_named() -> None:
    """The same omission every time ends in one line with the block, never in silence."""

    class Always(Forgetful):
        pass

    with pytest.raises(TransientError, match="logs of block 3 were left out"):
        read(Always, 1, 6)


def test_silent_blocks_cost_no_further_question() -> None:
    """A bloom without the contract proves that the block logged nothing of ours."""

    class Counting(Rpc):
        asked = 0

        async def logs_in(self, filter: Filter, block_hash: bytes) -> bytes:
            type(self).asked += 1
            return await super().logs_in(filter, block_hash)

    covered = read(Counting, 6, 20)
    assert len(covered.events) == 0
    assert Counting.asked == 0
