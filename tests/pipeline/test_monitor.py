"""The monitor hands over every block once, in order, however a node cuts its answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains import Chain, block_hash
from ngu_points.engine.coverage import Covered
from ngu_points.errors import TransientError
from ngu_points.pipeline.interfaces import Position
from ngu_points.pipeline.monitor import Forked, cover


@dataclass
class Short(Chain):
    """Answers at most so many blocks at a time, by turns."""

    sizes: list[int] = field(default_factory=lambda: [3])
    asked: int = 0

    async def read(self, from_block: int, to_block: int) -> Covered:
        self.asked += 1
        size = self.sizes[self.asked % len(self.sizes)]
        await asyncio.sleep(0)
        return self.covered(from_block, min(to_block, from_block + size - 1))


def all_of(chain: Chain, position: Position, to_block: int) -> list[Covered]:
    """Everything that `cover` yields."""

    async def collected() -> list[Covered]:
        return [covered async for covered in cover(chain, position, to_block)]

    return asyncio.run(collected())


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    start=st.integers(-1, 20),
    length=st.integers(0, 60),
)
def test_every_block_is_covered_once_and_in_order(sizes, start, length) -> None:
    """Short answers are followed by the rest of their range."""
    chain = Short([], start + length, 0, sizes=sizes)
    read = all_of(chain, Position(start, block_hash(start), 0), start + length)
    blocks = [b for c in read for b in range(c.from_block, c.to_block + 1)]
    assert blocks == list(range(start + 1, start + length + 1))


def test_a_range_that_does_not_follow_on_is_a_fork() -> None:
    """A parent hash that is not the hash of the block before stops the reading there."""
    chain = Chain([], 30, 0)
    with pytest.raises(Forked, match="block 9"):
        all_of(chain, Position(9, b"x" * 32, 0), 30)

    @dataclass
    class Bent(Chain):
        async def read(self, from_block: int, to_block: int) -> Covered:
            covered = self.covered(from_block, to_block)
            return replace(covered, parent_hash=b"y" * 32) if from_block == 7 else covered

    with pytest.raises(Forked, match="block 6"):
        all_of(Bent([], 30, 0), Position(-1, bytes(32), 0), 30)


def test_a_failed_read_ends_the_others() -> None:
    """An error comes through, and no task is left behind."""

    @dataclass
    class Broken(Chain):
        async def read(self, from_block: int, to_block: int) -> Covered:
            if from_block > 10:
                raise TransientError("no answer")
            return self.covered(from_block, to_block)

    with pytest.raises(TransientError, match="no answer"):
        all_of(Broken([], 99, 0), Position(-1, bytes(32), 0), 99)
