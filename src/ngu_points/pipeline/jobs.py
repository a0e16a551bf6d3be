"""What the scheduled jobs compute, on one machine and on AWS alike (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ngu_points.engine import invariants
from ngu_points.engine.facts import FEAST, total
from ngu_points.engine.feast import FeastDay
from ngu_points.engine.rules import Rules
from ngu_points.engine.state import State
from ngu_points.errors import StoreError

RANKED = 10_000
"""Wallets in the stored leaderboard snapshot."""

Shares = Callable[[int], Iterable[tuple[bytes, int]]]
"""Who got how many micro-points on a closed day."""


def check(state: State, days: Iterable[FeastDay], shares: Shares, rules: Rules) -> None:
    """Raise StoreError if a state, and the closed days up to it, contradict themselves."""
    try:
        invariants.check(state, rules)
    except AssertionError as error:
        raise StoreError(f"points recalc: {error}: run `ngu rebuild`") from error
    _check_feasts(state, days, shares, rules)


def _check_feasts(state: State, days: Iterable[FeastDay], shares: Shares, rules: Rules) -> None:
    """Shares plus carry are the pool, day after day, and the ledger holds exactly the shares."""
    carry, given = 0, 0
    for day in days:
        shared = sum(amount for _, amount in shares(day.day))
        if day.carry_in != carry or day.pool != shared + day.carry_out:
            raise StoreError(f"points recalc: the feast of day {day.day} does not add up: "
                             "run `ngu rebuild`")  # fmt: skip
        carry, given = day.carry_out, given + shared
    recorded = sum(total(state.wallets.facts[s, FEAST]) for s in range(len(rules.seasons)))
    if recorded != given:
        raise StoreError(f"points recalc: feasts gave {given} micro-points, the ledger has "
                         f"{recorded}: run `ngu rebuild`")  # fmt: skip


def totals(state: State) -> dict[str, Any]:
    """How many tokens there are, how many of them are staked, and how many wallets were seen."""
    staked = total(state.wallets.staked)
    tokens = total(state.wallets.held) + staked
    return {"tokens": str(tokens), "staked": str(staked), "wallets": len(state.wallets)}


def folded(counters: Mapping[str, int]) -> dict[str, int]:
    """Events and contradictions so far, from the running counters of a store."""
    events = sum(count for name, count in counters.items() if name.isdigit())
    return {"events": events, "anomalies": counters.get("anomalies", 0)}
