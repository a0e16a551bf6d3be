"""The whole state as arrays: what a step touches is taken out, changed, and put back.

Wallets have a number here, in the order in which they were first seen; the numbers live as long
as the process and are never stored.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ngu_points.engine import runs as run_columns
from ngu_points.engine.events import I64, U8, Events, Ints
from ngu_points.engine.facts import narrow
from ngu_points.engine.moves import moves_with, named
from ngu_points.engine.numbers import Numbers
from ngu_points.engine.rules import DAY, Rules
from ngu_points.engine.runs import NOBODY, Moves
from ngu_points.engine.splice import splice, touched
from ngu_points.engine.state import Advanced, Standing, State, Wallets, Work, no_wallets


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
    """The state of the last commit; `put` makes it the next one, in place.

    Columns of wallets have room to grow, so that a step costs what it touches. A `state` that was
    looked at before changes with them: `kept` is one that does not.
    """

    def __init__(self, state: State, rules: Rules) -> None:
        self.rules = rules
        self.numbers = Numbers(state.wallets.address)
        self._room: dict[str, Any] = {
            f.name: getattr(state.wallets, f.name).copy() for f in fields(Wallets)
        }
        standing = Standing.of(state.wallets.address, rules)
        self._room |= {f.name: getattr(standing, f.name) for f in fields(Standing)}
        self.state = replace(state, wallets=self._wallets(len(state.wallets)))

    def moves(self, events: Events) -> Moves:
        """The events in terms of this state's wallets, which those that are new join."""
        address, index = named(events)
        number = self.numbers.find(address)
        unknown = np.flatnonzero(number < 0)
        if len(unknown):
            number[unknown] = len(self.numbers) + np.arange(len(unknown))
            self._join(address[unknown])
        return moves_with(events, number[index])

    def _join(self, fresh: U8) -> None:
        """Add wallets that nothing has happened to yet."""
        known = len(self.numbers)
        self.numbers.add(fresh)
        new, count = no_wallets(self.rules, fresh), len(self.numbers)
        self._write(new, slice(known, count), count)
        self.state = replace(self.state, wallets=self._wallets(count))

    def advance(self, moves: Moves, block: int, timestamp: int) -> Advanced:
        """Apply events (see `state.advance`), in place; wallets of the result are its own."""
        count = len(self.numbers)
        standing = Standing(*(self._room[f.name][:count] for f in fields(Standing)))
        after = Work(self.state, self.rules, standing).advance(moves, block, timestamp)
        for f in fields(Wallets):
            column = getattr(after.state.wallets, f.name)
            if not np.may_share_memory(column, self._room[f.name]):  # it turned wide, or did once
                self._room[f.name] = column
        self.state = after.state
        return after

    def kept(self) -> State:
        """The state as it is now, for good."""
        wallets = self.state.wallets
        columns = {f.name: getattr(wallets, f.name).copy() for f in fields(Wallets)}
        return replace(self.state, wallets=Wallets(**columns))

    def take(self, first: Ints, end: Ints, address: U8, timestamp: int) -> Part:
        """The part that events on the ranges and wallets touch (see `Store.load`)."""
        state, wallets = self.state, self.state.wallets
        rows = touched(state.runs, first, end)
        runs = state.runs.take(rows)
        named = self.numbers.find(address)
        also = [runs.owner, runs.staker]
        if state.day is not None and timestamp // DAY > state.day:
            also.append(np.flatnonzero((wallets.stake_weight != 0) | (wallets.day_seconds != 0)))
        lane = np.full(len(wallets) + 1, NOBODY, np.int64)
        known = np.flatnonzero(named >= 0)
        lane[named[known]] = known
        others = run_columns.distinct(np.concatenate(also))
        others = others[(others >= 0) & (lane[others] == NOBODY)]
        lane[others] = len(named) + np.arange(len(others))
        numbers = np.concatenate([named, others])
        part = State(
            replace(runs, owner=lane[runs.owner], staker=lane[runs.staker]),
            self._some(numbers, address),
            state.block,
            state.timestamp,
            state.day,
            state.carry,
            state.contribution,
        )
        return Part(part, Origin(rows, numbers))

    def _some(self, numbers: I64, address: U8) -> Wallets:
        """The wallets of these numbers, and blank ones for those that are -1."""
        new = no_wallets(self.rules, address)
        if not len(self.state.wallets):
            return new
        some = self.state.wallets.take(np.maximum(numbers, 0))
        fresh = np.flatnonzero(numbers < 0)
        some.address[fresh] = address[fresh]
        for f in fields(Wallets)[1:]:
            getattr(some, f.name)[..., fresh] = getattr(new, f.name)[..., fresh]
        return some

    def put(self, part: Part, after: State) -> I64:
        """Make the part's state after a step the whole's; the numbers of its wallets."""
        origin: Origin = part.origin
        numbers = origin.wallets.copy()
        fresh = np.flatnonzero(numbers < 0)
        count = len(self.state.wallets) + len(fresh)
        numbers[fresh] = len(self.state.wallets) + np.arange(len(fresh))
        self.numbers.add(after.wallets.address[fresh])
        self._write(after.wallets, numbers, count)
        lane = np.append(numbers, NOBODY)
        runs = replace(after.runs, owner=lane[after.runs.owner], staker=lane[after.runs.staker])
        self.state = replace(
            after,
            runs=splice(self.state.runs, origin.runs, runs),
            wallets=self._wallets(count),
        )
        return numbers

    def _write(self, wallets: Wallets, numbers: I64 | slice, count: int) -> None:
        """Write some wallets, of which there are `count` then."""
        standing = Standing.of(wallets.address, self.rules)
        for part in (wallets, standing):
            for f in fields(part):
                self._write_column(f.name, getattr(part, f.name), numbers, count)

    def _write_column(self, name: str, new: Any, numbers: I64 | slice, count: int) -> None:
        axis = 0 if name == "address" else -1
        column = self._room[name]
        if count > column.shape[axis]:
            column = _roomier(column, axis, count + count // 4)
        if new.dtype == object and column.dtype != object:
            column = column.astype(object)
        column[numbers if axis == 0 else (..., numbers)] = new
        self._room[name] = narrow(column) if axis else column

    def _wallets(self, count: int) -> Wallets:
        """The first so many wallets, as views."""
        room = self._room
        views = {f.name: room[f.name][..., :count] for f in fields(Wallets)[1:]}
        return Wallets(address=room["address"][:count], **views)


def _roomier(column: Any, axis: int, room: int) -> Any:
    """The column with room for so many wallets, its present ones first."""
    shape = list(column.shape)
    shape[axis] = room
    wider = np.zeros(shape, column.dtype)  # zeros that nobody touches take no memory
    np.moveaxis(wider, axis, 0)[: column.shape[axis]] = np.moveaxis(column, axis, 0)
    return wider
