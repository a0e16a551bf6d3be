"""The streams on one machine: ranges held until there are enough of them, or long enough."""

from __future__ import annotations

from dataclasses import fields

from ngu_points.engine.coverage import Announced
from ngu_points.engine.events import Events

SIZE = 1 << 20  # bytes, the specification's buffer size
INTERVAL = 60.0  # seconds, its buffer interval
BUSY = 16  # times the size, that may gather while the batch before is being written


class Buffer:
    """What both streams are to deliver, range by range, in the order in which they came."""

    def __init__(self, size: int = SIZE, interval: float = INTERVAL) -> None:
        self.size = size
        self.interval = interval
        self.held: list[Announced] = []
        self.bytes = 0
        self.since: float | None = None

    def add(self, told: Announced, now: float) -> None:
        self.held.append(told)
        self.bytes += _size(told)
        if self.since is None:
            self.since = now

    def due(self, now: float) -> bool:
        """Whether either limit is reached."""
        return self.bytes >= self.size or self.late(now)

    def late(self, now: float) -> bool:
        """Whether something has been held for the interval."""
        return self.since is not None and now - self.since >= self.interval

    @property
    def full(self) -> bool:
        """Whether it must be taken before more is added, however long that takes."""
        return self.bytes >= BUSY * self.size

    def take(self) -> list[Announced]:
        """Everything held; the buffer is empty then."""
        held, self.held, self.bytes, self.since = self.held, [], 0, None
        return held


def _size(told: Announced) -> int:
    covered = told.covered
    columns: int = sum(getattr(covered.events, f.name).nbytes for f in fields(Events))
    return columns + sum(len(r.raw) for r in covered.rejected)
