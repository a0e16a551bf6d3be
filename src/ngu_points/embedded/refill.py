"""A database as a place that a backup of a deployment goes to: it is made from that alone."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ngu_points.embedded.history import History
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import Coverage, Head
from ngu_points.engine.events import Bool, Events, blobs, ids
from ngu_points.errors import StoreError
from ngu_points.pipeline.process import process
from ngu_points.pipeline.segments import Identity

LONGEST_RAW = 300_000  # bytes of a record that are kept


class Poison(Protocol):
    """A record that is of no use: why, and as it came."""

    @property
    def reason(self) -> str: ...

    @property
    def raw(self) -> bytes: ...


class Database:
    """A store with its archive, made to be of one collection; processes what is complete.

    Records that are none of this deployment become files of the folder `quarantine` in the
    archive.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        history.recall()

    @property
    def store(self) -> Store:
        return self.history.store

    def begin(self, identity: Identity, read: str, start: int) -> None:
        """Note what an empty database will be of; refuse one that is of something else.

        `read` is the digest of the addresses and events that are read, `start` the first block.
        """
        self.store.identify(identity)
        self.store.check_read(read)
        known = self.store.meta("start_block")
        if known is None:
            with self.store.commit():
                self.store.set_meta("start_block", start)
        elif known > start:
            raise StoreError(f"{self.store.path} begins at block {known}, the backup at block"
                             f" {start}: name another with --db")  # fmt: skip

    def archived(self) -> int:
        return self.store.archived()

    def holds(self, found: Events) -> Bool:
        if not len(found):
            return np.zeros(0, np.bool_)
        first, last = int(found.block.min()), int(found.block.max())
        known = set(_keys(self.history.between(first, last).events))
        return np.array([key in known for key in _keys(found)], np.bool_)

    def arrived(self, record: Coverage) -> bool:
        return self.store.arrived(record)

    def quarantine(self, poison: Sequence[Poison], stream: str) -> None:
        folder = self.history.folder / "quarantine"
        for one in poison:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{hashlib.sha256(one.raw).hexdigest()}.json"
            told: dict[str, Any] = {"stream": stream, "reason": one.reason, "size": len(one.raw)}
            told["raw"] = base64.b64encode(one.raw[:LONGEST_RAW]).decode()
            path.write_text(json.dumps(told), encoding="utf-8")

    def process(self) -> int:
        now, folded = int(time.time()), 0
        while step := process(self.store, self.store.rules, now):
            self.history.add(step.events)
            folded += len(step.events)
            # Only what is confirmed is ever sent, so what came back is final.
            block = max(step.position.block, self.store.final)
            self.store.note_head(Head(block, block, block))
            self.history.seal(self.store.final)
        self.store.prune(self.store.final, self.store.archived(), now)
        return folded


def _keys(events: Events) -> list[tuple[str, bytes]]:
    return list(zip(ids(events), blobs(events.block_hash), strict=True))
