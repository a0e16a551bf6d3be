"""Closed feast days as they are looked at: a page of days, one wallet's share of a day."""

from __future__ import annotations

import numpy as np

from ngu_points.embedded.store import Store
from ngu_points.engine.feast import FeastDay
from ngu_points.web.interfaces import Day

ROW = 64  # bytes of a share: address and amount, see `feasts.pack_shares`
LARGEST = 2**62


def closed_days(store: Store, before: int, limit: int) -> list[Day]:
    """Closed days before a day, the latest first."""
    none = np.zeros(0, np.int64)
    final = store.meta("final", -1)
    found = store.db.execute(
        "SELECT day, carryIn, emission, contribution, seconds, carryOut, season, block,"
        f" length(shares) / {ROW}, day IN (SELECT day FROM corrections) FROM feast_pool"
        " WHERE day < ? ORDER BY day DESC LIMIT ?",
        (min(before, LARGEST), min(limit, LARGEST)),
    )
    return [
        Day(
            FeastDay(day, int(a), int(b), int(c), int(d), int(e), season, none, none),
            block, sharers, block <= final, bool(corrected),
        )
        for day, a, b, c, d, e, season, block, sharers, corrected in found
    ]  # fmt: skip


def share_of(store: Store, day: int, wallet: bytes) -> int:
    """A wallet's micro-points of a closed day, by bisection: shares lie in order of address."""
    with store.db.blobopen("feast_pool", "shares", day, readonly=True) as shares:
        low, high = 0, len(shares) // ROW
        while low < high:
            middle = (low + high) // 2
            shares.seek(middle * ROW)
            row = shares.read(ROW)
            if row[:20] == wallet:
                return int.from_bytes(row[20:], "big")
            low, high = (middle + 1, high) if row[:20] < wallet else (low, middle)
    return 0
