"""Fold everything again, from the archive and the working queue; or from the archive alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ngu_points.embedded.archive import identity_of, read_segment
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
    store.check_frozen()
    recovered = store.meta("position") is None and _recovered(store, history.folder)
    changed = store.meta("fold") != rules.fold_key()
    before = None if changed or recovered else store.fingerprint()
    kinds, reached = np.zeros(5, np.int64), [-1]

    def counted() -> Iterator[Covered]:
        for covered in history.covered():
            kinds[:] += np.bincount(covered.events.kind, minlength=5)
            reached[0] = covered.to_block
            yield covered

    hot, days = refold(rules, counted(), no_state(rules))
    position = store.position()
    if reached[0] != position.block:
        raise StoreError(
            f"{history.folder} reaches block {reached[0]}, the state block {position.block}: "
            "the archive is incomplete; `ngu sync` into a new --db reads the chain again"
        )
    history.drop_snapshots()
    with store.commit():
        store.replace_state(hot.state, days, position)
        if recovered:
            store.set_meta("counters", {str(k): int(n) for k, n in enumerate(kinds)})
    after = store.fingerprint()
    return {
        "events": int(kinds.sum()),
        "block": position.block,
        "seconds": round(time.monotonic() - began, 3),
        "before": before,
        "fingerprint": after,
        "same": after == before,
        "rulesChanged": changed,
        "recovered": recovered,
    }


def _recovered(store: Store, folder: Path) -> bool:
    """Take over the archive that an empty database finds beside it."""
    found = sorted(
        (int(first), -int(last), path)
        for path in folder.glob("[0-9]*-[0-9]*.npz")
        for first, last in [path.stem.split("-")]
    )
    if not found:
        raise StoreError(f"{store.path} is empty and {folder} holds no segment: run `ngu sync`")
    store.identify(identity_of(found[0][2]))
    following, last_hash = found[0][0], b""
    with store.commit():
        store.set_meta("start_block", following)
        for first, _, path in found:
            if first < following:
                continue  # a remnant of a segment that was written again, larger
            covered = read_segment(path)
            if first > following or (last_hash and covered.parent_hash not in (last_hash, b"")):
                raise StoreError(f"{folder} has no segment for block {following}: `ngu sync` into "
                                 "a new --db reads the chain again")  # fmt: skip
            store.sealed(covered, path.name)
            following, last_hash = covered.to_block + 1, covered.last_hash
            position = Position(covered.to_block, covered.last_hash, covered.timestamp)
            store.set_position(position, no_state(store.rules))
    return True
