"""The fold: token runs and events in, token runs, closed intervals and anomalies out.

A run is a maximal range of consecutive token ids with equal owner, staker, owned-since and since.
`since` is when the present earning began: the staking time where staked, else when it was last
acquired or unstaked.

How the fold works: all borders of runs and events cut the id space into segments, so that every
event covers whole segments; (segment, event) rows sorted by segment and position are then each
token's history, and what an event finds and leaves is a forward fill along it. Only the borders
are token ids; everything between them is an index, so ids of any width cost one sort.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

from ngu_points.engine.events import I64, U8, Bool, Ints, Kind

NOBODY = -1
ROWS_MAX = 4_000_000
"""Rows (segment × event) held at once; a batch that needs more is folded in halves."""


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """n runs in id order; `end` is exclusive; wallets are indices, `NOBODY` where there is none."""

    first: Ints
    end: Ints
    owner: I64
    staker: I64
    owned_since: I64
    since: I64

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: Any) -> Runs:
        return Runs(*(getattr(self, f.name)[rows] for f in fields(self)))

    @property
    def earner(self) -> I64:
        """Whoever earns: the staker if staked, else the owner."""
        return np.where(self.staker != NOBODY, self.staker, self.owner)


def no_runs() -> Runs:
    return Runs(*(np.zeros(0, np.int64) for _ in fields(Runs)))


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """n events as the fold needs them, in position order; wallets are indices."""

    kind: U8
    first: Ints
    end: Ints  # exclusive
    sender: I64  # NOBODY on a mint
    recipient: I64  # NOBODY on a burn, a stake and an unstake
    timestamp: I64

    def __len__(self) -> int:
        return len(self.kind)

    def take(self, rows: Any) -> Moves:
        return Moves(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Staking:
    """How staking shows: `contract` says which wallets are staking contracts, `custody` whether
    moving a token into one stakes it (else Stake and Unstake events tell)."""

    contract: Bool
    custody: bool

    def is_contract(self, wallet: I64) -> Bool:
        return (wallet >= 0) & self.contract[wallet]


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """n closed stretches of earning, [since, until), each over the ids [first, end)."""

    event: I64  # row of the event that closed it
    first: Ints
    end: Ints
    wallet: I64
    staked: Bool
    since: I64
    until: I64

    def __len__(self) -> int:
        return len(self.event)

    def take(self, rows: Any) -> Intervals:
        return Intervals(*(getattr(self, f.name)[rows] for f in fields(self)))


class Anomaly(IntFlag):
    """What an event says that our record of the token contradicts."""

    EXISTS = 1  # a mint of a token that we hold
    NOT_EXISTING = 2  # no owner is recorded
    NOT_OWNER = 4  # the sender or the staking account is not the recorded owner
    WAS_STAKED = 8  # a staked token moved: an implicit unstake
    ALREADY_STAKED = 16
    NOT_STAKED = 32
    NOT_STAKER = 64  # unstaked by another than the recorded staker


@dataclass(frozen=True, slots=True, eq=False)
class Anomalies:
    """n contradictions: the event's row, the ids [first, end), the codes, the recorded wallets."""

    event: I64
    first: Ints
    end: Ints
    code: I64
    owner: I64
    staker: I64

    def __len__(self) -> int:
        return len(self.event)


@dataclass(frozen=True, slots=True, eq=False)
class Folded:
    """What a fold gives: the runs after it, what it closed, what contradicted the record."""

    runs: Runs
    intervals: Intervals
    anomalies: Anomalies


def fold(runs: Runs, moves: Moves, staking: Staking) -> Folded:
    """Apply events in position order to the runs they touch.

    `runs` must hold every run that overlaps an event's range; others may be there and pass
    through. Splitting `moves` anywhere gives the same runs, intervals and anomalies; where a run
    that is left out adjoins one that now equals it, `splice` makes them one.
    """
    if not len(moves):
        return Folded(runs, no_intervals(), no_anomalies())
    walked = walk(runs, moves, staking)
    if walked is None:
        return _fold_in_halves(runs, moves, staking)
    return Folded(_rebuild(walked, runs), _closed(walked, moves), _contradictions(walked))


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """What holds of a token in each row of a `Walk`."""

    owner: I64
    staker: I64
    owned_since: I64
    since: I64


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """Every token's way through some events: one row for each segment of ids and event on it,
    by segment, then by position."""

    borders: Ints  # segment i is the ids [borders[i], borders[i + 1])
    holds: I64  # for each segment the run that holds it, or -1
    segment: I64
    event: I64
    found: States
    left: States
    closes: Bool  # the row ends an earning
    codes: I64


