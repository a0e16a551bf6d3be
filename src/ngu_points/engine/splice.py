"""The runs that events touch, taken out of all runs and put back in their changed form."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from ngu_points.engine.events import I64, Ints
from ngu_points.engine.runs import Runs, ascending, ranged


def touched(runs: Runs, first: Ints, end: Ints, *, adjoining: bool = True) -> I64:
    """Rows of the runs that overlap (or adjoin) any of the ranges [first, end), in id order."""
    if not len(runs) or not len(first):
        return np.zeros(0, np.int64)
    order = ascending(first)
    first, reach = first[order], np.maximum.accumulate(end[order])
    starts = np.ones(len(first), np.bool_)
    starts[1:] = first[1:] > reach[:-1]
    last = np.append(np.flatnonzero(starts)[1:], len(first)) - 1
    low = np.searchsorted(runs.end, first[starts], side="left" if adjoining else "right")
    high = np.searchsorted(runs.first, reach[last], side="right" if adjoining else "left")
    low[1:] = np.maximum(low[1:], high[:-1])  # a run between two ranges may concern both
    return ranged(low, np.maximum(high - low, 0))


def splice(runs: Runs, rows: I64, new: Runs) -> Runs:
    """`runs` with the rows `rows` replaced by `new`, in id order; equal neighbours become one."""
    if object in (runs.first.dtype, new.first.dtype):
        runs, new = _widened(runs), _widened(new)
    keep = np.ones(len(runs), np.bool_)
    keep[rows] = False
    before = np.searchsorted(runs.first, new.first)
    stay = np.append(0, np.cumsum(keep))  # how many of the runs before each do
    at = stay[before] + np.arange(len(new))
    old = np.ones(len(runs) - len(rows) + len(new), np.bool_)
    old[at] = False
    source = np.zeros(len(old), np.int64)  # the row that each row was before
    source[old] = np.flatnonzero(keep)
    columns = []
    for f in fields(Runs):
        column, fresh = getattr(runs, f.name), getattr(new, f.name)
        column = column[source] if len(column) else np.empty_like(fresh)
        column[at] = fresh
        columns.append(column)
    return _joined(Runs(*columns), at)


def _joined(runs: Runs, at: I64) -> Runs:
    """The runs, where those at `at` were put in, with neighbours that agree made one."""
    behind = np.concatenate([at, at + 1])
    behind = behind[(behind > 0) & (behind < len(runs))]
    behind = behind[runs.end[behind - 1] == runs.first[behind]]
    for column in (runs.owner, runs.staker, runs.owned_since, runs.since):
        behind = behind[column[behind - 1] == column[behind]]
    if not len(behind):
        return runs
    heads = np.ones(len(runs), np.bool_)
    heads[behind] = False
    ends = np.append(heads[1:], True)
    return replace(runs.take(heads), end=runs.end[ends])


def _widened(runs: Runs) -> Runs:
    return replace(runs, first=runs.first.astype(object), end=runs.end.astype(object))
