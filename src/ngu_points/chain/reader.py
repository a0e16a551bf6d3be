"""A contract's events, block range by block range, checked against block headers.

Implements `pipeline.interfaces.Chain`. The headers of both ends of a range and of the last block
that logged must agree with the logs; a node that contradicts itself is not believed.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np

from ngu_points.chain.bloom import may_log
from ngu_points.chain.contract import Contract
from ngu_points.chain.decode import ADVICE, Decoded, decode
from ngu_points.chain.rpc import Endpoint, Filter, Header, Rpc
from ngu_points.engine.coverage import Covered, Head
from ngu_points.engine.events import I64
from ngu_points.errors import BadInput, TransientError, UsageError

ATTEMPTS = 5
SHORT = 32
"""Ranges of so many blocks, as near the head, are checked block by block."""
FUTURE = 3650 * 86_400  # seconds: a chain's time may run ahead, but not for ever
UNTAGGED = 64
"""Confirmations where a node knows no "finalized" block."""


class Reader:
    """Reads one contract; `finality` is "finalized", "safe" or a number of confirmations."""

    def __init__(self, rpc: Rpc, contract: Contract, finality: str | int) -> None:
        self.rpc = rpc
        self.contract = contract
        self.finality = finality
        self.filter = Filter(contract.addresses, contract.topics)
        self.final = -1  # as of the last look at the head
        self.tags: dict[str, bool] = {}  # which tags the nodes know, once it has shown
        self._decoding = asyncio.Lock()

    @property
    def span(self) -> int:
        """Blocks worth asking for at once."""
        return self.rpc.span

    async def head(self) -> Head:
        newest, final = await asyncio.gather(self.rpc.block_number(), self._tagged("finalized"))
        if final is None:
            final = newest - UNTAGGED
        self.final = final
        if isinstance(self.finality, int):
            readable = newest - self.finality
        elif self.finality == "finalized":
            readable = final
        else:
            safe = await self._tagged("safe")
            readable = final if safe is None else safe
        return Head(newest, max(min(readable, newest), -1), max(min(final, newest), -1))

    async def _tagged(self, tag: str) -> int | None:
        """The number of a tagged block; None where the nodes do not know the tag.

        Whether they do is decided once: a tag that has worked never counts as unknown again.
        """
        if self.tags.get(tag) is False:
            return None
        try:
            header = await self.rpc.header(tag)
        except BadInput as error:
            if self.tags.get(tag):
                raise TransientError(str(error)) from error
            await self.rpc.header("latest")  # raises too if it is not the tag that is refused
            self.tags[tag] = False
            return None
        if header is None:  # nothing is final yet, or an odd way to say that the tag is unknown
            return -1 if self.tags.get(tag) else None
        self.tags[tag] = True
        return header.number

    async def hash_of(self, block: int) -> bytes | None:
        header = await self.rpc.header(block)
        return None if header is None else header.hash

    async def read(self, from_block: int, to_block: int) -> Covered:
        """See `Chain.read`; TransientError if no endpoint gives an answer free of contradiction.

        What may still change is read in short ranges, which are checked block by block.
        """
        if to_block > self.final:
            to_block = min(to_block, from_block + SHORT - 1)
        for attempt in range(ATTEMPTS):
            try:
                return await self._read(from_block, to_block)
            except _Contradiction as error:
                wrong = error.endpoint or self.rpc.answered
                self.rpc.distrust(str(error), wrong)
                reason = f"{wrong.host}: {wrong.redacted(str(error))}"
                await asyncio.sleep(0.1 * attempt)
        raise TransientError(
            f"{reason} (blocks {from_block}..{to_block}, asked {ATTEMPTS} times); "
            "add another --rpc, or try again later if the chain is reorganising there"
        )

    async def _read(self, from_block: int, to_block: int) -> Covered:
        found, end, source = await self._page(from_block, to_block)
        logged = [*found.events.block[-1:].tolist(), *(r.block for r in found.rejected)]
        wanted = {from_block, end, *logged}
        if end - from_block < SHORT:
            wanted = set(range(from_block, end + 1))
        headers = {h.number: h for h in await self.rpc.headers(sorted(wanted))}
        found = await self._timed(found, headers)
        _agree(found, headers)
        if end - from_block < SHORT:
            await self._second_opinion(found, headers, source)
        first, last = headers[from_block], headers[end]
        if first is not last and last.timestamp < first.timestamp:
            raise _Contradiction(f"block {last.number} is older than block {first.number}")
        if last.timestamp > time.time() + FUTURE:
            raise _Contradiction(f"block {last.number} lies more than ten years in the future")
        return Covered(
            from_block,
            end,
            first.parent_hash,
            last.hash,
            last.timestamp,
            found.events,
            found.rejected,
        )

    async def _page(self, from_block: int, to_block: int) -> tuple[Decoded, int, Endpoint]:
        """The logs from a block on, the block up to which they reach, and who gave them.

        The text goes as soon as it is read; one page is read at a time, for that takes three times
        its size.
        """
        page = await self.rpc.logs(self.filter, from_block, to_block)
        source = self.rpc.answered
        try:
            async with self._decoding:
                found = await asyncio.to_thread(
                    decode, page.raw, self.contract, from_block, page.to_block
                )
        except BadInput as error:
            raise _Contradiction(str(error).removesuffix(f"; {ADVICE}"), source) from error
        return found, page.to_block, source

    async def _second_opinion(
        self, found: Decoded, headers: dict[int, Header], source: Endpoint
    ) -> None:
        """Ask again, by hash, for blocks whose bloom knows our contract but that gave no log.

        Near the head a node's logs can lag behind its headers, or come from another node; an
        empty list looks like silence then. `source` is the endpoint that gave the logs.
        """
        linked = sorted(headers)
        for one, two in pairwise(linked):
            if headers[two].parent_hash != headers[one].hash:
                raise _Contradiction(f"block {two} does not follow on block {one}")
        heard = {*found.events.block.tolist(), *(r.block for r in found.rejected)}
        for header in headers.values():
            if header.number in heard or not header.bloom or not self._may_log(header.bloom):
                continue
            try:
                raw = await self.rpc.logs_in(self.filter, header.hash)
                again = decode(raw, self.contract, header.number, header.number)
            except BadInput as error:
                raise _Contradiction(str(error)) from error
            if len(again.events) or again.rejected:
                raise _Contradiction(
                    f"logs of block {header.number} were left out of its range", source
                )

    def _may_log(self, bloom: bytes) -> bool:
        return any(may_log(bloom, a, self.filter.topics) for a in self.filter.addresses)

    async def _timed(self, found: Decoded, headers: dict[int, Header]) -> Decoded:
        """Times from the headers, wherever the logs have none or one that a header contradicts."""
        events = found.events
        if not len(events) and not found.rejected:
            return found
        known = [h for h in headers.values() if (events.block == h.number).any()]
        right = all(
            (events.timestamp[events.block == h.number] == h.timestamp).all() for h in known
        )
        if right and (events.timestamp >= 0).all() and not found.rejected:
            return found
        blocks = sorted({*events.block.tolist(), *(r.block for r in found.rejected)})
        missing = [b for b in blocks if b not in headers]
        headers |= {h.number: h for h in await self.rpc.headers(missing)} if missing else {}
        times: I64 = np.array([headers[b].timestamp for b in blocks], np.int64)
        row = np.searchsorted(np.array(blocks, np.int64), events.block)
        rejected = tuple(replace(r, timestamp=headers[r.block].timestamp) for r in found.rejected)
        return replace(found, events=replace(events, timestamp=times[row]), rejected=rejected)


class _Contradiction(Exception):  # noqa: N818 -- what a node said, not what we did
    """An answer that does not agree with itself or with the headers.

    `endpoint` gave it, where that is known; else it is taken to be the one that answered last.
    """

    def __init__(self, reason: str, endpoint: Endpoint | None = None) -> None:
        super().__init__(reason)
        self.endpoint = endpoint


def _agree(found: Decoded, headers: dict[int, Header]) -> None:
    """Every log of a block whose header is at hand must carry that header's hash."""
    events = found.events
    for header in headers.values():
        hashes = events.block_hash[events.block == header.number]
        wrong = (hashes != np.frombuffer(header.hash, np.uint8)).any()
        if wrong or any(
            r.block_hash != header.hash for r in found.rejected if r.block == header.number
        ):
            raise _Contradiction(f"the logs of block {header.number} name another block hash")
    if len(events) and (np.diff(events.timestamp) < 0).any():
        raise _Contradiction("block times go backwards")


