"""A second opinion on blocks that are covered already: what proves them, who agrees, who does not.

A bloom that excludes the contract proves silence; receipts whose root is the header's prove all
logs; where neither is to be had, every endpoint is asked. Whoever is shown to be wrong is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ngu_points.chain.answers import Header, header_of
from ngu_points.chain.blocklogs import (
    NOTHING,
    by_block,
    count,
    joined,
    keys,
    under,
    unnamed,
)
from ngu_points.chain.bloom import false_hit, may_log, saturation
from ngu_points.chain.contract import Contract
from ngu_points.chain.decode import Decoded
from ngu_points.chain.encoding import data
from ngu_points.chain.opinions import Opinions, Proof
from ngu_points.chain.proof import Break, Verdict, header_doubt, linked, logs_outside_header
from ngu_points.chain.rpc import Endpoint, Filter, Rpc

CHUNK = 200
"""Blocks that are examined, and held in memory, at a time."""
SELDOM = 0.01
"""The chance of a false hit below which a bloom that allows for logs is a reason for doubt."""
AT_ONCE = 4
"""Blocks whose receipts are being read at the same time."""

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """What is known of one block, and how, in one line.

    `true` is given only where what is held differs: all logs of the block as they should be,
    as far as that can be known. `hash` is the header's.
    """

    block: int
    hash: bytes
    verdict: Verdict
    how: str
    true: Decoded | None


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """The blocks `from_block` to `to_block`: their ends, and one finding for each, in order.

    `parent_hash` is that of the first block, `last_hash` and `timestamp` (seconds) are those of
    the last. `headers_doubt` says why the headers do not prove themselves, or prove no logs.
    `receipts` is the number of blocks whose receipts were read.
    """

    from_block: int
    to_block: int
    parent_hash: bytes
    last_hash: bytes
    timestamp: int
    findings: list[Finding]
    headers_doubt: str | None
    receipts: int


@dataclass(slots=True, eq=False)
class _Block:
    """A block under examination. `mine` is what we hold under its hash, with its time."""

    header: Header
    fields: Fields
    held: Decoded
    mine: Decoded
    provable: bool  # its header proves itself, and proves logs
    allowed: bool  # by the bloom, to have logged
    telling: bool  # and the bloom is not so full that it would allow for anything
    proof: Proof | None = None
    finding: Finding | None = None

    @property
    def number(self) -> int:
        return self.header.number

    @property
    def stale(self) -> bool:
        """Whether something is held that belongs to another block of this height."""
        return count(self.held) > count(self.mine)

    @property
    def excluded(self) -> bool:
        return self.provable and not self.allowed

    def conclude(self, verdict: Verdict, how: str, logs: Decoded | None) -> None:
        """`logs` is what the block logged, None where that cannot be known."""
        differs = logs is not None and keys(logs) != keys(self.held)
        true = logs if differs else None
        self.finding = Finding(self.number, self.header.hash, verdict, how, true)


@dataclass(slots=True)
class _Choice:
    """Which open blocks have their receipts read: `most` of them, spread over the whole range."""

    most: int | None
    first: int
    last: int
    taken: int = 0

    def takes(self, block: int) -> bool:
        if self.most is None:
            return True
        due = -(-self.most * (block - self.first + 1) // (self.last - self.first + 1))
        if self.taken >= due:
            return False
        self.taken += 1
        return True


@dataclass(slots=True, eq=False)
class _Headers:
    """Reads headers that are one chain from chunk to chunk."""

    opinions: Opinions
    last: bytes | None = None
    hopeless: set[Verdict] = field(default_factory=set)  # what no endpoint could cure before

    async def read(self, first: int, last: int) -> tuple[list[Fields], Break | None]:
        """The header fields, and where they are no chain of proven hashes, if they are not."""
        found = await self.opinions.rpc.header_fields(range(first, last + 1))
        broken = self._broken(found)
        if broken is not None and broken.verdict not in self.hopeless:
            found, broken = await self._cured(found, broken, first, last)
        self.last = header_of(found[-1]).hash
        return found, broken

    async def _cured(
        self, found: list[Fields], broken: Break, first: int, last: int
    ) -> tuple[list[Fields], Break | None]:
        """The same from an endpoint whose headers are one chain, if there is one."""
        endpoints = self.opinions.rpc.endpoints
        wrong = {endpoints[0]: broken} if len(endpoints) == 1 else {}
        for endpoint in endpoints:
            again = await self.opinions.headers_from(endpoint, first, last)
            trouble = None if again is None else self._broken(again)
            if trouble is not None:
                wrong[endpoint] = trouble
            elif again is not None:
                for liar, lie in wrong.items():
                    if lie.verdict is Verdict.MISMATCH:
                        self.opinions.rpc.distrust(lie.reason, liar)
                return again, None
        if broken.verdict is not Verdict.SUSPECT:
            self.hopeless.add(broken.verdict)
        return found, broken

    def _broken(self, found: Sequence[Fields]) -> Break | None:
        broken = linked(found)
        if broken is not None or self.last in (None, data(found[0], "parentHash", 32)):
            return broken
        reason = f"block {header_of(found[0]).number} does not follow on the block before"
        return Break(0, Verdict.SUSPECT, reason)


async def examine(
    rpc: Rpc,
    contract: Contract,
    chain_id: int,
    held: Callable[[int, int], Decoded],
    from_block: int,
    to_block: int,
    *,
    receipts: int | None = None,
) -> AsyncGenerator[Examined]:
    """Compare what is `held` of blocks (both ends included) with the chain, part after part.

    `held` is asked once for each part. A block is open unless its bloom excludes the contract.
    `receipts`: None reads those of every open block, a number those of at most so many, spread
    evenly, 0 those of none; a block on which endpoints and we differ has its receipts read
    whatever the number. Raises TransientError or BadInput where headers cannot be had at all.
    """
    if not 0 <= from_block <= to_block:
        raise ValueError(f"no block range: {from_block}..{to_block}")
    opinions = Opinions(rpc, contract, chain_id)
    headers = _Headers(opinions)
    choice = _Choice(receipts, from_block, to_block)
    for first in range(from_block, to_block + 1, CHUNK):
        last = min(first + CHUNK - 1, to_block)
        fields, broken = await headers.read(first, last)
        blocks = _opened(opinions, fields, broken, held(first, last))
        await _examine(opinions, blocks, choice)
        yield Examined(
            first,
            last,
            blocks[0].header.parent_hash,
            blocks[-1].header.hash,
            blocks[-1].header.timestamp,
            [block.finding for block in blocks if block.finding is not None],
            logs_outside_header(chain_id) if broken is None else broken.reason,
            sum(block.proof is not None and block.proof.read for block in blocks),
        )


def _opened(
    opinions: Opinions, fields: Sequence[Fields], broken: Break | None, held: Decoded
) -> list[_Block]:
    """The blocks, with a finding where the bloom alone decides."""
    # A broken link puts a whole part in doubt; a header that is not its hash, only itself.
    chain = broken is None or broken.verdict is not Verdict.SUSPECT
    chain = chain and logs_outside_header(opinions.chain_id) is None
    mine = by_block(held)
    blocks = []
    for one in fields:
        header = header_of(one)
        own = mine.get(header.number, NOTHING)
        allowed = not header.bloom or _may_log(opinions.filter, header.bloom)
        provable = chain and header_doubt(one) is None
        telling = provable and allowed and _telling(opinions.filter, header.bloom)
        block = _Block(header, one, own, under(own, header), provable, allowed, telling)
        if block.excluded and not count(block.mine):
            how = "the bloom excludes the contracts" + _of_another(block)
            block.conclude(Verdict.PROVEN_EMPTY, how, NOTHING)
        blocks.append(block)
    return blocks


def _may_log(filter: Filter, bloom: bytes) -> bool:
    return any(may_log(bloom, address, filter.topics) for address in filter.addresses)


def _telling(filter: Filter, bloom: bytes) -> bool:
    """Whether a bloom as full as this one would seldom show our contracts for nothing."""
    share = float(saturation(np.frombuffer(bloom, np.uint8)[None])[0])
    return false_hit(share, len(filter.addresses)) < SELDOM


def _of_another(block: _Block) -> str:
    return "; what is held belongs to another block" if block.stale else ""


async def _examine(opinions: Opinions, blocks: Sequence[_Block], choice: _Choice) -> None:
    """Come to a finding for each block."""
    unsettled = [block for block in blocks if block.finding is None]
    await _prove(opinions, [b for b in unsettled if b.provable and choice.takes(b.number)])
    rest = [block for block in unsettled if block.finding is None]
    if not rest:
        return
    first, last = rest[0].number, rest[-1].number
    told = await opinions.logs(first, last)
    shown = {block.number: _shown(block, told) for block in blocks if first <= block.number <= last}
    await _prove(
        opinions,
        [b for b in rest if b.provable and b.proof is None and not _agree(b, shown[b.number])],
    )
    for block in rest:
        if block.finding is None:
            _weigh(block, shown[block.number], opinions)
    _score(opinions, blocks, told, shown)


async def _prove(opinions: Opinions, blocks: Sequence[_Block]) -> None:
    """Settle blocks by their receipts, where these can be had; a few blocks at once."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def settle(block: _Block) -> None:
        async with gate:
            block.proof = await opinions.proof(block.header, block.fields)
        logs = block.proof.logs
        if logs is None or _renamed(block, logs):
            return
        block.conclude(Verdict.PROVEN, block.proof.why + _of_another(block), logs)

    await asyncio.gather(*map(settle, blocks))


