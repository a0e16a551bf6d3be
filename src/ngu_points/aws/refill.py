"""The deployed tables as a place that a backup goes back to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ngu_points.aws import events
from ngu_points.aws.quarantine import set_aside
from ngu_points.aws.records import Poison
from ngu_points.aws.store import Store
from ngu_points.engine.coverage import Coverage, digest
from ngu_points.engine.events import Bool, Events
from ngu_points.errors import TransientError
from ngu_points.pipeline.process import process


class Archive(Protocol):
    """What is archived of a deployment: `aws.archive.Archive`."""

    def archived(self) -> int: ...

    def holds(self, found: Events) -> Bool: ...


@dataclass
class Tables:
    """Implements `backup.Place` for a stage. It processes too, unless the function does."""

    store: Store
    archive: Archive
    owner: str  # names this process among those that may process

    def archived(self) -> int:
        return self.archive.archived()

    def holds(self, found: Events) -> Bool:
        return self.archive.holds(found) if len(found) else np.zeros(0, np.bool_)

    def arrived(self, record: Coverage) -> bool:
        dynamo, first, last = self.store.dynamo, record.from_block, record.to_block
        found = events.between(dynamo, record.stream, first, last)
        letters = events.letters(dynamo, record.stream, first, last)
        return len(found) + len(letters) == record.count and (
            digest(found, letters) == record.digest
        )

    def quarantine(self, poison: Sequence[Poison], stream: str) -> None:
        for one in poison:
            set_aside(self.store.dynamo, one, stream, int(time.time()))

    def process(self) -> int:
        now, folded = int(time.time()), 0
        try:
            self.store.lead(self.owner, now)
        except TransientError:
            return 0  # the function is at it: it takes what was written by itself
        try:
            while step := process(self.store, self.store.rules, int(time.time())):
                folded += len(step.events)
        finally:
            self.store.release()
        return folded
