"""What the audit says of blocks, held against what they really logged."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from ngu_points.chain.audit import Finding, examine
from ngu_points.chain.decode import Decoded
from ngu_points.chain.proof import Verdict
from ngu_points.chain.rpc import Rpc
from ngu_points.embedded.history import History
from ngu_points.engine.events import event_id, ids
from ngu_points.errors import BadInput, TransientError
from simulation.blocks import Block
from simulation.nodes import CHAIN_ID, Network
from simulation.sealing import CONTRACT
from simulation.truth import Violation, same

PROVEN = (Verdict.PROVEN, Verdict.PROVEN_EMPTY)
CERTAIN = (*PROVEN, Verdict.CONSISTENT)

Held = Callable[[int, int], Decoded]
"""What we hold of some blocks, both ends included."""
Name = tuple[str, bytes]
"""A log by its event id and the hash of its block."""


async def check_audit(
    rpc: Rpc, held: Held, network: Network, ends: tuple[int, int], *, honest: bool
) -> int:
    """Examine what is held; how many blocks were found to differ from it.

    Whoever the nodes are, what is called proven is so. While they are `honest`, every difference
    is found and none is made up; doubt is only where there are no receipts. -1 where the
    nodes did not let the audit come to its end.
    """
    differing = 0
    parts = examine(rpc, CONTRACT, CHAIN_ID, held, *ends)
    try:
        async for part in parts:
            for finding in part.findings:
                mine = names(held(finding.block, finding.block))
                block = network.chain.by_hash[finding.hash]
                check_finding(finding, mine, block, honest=honest)
                if honest and network.receipts:
                    same(f"a doubt: {finding.how}", finding.verdict in CERTAIN, True)
                differing += finding.true is not None
    except (TransientError, BadInput) as error:
        if honest:
            raise Violation(f"the audit of honest nodes: {error}") from error
        return -1
    return differing


def check_finding(finding: Finding, held: set[Name], block: Block, *, honest: bool) -> None:
    """Raise Violation where a finding claims what is not so."""
    wanted = {(name, block.hash) for name in block.ids}
    wanted |= {(letter.id, block.hash) for letter in block.letters}
    what = f"audit of block {block.number} ({finding.verdict}, {finding.how})"
    if finding.verdict in PROVEN or honest:
        told = held if finding.true is None else names(finding.true)
        same(what, told, wanted)
        same(f"{what}: whether it differs", finding.true is not None, held != wanted)


def with_holes(rng: random.Random, history: History, last: int) -> Held:
    """What would be held if all logs of some blocks had got lost."""
    lost = [block for block in range(last + 1) if rng.random() < 0.3]

    def held(first: int, last: int) -> Decoded:
        found = history.between(first, last)
        events = found.events.take(~np.isin(found.events.block, lost))
        return Decoded(events, tuple(r for r in found.rejected if r.block not in lost), 0)

    return held


def names(found: Decoded) -> set[Name]:
    events = zip(ids(found.events), found.events.block_hash, strict=True)
    return {(id_, hash_.tobytes()) for id_, hash_ in events} | {
        (event_id(r.block, r.tx_hash, r.log_index), r.block_hash) for r in found.rejected
    }
