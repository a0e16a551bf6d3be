"""The contracts as witnesses: which ones are asked for owners and stakers, and what they say."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ngu_points.chain.address import address_of
from ngu_points.chain.contract import keccak256, selector
from ngu_points.chain.multicall import (
    OWNER_OF,
    TOTAL_SUPPLY,
    Multicall,
    Request,
    Row,
    address_in,
)
from ngu_points.config import Config
from ngu_points.embedded.store import Store
from ngu_points.engine.runs import NOBODY, Runs
from ngu_points.errors import BadInput, UsageError
from ngu_points.pipeline.verify import Holder, Span, Views

AT_ONCE = 4
"""Calls that are out at the same time."""
TRIALS = 20
"""Living tokens, owned and staked ones each, on which it is tried what the contracts answer."""


@dataclass(frozen=True, slots=True)
class Source:
    """Which contracts are asked; no `staker_of` where no view tells who stakes a token."""

    token: bytes
    staking: bytes
    staker_of: bytes | None
    signature: str

    def requests(self, tokens: Sequence[int]) -> list[Request]:
        """What to ask about tokens; the answers' columns are owners, then stakers."""
        owner_of = selector(OWNER_OF)
        if self.staker_of is None:
            return [Request(self.token, (owner_of,), tuple(tokens))]
        if self.staking == self.token:
            return [Request(self.token, (owner_of, self.staker_of), tuple(tokens))]
        apart = ((self.token, owner_of), (self.staking, self.staker_of))
        return [Request(target, (view,), tuple(tokens)) for target, view in apart]


def source_of(config: Config, store: Store) -> Source:
    """Which contracts to ask; UsageError where the settings do not fit the database."""
    if not config.chain.rpc:
        raise UsageError("no chain to ask: give --rpc URL, or chain.rpc in ngu.toml")
    identity = store.identity()
    if config.contract.address.lower() not in ("", identity.contract):
        raise UsageError(
            f"{store.path} holds contract {identity.contract}, not {config.contract.address}: "
            "name another with --db"
        )
    token = address_of(identity.contract, "contract.address")
    staking = [address_of(text, "staking.contracts") for text in config.staking.contracts]
    view = config.staking.view or ("stakerOf(uint256)" if identity.kind == "ngu" else "")
    return Source(token, staking[0] if staking else token, selector(view) if view else None, view)


async def answering(calls: Multicall, source: Source, runs: Runs) -> tuple[Source, Views]:
    """What the contracts answer at all, tried on tokens that are alive by our record.

    A view that answers for none of them is asked no more.
    """
    trial = []
    for party in (runs.owner, runs.staker):
        there = np.flatnonzero(party != NOBODY)
        trial += runs.first[there[:: max(1, len(there) // TRIALS)]].tolist()
    rows = await _rows(calls, source, trial) if trial else []
    answers = [any(word is not None for word in column) for column in zip(*rows, strict=True)]
    owners, *stakers = answers or [True, source.staker_of is not None]
    if any(stakers):
        return source, Views(owners, stakers=True)
    return replace(source, staker_of=None), Views(owners, stakers=False)


async def _rows(calls: Multicall, source: Source, tokens: Sequence[int]) -> list[Row]:
    """For each token the word of its owner and, if there is a view for it, of its staker."""
    columns = [await calls.ask(request) for request in source.requests(tokens)]
    return [tuple(itertools.chain(*parts)) for parts in zip(*columns, strict=True)]


async def holders_at(calls: Multicall, source: Source, tokens: Sequence[int]) -> list[Holder]:
    """Who owns and stakes these tokens, as the contracts say. BadInput, TransientError."""
    return [Holder(*map(address_in, row)) for row in await _rows(calls, source, tokens)]


async def answered(
    calls: Multicall, source: Source, asked: Sequence[Span]
) -> AsyncGenerator[tuple[list[int], list[Holder]], None]:
    """Tokens and what the contract says of them, a call at a time, a few calls at once."""
    tokens = itertools.chain.from_iterable(range(*span) for span in asked)
    views = max(len(request.selectors) for request in source.requests([]))
    while True:
        parts = [list(itertools.islice(tokens, calls.room(views))) for _ in range(AT_ONCE)]
        if not parts[0]:
            return
        asking = [asyncio.create_task(holders_at(calls, source, part)) for part in parts if part]
        try:
            for part, found in zip(parts, await asyncio.gather(*asking), strict=False):
                yield part, found
        finally:
            for question in asking:
                question.cancel()
            await asyncio.gather(*asking, return_exceptions=True)


async def supply_at(calls: Multicall, token: bytes) -> int | None:
    """How many tokens the contract says there are; None where it does not say."""
    try:
        word = await calls.call(token, keccak256(TOTAL_SUPPLY.encode())[:4])
    except BadInput:
        return None
    return int.from_bytes(word) if len(word) == 32 else None
