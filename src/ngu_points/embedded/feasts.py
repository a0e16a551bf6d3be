"""The Feast Pool table: closed days and their shares; published days that a repair has changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import numpy as np

from ngu_points.embedded.database import sql_int
from ngu_points.engine.events import I64, U8
from ngu_points.engine.feast import FeastDay
from ngu_points.engine.fingerprint import shares_digest, words

_FACTS = "carryIn, emission, contribution, seconds, carryOut, season, sharesDigest"
_JSON = (
    "json_object('carryIn', carryIn, 'emission', emission, 'contribution', contribution,"
    " 'seconds', seconds, 'carryOut', carryOut, 'sharesDigest', lower(hex(sharesDigest)))"
)


class Feasts:
    """Reads and writes within the transaction of its store."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def write(self, days: Sequence[FeastDay], address: U8, blocks: Sequence[int]) -> None:
        """Days that closed, each at its block; what a repair changed in them is a correction."""
        self.db.executemany(
            "REPLACE INTO feast_pool VALUES (?,?,?,?,?,?,?,?,?,?)",
            [
                (d.day, sql_int(d.carry_in), sql_int(d.emission), sql_int(d.contribution),
                 sql_int(d.seconds), sql_int(d.carry_out), d.season, block,
                 shares_digest(d, address), pack_shares(d, address))
                for d, block in zip(days, blocks, strict=True)
            ],
        )  # fmt: skip
        if not days or not self._expected():
            return
        self.db.executemany(
            f"UPDATE corrections SET after = (SELECT {_JSON} FROM feast_pool f WHERE"
            " f.day = corrections.day) WHERE day = ? AND after IS NULL",
            [(d.day,) for d in days],
        )
        self.db.execute("DELETE FROM corrections WHERE after = before")

    def days(self) -> list[tuple[FeastDay, bytes]]:
        """All closed days without their shares, each with the digest of its shares."""
        none: I64 = np.zeros(0, np.int64)
        found = self.db.execute(f"SELECT day, {_FACTS} FROM feast_pool ORDER BY day")
        return [
            (FeastDay(day, int(a), int(b), int(c), int(d), int(e), season, none, none), digest)
            for day, a, b, c, d, e, season, digest in found
        ]

    def shares(self, day: int) -> list[tuple[bytes, int]]:
        """Who got how many micro-points on a closed day, lower address first."""
        found = self.db.execute("SELECT shares FROM feast_pool WHERE day = ?", (day,)).fetchone()
        return unpack_shares(found[0]) if found else []

    def _expected(self) -> bool:
        found = self.db.execute("SELECT 1 FROM corrections WHERE after IS NULL").fetchone()
        return found is not None

    def expect(self, block: int, final: int, why: str, now: int) -> None:
        """Note the published days, from `block` on, that what follows may change."""
        self.db.execute(
            f"INSERT INTO corrections SELECT day, ?, ?, {_JSON}, NULL FROM feast_pool"
            " WHERE block BETWEEN ? AND ?"
            " AND day NOT IN (SELECT day FROM corrections WHERE after IS NULL)",
            (now, why, block, final),
        )

    def corrected(self, at: int) -> int:
        """How many published days a repair has changed."""
        found = self.db.execute("SELECT count(*) FROM corrections WHERE at = ?", (at,))
        return int(found.fetchone()[0])

    def corrections(self) -> list[dict[str, Any]]:
        """Published days that a repair has changed, oldest repair first."""
        found = self.db.execute(
            "SELECT day, at, why, before, after FROM corrections ORDER BY at, day"
        )
        return [
            {"day": day, "at": at, "why": why, "before": json.loads(before),
             "after": json.loads(after) if after else None}
            for day, at, why, before, after in found
        ]  # fmt: skip


def pack_shares(day: FeastDay, address: U8) -> bytes:
    """20-byte address and 44-byte share each, lower address first."""
    some = np.flatnonzero(day.share)
    rows = np.zeros((len(some), 64), np.uint8)
    rows[:, :20] = address[day.wallet[some]]
    rows[:, 32:] = words(day.share[some])
    return rows.tobytes()


def unpack_shares(data: bytes) -> list[tuple[bytes, int]]:
    return [
        (data[i : i + 20], int.from_bytes(data[i + 20 : i + 64], "big"))
        for i in range(0, len(data), 64)
    ]
