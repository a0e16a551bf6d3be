"""Read the chain range by range, in order, a few ranges ahead of whoever takes them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence

from ngu_points.engine.coverage import Covered
from ngu_points.errors import NguError, TransientError
from ngu_points.pipeline.interfaces import Chain, Position

AHEAD = 4
"""Ranges being read at once; what they hold is bounded by what a node answers at most."""


class Forked(NguError):  # noqa: N818 -- what happened to the chain, not to us
    """The chain behind a position is another one than was read there."""

    def __init__(self, block: int) -> None:
        super().__init__(f"block {block} is not the block that was read there before: a fork")
        self.block = block


async def cover(
    chain: Chain, position: Position, to_block: int, *, ahead: int = AHEAD
) -> AsyncGenerator[Covered, None]:
    """All ranges from behind the position to `to_block`, each linked to the one before it."""
    following = position.block + 1
    last_hash = position.hash
    waiting: deque[asyncio.Task[Covered]] = deque()
    ends: deque[int] = deque()  # where each of the waiting reads was to end
    try:
        while following <= to_block or waiting:
            while following <= to_block and len(waiting) < ahead:
                end = min(following + chain.span - 1, to_block)
                waiting.append(asyncio.create_task(chain.read(following, end)))
                ends.append(end)
                following = end + 1
            covered, end = await waiting.popleft(), ends.popleft()
            if covered.to_block < end:  # a short answer: the rest comes before what follows
                rest = chain.read(covered.to_block + 1, end)
                waiting.appendleft(asyncio.create_task(rest))
                ends.appendleft(end)
            if any(last_hash) and covered.parent_hash != last_hash:
                raise Forked(covered.from_block - 1)
            last_hash = covered.last_hash
            yield covered
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def first_common(chain: Chain, known: Sequence[Position]) -> int | None:
    """Which of these blocks, the highest first, is the first that the chain has too.

    Most forks are short: it looks at one, two, four … further blocks, then in between. None if the
    chain has none of them; TransientError where it does not reach up to one.
    """
    low, high = -1, 0
    while not await _has(chain, known[high]):
        if high == len(known) - 1:
            return None
        low, high = high, min(2 * high + 1, len(known) - 1)
    while high - low > 1:
        middle = (low + high) // 2
        if await _has(chain, known[middle]):
            high = middle
        else:
            low = middle
    return high


async def _has(chain: Chain, known: Position) -> bool:
    found = await chain.hash_of(known.block)
    if found is None:
        raise TransientError(f"the node has no block {known.block} (yet): it lags; try again later")
    return found == known.hash
