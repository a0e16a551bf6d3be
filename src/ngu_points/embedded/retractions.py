"""Points that were shown and taken back, by a fork or a repair; published feasts that changed.

What was shown is kept until the chain has reached the same block time again. Only then can it be
told who has less now; who has more was shown too little, and nothing is taken back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ngu_points.embedded.history import History
from ngu_points.embedded.store import Store
from ngu_points.engine.events import blobs
from ngu_points.engine.facts import shown as written
from ngu_points.engine.rules import DAY, Rules
from ngu_points.errors import StoreError
from ngu_points.pipeline.pack import pack, unpack
from ngu_points.pipeline.query import View

KEEP = 90 * DAY
PENDING = 100
"""Forks and repairs that wait for their block time at most; beyond them the oldest go."""


@dataclass(frozen=True, slots=True)
class Retraction:
    """Total points of a wallet at a block time: as they were shown, and as they are since."""

    at: int
    why: str
    block: int
    timestamp: int
    wallet: bytes
    shown: str
    now: str

    def shown_as(self) -> dict[str, Any]:
        """For people and machines."""
        return {
            "wallet": "0x" + self.wallet.hex(),
            "shown": self.shown,
            "now": self.now,
            "timestamp": self.timestamp,
            "why": self.why,
            "at": self.at,
            "block": self.block,
        }


def remember(store: Store, block: int, why: str, now: int) -> None:
    """Keep everybody's points, and the feasts published from `block` on, before they change.

    Inside the commit that changes them.
    """
    position = store.position()
    if position.block < block or store.meta("position") is None:
        return
    store.feasts.expect(block, store.final, why, now)
    try:
        view = View.of(store.state(), store.rules)
    except StoreError:  # it cannot be read, so nothing of it is shown
        return
    numerators, denominator = view.points()
    head = json.dumps({"rates": _rates(store.rules), "denominator": str(denominator)})
    totals = {"head": np.frombuffer(head.encode(), np.uint8),
              "wallet": view.state.wallets.address, "numerator": numerators}  # fmt: skip
    store.db.execute(
        "INSERT INTO shown (at, why, block, through, timestamp, totals) VALUES (?, ?, ?, ?, ?, ?)",
        (now, why, block, position.block, position.timestamp, pack(totals)),
    )
    store.db.execute(f"DELETE FROM shown WHERE id <= (SELECT max(id) FROM shown) - {PENDING}")


def _rates(rules: Rules) -> list[Any]:
    return [rules.rates(season.name) for season in rules.seasons]


def settle(history: History, now: int) -> int:
    """Find what has been taken back, where the chain has come as far again; how many wallets."""
    store = history.store
    found = list(_taken_back(history))
    if not found:
        return 0
    with store.commit():
        for id_, taken in found:
            store.db.executemany(
                "INSERT INTO retractions VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(r.at, r.why, r.block, r.timestamp, r.wallet, r.shown, r.now) for r in taken],
            )
            store.db.execute("DELETE FROM shown WHERE id = ?", (id_,))
        store.db.execute("DELETE FROM retractions WHERE at < ?", (now - KEEP,))
    return sum(len(taken) for _, taken in found)


def listed(history: History) -> list[Retraction]:
    """Everything taken back, oldest first, also what `settle` has yet to find."""
    known = settled(history.store)
    known += [r for _, taken in _taken_back(history) for r in taken]
    return sorted(known, key=lambda r: (r.at, r.wallet))


def settled(store: Store, wallet: bytes | None = None) -> list[Retraction]:
    """What `settle` has found, of all wallets or of one."""
    where, values = ("", ()) if wallet is None else ("WHERE wallet = ?", (wallet,))
    rows = store.db.execute(
        "SELECT at, why, block, timestamp, wallet, shown, now FROM retractions"
        f" {where} ORDER BY at, wallet",
        values,
    )
    return [Retraction(*row) for row in rows]


def _taken_back(history: History) -> Iterator[tuple[int, list[Retraction]]]:
    """What each fork or repair took back whose block and block time have been reached again."""
    position, start = history.store.position(), None
    found = history.store.db.execute(
        "SELECT id, at, why, block, timestamp, totals FROM shown"
        " WHERE timestamp < ?1 OR (timestamp = ?1 AND through <= ?2) ORDER BY timestamp, id",
        (position.timestamp, position.block),
    ).fetchall()
    for id_, at, why, block, timestamp, totals in found:
        before = unpack(totals, "what was shown before")
        view = history.state_at(history.store.rules, timestamp, start=start)
        start = view.state
        yield id_, list(_less(view, (at, why, block, timestamp), before))


def _less(
    view: View, about: tuple[int, str, int, int], before: dict[str, Any]
) -> Iterator[Retraction]:
    head = json.loads(before["head"].tobytes())
    if head["rates"] != _rates(view.rules):
        return  # other rates since: the difference would be theirs
    numerators, denominator = view.points()
    names = blobs(view.state.wallets.address)
    now = dict(zip(names, numerators.tolist(), strict=True))
    was = zip(blobs(before["wallet"]), before["numerator"].tolist(), strict=True)
    unit = int(head["denominator"])
    for wallet, shown in was:
        if now.get(wallet, 0) * unit >= shown * denominator:
            continue
        old, new = Fraction(shown, unit), Fraction(now.get(wallet, 0), denominator)
        if written(new) != written(old):
            yield Retraction(*about, wallet, written(old), written(new))
