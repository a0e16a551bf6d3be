"""Holdings: for how long a range of tokens had one owner, one staker and one clock.

A holding is the life of a run: it begins when owner, staker, owned-since or since last changed,
which is the later of the two times, and ends with the event that changes one of them. Holdings of
no length are left out: [since, until) of one block time holds no moment.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from ngu_points.engine.events import I64, Ints
from ngu_points.engine.runs import NOBODY, Moves, Runs, Staking, fold, join, merge, walk


@dataclass(frozen=True, slots=True, eq=False)
class Holdings:
    """n holdings that have ended, over the ids [first, end); wallets are indices."""

    event: I64  # row of the event that ended it
    first: Ints
    end: Ints
    owner: I64
    staker: I64
    owned_since: I64
    since: I64  # of the present earning: the staking time where staked
    until: I64

    def __len__(self) -> int:
        return len(self.event)


def ended(runs: Runs, moves: Moves, staking: Staking) -> Holdings:
    """The holdings that events end, by event, then by id; arguments are those of `fold`.

    Splitting `moves` anywhere gives the same rows.
    """
    if not len(moves):
        none: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        return Holdings(*(none for _ in fields(Holdings)))
    walked = walk(runs, moves, staking)
    if walked is None:
        half = len(moves) // 2
        one, rest = moves.take(slice(None, half)), moves.take(slice(half, None))
        later = ended(fold(runs, one, staking).runs, rest, staking)
        joined: Holdings = join(ended(runs, one, staking),
                                replace(later, event=later.event + half))  # fmt: skip
        return joined
    found, left = walked.found, walked.left
    until = moves.timestamp[walked.event]
    changes = (
        (found.owner != left.owner)
        | (found.staker != left.staker)
        | (found.owned_since != left.owned_since)
        | (found.since != left.since)
    )
    was = (found.owner != NOBODY) | (found.staker != NOBODY)
    lasted = np.maximum(found.owned_since, found.since) < until
    rows = np.flatnonzero(changes & was & lasted)
    rows = rows[np.argsort(walked.event[rows], kind="stable")]
    event, owner, staker = walked.event[rows], found.owner[rows], found.staker[rows]
    owned_since, since = found.owned_since[rows], found.since[rows]
    first, end, head = merge(
        walked.borders, walked.segment[rows], event, owner, staker, owned_since, since
    )
    return Holdings(event[head], first, end, owner[head], staker[head], owned_since[head],
                    since[head], until[rows][head])  # fmt: skip
