"""How the endpoints have behaved, over all runs: what they were asked, failed at, got wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ngu_points.chain.endpoint import Endpoint
from ngu_points.embedded.store import Store

Noted = Mapping[str, tuple[int, int, int]]
"""What has been added for each host already: requests, failures, contradictions."""

_COLUMNS = ("host", "requests", "failures", "contradictions", "lastError", "lastContradiction",
            "at")  # fmt: skip


def note_endpoints(store: Store, endpoints: Sequence[Endpoint], noted: Noted, now: int) -> Noted:
    """Add to each host's figures what is not in them yet; what is in them then."""
    current = {e.host: (e.requests, e.failures, e.contradictions) for e in endpoints}
    rows = []
    for e in endpoints:
        before = noted.get(e.host, (0, 0, 0))
        more = [a - b for a, b in zip(current[e.host], before, strict=True)]
        if any(more):
            rows.append((e.host, *more, e.last_error, e.last_contradiction, now))
    with store.commit():
        store.db.executemany(
            "INSERT INTO endpoints VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (host) DO UPDATE SET"
            " requests = requests + excluded.requests, failures = failures + excluded.failures,"
            " contradictions = contradictions + excluded.contradictions,"
            " lastError = coalesce(excluded.lastError, lastError),"
            " lastContradiction = coalesce(excluded.lastContradiction, lastContradiction),"
            " at = excluded.at",
            rows,
        )
    return current


def endpoints(store: Store) -> list[dict[str, Any]]:
    """The figures of every endpoint, those that got most wrong first."""
    found = store.db.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM endpoints ORDER BY contradictions DESC, failures DESC"
    )
    return [dict(zip(_COLUMNS, row, strict=True)) for row in found]