def walk(runs: Runs, moves: Moves, staking: Staking) -> Walk | None:
    """Events walked along the tokens of the runs they touch; None if it needs too many rows."""
    wide = object in (runs.first.dtype, moves.first.dtype)
    ids = (moves.first, moves.end, runs.first, runs.end)
    borders, (low, high, *span) = ranked(*(_as(column, wide) for column in ids))
    if int((high - low).sum()) > ROWS_MAX and len(moves) > 1:
        return None
    segment, event = _histories(low, high)
    holds = _run_of_segment(len(borders) - 1, *span)
    found, left, closes, codes = _walk(segment, event, holds, runs, moves, staking)
    return Walk(borders, holds, segment, event, found, left, closes, codes)


def _as(column: Ints, wide: bool) -> Ints:
    return column.astype(object) if wide else column


def _fold_in_halves(runs: Runs, moves: Moves, staking: Staking) -> Folded:
    half = len(moves) // 2
    one = fold(runs, moves.take(slice(None, half)), staking)
    two = fold(one.runs, moves.take(slice(half, None)), staking)
    later_i = Intervals(two.intervals.event + half, *_rest(two.intervals))
    later_a = Anomalies(two.anomalies.event + half, *_rest(two.anomalies))
    return Folded(two.runs, join(one.intervals, later_i), join(one.anomalies, later_a))


def _rest(columns: Any) -> list[Any]:
    return [getattr(columns, f.name) for f in fields(columns)[1:]]


def join(*parts: Any) -> Any:
    """The rows of the first, then those of the second and so on; all of one kind of columns."""
    if len(parts) == 1:
        return parts[0]
    names = [f.name for f in fields(parts[0])]
    return type(parts[0])(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))


def _histories(low: I64, high: I64) -> tuple[I64, I64]:
    """(segment, event) rows, by segment, then by position."""
    event = np.repeat(np.arange(len(low)), high - low)
    segment = ranged(low, high - low)
    order = ascending(segment)
    return segment[order], event[order]


def _run_of_segment(segments: int, low: I64, high: I64) -> I64:
    """For each segment, the run that holds it, or -1; a run holds those from `low` to `high`."""
    holds = np.full(max(segments, 0), -1, np.int64)
    holds[ranged(low, high - low)] = np.repeat(np.arange(len(low)), high - low)
    return holds


