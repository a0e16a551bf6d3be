"""One table with its indexes: rows in key order, and what writing and reading them costs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.dynamo import units
from bench.dynamo.expressions import Item, KeyRange, value
from bench.dynamo.throughput import Capacity, Demand, reads, writes

PAGE_BYTES = 1 << 20
MAXIMA = ("MaxReadRequestUnits", "MaxWriteRequestUnits")


@dataclass
class Partition:
    """Items of one hash key, in the order of their range keys."""

    keys: list[Any] = field(default_factory=list)
    items: dict[Any, tuple[Item, int]] = field(default_factory=dict)  # with their sizes

    def put(self, key: Any, item: Item) -> None:
        if key not in self.items:
            insort(self.keys, key)
        self.items[key] = (item, units.size(item))

    def delete(self, key: Any) -> None:
        if self.items.pop(key, None):
            del self.keys[bisect_left(self.keys, key)]

    def between(self, wanted: KeyRange, *, backwards: bool, after: Any) -> Iterator[Any]:
        """The keys of a range; with `after` only those behind that one."""
        keys = self.keys
        find_low, find_high = (bisect_right if wanted.above else bisect_left), bisect_right
        if wanted.below:
            find_high = bisect_left
        low = 0 if wanted.low is None else find_low(keys, wanted.low, key=_range_of)
        high = len(keys) if wanted.high is None else find_high(keys, wanted.high, key=_range_of)
        if after is not None and not backwards:
            low = max(low, bisect_right(keys, after))
        if after is not None and backwards:
            high = min(high, bisect_left(keys, after))
        at = range(high - 1, low - 1, -1) if backwards else range(low, high)
        return (keys[n] for n in at)


def _range_of(key: tuple[Any, ...]) -> Any:
    return key[0]


@dataclass
class Place:
    """A table or an index: its key attributes, what it holds, what it takes."""

    name: str  # of the index; empty for the table
    keys: tuple[str, ...]
    holds: tuple[str, ...] | None  # attributes of an entry; None for all
    writes: Capacity
    reads: Capacity
    partitions: dict[Any, Partition] = field(default_factory=dict)

    def entry(self, item: Item | None) -> Item | None:
        """What of an item is here; None if nothing is."""
        if item is None or any(key not in item for key in self.keys):
            return None
        if self.holds is None:
            return item
        return units.Row({name: item[name] for name in self.holds if name in item})

    def bound(self, maximum: Mapping[str, int]) -> None:
        """Set the on-demand maximum of what is named; -1 takes it away."""
        for name, capacity in zip(MAXIMA, (self.reads, self.writes), strict=True):
            if name in maximum:
                capacity.maximum = max(0.0, float(maximum[name]))

    def maximum(self) -> dict[str, int]:
        found = (self.reads.maximum, self.writes.maximum)
        return {name: int(units) or -1 for name, units in zip(MAXIMA, found, strict=True)}

    def pages_key(self, item: Item) -> Any:
        """What a throughput of its own is counted by; None where each item has its own."""
        return value(item[self.keys[0]]) if len(self.keys) > 1 else None


class Table:
    """Rows by primary key; every write keeps the indexes up to date."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.name = str(request["TableName"])
        primary = _key_names(request["KeySchema"])
        self.primary = primary
        self.rows: dict[tuple[Any, ...], Item] = {}
        self.main = Place("", primary, None, writes("Table"), reads("Table"))
        self.indexes = [_index(one, primary) for one in request.get("GlobalSecondaryIndexes", ())]
        self.main.bound(request.get("OnDemandThroughput", {}))

    def place(self, index: str | None) -> Place:
        """The table itself, or one of its indexes."""
        return next(p for p in (self.main, *self.indexes) if p.name == (index or ""))

    def key_of(self, item: Item) -> tuple[Any, ...]:
        return tuple(value(item[name]) for name in self.primary)

    def cost(self, before: Item | None, after: Item | None) -> list[tuple[Place, int, Any]]:
        """The units that a write costs each place, and by which key they are counted."""
        known = after or before
        assert known is not None, "a write of nothing over nothing"
        sizes = [units.size(item) if item else 0 for item in (before, after)]
        costs = [(self.main, units.write_units(*sizes), self.main.pages_key(known))]
        for index in self.indexes:
            was, becomes = index.entry(before), index.entry(after)
            spent = units.entry_units(was, becomes, index.keys)
            entry = becomes or was
            if spent and entry:
                costs.append((index, spent, index.pages_key(entry)))
        return costs

    def write(self, before: Item | None, after: Item | None) -> None:
        """Put a row in the place of another; either may be missing."""
        known = after or before
        if known is None:
            return
        key = self.key_of(known)
        if after is None:
            del self.rows[key]
        else:
            self.rows[key] = after
        if len(self.primary) > 1:
            _replace(self.main, key, before, after)
        for index in self.indexes:
            _replace(index, key, index.entry(before), index.entry(after))

    def demands(self, costs: list[tuple[Place, int, Any]]) -> list[Demand]:
        return [(place.writes, key, float(spent)) for place, spent, key in costs]


def _replace(
    place: Place, primary: tuple[Any, ...], before: Item | None, after: Item | None
) -> None:
    if before is not None and after is not None and before == after:
        return
    for item, there in ((before, False), (after, True)):
        if item is None:
            continue
        hash_, range_ = (value(item[name]) for name in place.keys)
        partition = place.partitions.setdefault(hash_, Partition())
        if there:
            partition.put((range_, primary), item)
        elif after is None or any(item[name] != after[name] for name in place.keys):
            partition.delete((range_, primary))


def _index(request: Mapping[str, Any], primary: tuple[str, ...]) -> Place:
    projection = request["Projection"]
    keys = _key_names(request["KeySchema"])
    held: tuple[str, ...] | None = (*keys, *primary, *projection.get("NonKeyAttributes", ()))
    if projection["ProjectionType"] == "ALL":
        held = None
    place = Place(str(request["IndexName"]), keys, held, writes("Index"), reads("Index"))
    place.bound(request.get("OnDemandThroughput", {}))
    return place


def _key_names(schema: list[Mapping[str, str]]) -> tuple[str, ...]:
    return tuple(key["AttributeName"] for key in schema)
