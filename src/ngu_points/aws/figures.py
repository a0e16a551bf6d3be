"""The figures that Metrics Aggregation keeps on AWS: windows of 5 minutes, hours and days.

A window's row says what was measured last in it, so it is written again until the window is over;
its age takes it away. A day's row stays for ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ngu_points.aws.dynamo import Dynamo, Where
from ngu_points.aws.tables import METRICS
from ngu_points.engine.rules import DAY


@dataclass(frozen=True, slots=True)
class Window:
    """A kind of window; `kept` is how many seconds its row stays, None for ever."""

    name: str
    seconds: int
    kept: int | None


FIVE_MINUTES = Window("5m", 300, 30 * DAY)
HOUR = Window("hour", 3_600, 366 * DAY)
DAYS = Window("day", DAY, None)
WINDOWS = (FIVE_MINUTES, HOUR, DAYS)


def keep(dynamo: Dynamo, now: int, measured: Mapping[str, Any]) -> None:
    """Write what was measured now as the last of each window."""
    text = json.dumps(measured)
    for window in WINDOWS:
        at = now // window.seconds * window.seconds
        row = {"window": window.name, "at": at, "measured": text}
        dynamo.put(METRICS, row if window.kept is None else row | {"ttl": at + window.kept})


def rows(dynamo: Dynamo, window: Window, now: int, since: int = 0) -> Iterator[tuple[int, str]]:
    """The windows of a kind that begin at `since` or later, with what was measured, as JSON.

    Those that have expired are not among them: DynamoDB drops them within days and in any order,
    so that what is left of them has holes.
    """
    first = since if window.kept is None else max(since, now - window.kept)
    where = Where("#window = :window AND #at >= :at", {"window": window.name, "at": first})
    for row in dynamo.query(METRICS, where):
        yield int(row["at"]), row["measured"]
