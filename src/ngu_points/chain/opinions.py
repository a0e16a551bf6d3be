"""What single endpoints say about blocks: receipts that prove all logs, and the logs themselves.

An endpoint that cannot answer one kind of question is asked it less and less often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ngu_points.chain.answers import Header
from ngu_points.chain.blocklogs import by_block, proven
from ngu_points.chain.contract import Contract
from ngu_points.chain.decode import ADVICE, Decoded, decode
from ngu_points.chain.encoding import Unprovable
from ngu_points.chain.proof import Verdict, judge_receipts
from ngu_points.chain.rpc import Endpoint, Filter, Rpc
from ngu_points.errors import BadInput, NguError, TransientError

_RECEIPTS: Final = "eth_getBlockReceipts"
_LOGS: Final = "eth_getLogs"
_LONGEST: Final = 10
"""Doublings of how many questions an endpoint is spared: a thousand at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """What receipts prove of a block: `logs`, complete; or None, and why not in one line."""

    logs: Decoded | None
    why: str
    read: bool  # whether any endpoint had receipts to show


@dataclass(slots=True)
class _Rest:
    """How long an endpoint is spared one kind of question, counted in questions."""

    streak: int = 0
    left: int = 0
    reason: str = ""


class Opinions:
    """Asks the endpoints of `rpc` one by one about the logs of `contract`."""

    def __init__(self, rpc: Rpc, contract: Contract, chain_id: int) -> None:
        self.rpc = rpc
        self.contract = contract
        self.chain_id = chain_id
        self.filter = Filter(contract.addresses, contract.topics)
        self._rests: dict[tuple[Endpoint, str], _Rest] = {}

    async def proof(self, header: Header, fields: Mapping[str, Any]) -> Proof:
        """The logs of a block as receipts prove them, from the first endpoint that can.

        Receipts without the header's root are counted against whoever showed them.
        """
        why, read = "no endpoint was asked for receipts", False
        # Whoever was right so far first; the order is otherwise that of the settings.
        for endpoint in sorted(self.rpc.endpoints, key=lambda one: one.contradictions):
            rest = self._rest(endpoint, _RECEIPTS)
            if rest.left:
                rest.left -= 1
                why = rest.reason
                continue
            found = await self._proof_from(endpoint, header, fields)
            read = read or found.read
            if found.logs is not None:
                rest.streak = 0
                return found
            why = found.why
            _spared(rest, why)
        return Proof(None, why, read)

    async def _proof_from(
        self, endpoint: Endpoint, header: Header, fields: Mapping[str, Any]
    ) -> Proof:
        try:
            receipts = await self.rpc.only(endpoint).receipts(header.hash)
        except (BadInput, TransientError) as error:
            return Proof(None, f"no receipts: {error}", read=False)
        found = await asyncio.to_thread(judge_receipts, fields, receipts, self.chain_id)
        if found.verdict is Verdict.PROVEN:
            try:
                return Proof(proven(receipts, self.contract, header), found.reason, read=True)
            except (BadInput, Unprovable) as error:
                reason = str(error).removesuffix(f"; {ADVICE}")
        else:
            reason = found.reason
        if found.verdict is not Verdict.UNPROVEN:
            self.rpc.distrust(f"receipts of block {header.number}: {reason}", endpoint)
        return Proof(None, f"{endpoint.host}: {reason}", read=True)

    async def logs(self, first: int, last: int) -> dict[Endpoint, dict[int, Decoded]]:
        """What each endpoint that answers says was logged in the blocks `first` to `last`."""
        willing = []
        for endpoint in self.rpc.endpoints:
            rest = self._rest(endpoint, _LOGS)
            if rest.left:
                rest.left -= 1
            else:
                willing.append(endpoint)
        answers = await asyncio.gather(*(self._logs_from(one, first, last) for one in willing))
        both = zip(willing, answers, strict=True)
        return {endpoint: found for endpoint, found in both if found is not None}

    def silence(self) -> str:
        """Why no endpoint told its logs, in one line."""
        reasons = (self._rest(endpoint, _LOGS).reason for endpoint in self.rpc.endpoints)
        return next((reason for reason in reasons if reason), "no endpoint answered")

    async def _logs_from(
        self, endpoint: Endpoint, first: int, last: int
    ) -> dict[int, Decoded] | None:
        one, rest = self.rpc.only(endpoint), self._rest(endpoint, _LOGS)
        found: dict[int, Decoded] = {}
        start = first
        while start <= last:
            try:
                page = await one.logs(self.filter, start, last)
            except (BadInput, TransientError) as error:
                _spared(rest, str(error))
                return None
            try:
                part = await asyncio.to_thread(
                    decode, page.raw, self.contract, start, page.to_block
                )
            except BadInput as error:
                reason = str(error).removesuffix(f"; {ADVICE}")
                self.rpc.distrust(reason, endpoint)
                _spared(rest, f"{endpoint.host}: {reason}")
                return None
            found |= by_block(part)
            start = page.to_block + 1
        rest.streak, rest.reason = 0, ""
        return found

    async def headers_from(
        self, endpoint: Endpoint, first: int, last: int
    ) -> list[dict[str, Any]] | None:
        """All header fields of the blocks as this endpoint has them; None if it does not say."""
        try:
            return await self.rpc.only(endpoint).header_fields(range(first, last + 1))
        except NguError:
            return None

    def _rest(self, endpoint: Endpoint, method: str) -> _Rest:
        return self._rests.setdefault((endpoint, method), _Rest())


def _spared(rest: _Rest, reason: str) -> None:
    rest.left = (1 << min(rest.streak, _LONGEST)) - 1
    rest.streak += 1
    rest.reason = reason
