"""The figures that Metrics Aggregation keeps: 5 minutes, hours and days.

A row is written every 5 minutes. Of rows older than 30 days the last one of each hour stays, of
those older than a year the last one of each day; so windows of an hour and of a day are the last
rows within them, however old.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any

from ngu_points.embedded.store import Store
from ngu_points.engine.rules import DAY

FIVE_MINUTES, HOUR = 300, 3_600
THINNED = ((30 * DAY, HOUR), (366 * DAY, DAY))
"""Rows older than so many seconds: one in so many seconds stays."""


def keep(db: sqlite3.Connection, now: int, measured: dict[str, Any]) -> None:
    """Write the row of now and thin out the old ones; inside a commit."""
    at = now // FIVE_MINUTES * FIVE_MINUTES
    db.execute("REPLACE INTO metrics VALUES (?, ?)", (at, json.dumps(measured)))
    for age, window in THINNED:
        db.execute(
            "DELETE FROM metrics AS m WHERE at < ?1 AND EXISTS (SELECT 1 FROM metrics AS later"
            " WHERE later.at > m.at AND later.at < m.at / ?2 * ?2 + ?2)",
            ((now - age) // window * window, window),
        )


def windows(store: Store, seconds: int, since: int, until: int, limit: int) -> list[dict[str, Any]]:
    """The newest `limit` windows within [since, until], in order of time, with what came new."""
    start = since // seconds * seconds
    found = store.db.execute(
        "SELECT max(at), measured FROM metrics WHERE at >= ? AND at <= ?"
        " GROUP BY at / ? ORDER BY 1 DESC LIMIT ?",
        (start - seconds, until, seconds, limit + 1),
    ).fetchall()
    rows = [(at // seconds * seconds, json.loads(measured)) for at, measured in reversed(found)]
    return with_new(rows, start)[-limit:]


def filled(db: sqlite3.Connection, rows: Iterable[tuple[int, str]]) -> None:
    """Take over rows that were kept elsewhere; inside a commit."""
    db.executemany("REPLACE INTO metrics VALUES (?, ?)", rows)


def newest(db: sqlite3.Connection) -> int | None:
    """The newest row's time; None where there is no row."""
    found: int | None = db.execute("SELECT max(at) FROM metrics").fetchone()[0]
    return found


def with_new(rows: list[tuple[int, dict[str, Any]]], start: int) -> list[dict[str, Any]]:
    """The rows from `start` on, each with the events that came since the row before it."""
    before = [None, *(measured["events"] for _, measured in rows)]
    return [
        measured | {"at": at, "newEvents": 0 if old is None else max(measured["events"] - old, 0)}
        for old, (at, measured) in zip(before, rows, strict=False)
        if at >= start
    ]