def _renamed(block: _Block, logs: Decoded) -> bool:
    """Whether the logs are those held but for transaction hashes."""
    one, two = keys(block.mine), keys(logs)
    return one != two and unnamed(one) == unnamed(two)


Shown = dict[Endpoint, Decoded]
"""What each endpoint shows of one block under its header's hash."""


def _shown(block: _Block, told: dict[Endpoint, dict[int, Decoded]]) -> Shown:
    """Without the endpoints that show logs of another block at this height."""
    shown = {}
    for endpoint, blocks in told.items():
        all_of_it = blocks.get(block.number, NOTHING)
        own = under(all_of_it, block.header)
        if count(own) == count(all_of_it):
            shown[endpoint] = own
    return shown


def _agree(block: _Block, shown: Shown) -> bool:
    """Whether everybody who answered says what we hold, and the bloom does not object."""
    if block.stale or (block.excluded and count(block.mine)):
        return False
    mine = keys(block.mine)
    return all(keys(logs) == mine for logs in shown.values())


def _weigh(block: _Block, shown: Shown, opinions: Opinions) -> None:
    """A finding without proof: from what the endpoints show."""
    if not shown:
        block.conclude(Verdict.UNPROVEN, opinions.silence(), None)
    elif block.proof is not None and block.proof.logs is not None:
        _weigh_names(block, block.proof.logs, shown)
    elif _agree(block, shown):
        # One voice that says "nothing" against a bloom that all but says otherwise is not enough.
        alone = block.telling and len(shown) == 1 and not count(block.mine)
        verdict = Verdict.SUSPECT if alone else Verdict.CONSISTENT
        block.conclude(verdict, _agreement(block, shown), block.mine)
    elif block.excluded and not any(map(count, shown.values())):
        how = f"the bloom excludes the contracts, and {_endpoints(len(shown), 'shows', 'show')}"
        block.conclude(Verdict.PROVEN_EMPTY, f"{how} no logs", NOTHING)
    else:
        logs = joined([block.mine, *shown.values()])
        block.conclude(Verdict.SUSPECT, _dispute(block, shown, logs), logs)


