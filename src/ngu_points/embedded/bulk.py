"""Catching up on old blocks: events go straight into the archive, and the state's rows follow.

The event tables are the working queue of the last days. Events that are final, older than that and
next in line would be written there only to be deleted: a segment of the archive takes their place.
Rows of tokens and wallets change many times in a long history; they are written every few million
events and at the end. A crash in between costs a fold from the archive, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ngu_points.embedded.archive import write_segment
from ngu_points.embedded.history import SEGMENT, History
from ngu_points.embedded.queue import KEEP
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import Coverage, Covered, Delivery
from ngu_points.engine.events import concat
from ngu_points.engine.moves import indexed
from ngu_points.engine.rules import Rules
from ngu_points.pipeline.interfaces import Position
from ngu_points.pipeline.persist import validate
from ngu_points.pipeline.process import Step, in_line, ingest
from ngu_points.pipeline.query import refold

ROWS_EVERY = 10_000_000
"""Events after which the rows of the state are written; as many are folded after a crash."""


class Bulk:
    """Takes deliveries into a store and its archive, old ones the short way."""

    def __init__(self, store: Store, history: History, *, segment: int = SEGMENT) -> None:
        self.store = store
        self.history = history
        self.segment = segment
        self.waiting = 0  # events since the rows were written
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="segments")

    def is_old(self, timestamp: int, block: int, now: int) -> bool:
        """Whether events up to a block would have left the working queue by now."""
        return block <= self.store.final and timestamp < now - KEEP

    def ingest(self, deliveries: list[Delivery], rules: Rules, now: int) -> Iterator[Step]:
        """Persist and process (see `pipeline.process.ingest`); the list may be empty afterwards."""
        record = in_line(deliveries, self.store.position().block)
        if record is None or not self._fits(record, deliveries, now):
            for step in ingest(self.store, deliveries, rules, now):
                self.history.add(step.events)
                yield step
            return
        yield self._archive(record, deliveries, rules)
        if self.waiting >= ROWS_EVERY:
            self.settle()

    def settle(self) -> None:
        """Bring the rows up to the position."""
        self.store.write_rows()
        self.waiting = 0

    def _fits(self, record: Coverage, deliveries: Sequence[Delivery], now: int) -> bool:
        """Whether it is a segment's worth of old events, and all before it is archived."""
        enough = sum(len(d.events) for d in deliveries) >= self.segment
        if not enough or not self.is_old(record.timestamp, record.to_block, now):
            return False
        store = self.store
        self.history.seal(store.final, least=1)
        return store.archived() == store.position().block and not store.queue.backlog()

    def _archive(self, record: Coverage, deliveries: list[Delivery], rules: Rules) -> Step:
        store = self.store
        records = [told for delivery in deliveries for told in delivery.coverage]
        covered = _whole(store.position(), record, deliveries)
        writing = self._writer.submit(write_segment, store.archive, covered, store.identity())
        position = Position(record.to_block, record.last_hash, record.timestamp)
        with store.commit():
            store.leave_rows()
            try:
                again = refold(rules, [covered], store.hot)
            finally:
                name = writing.result()
            store.queue.put_rejected(covered.rejected, record.timestamp)
            store.queue.put_coverage(records)
            store.sealed(covered, name)
            store.apply_archived(again, _counted(store, covered, len(again.notes)), position)
        self.waiting += len(covered.events)
        return Step(position, covered.events, len(again.notes), len(again.days))


def _whole(position: Position, record: Coverage, deliveries: list[Delivery]) -> Covered:
    """Deliveries that are next in line as one range; they leave their list, to be held once."""
    for delivery in deliveries:
        validate(delivery)
    parent_hash = deliveries[0].coverage[0].parent_hash
    letters = [letter for delivery in deliveries for letter in delivery.rejected]
    events = concat([delivery.events for delivery in deliveries])
    del delivery
    deliveries.clear()
    return Covered(
        position.block + 1,
        record.to_block,
        parent_hash,
        record.last_hash,
        record.timestamp,
        indexed(events.sorted()),
        tuple(sorted(letters, key=lambda r: (r.block, r.log_index))),
    )


def _counted(store: Store, covered: Covered, anomalies: int) -> dict[str, int]:
    counters = dict(store.meta("counters") or {})
    for kind, number in enumerate(np.bincount(covered.events.kind, minlength=5).tolist()):
        counters[str(kind)] = counters.get(str(kind), 0) + number
    counters["anomalies"] = counters.get("anomalies", 0) + anomalies
    return counters
