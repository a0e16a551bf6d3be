"""Where the pipeline stands, for the web application: the figures of `ngu status` and its pace."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ngu_points.embedded.repair import missing
from ngu_points.embedded.status import status
from ngu_points.embedded.store import Store
from ngu_points.web.interfaces import Standing

MINUTE = 60.0


@dataclass(slots=True)
class Pace:
    """Figures of the last minute: when, events, block."""

    samples: deque[tuple[float, int, int]] = field(default_factory=deque)

    def add(self, now: float, events: int, block: int) -> None:
        if self.samples and (events < self.samples[-1][1] or block < self.samples[-1][2]):
            self.samples.clear()  # a fork or a repair: not a pace
        self.samples.append((now, events, block))
        while len(self.samples) > 2 and now - self.samples[1][0] > MINUTE:
            self.samples.popleft()

    def rates(self) -> tuple[float, float, int]:
        """Events and blocks a second, and over how many seconds."""
        if len(self.samples) < 2:
            return 0.0, 0.0, 0
        (then, events, block), (now, more, further) = self.samples[0], self.samples[-1]
        seconds = max(now - then, 0.001)
        return (more - events) / seconds, (further - block) / seconds, round(seconds)


def standing_of(store: Store, pace: Pace, *, running: bool) -> Standing:
    """Everything but the state itself."""
    figures = status(store)
    counters = store.meta("counters") or {}
    position = figures["block"]
    if store.meta("position") is not None:
        pace.add(time.monotonic(), figures["events"], position)
    figures["finalBlock"] = store.meta("final")
    figures["alarms"] = [a.replace(str(store.path), store.path.name) for a in figures["alarms"]]
    read = max((r.to_block for r in store.coverage(position)), default=position)
    jobs = [
        _job(name, last, result)
        for name, last, result in store.db.execute("SELECT * FROM jobs ORDER BY name")
    ]
    return Standing(figures, counters, jobs, read, missing(store), running,
                    *pace.rates())  # fmt: skip


def _job(name: str, last_run: int, result: str | None) -> dict[str, Any]:
    error = json.loads(result or "{}").get("error")
    return {"name": name, "lastRun": last_run, "error": error}
