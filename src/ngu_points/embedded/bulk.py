"""Catching up on old blocks: events go straight into the archive, and the state's rows follow.

The event tables are the working queue of the last days. Events that are final, older than that and
next in line would be written there only to be deleted: a segment of the archive takes their place.
Rows of tokens and wallets change many times in a long history; they are written every few million
events and at the end. A crash in between costs a fold from the archive, nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from ngu_points.embedded.archive import write_segment
from ngu_points.embedded.history import SEGMENT, History
from ngu_points.embedded.queue import KEEP
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import Announced, Covered
from ngu_points.engine.events import concat
from ngu_points.engine.moves import indexed
from ngu_points.engine.rules import Rules
from ngu_points.errors import BadInput
from ngu_points.pipeline.interfaces import Position
from ngu_points.pipeline.persist import impossible, is_letter
from ngu_points.pipeline.process import Step
from ngu_points.pipeline.query import refold

ROWS_EVERY = 10_000_000
"""Events after which the rows of the state are written; as many are folded after a crash."""


class Bulk:
    """The short way of ranges into a store and its archive."""

    def __init__(self, store: Store, history: History, *, segment: int = SEGMENT) -> None:
        self.store = store
        self.history = history
        self.segment = segment
        self.waiting = 0  # events since the rows were written
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="segments")

    def is_old(self, timestamp: int, block: int, now: int) -> bool:
        """Whether events up to a block would have left the working queue by now."""
        return block <= self.store.final and timestamp < now - KEEP

    def settle(self) -> None:
        """Bring the rows up to the position."""
        self.store.write_rows()
        self.waiting = 0

    def fits(self, ranges: Sequence[Announced], now: int) -> bool:
        """Whether it is a segment's worth of old events, next in line, and all before it is
        archived."""
        last = ranges[-1].covered
        enough = sum(len(told.covered.events) for told in ranges) >= self.segment
        if not enough or not self.is_old(last.timestamp, last.to_block, now):
            return False
        store = self.store
        self.history.seal(store.final, least=1)
        position = store.position().block
        ends = [position, *(told.covered.to_block for told in ranges)]
        in_line = all(t.covered.from_block == e + 1 for t, e in zip(ranges, ends, strict=False))
        return in_line and store.archived() == position and not store.queue.backlog()

    def archive(self, ranges: list[Announced], rules: Rules) -> Step:
        """Persist and process ranges that fit, in one commit; their list is empty afterwards."""
        store = self.store
        records = [record for told in ranges for record in told.records]
        covered = _whole(ranges)
        writing = self._writer.submit(write_segment, store.archive, covered, store.identity())
        position = Position(covered.to_block, covered.last_hash, covered.timestamp)
        with store.commit():
            store.leave_rows()
            try:
                again = refold(rules, [covered], store.hot)
            finally:
                name = writing.result()
            store.queue.put_rejected(covered.rejected, covered.timestamp)
            store.queue.put_coverage(records)
            store.sealed(covered, name)
            store.apply_archived(again, _counted(store, covered, len(again.notes)), position)
        self.waiting += len(covered.events)
        if self.waiting >= ROWS_EVERY:
            self.settle()
        return Step(position, covered.events, len(again.notes), len(again.days))


def _whole(ranges: list[Announced]) -> Covered:
    """Ranges that follow each other as one; they leave their list, to be held once."""
    first, last = ranges[0].covered, ranges[-1].covered
    events = concat([told.covered.events for told in ranges])
    letters = [letter for told in ranges for letter in told.covered.rejected]
    ranges.clear()
    why = impossible(events)
    if why:
        raise BadInput(f"an event of blocks {first.from_block}..{last.to_block} has {why}")
    if not all(map(is_letter, letters)):
        raise BadInput(f"a dead letter of blocks {first.from_block}..{last.to_block} is of no log")
    return replace(
        last,
        from_block=first.from_block,
        parent_hash=first.parent_hash,
        events=indexed(events.sorted()),
        rejected=tuple(sorted(letters, key=lambda r: (r.block, r.log_index))),
    )


def _counted(store: Store, covered: Covered, anomalies: int) -> dict[str, int]:
    counters = dict(store.meta("counters") or {})
    for kind, number in enumerate(np.bincount(covered.events.kind, minlength=5).tolist()):
        counters[str(kind)] = counters.get(str(kind), 0) + number
    counters["anomalies"] = counters.get("anomalies", 0) + anomalies
    return counters
