"""Fold everything again, from the archive and the working queue."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ngu_points.embedded.history import History
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import Covered
from ngu_points.engine.rules import Rules
from ngu_points.engine.state import no_state
from ngu_points.errors import StoreError
from ngu_points.pipeline.interfaces import Position
from ngu_points.pipeline.query import refold


def rebuild(store: Store, history: History, rules: Rules) -> dict[str, Any]:
    """Replace the stored state by a new fold of all events, and compare the fingerprints."""
    began = time.monotonic()
    changed = store.meta("fold") != rules.fold_key()
    before = None if changed else store.fingerprint()
    read = [0, -1]

    def counted() -> Iterator[Covered]:
        for covered in history.covered():
            read[0] += len(covered.events)
            read[1] = covered.to_block
            yield covered

    hot, days = refold(rules, counted(), no_state(rules))
    position = store.position()
    if read[1] != position.block:
        raise StoreError(
            f"{history.folder} reaches block {read[1]}, the state block {position.block}: "
            "the archive is incomplete; `ngu sync` into a new --db reads the chain again"
        )
    history.drop_snapshots()
    store.replace_state(
        hot.state, days, Position(position.block, position.hash, position.timestamp)
    )
    after = store.fingerprint()
    return {
        "events": read[0],
        "block": position.block,
        "seconds": round(time.monotonic() - began, 3),
        "before": before,
        "fingerprint": after,
        "same": after == before,
        "rulesChanged": changed,
    }
