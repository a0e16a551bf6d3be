"""The stream on one machine: deliveries held until there are enough of them, or long enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from ngu_points.engine.coverage import Delivery
from ngu_points.engine.events import Events

SIZE = 1 << 20  # bytes, the specification's buffer size
INTERVAL = 60.0  # seconds, its buffer interval
BUSY = 16  # times the size, that may gather while the batch before is being written


class Buffer:
    """Deliveries of both streams in the order in which they came."""

    def __init__(self, size: int = SIZE, interval: float = INTERVAL) -> None:
        self.size = size
        self.interval = interval
        self.held: list[Delivery] = []
        self.bytes = 0
        self.since: float | None = None

    def add(self, deliveries: Sequence[Delivery], now: float) -> None:
        self.held += deliveries
        self.bytes += sum(_size(d) for d in deliveries)
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

    def take(self) -> list[Delivery]:
        """Everything held; the buffer is empty then."""
        held, self.held, self.bytes, self.since = self.held, [], 0, None
        return held


def _size(delivery: Delivery) -> int:
    columns: int = sum(getattr(delivery.events, f.name).nbytes for f in fields(Events))
    return columns + sum(len(r.raw) for r in delivery.rejected)
