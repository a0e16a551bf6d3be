"""Our record held against the contract: ask, find since when they differ, clear what agrees."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import numpy as np

from ngu_points.chain.contract import keccak256
from ngu_points.chain.multicall import OWNER_OF, at_block
from ngu_points.chain.rpc import Rpc
from ngu_points.config import Config
from ngu_points.embedded.client import client
from ngu_points.embedded.database import naming_errors, writer_lock
from ngu_points.embedded.history import History
from ngu_points.embedded.store import Store
from ngu_points.embedded.trace import Traced, Tracer
from ngu_points.embedded.witness import Source, answered, answering, source_of, supply_at
from ngu_points.engine.events import ZERO_ADDRESS, ids
from ngu_points.engine.facts import total
from ngu_points.engine.rules import Rules
from ngu_points.engine.runs import NOBODY
from ngu_points.errors import StoreError, UsageError
from ngu_points.pipeline.interfaces import Position
from ngu_points.pipeline.verify import (
    Contradicted,
    Difference,
    Holder,
    Span,
    Views,
    absent,
    affordable,
    doubtful,
    holders,
    living_spans,
    merged,
    sampled,
    settled,
    size,
    supply,
    without,
)

ABSENT = 100
"""Ids that should not exist, asked for beside the living ones."""
DOUBTFUL = 200_000
"""Tokens of uncertain wallets and contradicted events that one look takes at most."""
EVERY = 20_000_000
"""Living tokens up to which all can be asked for."""
KEPT = 10_000
"""Differing tokens that are remembered; more are only counted."""
TRACED = 20
"""Differing tokens whose first diverging block is looked for."""

_NAMED = re.compile(r"\b0x([0-9a-f]{40})\b")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for: tokens by spans, and what must agree before a wallet is certain again."""

    asked: list[Span]
    living: int
    absent: int  # of those asked for, how many do not exist by our record
    doubts: Mapping[bytes, list[Span]]


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome. `differing` counts tokens; `differences` holds the first `KEPT` of them."""

    position: Position
    plan: Plan
    source: Source
    views: Views
    supply: tuple[int, int | None]
    differing: int
    differences: list[Difference]
    traced: list[Traced]
    staked_ever: bool

    @property
    def agrees(self) -> bool:
        """Whether everything that had to be compared was, and is equal."""
        ours, chain = self.supply
        return self.views.owners and not self.differing and chain in (None, ours)

    def settled(self) -> list[bytes]:
        """The uncertain wallets that may be called certain again."""
        whole = self.views.owners and (self.views.stakers or not self.staked_ever)
        if not whole or self.differing > len(self.differences):
            return []
        return settled(self.plan.doubts, self.plan.asked, self.differences)


async def verify(
    config: Config, history: History, plan: Plan, done: Callable[[int], object]
) -> Found:
    """Compare the planned tokens with the contract at the store's position.

    `done` is told how many of them have been asked for. Raises UsageError where the settings are
    of something else, TransientError where the chain has another block at the position now,
    BadInput where no node can answer for that block.
    """
    store = history.store
    source, position, state = source_of(config, store), store.position(), store.state()
    async with client(config) as rpc:
        await _check_chain(rpc, store)
        calls = await at_block(rpc, position.block, position.hash, source.token)
        source, views = await answering(calls, source, state.runs)
        asked = differing = 0
        differences: list[Difference] = []
        async with aclosing(answered(calls, source, plan.asked)) as answers:
            async for tokens, theirs in answers:
                wrong = [
                    Difference(*found)
                    for found in zip(tokens, holders(state, tokens), theirs, strict=True)
                    if views.differ(found[1], found[2])
                ]
                differing += len(wrong)
                differences += wrong[: KEPT - len(differences)]
                asked += len(tokens)
                done(asked)
        supplies = supply(state), await supply_at(calls, source.token)
        tracer = Tracer(rpc, source, views, store)
        traced = await tracer.trace(history, differences[:TRACED])
    staked = bool(total(state.wallets.total_staked)) or bool((state.runs.staker != NOBODY).any())
    return Found(position, plan, source, views, supplies, differing, differences, traced, staked)


async def _check_chain(rpc: Rpc, store: Store) -> None:
    chain_id = await rpc.chain_id()
    if chain_id != store.chain_id:
        raise UsageError(
            f"the node serves chain {chain_id}, but {store.path} is of chain {store.chain_id}: "
            "check --rpc"
        )


# What to ask -----------------------------------------------------------------------------


def planned(history: History, sample: int | None) -> Plan:
    """What to ask for: `sample` tokens or all, what should not exist, and all that is in doubt.

    The block's hash chooses. Raises UsageError where all are too many.
    """
    store = history.store
    state, seed = store.state(), store.position().hash
    numbers = (
        int.from_bytes(keccak256(seed + count.to_bytes(8, "big"))) for count in itertools.count()
    )
    every = living_spans(state.runs)
    living = size(every)
    if sample is None and living > EVERY:
        raise UsageError(f"--all: {living:,} tokens are too many to ask for: use --sample N")
    chosen = every if sample is None else sampled(state.runs, numbers, sample)
    events = _contradicted(history)
    wallets = [row[0] for row in store.db.execute("SELECT wallet FROM uncertain")]
    doubts = doubtful(state, wallets, events)
    asked = [*chosen, *absent(state.runs, numbers, ABSENT)]
    asked += affordable([*doubts.values(), *([event.span] for event in events)], DOUBTFUL)
    asked = merged(asked)
    return Plan(asked, living, size(without(asked, every)), doubts)


def _contradicted(history: History) -> list[Contradicted]:
    """The events that contradicted our record, with the wallets that they and their notes name."""
    db = history.store.db
    notes = dict(db.execute("SELECT id, note FROM anomalies"))
    blocks = [block for (block,) in db.execute("SELECT DISTINCT blockNumber FROM anomalies")]
    found = []
    for covered in history.covered() if notes else ():
        events = covered.events.take(np.isin(covered.events.block, blocks))
        ends = (events.first + events.quantity).tolist()
        spans = zip(events.first.tolist(), ends, strict=True)
        for name, span, *parties in zip(
            ids(events), spans, events.sender, events.recipient, strict=True
        ):
            if name in notes:
                named = {bytes.fromhex(digits) for digits in _NAMED.findall(notes[name])}
                named |= {party.tobytes() for party in parties}
                found.append(Contradicted(span, frozenset(named - {ZERO_ADDRESS})))
    return found


# What follows ----------------------------------------------------------------------------


def cleared(config: Config, rules: Rules, found: Found, now: int) -> tuple[int, str]:
    """Note the outcome, and clear the wallets that agree, unless somebody else writes.

    How many were cleared; and, where nothing could be written, why not.
    """
    wallets = found.settled()
    try:
        with writer_lock(config.db), naming_errors(config.db):
            store = Store.open(config.db, rules, write=True)
            try:
                return _written(store, found, wallets, now)
            finally:
                store.close()
    except StoreError as error:
        return 0, str(error)


def _written(store: Store, found: Found, wallets: Sequence[bytes], now: int) -> tuple[int, str]:
    stands = store.position()
    if stands.block < found.position.block:
        return 0, f"the record has gone back to block {stands.block} meanwhile"
    moved = stands != found.position
    with store.commit():
        if not moved:
            store.clear(wallets, found.position.block)
        store.set_meta("verified", outcome(found) | {"at": now})
    if moved and wallets:
        return 0, f"the record has gone on to block {stands.block} meanwhile"
    return (0 if moved else len(wallets)), ""


def outcome(found: Found) -> dict[str, Any]:
    """What was compared and how it came out, in figures."""
    ours, chain = found.supply
    return {
        "block": found.position.block,
        "blockHash": "0x" + found.position.hash.hex(),
        "timestamp": found.position.timestamp,
        "tokens": size(found.plan.asked),
        "living": found.plan.living,
        "absent": found.plan.absent,
        "owners": "compared" if found.views.owners else _silent(OWNER_OF, found.source.token),
        "stakers": "compared" if found.views.stakers else _no_stakers(found.source),
        "supply": {"ours": ours, "chain": chain},
        "differences": found.differing,
        "agrees": found.agrees,
    }


def _no_stakers(source: Source) -> str:
    if not source.signature:
        return "not verifiable: no view tells who stakes (staking.view)"
    return _silent(source.signature, source.staking)


def _silent(signature: str, contract: bytes) -> str:
    return f"not verifiable: 0x{contract.hex()} does not answer {signature}"


def report(found: Found) -> dict[str, Any]:
    """The outcome with its differing tokens, the first ones traced."""
    return outcome(found) | {
        "differing": [
            {
                "tokenId": str(traced.difference.token),
                "ours": _shown(traced.difference.ours, Views(owners=True, stakers=True)),
                "chain": _shown(traced.difference.chain, found.views),
                "firstBlock": traced.first,
                "hint": traced.hint,
                "note": traced.note,
            }
            for traced in found.traced
        ],
        "uncertain": len(found.plan.doubts),
    }


def _shown(holder: Holder, views: Views) -> dict[str, str | None]:
    parts = {"owner": holder.owner if views.owners else None, "staker": holder.staker}
    if not views.stakers:
        del parts["staker"]
    return {name: None if value is None else "0x" + value.hex() for name, value in parts.items()}