def _weigh_names(block: _Block, logs: Decoded, shown: Shown) -> None:
    """The receipts prove what we hold, under other transaction hashes: who names which?"""
    asked = _endpoints(len(shown), "names", "name")
    if all(keys(one) == keys(block.mine) for one in shown.values()):
        how = f"{_why(block)}; {asked} the transactions held, not those of the receipts"
        block.conclude(Verdict.PROVEN, how, block.mine)
    elif all(keys(one) == keys(logs) for one in shown.values()):
        how = f"{_why(block)}; {asked} other transactions than those held"
        block.conclude(Verdict.PROVEN, how, logs)
    else:
        how = "the receipts prove the logs held, but endpoints differ on transaction hashes"
        block.conclude(Verdict.SUSPECT, how, None)


def _agreement(block: _Block, shown: Shown) -> str:
    if count(block.mine):
        how = "asked again, the same answer" if len(shown) == 1 else f"{len(shown)} endpoints agree"
    else:
        how = f"{_endpoints(len(shown), 'has', 'have')} none"
        how = f"the bloom allows for logs; {how}" if block.allowed else how
    return f"{how}; {_why(block)}" if block.proof is not None else how


def _dispute(block: _Block, shown: Shown, logs: Decoded | None) -> str:
    told = ", ".join(f"{one.host} shows {count(found)}" for one, found in shown.items())
    parts = [f"{told}; held: {count(block.held)}" + _of_another(block)]
    if block.excluded:
        parts.append("the bloom excludes the contracts")
    if logs is None:
        parts.append("they differ on what a log says")
    if block.proof is not None:
        parts.append(_why(block))
    return "; ".join(parts)


def _why(block: _Block) -> str:
    return "" if block.proof is None else block.proof.why


def _endpoints(number: int, has: str, have: str) -> str:
    return f"1 endpoint {has}" if number == 1 else f"{number} endpoints {have}"


def _score(
    opinions: Opinions,
    blocks: Sequence[_Block],
    told: dict[Endpoint, dict[int, Decoded]],
    shown: dict[int, Shown],
) -> None:
    """Count each answer that a proof, a header or what others show has shown to be wrong, once."""
    wrong: dict[Endpoint, str] = {}
    for block in blocks:
        if block.number not in shown:
            continue
        for endpoint in told:
            reason = _fault(block, endpoint, shown[block.number])
            if reason is not None:
                wrong.setdefault(endpoint, reason)
    for endpoint, reason in wrong.items():
        opinions.rpc.distrust(reason, endpoint)


def _fault(block: _Block, endpoint: Endpoint, shown: Shown) -> str | None:
    """What is wrong with an endpoint's answer about a block, if that is certain."""
    if endpoint not in shown:
        another = f"the logs of block {block.number} name another block hash"
        return another if block.provable else None
    there = _certain(block, shown)
    if there is None:
        return None
    mine, true = unnamed(keys(shown[endpoint])), unnamed(keys(there))
    if true - mine:
        return f"left out {len(true - mine)} of {len(true)} logs of block {block.number}"
    return f"logs of block {block.number} that are not on the chain" if mine - true else None


def _certain(block: _Block, shown: Shown) -> Decoded | None:
    """What a block logged beyond doubt: nodes leave out, they do not invent under the right hash.

    None where endpoints contradict one another.
    """
    if block.proof is not None and block.proof.logs is not None:
        return block.proof.logs
    if block.excluded:
        return NOTHING if not count(block.mine) else None
    return joined(list(shown.values()))