async def checked_chain(rpc: Rpc, expected: int | None) -> int:
    """The id of the chain that the nodes serve; UsageError if the settings name another one."""
    found = await rpc.chain_id()
    if expected not in (None, found):
        raise UsageError(
            f"the node serves chain {found}, but chain.chain_id says {expected}: check --rpc"
        )
    return found


async def first_block(rpc: Rpc, token: bytes, wanted: int | None) -> int:
    """The block to begin with: the wanted one, else the one that created the contract.

    UsageError where the contract has no code at the head.
    """
    if not await rpc.code(token, "latest"):
        raise UsageError(
            f"0x{token.hex()} has no code on chain {await rpc.chain_id()}: is it another chain, not"
            " a contract, or a node that has not got as far as its creation?"
        )
    return await creation_block(rpc, token) if wanted is None else wanted


async def creation_block(rpc: Rpc, address: bytes) -> int:
    """The block that created a contract, by bisection of eth_getCode; BadInput if there is none."""
    high = await rpc.block_number()
    if not await rpc.code(address, high):
        raise BadInput(
            f"0x{address.hex()} has no code on chain {await rpc.chain_id()}: "
            "is it another chain, not a contract, or a node that lags?"
        )
    low = 0
    try:
        while low < high:
            middle = (low + high) // 2
            if await rpc.code(address, middle):
                high = middle
            else:
                low = middle + 1
    except BadInput as error:
        raise BadInput(f"the block that created the contract cannot be found ({error}): name it "
                       "with --from-block N") from error  # fmt: skip
    return low
