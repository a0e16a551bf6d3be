"""All the edges of the pipeline: what it needs from a chain and from a store, nothing else.

Implementations: `chain.reader.Reader` is a `Chain`; `embedded.store.Store` and
`aws.store.Store` are `Store`s, held to one conformance suite.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from ngu_points.engine.coverage import Coverage, Covered, Delivery, Head
from ngu_points.engine.events import U8, Events, Ints
from ngu_points.engine.hot import Part
from ngu_points.engine.state import Advanced


@dataclass(frozen=True, slots=True)
class Position:
    """The last block whose events are in the state, with its hash and time; -1 before any."""

    block: int
    hash: bytes
    timestamp: int


class Chain(Protocol):
    """A contract's events, block range by block range."""

    @property
    def span(self) -> int:
        """Blocks worth asking for at once."""
        ...

    async def head(self) -> Head: ...

    async def read(self, from_block: int, to_block: int) -> Covered:
        """All events of a range, checked; it may end earlier than asked, never start later."""
        ...

    async def hash_of(self, block: int) -> bytes | None:
        """The hash the chain now has at a height; None where it has no block."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One step of processing: everything a commit writes, as absolute values."""

    before: Part
    after: Advanced
    position: Position
    events: Events
    notes: dict[int, str] = field(default_factory=dict)  # row of an event → its error note
    uncertain: tuple[bytes, ...] = ()  # wallets that a contradiction concerns


class Store(Protocol):
    """Event tables, coverage, state tables. Everything inside `commit` happens, or nothing."""

    def commit(self) -> AbstractContextManager[None]: ...

    def position(self) -> Position: ...

    def put(self, deliveries: Sequence[Delivery], now: int, *, processed: bool) -> object:
        """Write events by id, dead letters and coverage records; what is there stays as it is.

        What it returns is the store's own.
        """
        ...

    def coverage(self, after: int) -> list[Coverage]:
        """The records that reach beyond a block."""
        ...

    def arrived(self, record: Coverage) -> bool:
        """Whether all that a record announces is in the tables."""
        ...

    def settle(self, now: int) -> None:
        """Deal with unprocessed events that surfaced at or below the position.

        What the archive knows has had its effect. What a later record has announced takes the
        state back below it, once all of it has come. Anything else is set aside.
        """
        ...

    def set_aside(self, events: Events, now: int) -> None:
        """Make dead letters of events that nothing announced; a gap asks for a replay."""
        ...

    def pending(self, through: int) -> Events:
        """Unprocessed events up to a block, in position order."""
        ...

    def load(self, first: Ints, end: Ints, address: U8, timestamp: int) -> Part:
        """The state that events on the ranges [first, end) and these wallets touch.

        The wallets of the part begin with `address`, in that order. All stakers are in it if a
        feast day closes by `timestamp`.
        """
        ...

    def apply(self, change: Change, now: int) -> None:
        """Write a step and move the position; marks its events processed."""
        ...
