"""The Feast Pool: a day's pool shared among its stakers, to the last micro-point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ngu_points.engine.events import I64, Ints
from ngu_points.engine.facts import SAFE, narrow, total


@dataclass(frozen=True, slots=True, eq=False)
class FeastDay:
    """A closed day. Amounts are micro-points; pool = carry_in + emission + contribution, and
    what the shares do not take is carry_out. `season` is None where the day's end lies in none.
    """

    day: int  # days since 1970-01-01 UTC
    carry_in: int
    emission: int
    contribution: int
    seconds: int  # weighted staked token-seconds of all who share
    carry_out: int
    season: int | None
    wallet: I64  # wallets with a share, lower address first
    share: Ints

    @property
    def pool(self) -> int:
        return self.carry_in + self.emission + self.contribution


def share(pool: int, seconds: Ints) -> Ints:
    """Divide a pool in proportion to seconds by largest remainder; of equals the earlier wins.

    `seconds` are at least 0 and not all 0; the shares add up to the pool exactly.
    """
    whole = total(seconds)
    if pool * max(int(seconds.max()), 1) >= SAFE or whole >= SAFE:
        seconds = seconds.astype(object)
    shares: Any = pool * seconds // whole
    left = pool - total(shares)
    remainder = pool * seconds - shares * whole
    first = np.argsort(-remainder, kind="stable")[:left]
    shares[first] += 1
    return narrow(shares)
