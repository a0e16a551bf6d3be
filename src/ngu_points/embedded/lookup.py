"""Events looked up in the archive and the working queue, the latest first, in bounded steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ngu_points.embedded.archive import segment_columns
from ngu_points.embedded.history import History
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import Covered
from ngu_points.engine.events import Bool, Events, Ints, concat, empty, ids
from ngu_points.engine.state import among
from ngu_points.errors import TransientError
from ngu_points.pipeline.explain import disjoint, having, meeting
from ngu_points.pipeline.segments import events_of, naming
from ngu_points.web.interfaces import Found, Looked

SCANNED = 500_000
"""Events that one question looks through at most; the next page goes on behind them."""
FEW = 16
"""Blocks of the event tables that are looked at first."""
EXPLAINED = 2_000_000
"""Events on one wallet's tokens that are folded for an explanation at most."""


Read = Callable[[Path], Covered]
"""Reads a segment, or has it at hand: `archive.read_segment`."""


def find(history: History, looked: Looked, read: Read) -> Found:
    """The latest events that are looked for."""
    store, found, scanned, missing = history.store, [], 0, looked.limit
    top = min(looked.to_block, looked.before[0])
    lowest = min(top + 1, store.position().block + 1)
    for first, count, events in _newest_first(history, looked, top, read):
        page = events.take(np.flatnonzero(_wanted(events, looked))[-missing:])
        found.append(page)
        missing -= len(page)
        if not missing:
            end = int(page.block[0]), int(page.log_index[0])
            return _answer(store, found, end, end[0])
        scanned += count
        lowest = max(first, looked.from_block)
        if scanned >= SCANNED and first > max(looked.from_block, _start(store)):
            return _answer(store, found, (first, 0), first)
    return _answer(store, found, None, lowest)


def _start(store: Store) -> int:
    return int(store.meta("start_block", 0))


def _newest_first(
    history: History, looked: Looked, high: int, read: Read
) -> Iterator[tuple[int, int, Events]]:
    """Pieces of the history from its end: the first block that each covers, how many events it
    holds, and of these at least the ones that are looked for."""
    store, low = history.store, looked.from_block
    archived = store.archived()
    first = max(low, archived + 1)
    last = min(high, store.position().block)
    blocks = FEW
    while first <= last:
        begin = max(first, last - blocks + 1)
        events = store.queue.recent(begin, last)
        yield begin, len(events), events
        last, blocks = begin - 1, 4 * blocks
    for segment in reversed(store.segments()):
        if segment.from_block <= high and segment.to_block >= low:
            path = history.folder / segment.name
            yield segment.from_block, segment.events, _about(path, looked, read)


def _about(path: Path, looked: Looked, read: Read) -> Events:
    """The events of a segment on the token or of the wallet that is looked for, if one is."""
    if looked.token is None and looked.wallet is None:
        return read(path).events
    with segment_columns(path) as columns:
        if looked.token is None:
            assert looked.wallet is not None
            rows = naming(columns, looked.wallet)
        else:
            first = columns["first"]
            rows = np.flatnonzero(first <= looked.token)
            rows = rows[first[rows] + columns["quantity"][rows] > looked.token]
        return events_of(columns, rows) if len(rows) else empty()


def _wanted(events: Events, looked: Looked) -> Bool:
    block, log_index = looked.before
    wanted: Bool = (events.block < block) | (
        (events.block == block) & (events.log_index < log_index)
    )
    wanted &= (events.block >= looked.from_block) & (events.block <= looked.to_block)
    if looked.types:
        wanted &= np.isin(events.kind, looked.types)
    if looked.wallet is not None:
        chosen = frozenset({looked.wallet})
        wanted &= among(events.sender, chosen) | among(events.recipient, chosen)
    if looked.token is not None:
        reaches = events.first + events.quantity > looked.token
        wanted &= (events.first <= looked.token) & reaches
    return wanted


def _answer(
    store: Store, found: list[Events], scanned: tuple[int, int] | None, block: int
) -> Found:
    events = concat(found).sorted() if found else empty()
    events = events.take(slice(None, None, -1))
    return Found(events, _errors(store, ids(events)), scanned, block)


def _errors(store: Store, names: list[str]) -> dict[str, str]:
    """What events of these ids contradicted."""
    marks = ",".join("?" * len(names))
    found = store.db.execute(f"SELECT id, note FROM anomalies WHERE id IN ({marks})", names)
    return dict(found.fetchall())


def concerning(history: History, wallet: bytes, block: int, timestamp: int) -> Events:
    """All events on tokens that a wallet ever had, in position order, up to a moment.

    Of each segment only columns of ids and wallets are read, and all of those with such events.
    """
    store = history.store
    paths = [history.folder / s.name for s in store.segments() if s.from_block <= block]
    recent = [covered.events for covered in history.covered(store.archived())]
    had = [having(events, wallet) for events in recent]
    for path in paths:
        with segment_columns(path) as columns:
            rows = naming(columns, wallet)
            if len(rows):
                first = columns["first"][rows]
                had.append((first, first + columns["quantity"][rows]))
    if not had:
        return empty()
    mine = disjoint(*(np.concatenate(ends) for ends in zip(*had, strict=True)))
    found, count = [], 0
    for events in _all_on(paths, recent, mine):
        events = events.take((events.block <= block) & (events.timestamp <= timestamp))
        found.append(events)
        count += len(events)
        if count > EXPLAINED:
            raise TransientError("this wallet's tokens have too many events to explain at once")
    return concat(found)


def _all_on(paths: list[Path], recent: list[Events], mine: tuple[Ints, Ints]) -> Iterator[Events]:
    """The events on some ranges of tokens, file by file, in order."""
    for path in paths:
        with segment_columns(path) as columns:
            first = columns["first"]
            rows = np.flatnonzero(meeting(first, first + columns["quantity"], *mine))
            yield events_of(columns, rows) if len(rows) else empty()
    for events in recent:
        rows = np.flatnonzero(meeting(events.first, events.first + events.quantity, *mine))
        yield events.take(rows)
