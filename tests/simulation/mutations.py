"""Broken guarantees, to see that the simulator notices: a test of the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from ngu_points.chain import audit
from ngu_points.chain.reader import Reader
from ngu_points.embedded.history import History
from ngu_points.embedded.queue import TABLES, Queue
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import Covered
from ngu_points.engine.events import Events
from ngu_points.pipeline.interfaces import Change, Position
from ngu_points.pipeline.pack import unpack


class Whatever(bytes):
    """A hash that equals every other."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


@contextmanager
def parent_hash_not_checked() -> Iterator[None]:
    """Ranges follow each other, whatever branch each of them is of."""
    read = Reader.read

    async def credulous(self: Reader, from_block: int, to_block: int) -> Covered:
        covered = await read(self, from_block, to_block)
        return replace(covered, parent_hash=Whatever(covered.parent_hash))

    with patch.object(Reader, "read", credulous):
        yield


@contextmanager
def position_before_rows() -> Iterator[None]:
    """A step is acknowledged before what it did is written."""
    apply = Store.apply

    def early(self: Store, change: Change, now: int) -> None:
        before = self._meta.get("position")
        self.set_position(change.position, change.after.state)
        self.db.execute("COMMIT")
        self.db.execute("BEGIN IMMEDIATE")
        self._meta["position"] = before
        if before is None:
            del self._meta["position"]
        apply(self, change, now)

    with patch.object(Store, "apply", early):
        yield


@contextmanager
def duplicates_are_new() -> Iterator[None]:
    """An event that is delivered again is applied again."""
    insert, pending = Queue._insert, Queue.pending

    def forgetful(self: Queue, stream: str, columns: str, width: int, values: Any) -> None:
        rows = list(values)
        insert(self, stream, columns, width, iter(rows))
        again = [(row[0],) for row in rows]
        self.db.executemany(f"UPDATE {TABLES[stream]} SET processed = 0 WHERE id = ?", again)

    def all_pending(self: Queue, after: int, through: int) -> Events:
        return pending(self, -1, through)

    with (
        patch.object(Queue, "_insert", forgetful),
        patch.object(Queue, "pending", all_pending),
    ):
        yield


@contextmanager
def undo_skipped() -> Iterator[None]:
    """After a fork the position goes back, the state does not."""

    def undo(self: Store, block: int) -> Position:
        with self.commit():
            while (position := self.position()).block > block:
                row = self.db.execute(
                    "SELECT image FROM changes WHERE toBlock = ?", (position.block,)
                ).fetchone()
                head = json.loads(unpack(row[0], "image")["head"].tobytes())["position"]
                if head is None:
                    self.db.execute("DELETE FROM meta WHERE key = 'position'")
                else:
                    self.set_meta("position", head)
                self.reload()
        return self.position()

    with patch.object(Store, "undo", undo):
        yield


@contextmanager
def archive_before_final() -> Iterator[None]:
    """What may still change goes into the archive."""
    seal = History.seal

    def hasty(self: History, final: int, **options: Any) -> Any:
        return seal(self, self.store.position().block, **options)

    with patch.object(History, "seal", hasty):
        yield


@contextmanager
def events_marked_late() -> Iterator[None]:
    """Events stay unprocessed in the tables although they are in the state."""

    def mark(self: Queue, change: Change, previous: int, now: int) -> None:
        return None

    with patch.object(Queue, "mark", mark):
        yield


@contextmanager
def altered_headers_believed() -> Iterator[None]:
    """A header is what a node says it is, whether or not it hashes to its hash."""

    def no_doubt(_: Any) -> None:
        return None

    with (
        patch.object(audit, "linked", no_doubt),
        patch.object(audit, "header_doubt", no_doubt),
    ):
        yield


MUTATIONS: Sequence[Callable[[], AbstractContextManager[None]]] = (
    parent_hash_not_checked,
    position_before_rows,
    duplicates_are_new,
    undo_skipped,
    archive_before_final,
    events_marked_late,
)
