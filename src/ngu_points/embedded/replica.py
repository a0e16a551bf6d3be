"""What the web application reads: a copy of the state in memory that follows the database.

It folds on whatever the database has gained since, so keeping up costs what the new events cost;
after a fork or a repair it is loaded again. Everything else is asked of SQLite and the archive at
one moment each. Nothing here writes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ngu_points.embedded import lookup
from ngu_points.embedded.archive import read_segment
from ngu_points.embedded.database import in_use, naming_errors
from ngu_points.embedded.days import closed_days, share_of
from ngu_points.embedded.exports import MEDIA, streamed
from ngu_points.embedded.history import LATEST, History
from ngu_points.embedded.retractions import settled
from ngu_points.embedded.standing import Pace, standing_of
from ngu_points.embedded.store import Store
from ngu_points.embedded.windows import windows, with_new
from ngu_points.engine.coverage import Covered
from ngu_points.engine.events import Events, Ints
from ngu_points.engine.hot import Hot
from ngu_points.engine.rules import DAY, Rules
from ngu_points.errors import TransientError, UsageError
from ngu_points.pipeline import jobs
from ngu_points.pipeline.board import Board, board_of
from ngu_points.pipeline.following import Following
from ngu_points.pipeline.moment import Moment
from ngu_points.pipeline.query import View
from ngu_points.web.interfaces import Day, Doubt, Export, Found, Looked, Seen, Standing
from ngu_points.web.problems import nothing_yet, unknown

T = TypeVar("T")
EVERY, SAMPLES = 5, 720
"""Seconds between the figures that are kept in memory, and how many are."""
PAST, STORIES, SEGMENTS, EXPORTS = 4, 8, 4, 2
"""Past states, wallets' events, files of the archive that are kept at hand; exports at once."""
LONGEST_STORY = 100_000  # events of a wallet that are kept at hand


