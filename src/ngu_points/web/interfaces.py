"""What the web application needs of a store: questions only, nothing that writes.

`embedded.replica.Replica` answers from arrays and SQLite, whatever answers from DynamoDB does so
from items. Every method may be called from any thread; NguError says what cannot be answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ngu_points.engine.events import Events, Ints
from ngu_points.engine.feast import FeastDay
from ngu_points.engine.rules import Rules
from ngu_points.pipeline.board import Board
from ngu_points.pipeline.moment import Moment
from ngu_points.pipeline.query import View


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The state at a moment, or the part of it that was asked for."""

    view: View
    block_hash: bytes | None  # None for the past
    final: bool
    branch: str  # another one once blocks that were read have been taken back or mended
    midnight: tuple[Ints, int] | None = None  # points of the season at 00:00 UTC, for dailyPoints
    board: Board | None = None  # of the current season, where it is at hand


@dataclass(frozen=True, slots=True)
class Looked:
    """Which events are looked for, below `before`, a position; the latest first."""

    limit: int
    before: tuple[int, int]
    types: tuple[int, ...] = ()
    wallet: bytes | None = None
    token: int | None = None
    from_block: int = 0
    to_block: int = 2**62


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Events, the latest first; all from `scanned` on have been looked at, None: to the end."""

    events: Events
    errors: Mapping[str, str]  # id of an event → what it contradicted
    scanned: tuple[int, int] | None
    block: int


@dataclass(frozen=True, slots=True, eq=False)
class Day:
    """A closed feast day without its shares."""

    feast: FeastDay
    block: int
    sharers: int
    published: bool
    corrected: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the pipeline stands; figures as `ngu status` has them."""

    figures: Mapping[str, Any]  # of `status`
    counters: Mapping[str, int]
    jobs: Sequence[Mapping[str, Any]]
    read_through: int
    gaps: Sequence[Mapping[str, Any]]
    running: bool
    events_per_second: float = 0.0
    blocks_per_second: float = 0.0
    over_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Doubt:
    """What about a wallet's points is not certain, or was taken back."""

    uncertain: bool = False
    retractions: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


class Parts(Iterator[bytes], Protocol):
    """Bytes that are made when they are asked for, until nobody wants more."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Export:
    """A table as a file: its media type, its name and its parts, one after the other."""

    media_type: str
    name: str
    parts: Parts


class Source(Protocol):
    """Everything the application asks."""

    @property
    def rules(self) -> Rules: ...

    def newest(self) -> Seen | None:
        """The state as it is known here, at once; None before anything is covered."""
        ...

    def standing(self) -> Standing | None:
        """Where the pipeline stands, at once; None before there is a record."""
        ...

    def seen(self, at: Moment | None, *, wallet: bytes | None, token: int | None) -> Seen:
        """The state at a moment, with at least this wallet and its tokens, or this token."""
        ...

    def board(self, seen: Seen, season: int) -> Board:
        """The leaderboard of a state that `seen` gave."""
        ...

    def pinned(self, block: int, timestamp: int, branch: str, season: int) -> tuple[Seen, Board]:
        """The leaderboard of a block that was paged through before; UsageError if it is gone."""
        ...

    def doubt(self, wallet: bytes) -> Doubt: ...

    def events(self, looked: Looked) -> Found: ...

    def concerning(self, wallet: bytes, seen: Seen) -> Events:
        """All events on tokens that the wallet ever had, in position order, up to a moment."""
        ...

    def days(self, before: int, limit: int) -> list[Day]:
        """Closed feast days before a day, the latest first."""
        ...

    def shares(self, day: int) -> list[tuple[bytes, int]]:
        """Who got how many micro-points on a closed day, the most first, then the lower address."""
        ...

    def shares_of(self, wallet: bytes, before: int, limit: int) -> list[tuple[Day, int]]:
        """A wallet's shares on days before a day, the latest first."""
        ...

    def windows(self, seconds: int, since: int, until: int, limit: int) -> list[dict[str, Any]]:
        """The newest windows of figures within [since, until], in order of time."""
        ...

    def export(self, table: str, form: str, at: Moment | None, *, ranges: bool) -> Export: ...
