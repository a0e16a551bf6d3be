"""The figures of a deployment in its copy, where charts are drawn from."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from ngu_points.aws import figures
from ngu_points.aws.dynamo import Dynamo
from ngu_points.aws.figures import DAYS, FIVE_MINUTES, HOUR, Window
from ngu_points.embedded import windows
from ngu_points.embedded.store import Store
from ngu_points.mirror.deployment import Deployment


def follow(on: Deployment, path: Path) -> None:
    """Bring over what the copy at `path` does not have: the newest row again, it may have grown."""
    dynamo, now = on.store.dynamo, int(time.time())
    local = Store.open(path, on.store.rules, write=True)
    try:
        known = windows.newest(local.db)
        rows = (
            _all(dynamo, now) if known is None else figures.rows(dynamo, FIVE_MINUTES, now, known)
        )
        with local.commit():
            windows.filled(local.db, rows)
    finally:
        local.close()


def _all(dynamo: Dynamo, now: int) -> Iterator[tuple[int, str]]:
    """Everything: windows of 5 minutes, hours before the first of them, days before those."""
    fine = list(figures.rows(dynamo, FIVE_MINUTES, now))
    hours = _before(fine, figures.rows(dynamo, HOUR, now), HOUR)
    return chain(_before(hours or fine, figures.rows(dynamo, DAYS, now), DAYS), hours, fine)


def _before(
    finer: list[tuple[int, str]], coarse: Iterator[tuple[int, str]], window: Window
) -> list[tuple[int, str]]:
    """Windows that were over when the finer ones begin, at the last 5 minutes of each."""
    first = finer[0][0] if finer else 2**62
    last = window.seconds - FIVE_MINUTES.seconds
    return [(at + last, text) for at, text in coarse if at + window.seconds <= first]
