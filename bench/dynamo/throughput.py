"""How much a table takes: per partition key, by its past, and by its maximum.

Rates are held to the second. AWS lets short bursts pass where capacity was left unused; that is
not promised, so the model does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

PARTITION_WRITES, PARTITION_READS = 1_000.0, 3_000.0
NEW_WRITES, NEW_READS = 4_000.0, 12_000.0  # what an on-demand table takes from the start
TABLE_QUOTA = 40_000.0
WINDOW = 1_800.0  # seconds in which traffic may double


@dataclass(slots=True)
class Rate:
    """Units that may be taken each second, and what is left of this one's."""

    left: float
    at: float

    def has(self, units: float, rate: float, now: float) -> bool:
        """Whether so many can be taken now; more than a second's worth need a full second."""
        self.left = min(rate, self.left + (now - self.at) * rate)
        self.at = now
        return self.left >= min(units, rate)

    def take(self, units: float) -> None:
        self.left -= units


@dataclass
class Capacity:
    """One direction, read or write, of a table or of an index."""

    kind: str  # "Write" or "Read"
    resource: str  # "Table" or "Index"
    partition: float
    new: float
    maximum: float = 0.0  # 0: none
    peaks: dict[int, float] = field(default_factory=dict)  # window → most units in a second
    total: Rate = field(default_factory=lambda: Rate(float("inf"), 0.0))
    keys: dict[Any, Rate] = field(default_factory=dict)
    second: int = 0
    used: float = 0.0  # in this second

    def allowed(self, now: float) -> float:
        """Units a second by its past: twice the peak before this window, or what a new one has."""
        window = int(now // WINDOW)
        peak = max((units for at, units in self.peaks.items() if at < window), default=0.0)
        return min(TABLE_QUOTA, max(self.new, 2 * peak))

    def refusal(self, key: Any, units: float, now: float) -> str:
        """AWS's reason for throttling units of a partition key; empty if they may pass."""
        if key is not None:
            rate = self.keys.setdefault(key, Rate(self.partition, now))
            if not rate.has(units, self.partition, now):
                return f"{self.resource}{self.kind}KeyRangeThroughputExceeded"
        by_past = self.allowed(now)
        bound = min(by_past, self.maximum) if self.maximum else by_past
        if not self.total.has(units, bound, now):
            what = "MaxOnDemandThroughput" if bound == self.maximum else "KeyRangeThroughput"
            return f"{self.resource}{self.kind}{what}Exceeded"
        return ""

    def take(self, key: Any, units: float, now: float) -> None:
        """Take what was not refused."""
        if key is not None:
            self.keys[key].take(units)
        self.total.take(units)
        if int(now) != self.second:
            self.second, self.used = int(now), 0.0
        self.used += units
        window = int(now // WINDOW)
        self.peaks[window] = max(self.peaks.get(window, 0.0), self.used)


def writes(resource: str, maximum: float = 0.0) -> Capacity:
    return Capacity("Write", resource, PARTITION_WRITES, NEW_WRITES, maximum)


def reads(resource: str, maximum: float = 0.0) -> Capacity:
    return Capacity("Read", resource, PARTITION_READS, NEW_READS, maximum)


Demand = tuple[Capacity, Any, float]
"""Units of a partition key (None where each item has its own) of a capacity."""


def admit(demands: Sequence[Demand], now: float) -> str:
    """Take all of some units, or none and say why."""
    for capacity, key, units in demands:
        reason = capacity.refusal(key, units, now)
        if reason:
            return reason
    for capacity, key, units in demands:
        capacity.take(key, units, now)
    return ""