def _walk(
    segment: I64, event: I64, holds: I64, runs: Runs, moves: Moves, staking: Staking
) -> tuple[States, States, Bool, I64]:
    """For each row: the state it finds, the state it leaves, whether it ends an earning, codes."""
    n = len(segment)
    kind, sender, recipient = moves.kind[event], moves.sender[event], moves.recipient[event]
    time = moves.timestamp[event]
    opens = np.ones(n, np.bool_)
    opens[1:] = segment[1:] != segment[:-1]
    fill = _Fill(opens)
    run = holds[segment]

    def at_start(column: I64, nothing: int) -> I64:
        return np.where(run >= 0, column[run], nothing) if len(column) else np.full(n, nothing)

    mint, burn, move = kind == Kind.MINT, kind == Kind.BURN, kind == Kind.TRANSFER
    stake, unstake = kind == Kind.STAKE, kind == Kind.UNSTAKE

    start = at_start(runs.owner, NOBODY)
    owner_found, owner = fill(mint | burn | move, recipient, start)
    idle = move & (sender == recipient) & (owner_found == recipient)
    acts = mint | burn | (move & ~idle)

    start = at_start(runs.staker, NOBODY)
    into, out = staking.is_contract(recipient) & move, staking.is_contract(sender) & move
    if staking.custody:
        enters = move & ~idle & into & ~out
        sets = acts | stake | unstake
        value = np.where(stake | enters, sender, NOBODY)
        staker_found, staker = fill(sets, value, start)
        leg = np.zeros(n, np.bool_)
    else:
        enters = np.zeros(n, np.bool_)
        value = np.where(stake, sender, NOBODY)
        leg, staker_found, staker = _legs(fill, acts, stake | unstake, value, start, into, out,
                                          sender, recipient)  # fmt: skip
    was_staked = staker_found != NOBODY

    owned_found, owned = fill(acts, np.where(burn, 0, time), at_start(runs.owned_since, 0))
    closes = stake | (unstake & was_staked) | (acts & ~(leg & was_staked))
    since_found, since = fill(closes, time, at_start(runs.since, 0))

    codes = np.zeros(n, np.int64)
    codes[mint & ((owner_found != NOBODY) | was_staked)] |= Anomaly.EXISTS
    gives = burn | move | stake
    codes[gives & (owner_found == NOBODY)] |= Anomaly.NOT_EXISTING
    held_by_contract = staking.is_contract(owner_found) & stake
    other = gives & (owner_found != NOBODY) & (owner_found != sender) & ~held_by_contract
    codes[other] |= Anomaly.NOT_OWNER
    ends_unasked = move & ~idle & was_staked & ~leg & ~out
    codes[ends_unasked] |= Anomaly.WAS_STAKED
    codes[stake & was_staked] |= Anomaly.ALREADY_STAKED
    codes[unstake & ~was_staked] |= Anomaly.NOT_STAKED
    codes[unstake & was_staked & (staker_found != sender)] |= Anomaly.NOT_STAKER

    found = States(owner_found, staker_found, owned_found, since_found)
    return found, States(owner, staker, owned, since), closes, codes


def _legs(
    fill: _Fill,
    acts: Bool,
    events: Bool,
    value: I64,
    start: I64,
    into: Bool,
    out: Bool,
    sender: I64,
    recipient: I64,
) -> tuple[Bool, I64, I64]:
    """Moves between a staker and a staking contract: they leave the staking to its events.

    Which moves those are depends on who is staker by then, and that on earlier moves: start from
    all candidates and drop those that turn out not to be, until none is left to drop. A dropped
    one only ever leaves fewer tokens staked, so nothing dropped could come back.
    """
    leg = acts & (into | out)
    while True:
        found, left = fill((acts & ~leg) | events, value, start)
        fits = (into & (found == sender)) | (out & (found == recipient)) | (found == NOBODY)
        wrong = leg & ~fits
        if not wrong.any():
            return leg, found, left
        leg &= ~wrong


class _Fill:
    """Forward fill along each token's history."""

    def __init__(self, opens: Bool) -> None:
        self.rows = np.arange(len(opens))
        self.opens = opens
        self.group = np.maximum.accumulate(np.where(opens, self.rows, 0))

    def __call__(self, sets: Bool, value: I64, start: I64) -> tuple[I64, I64]:
        """What each row finds and leaves, if the rows of `sets` write `value`."""
        last = np.maximum.accumulate(np.where(sets, self.rows, -1))
        left = np.where(last >= self.group, value[last], start)
        found = np.empty_like(left)
        found[1:] = left[:-1]
        return np.where(self.opens, start, found), left


def _rebuild(walked: Walk, runs: Runs) -> Runs:
    """The runs after the events: last row of each history, untouched segments as they were."""
    borders, holds, segment, left = walked.borders, walked.holds, walked.segment, walked.left
    n = len(holds)

    def after(column: I64, new: I64, nothing: int) -> I64:
        out = np.where(holds >= 0, column[holds], nothing) if len(column) else np.full(n, nothing)
        out[segment] = new  # of equal indices the last one stays: numpy assigns in order
        return out

    owner = after(runs.owner, left.owner, NOBODY)
    staker = after(runs.staker, left.staker, NOBODY)
    owned_since = after(runs.owned_since, left.owned_since, 0)
    since = after(runs.since, left.since, 0)
    lives = (owner != NOBODY) | (staker != NOBODY)
    starts = lives.copy()
    starts[1:] &= ~(
        lives[:-1]
        & (owner[1:] == owner[:-1])
        & (staker[1:] == staker[:-1])
        & (owned_since[1:] == owned_since[:-1])
        & (since[1:] == since[:-1])
    )
    begin = np.flatnonzero(starts)
    stops = lives.copy()
    stops[:-1] &= starts[1:] | ~lives[1:]
    return Runs(
        borders[:-1][begin],
        borders[1:][np.flatnonzero(stops)],
        owner[begin],
        staker[begin],
        owned_since[begin],
        since[begin],
    )


