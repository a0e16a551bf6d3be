"""The state tables, tokens and points: written and read as columns, some thousand rows at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from ngu_points.embedded import rows
from ngu_points.engine.events import I64, U8, Bool, Ints, blobs
from ngu_points.engine.fingerprint import words
from ngu_points.engine.rules import Rules
from ngu_points.engine.runs import Runs
from ngu_points.engine.state import State, Wallets, no_wallets

CHUNK = 20_000
"""Rows that are Python objects at once."""


def load_state(db: sqlite3.Connection, rules: Rules, at: Mapping[str, Any]) -> State:
    """The state that the rows are of; `at` is the position they were written at."""
    blank = no_wallets(rules, np.zeros((0, 20), np.uint8))
    found = db.execute(f"SELECT {rows.WALLET_COLUMNS} FROM points").fetchall()
    wallets = rows.wallets_of(found, blank)
    number: dict[bytes | None, int] = {a: i for i, a in enumerate(blobs(wallets.address))}
    number[None] = -1
    found = db.execute(f"SELECT {rows.RUN_COLUMNS} FROM tokens ORDER BY first").fetchall()
    return State(
        rows.runs_of(found, number),
        wallets,
        at.get("block", -1),
        at.get("timestamp", 0),
        at.get("day"),
        at.get("carry", 0),
        at.get("contribution", 0),
    )


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


def write_runs(db: sqlite3.Connection, runs: Runs, which: I64, address: U8) -> None:
    """Write some of the runs, in id order."""
    for at in range(0, len(which), CHUNK):
        db.executemany(
            f"REPLACE INTO tokens ({rows.RUN_COLUMNS}) VALUES (?,?,?,?,?,?)",
            rows.run_rows(runs.take(which[at : at + CHUNK]), address),
        )


def write_wallets(db: sqlite3.Connection, wallets: Wallets, which: I64) -> None:
    """Write some of the wallets, in the order of their addresses: pages are then filled once."""
    which = which[np.argsort(wallets.address[which].view("V20").ravel(), kind="stable")]
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
