"""The whole state as arrays: what a step touches is taken out, changed, and put back.

Wallets have a number here, in the order in which they were first seen; the numbers live as long
as the process and are never stored.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ngu_points.engine.events import I64, U8, Ints, blobs
from ngu_points.engine.facts import narrow
from ngu_points.engine.rules import DAY, Rules
from ngu_points.engine.runs import NOBODY, distinct, splice, touched
from ngu_points.engine.state import State, Wallets, no_wallets


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What a store loaded of the state; `origin` is the store's own note of where it lies."""

    state: State
    origin: Any


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Where a part lies: rows of its runs, numbers of its wallets (-1 for new ones)."""

    runs: I64
    wallets: I64


class Hot:
    """The state of the last commit. `replace` swaps in the next one."""

    def __init__(self, state: State, rules: Rules) -> None:
        self.state = state
        self.rules = rules
        self.number = {a: i for i, a in enumerate(blobs(state.wallets.address))}

    def take(self, first: Ints, end: Ints, address: U8, timestamp: int) -> Part:
        """The part that events on the ranges and wallets touch (see `Store.load`)."""
        state, wallets = self.state, self.state.wallets
        rows = touched(state.runs, first, end)
        runs = state.runs.take(rows)
        named = np.array([self.number.get(a, -1) for a in blobs(address)], np.int64)
        also = [runs.owner, runs.staker]
        if state.day is not None and timestamp // DAY > state.day:
            also.append(np.flatnonzero((wallets.stake_weight != 0) | (wallets.day_seconds != 0)))
        others = distinct(np.concatenate(also))
        others = others[~np.isin(others, named)]
        numbers = np.concatenate([named, others[others >= 0]])
        lane = np.empty(len(wallets) + 1, np.int64)
        lane[NOBODY] = NOBODY
        lane[numbers[numbers >= 0]] = np.flatnonzero(numbers >= 0)
        part = State(
            replace(runs, owner=lane[runs.owner], staker=lane[runs.staker]),
            self._wallets(numbers, address),
            state.block,
            state.timestamp,
            state.day,
            state.carry,
            state.contribution,
        )
        return Part(part, Origin(rows, numbers))

    def _wallets(self, numbers: I64, address: U8) -> Wallets:
        new = no_wallets(self.rules, address)
        if not len(self.state.wallets):
            return new
        known = self.state.wallets.take(np.maximum(numbers, 0))
        fresh = np.flatnonzero(numbers < 0)
        known.address[fresh] = address[fresh]
        columns: dict[str, Any] = {"address": known.address}
        for f in fields(Wallets)[1:]:
            column = getattr(known, f.name)
            column[..., fresh] = getattr(new, f.name)[..., fresh]
            columns[f.name] = column
        return Wallets(**columns)

    def put(self, part: Part, after: State) -> I64:
        """Make the part's state after a step the whole's; the numbers of its wallets."""
        origin: Origin = part.origin
        numbers = origin.wallets.copy()
        fresh = np.flatnonzero(numbers < 0)
        numbers[fresh] = len(self.state.wallets) + np.arange(len(fresh))
        for row, a in zip(fresh, blobs(after.wallets.address[fresh]), strict=True):
            self.number[a] = int(numbers[row])
        lane = np.append(numbers, NOBODY)
        runs = replace(after.runs, owner=lane[after.runs.owner], staker=lane[after.runs.staker])
        self.state = replace(
            after,
            runs=splice(self.state.runs, origin.runs, runs),
            wallets=_merged(self.state.wallets, numbers, after.wallets, len(fresh)),
        )
        return numbers


def _merged(whole: Wallets, numbers: I64, part: Wallets, fresh: int) -> Wallets:
    columns = {}
    for f in fields(Wallets):
        old, new = getattr(whole, f.name), getattr(part, f.name)
        if f.name == "address":
            column = np.concatenate([old, np.zeros((fresh, 20), np.uint8)])
            column[numbers] = new
        else:
            blank = np.zeros((*old.shape[:-1], fresh), old.dtype)
            column = np.concatenate([old, blank], axis=-1) if fresh else old.copy()
            if new.dtype == object:
                column = column.astype(object)
            column[..., numbers] = new
        columns[f.name] = column if f.name == "address" else narrow(column)
    return Wallets(**columns)