def _closed(walked: Walk, moves: Moves) -> Intervals:
    segment, event, found = walked.segment, walked.event, walked.found
    staked = found.staker != NOBODY
    rows = np.flatnonzero(walked.closes & (staked | (found.owner != NOBODY)))
    rows = rows[ascending(event[rows])]
    wallet = np.where(staked, found.staker, found.owner)[rows]
    first, end, head = merge(
        walked.borders, segment[rows], event[rows], wallet, staked[rows], found.since[rows]
    )
    rows = rows[head]
    return Intervals(
        event[rows],
        first,
        end,
        wallet[head],
        staked[rows],
        found.since[rows],
        moves.timestamp[event[rows]],
    )


def _contradictions(walked: Walk) -> Anomalies:
    segment, event, codes = walked.segment, walked.event, walked.codes
    rows = np.flatnonzero(codes)
    rows = rows[ascending(event[rows])]
    owner, staker = walked.found.owner[rows], walked.found.staker[rows]
    first, end, head = merge(walked.borders, segment[rows], event[rows], codes[rows], owner, staker)
    rows = rows[head]
    return Anomalies(event[rows], first, end, codes[rows], owner[head], staker[head])


def merge(borders: Ints, segment: I64, *columns: Any) -> tuple[Ints, Ints, I64]:
    """Join neighbouring segments that agree in all columns: (first, end, row of each head).

    Where the segments lie depends on the batch; where the joined ranges lie does not.
    """
    starts = np.ones(len(segment), np.bool_)
    same = segment[1:] == segment[:-1] + 1
    for column in columns:
        same = same & (column[1:] == column[:-1])
    starts[1:] = ~same
    head = np.flatnonzero(starts)
    tail = np.append(head[1:], len(segment)) - 1 if len(segment) else head
    return borders[segment[head]], borders[segment[tail] + 1], head


def no_intervals() -> Intervals:
    none: npt.NDArray[Any] = np.zeros(0, np.int64)
    return Intervals(none, none, none, none, none.astype(np.bool_), none, none)


def no_anomalies() -> Anomalies:
    return Anomalies(*(np.zeros(0, np.int64) for _ in fields(Anomalies)))


def distinct(column: Ints) -> Ints:
    """The distinct values in ascending order (a plain sort is faster here than np.unique)."""
    ordered = np.sort(column)
    keep = np.ones(len(ordered), np.bool_)
    keep[1:] = ordered[1:] != ordered[:-1]
    return ordered[keep]


def ascending(column: Ints) -> I64:
    """The rows of a column from the least value to the greatest; of equals the first first.

    As `np.argsort` says; sorting values and rows packed into one integer is some times faster.
    """
    bits = len(column).bit_length()
    if column.dtype == object or not len(column):
        return np.argsort(column, kind="stable")
    least = int(column.min())
    if (int(column.max()) - least) >> (62 - bits):
        return np.argsort(column, kind="stable")
    key: I64 = np.sort((column - least) << bits | np.arange(len(column)))
    return key & ((1 << bits) - 1)


def ranked(*columns: Ints) -> tuple[Ints, list[I64]]:
    """The distinct values of all columns in ascending order, and each column as indices of them.

    One sort for all of it: looking the values up again would go to and fro in a long column.
    """
    every = np.concatenate(columns)
    order = ascending(every)
    ordered = every[order]
    starts = np.ones(len(every), np.bool_)
    starts[1:] = ordered[1:] != ordered[:-1]
    rank = np.empty(len(every), np.int64)
    rank[order] = np.cumsum(starts) - 1
    return ordered[starts], np.split(rank, np.cumsum([len(column) for column in columns[:-1]]))


def ranged(low: I64, size: I64) -> I64:
    """The integers [low, low + size) of each row, one after the other."""
    starts = np.cumsum(size) - size
    return np.arange(int(size.sum())) - np.repeat(starts - low, size)
