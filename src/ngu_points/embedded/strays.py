"""Unprocessed events that surface at or below the position: known, announced since, or strays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ngu_points.embedded.archive import read_segment
from ngu_points.engine.coverage import STREAMS, of_stream
from ngu_points.engine.events import Events, blobs, ids

if TYPE_CHECKING:
    from ngu_points.embedded.store import Store


def settle(store: Store, now: int) -> None:
    """See `pipeline.interfaces.Store.settle`."""
    _below_archive(store, now)
    late = store.queue.events_until(store.position().block)
    if not len(late):
        return
    missing = np.array([_outstanding(store, late, row) for row in range(len(late))], np.int64)
    store.set_aside(late.take(missing < 0), now)
    complete = late.take(missing == 0)
    if not len(complete):
        return
    if store.undoable(int(complete.block[0]) - 1):
        store.undo(int(complete.block[0]) - 1)
    else:
        store.set_aside(complete, now)


def _below_archive(store: Store, now: int) -> None:
    """Events of archived blocks: known there, or strays."""
    late = store.queue.events_until(store.archived())
    if not len(late):
        return
    blocks = late.block.tolist()
    held = [
        read_segment(store.archive / s.name).events
        for s in store.segments()
        if any(s.from_block <= block <= s.to_block for block in blocks)
    ]
    known = {key for events in held for key in _keys(events)}
    mask = np.array([key in known for key in _keys(late)], np.bool_)
    with store.commit():
        store.queue.mark_known(late.take(mask), now)
        store.set_aside(late.take(~mask), now)


def _outstanding(store: Store, events: Events, row: int) -> int:
    """What the newest record of an event's block still awaits; negative if it has no room."""
    block = int(events.block[row])
    stream = next(s for s in STREAMS if of_stream(events.take([row]), s)[0])
    found = [
        r
        for r in store.queue.coverage(block - 1)
        if r.stream == stream and r.from_block <= block <= r.to_block
    ]
    newest = max(found, key=lambda r: r.sequence, default=None)
    return -1 if newest is None else store.queue.outstanding(newest)


def _keys(events: Events) -> Iterator[tuple[str, bytes]]:
    """Id and block hash of each event: the same id in another block is another event."""
    return zip(ids(events), blobs(events.block_hash), strict=True)
