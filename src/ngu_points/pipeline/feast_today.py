"""The feast of the day that is not over: its pool so far, and who would get what of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ngu_points.engine import facts
from ngu_points.engine.events import blobs
from ngu_points.engine.feast import share
from ngu_points.engine.rules import DAY
from ngu_points.engine.state import among
from ngu_points.pipeline.query import View


@dataclass(frozen=True, slots=True)
class OpenFeast:
    """`shares`: wallet, micro-points it gets if nothing changes until midnight, its weighted
    staked seconds so far; the largest first, then the lower address."""

    day: int
    pool: int
    staked_tokens: int
    shares: tuple[tuple[bytes, int, int], ...]


def open_feast(view: View) -> OpenFeast | None:
    """The open feast of a state; None before the first event."""
    state, rules = view.state, view.rules
    if state.day is None:
        return None
    pool = state.carry + rules.feast_emission + state.contribution
    staked = facts.total(state.wallets.staked)
    wallets = state.wallets
    busy = np.flatnonzero((wallets.stake_weight != 0) | (wallets.day_seconds != 0))
    wallets = wallets.take(busy[np.argsort(wallets.address[busy].view("V20").ravel())])
    wallets = wallets.take(~among(wallets.address, rules.earns_nothing))
    whole = facts.product(wallets.stake_weight, np.array([DAY])) + wallets.day_seconds
    gone = min(max(view.timestamp - state.day * DAY, 0), DAY)
    so_far = facts.product(wallets.stake_weight, np.array([gone])) + wallets.day_seconds
    rows = np.flatnonzero(whole > 0)
    shares = np.zeros(len(rows), np.int64)
    if len(rows) and pool and rules.season_at((state.day + 1) * DAY - 1) is not None:
        shares = share(pool, whole[rows])
    named = zip(blobs(wallets.address[rows]), shares.tolist(), so_far[rows].tolist(), strict=True)
    ordered = sorted(named, key=lambda part: (-part[1], part[0]))
    return OpenFeast(state.day, pool, staked, tuple(ordered))
