"""A fork below what was sent: is it one, and from where on must the tables be taken back."""

from __future__ import annotations

import asyncio
import time
from itertools import islice

from ngu_points.aws import items
from ngu_points.aws.dynamo import Where
from ngu_points.aws.environment import Environment
from ngu_points.aws.items import BLOCK_DIGITS
from ngu_points.aws.store import Store
from ngu_points.aws.tables import COVERAGE
from ngu_points.chain.reader import Reader
from ngu_points.engine.coverage import BATCH
from ngu_points.errors import NguError, TransientError
from ngu_points.pipeline.interfaces import Position
from ngu_points.pipeline.monitor import first_common

LOOKS = 2
"""How often, at another endpoint if there is one, a lost block is asked for."""
ENDS = 2_000
"""Range ends in the tables that are compared with the chain, the newest first."""


class ForkedBelow(NguError):  # noqa: N818 -- what happened to the chain, not to us
    """The chain has changed below what was sent: a person must decide to go back."""


async def judged(reader: Reader, store: Store, env: Environment, known: Position) -> NguError:
    """What it means that nothing follows on a block: ForkedBelow, or TransientError.

    It is a fork once the chain has another block in its place, each time it is asked.
    """
    for _ in range(LOOKS):
        found = await reader.hash_of(known.block)
        if found is None or found == known.hash:
            return TransientError(
                f"{reader.rpc.host}: what follows block {known.block} does not fit to it, while the"
                " block is what it was: try again later, or name another node"
            )
        reader.rpc.answered.avoided(time.monotonic())
    ends = await _ends(store, known)
    at = await first_common(reader, ends) if ends else None
    common = store.start_block - 1 if at is None else ends[at].block
    return ForkedBelow(
        f"the chain forked at block {common}, below block {known.block}, which was sent as final:"
        f" `ngu rewind {common} --store dynamodb --stage {env.stage} --service {env.service}`"
        " takes the tables back to it; then start the event monitor again"
    )


async def _ends(store: Store, known: Position) -> list[Position]:
    """Where announced ranges end, as the table of coverage has them, the highest first."""
    below = f"{known.block:0{BLOCK_DIGITS}d}"
    where = Where("#stream = :stream AND #end < :end", {"stream": BATCH, "end": below})

    def read() -> list[Position]:
        rows = store.dynamo.query(COVERAGE, where, limit=ENDS, backwards=True)
        found = map(items.coverage_of, islice(rows, ENDS))
        return [Position(r.to_block, r.last_hash, r.timestamp) for r in found]

    return await asyncio.to_thread(read)
