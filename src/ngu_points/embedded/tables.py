"""The state tables, tokens and points: written and read as columns, some thousand rows at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from ngu_points.embedded import rows
from ngu_points.engine.events import I64, U8, Bool, Ints, blobs
from ngu_points.engine.fingerprint import words
from ngu_points.engine.numbers import UNKNOWN, Numbers, by_address
from ngu_points.engine.rules import Rules
from ngu_points.engine.runs import NOBODY, Runs, no_runs
from ngu_points.engine.state import State, Wallets, no_wallets

CHUNK = 20_000
"""Rows that are Python objects at once."""


def load_state(db: sqlite3.Connection, rules: Rules, at: Mapping[str, Any]) -> State:
    """The state that the rows are of; `at` is the position they were written at."""
    wallets = no_wallets(rules, np.zeros((0, 20), np.uint8))
    seasons, kinds, _ = wallets.facts.shape
    parts = [rows.wallets_of(some, count, seasons, kinds)
             for count, some in _pieces(db, rows.SELECT_WALLETS)]  # fmt: skip
    if parts:
        wallets = Wallets(*_whole(parts))
    numbers = Numbers(wallets.address)
    parts = [rows.runs_of(some, count, numbers) for count, some in _pieces(db, rows.SELECT_RUNS)]
    return State(
        Runs(*_whole(parts)) if parts else no_runs(),
        wallets,
        at.get("block", -1),
        at.get("timestamp", 0),
        at.get("day"),
        at.get("carry", 0),
        at.get("contribution", 0),
    )


def _pieces(db: sqlite3.Connection, select: str) -> Iterator[tuple[int, list[Any]]]:
    """The rows of a table, some thousand at once: how many, and each column in one piece."""
    last = b""
    while True:
        last, count, *columns = db.execute(select, (last, CHUNK)).fetchone()
        if not count:
            return
        yield count, columns


def _whole(parts: list[list[Any]]) -> Iterator[Any]:
    """The columns of all parts, one after the other; of the last axis where there are several."""
    for at, column in enumerate(parts[0]):
        axis = 0 if column.dtype == np.uint8 else -1
        yield np.concatenate([part[at] for part in parts], axis=axis)
        for part in parts:
            part[at] = None  # the pieces are not kept beside the whole


def write_changes(db: sqlite3.Connection, before: State, after: State) -> None:
    """Make the rows of `before` those of `after`, whose wallets begin with the same ones."""
    old, new = before.runs, after.runs
    gone = np.flatnonzero(~_among(old.first, new.first))
    changed = np.flatnonzero(~_same_runs(old, new))
    db.executemany(
        "DELETE FROM tokens WHERE first = ?", zip(blobs(words(old.first[gone])), strict=True)
    )
    write_runs(db, new, changed, after.wallets.address)
    differs = np.flatnonzero(_differs(before.wallets, after.wallets))
    write_wallets(db, after.wallets, differs)


def aligned(before: State, after: State) -> State | None:
    """The state `after` with the wallets of `before` first, in their order; None if one is gone."""
    known = Numbers(after.wallets.address).find(before.wallets.address)
    if (known == UNKNOWN).any():
        return None
    new = np.ones(len(after.wallets), np.bool_)
    new[known] = False
    order = np.concatenate([known, np.flatnonzero(new)])
    lane = np.full(len(order) + 1, NOBODY, np.int64)
    lane[order] = np.arange(len(order))
    runs = replace(after.runs, owner=lane[after.runs.owner], staker=lane[after.runs.staker])
    return replace(after, wallets=after.wallets.take(order), runs=runs)


def write_runs(db: sqlite3.Connection, runs: Runs, which: I64, address: U8) -> None:
    """Write some of the runs, in id order."""
    for at in range(0, len(which), CHUNK):
        some = runs.take(which[at : at + CHUNK])
        db.execute(rows.PUT_RUNS, (rows.run_records(some, address), len(some)))


def write_wallets(db: sqlite3.Connection, wallets: Wallets, which: I64) -> None:
    """Write some of the wallets, in the order of their addresses: pages are then filled once."""
    which = which[by_address(wallets.address[which])]
    for at in range(0, len(which), CHUNK):
        db.executemany(
            f"REPLACE INTO points ({rows.WALLET_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            rows.wallet_rows(wallets.take(which[at : at + CHUNK])),
        )


def _differs(old: Wallets, new: Wallets) -> Bool:
    """Which of the new wallets are not what they were; those behind the old ones are new."""
    known = len(old)
    differs = np.ones(len(new), np.bool_)
    differs[:known] = False
    for f in fields(Wallets)[1:]:
        change = getattr(old, f.name) != getattr(new, f.name)[..., :known]
        differs[:known] |= change.any(axis=(0, 1)) if f.name == "facts" else change
    return differs


def _among(some: Ints, ordered: Ints) -> Bool:
    """Which of some ids are in a column of ids in ascending order."""
    if not len(some) or not len(ordered):
        return np.zeros(len(some), np.bool_)
    at = np.minimum(np.searchsorted(ordered, some), len(ordered) - 1)
    hit: Bool = ordered[at] == some
    return hit


def _same_runs(old: Runs, new: Runs) -> Bool:
    """Which of the new runs were there before, unchanged."""
    if not len(old) or not len(new):
        return np.zeros(len(new), np.bool_)
    at = np.minimum(np.searchsorted(old.first, new.first), len(old) - 1)
    same = np.ones(len(new), np.bool_)
    for f in fields(Runs):
        same &= getattr(old, f.name)[at] == getattr(new, f.name)
    return same