class Recent(OrderedDict[Any, Any]):
    """The last few things that were asked for, by what they were asked by."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.lock = threading.Lock()

    def get_or(self, key: Any, make: Callable[[], T], keep: Callable[[T], bool]) -> T:
        with self.lock:
            if key in self:
                self.move_to_end(key)
                found: T = self[key]
                return found
        made = make()
        if keep(made):
            with self.lock:
                self[key] = made
                while len(self) > self.size:
                    self.popitem(last=False)
        return made


class Replica:
    """Implements `web.interfaces.Source`. One thread calls `refresh`, any thread asks."""

    def __init__(self, path: Path, rules: Rules, running: Callable[[], bool] | None = None) -> None:
        """`running` tells whether a pipeline writes; by default one that holds the database."""
        self.path = path
        self._rules = rules
        self._running = running or (lambda: in_use(path))
        self._seen: Seen | None = None
        self._standing: Standing | None = None
        self._following: Following | None = None
        self._midnight: tuple[int, Ints, int] | None = None  # timestamp, numerators, denominator
        self._uncertain: frozenset[bytes] = frozenset()
        self._retractions = 0
        self._pace = Pace()
        self._samples: deque[tuple[int, dict[str, Any]]] = deque(maxlen=SAMPLES)
        self._past, self._stories = Recent(PAST), Recent(STORIES)
        self._segments, self._shares = Recent(SEGMENTS), Recent(SEGMENTS)
        self._exports = threading.BoundedSemaphore(EXPORTS)

    @property
    def rules(self) -> Rules:
        return self._rules

    # Following ----------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take over what the database has now; StoreError if it cannot be read."""
        with self._reading() as history:
            store = history.store
            self._standing = standing_of(store, self._pace, running=self._running())
            if store.meta("position") is None:
                self._seen = None
                return
            store.check_rules()
            self._retractions = self._standing.figures["retractions"]
            found = store.db.execute("SELECT wallet FROM uncertain").fetchall()
            self._uncertain = frozenset(row[0] for row in found)
            self._take(history, str(store.meta("revision", 0)))

    def _take(self, history: History, branch: str) -> None:
        """Publish the state that the database is at."""
        store, before = history.store, self._seen
        position = store.position()
        following, self._following = self._following, None  # none, until it is whole again
        view = None if before is None or before.branch != branch else before.view
        board = None if before is None else before.board
        if following is None or view is None or view.state.block > position.block:
            following = self._loaded(history)
            view, board = following.publish()
        elif view.state.block < position.block:
            self._follow(history, following)
            view, board = following.publish()
        self._following = following
        final = position.block <= store.meta("final", -1)
        if before is None or view is not before.view or before.final != final:
            midnight = None if self._midnight is None else self._midnight[1:]
            self._seen = Seen(view, position.hash, final, branch, midnight, board)

    def sample(self, now: float) -> None:
        """Keep the figures of this moment, every few seconds, for charts of the last hour."""
        seen, standing = self._seen, self._standing
        at = int(now) // EVERY * EVERY
        if seen is None or standing is None or (self._samples and self._samples[-1][0] >= at):
            return
        figures = standing.figures
        measured = {
            "block": seen.view.state.block,
            "lag": figures["lag"] or 0,
            "delay": max(int(now) - seen.view.timestamp, 0),
            "gaps": len(standing.gaps),
            **jobs.folded(standing.counters),
            "backlog": figures["backlog"],
            "deadLetters": figures["deadLetters"],
            **jobs.totals(seen.view.state),
        }
        self._samples.append((at, measured))

    def forget(self) -> None:
        """Load everything at the next refresh: the database was made by other hands."""
        self._seen = None
        for found in (self._past, self._stories, self._shares):
            found.clear()

    def _loaded(self, history: History) -> Following:
        """The whole state from the database; numbers of wallets begin anew."""
        following = Following(history.store.hot, self._rules)
        self._midnight = self._points_at_midnight(history, following.hot)
        return following

    def _points_at_midnight(self, history: History, hot: Hot) -> tuple[int, Ints, int]:
        """What everybody had of the present season at 00:00 UTC, by number in `hot`."""
        timestamp = history.store.position().timestamp
        view = history.state_at(self._rules, timestamp // DAY * DAY)
        numerators, denominator = self._points(view, timestamp)
        rows = hot.numbers.find(view.state.wallets.address)
        aligned = np.zeros(len(hot.state.wallets), numerators.dtype)
        aligned[rows[rows >= 0]] = numerators[rows >= 0]
        return view.timestamp, aligned, denominator

    def _follow(self, history: History, following: Following) -> None:
        """What has come since is folded on, in place; 00:00 UTC is looked at on the way."""
        hot, rules, timestamp = following.hot, self._rules, history.store.position().timestamp
        before, midnight = hot.state.timestamp, timestamp // DAY * DAY
        if before < midnight:
            following.fold(history.covered(hot.state.block), (LATEST, midnight))
            view = View.of(hot.state, rules, midnight)
            self._midnight = midnight, *self._points(view, timestamp)
        following.fold(history.covered(hot.state.block))
        if before >= midnight and rules.current_season(before) != rules.current_season(timestamp):
            self._midnight = self._points_at_midnight(history, hot)

    def _points(self, view: View, timestamp: int) -> tuple[Ints, int]:
        if not self._rules.seasons:
            return np.zeros(len(view.state.wallets), np.int64), 1
        return view.points(self._rules.current_season(timestamp))

    @contextmanager
    def _reading(self) -> Iterator[History]:
        """The database at one moment."""
        with naming_errors(self.path):
            store = Store.open(self.path, self._rules)
            try:
                yield History(store)
            finally:
                store.close()

    # Answering ----------------------------------------------------------------------------

    def newest(self) -> Seen | None:
        return self._seen

    def standing(self) -> Standing | None:
        return self._standing

    def newest_board(self) -> Board | None:
        """The leaderboard of the newest state."""
        return None if self._seen is None else self._seen.board

    def seen(
        self,
        at: Moment | None,
        *,
        wallet: bytes | None = None,  # noqa: ARG002 -- it is all here
        token: int | None = None,  # noqa: ARG002
    ) -> Seen:
        """The state at a moment; all of it, whatever wallet or token is asked about."""
        seen = self._seen
        if seen is None:
            raise nothing_yet()
        if at is None or at.block == seen.view.state.block:
            return seen
        last, end = seen.view.state.block, seen.view.timestamp
        if at.block is not None and at.block > last:
            raise unknown("at", f"block {at.block} is beyond the last covered block, {last}")
        if at.timestamp is not None and at.timestamp > end:
            raise unknown("at", f"the last covered block is of @{end}", "leave it out for now")
        if at.timestamp == end:
            return seen
        with self._reading() as history:
            timestamp = at.timestamp
            if timestamp is None:
                timestamp = _time_of(history, at.block or 0)
            return self._at(history, LATEST if at.block is None else at.block, timestamp)

    def _at(self, history: History, block: int, timestamp: int) -> Seen:
        store = history.store
        branch = str(store.meta("revision", 0))

        def make() -> Seen:
            view = history.state_at(self._rules, timestamp, block)
            final = view.state.block <= store.meta("final", -1)
            return Seen(view, None, final, branch)

        return self._past.get_or((block, timestamp, branch), make, lambda _: True)

    def board(self, seen: Seen, season: int) -> Board:
        if seen.board is not None and seen.board.season == season:
            return seen.board
        return board_of(seen.view, season)

    def pinned(self, block: int, timestamp: int, branch: str, season: int) -> tuple[Seen, Board]:
        seen = self._seen
        if seen is None:
            raise nothing_yet()
        newest = seen.view
        if seen.branch != branch or block > newest.state.block or timestamp > newest.timestamp:
            raise UsageError("cursor: blocks were taken back since: begin at the first page again")
        if block != seen.view.state.block or timestamp != seen.view.timestamp:
            with self._reading() as history:
                seen = self._at(history, block, timestamp)
        return seen, self.board(seen, season)

    def doubt(self, wallet: bytes) -> Doubt:
        uncertain, retractions = wallet in self._uncertain, self._retractions
        if not retractions:
            return Doubt(uncertain)
        with self._reading() as history:
            return Doubt(uncertain, [r.shown_as() for r in settled(history.store, wallet)])

    def events(self, looked: Looked) -> Found:
        with self._reading() as history:
            return lookup.find(history, looked, self._segment)

    def _segment(self, path: Path) -> Covered:
        """A file of the archive, which never changes; the latest ones are kept at hand."""
        return self._segments.get_or(path, lambda: read_segment(path), lambda _: True)

    def concerning(self, wallet: bytes, seen: Seen) -> Events:
        block, timestamp = seen.view.state.block, seen.view.timestamp

        def make() -> Events:
            with self._reading() as history:
                return lookup.concerning(history, wallet, block, timestamp)

        key = (wallet, block, timestamp, seen.branch)
        return self._stories.get_or(key, make, lambda e: len(e) <= LONGEST_STORY)

    def days(self, before: int, limit: int) -> list[Day]:
        with self._reading() as history:
            return closed_days(history.store, before, limit)

    def shares(self, day: int) -> list[tuple[bytes, int]]:
        with self._reading() as history:
            store = history.store
            key = day, store.meta("revision", 0)
            return self._shares.get_or(key, lambda: _largest_first(store, day), lambda _: True)

    def shares_of(self, wallet: bytes, before: int, limit: int) -> list[tuple[Day, int]]:
        found: list[tuple[Day, int]] = []
        with self._reading() as history:
            while len(found) < limit:
                days = closed_days(history.store, before, 1_000)
                for day in days:
                    share = share_of(history.store, day.feast.day, wallet)
                    if share:
                        found.append((day, share))
                if not days:
                    break
                before = days[-1].feast.day
        return found[:limit]

    def windows(self, seconds: int, since: int, until: int, limit: int) -> list[dict[str, Any]]:
        if seconds == EVERY:
            chosen = [row for row in list(self._samples) if row[0] <= until]
            return with_new(chosen, since)[-limit:]
        with self._reading() as history:
            return windows(history.store, seconds, since, until, limit)

    def export(self, table: str, form: str, at: Moment | None, *, ranges: bool) -> Export:
        seen = self.seen(at)
        if not self._exports.acquire(blocking=False):
            raise TransientError("too many exports are being made")
        made = Parts(self._exported(table, form, seen.view, ranges), self._exports.release)
        made.begin()
        return Export(MEDIA[form], f"{table}-{seen.view.state.block}.{form}", made)

    def _exported(self, table: str, form: str, view: View, ranges: bool) -> Generator[bytes]:
        with self._reading() as history:
            yield from streamed(table, form, view, history, ranges=ranges)


class Parts:
    """The parts of an export; its place is free once they end, or nobody has them any more."""

    def __init__(self, parts: Generator[bytes], release: Callable[[], None]) -> None:
        self._parts, self._release = parts, release
        self._open = True

    def begin(self) -> None:
        """Find what cannot be before the answer begins."""
        try:
            next(self._parts)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._parts)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """No more of it is wanted."""
        if self._open:
            self._open = False
            self._parts.close()
            self._release()

    def __del__(self) -> None:
        self.close()


def _largest_first(store: Store, day: int) -> list[tuple[bytes, int]]:
    return sorted(store.feasts.shares(day), key=lambda share: (-share[1], share[0]))


def _time_of(history: History, block: int) -> int:
    """The time of a block that has an event or ended a range; else it is told which has one."""
    known = history.timed(block)
    if known is None or known[0] != block:
        hint = f"give a time, or block {known[0]}, which is of @{known[1]}" if known else None
        raise unknown("at", f"the time of block {block} is not recorded here", hint)
    return known[1]
