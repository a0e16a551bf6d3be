"""Since when our record and the contract's answers differ, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ngu_points.chain.multicall import at_number
from ngu_points.chain.rpc import Rpc
from ngu_points.embedded.history import History
from ngu_points.embedded.store import Store
from ngu_points.embedded.witness import Source, holders_at
from ngu_points.engine.events import concat
from ngu_points.errors import BadInput, TransientError
from ngu_points.pipeline.verify import Difference, Search, Views, alone, touching

DAMAGED = "our own events agree with the contract: the stored state is damaged"
EARLIER = "it differs at block {} already, before the first block that was read"


@dataclass(frozen=True, slots=True)
class Traced:
    """A difference and the first block that has it; None where that is not known, for a reason."""

    difference: Difference
    first: int | None
    note: str
    hint: str


class Tracer:
    """Looks for the first block at which our events and the contract's answers part."""

    def __init__(self, rpc: Rpc, source: Source, views: Views, store: Store) -> None:
        self.rpc = rpc
        self.source = source
        self.views = views
        self.rules = store.rules
        self.before = int(store.meta("start_block", 0)) - 1
        self.end = store.position().block

    async def trace(self, history: History, differences: Sequence[Difference]) -> list[Traced]:
        """Bisect all of them side by side; what was asked of one block goes in one call."""
        tokens = [found.token for found in differences]
        events = concat([touching(c.events, tokens) for c in history.covered()] if tokens else [])
        searches = [Search(t, alone(events, t), self.before, self.end) for t in tokens]
        trouble: dict[int, str] = {}
        for at, found in enumerate(differences):
            if not self.views.differ(searches[at].holder(self.rules, self.end), found.chain):
                trouble[at] = DAMAGED
        while turn := [at for at, s in enumerate(searches) if not s.done and at not in trouble]:
            block = searches[turn[0]].middle
            here = [at for at in turn if searches[at].middle == block]
            try:
                verdicts = await self._differ([searches[at] for at in here], block)
            except (BadInput, TransientError) as error:
                trouble |= dict.fromkeys(here, f"not traced further: {error}")
                continue
            for at, differs in zip(here, verdicts, strict=True):
                searches[at] = searches[at].narrowed(block, differs=differs)
        return [
            await self._told(found, search, trouble.get(at, ""))
            for at, (found, search) in enumerate(zip(differences, searches, strict=True))
        ]

    async def _differ(self, searches: Sequence[Search], block: int) -> list[bool]:
        calls = at_number(self.rpc, block)
        theirs = await holders_at(calls, self.source, [search.token for search in searches])
        ours = [search.holder(self.rules, block) for search in searches]
        return [self.views.differ(*pair) for pair in zip(ours, theirs, strict=True)]

    async def _told(self, found: Difference, search: Search, trouble: str) -> Traced:
        if trouble == DAMAGED:
            return Traced(found, None, trouble, "ngu rebuild")
        if not trouble and search.low == self.before >= 0:
            try:
                earlier = (await self._differ([search], self.before))[0]
            except (BadInput, TransientError):
                earlier = False
            if earlier:
                return Traced(found, None, EARLIER.format(self.before), "")
        hint = f"ngu replay {search.low + 1} {search.high}"
        return Traced(found, search.high if search.done else None, trouble, hint)
