"""Server-sent events: each new position, with what of the leaderboard it has changed."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ngu_points.engine.events import I64
from ngu_points.pipeline.board import Board, ranked
from ngu_points.web import reports
from ngu_points.web.boards import board_rows
from ngu_points.web.interfaces import Seen, Standing
from ngu_points.web.problems import busy
from ngu_points.web.shaping import address_text, valid_of
from ngu_points.web.standing import delay, event_total, totals

KEPT = 100  # messages
LISTENERS = 256
HEARTBEAT = 5.0  # seconds
TOP, WATCHED, CHANGED = 10, 100, 100


@dataclass(frozen=True, slots=True)
class Said:
    """A message of the stream."""

    id: str
    text: bytes


class Hub:
    """The last messages, and whoever waits for the next one. Lives on the event loop."""

    def __init__(self) -> None:
        self.said: deque[Said] = deque(maxlen=KEPT)
        self.listeners = 0
        self.number = 0  # of the newest message
        self.over = False
        self._changed = asyncio.Event()

    def say(self, message: Said) -> None:
        """Give a message to all; the same one again is none."""
        if self.said and self.said[-1].id == message.id:
            return
        self.said.append(message)
        self.number += 1
        self._wake()

    def end(self) -> None:
        """Let all streams end: the server does."""
        self.over = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def after(self, number: int) -> list[Said]:
        """The messages since one, or the newest where they are no longer kept."""
        missed = self.number - number
        if missed <= 0:
            return []
        return list(self.said)[-missed:] if missed <= len(self.said) else [self.said[-1]]

    def place(self, last_id: str | None) -> int:
        """Where somebody goes on who has seen a message; all see at least the newest."""
        if last_id is not None:
            for back, message in enumerate(reversed(self.said)):
                if message.id == last_id:
                    return self.number - back
        return max(self.number - 1, 0)

    async def changes(self, seconds: float) -> bool:
        """Wait for the next message; false if none comes."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True


def stream(hub: Hub, last_id: str | None) -> Response:
    """The stream of one listener."""
    if hub.listeners >= LISTENERS:
        raise busy("too many are listening already")
    return Listening(hub, last_id)


class Listening(StreamingResponse):
    """A stream that counts as a listener from before its first byte, so that none is too many."""

    def __init__(self, hub: Hub, last_id: str | None) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(_messages(hub, last_id), 200, headers, "text/event-stream")
        self.hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.hub.listeners += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.hub.listeners -= 1


async def _messages(hub: Hub, last_id: str | None) -> AsyncIterator[bytes]:
    yield b"retry: 2000\n\n"
    number = hub.place(last_id)
    while not hub.over:
        for message in hub.after(number):
            yield message.text
        number = hub.number
        if not await hub.changes(HEARTBEAT):
            block = hub.said[-1].id.partition("-")[0] if hub.said else ""
            now = {"at": int(time.time()), "block": int(block) if block.isdigit() else None}
            yield b"event: heartbeat\ndata: " + msgspec.json.encode(now) + b"\n\n"


# What a message says ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Before:
    """What the message before was about."""

    seen: Seen | None = None
    events: int = 0
    watched: tuple[bytes, ...] = ()  # the best, in order


def message(
    before: Before, seen: Seen | None, board: Board | None, standing: Standing
) -> tuple[Said, Before]:
    """What is new since the message before."""
    figures, events = standing.figures, event_total(standing)
    first = board.order[:WATCHED] if board is not None else np.zeros(0, np.int64)
    names = _names(seen, first)
    changed = _changed(before.seen, seen)
    head = figures.get("head")
    data = reports.Live(
        valid=None if seen is None else valid_of(seen),
        head=head,
        lag=figures.get("lag"),
        delay=delay(seen, int(time.time())),
        backlog=figures.get("backlog", 0),
        dead_letters=figures.get("deadLetters", 0),
        anomalies=figures.get("anomalies", 0),
        alarms=len(figures.get("alarms", [])),
        events=events,
        new_events=max(events - before.events, 0) if before.seen is not None else 0,
        events_per_second=round(standing.events_per_second, 3),
        totals=totals(seen),
        top=board_rows(ranked(board, 0, TOP)) if board is not None else [],
        moved=_moved(before.watched, names),
        changed=[address_text(wallet) for wallet in changed[:CHANGED]],
        many_changed=len(changed) > CHANGED,
        feast_day=None if seen is None else seen.view.state.day,
    )
    block, part = -1, "none"
    if seen is not None:
        block = seen.view.state.block
        part = (seen.block_hash or b"").hex()[:8]
    final = "1" if seen is not None and seen.final else "0"
    id_ = f"{block}-{part}-{final}-{0 if head is None else head}"
    text = f"id: {id_}\nevent: position\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"
    return Said(id_, text), Before(seen, events, names)


def _names(seen: Seen | None, rows: I64) -> tuple[bytes, ...]:
    if seen is None:
        return ()
    address = seen.view.state.wallets.address
    return tuple(address[row].tobytes() for row in rows.tolist())


def _moved(before: tuple[bytes, ...], now: tuple[bytes, ...]) -> list[dict[str, Any]]:
    ranks = {wallet: rank for rank, wallet in enumerate(before, 1)}
    return [
        {"wallet": address_text(wallet), "rank": rank, "before": ranks.get(wallet)}
        for rank, wallet in enumerate(now, 1)
        if ranks.get(wallet) != rank
    ]


def _changed(before: Seen | None, seen: Seen | None) -> list[bytes]:
    """Wallets that an event has touched since."""
    if before is None or seen is None or before.branch != seen.branch:
        return []  # rows of another branch are of other wallets
    old, new = before.view.state, seen.view.state
    later = new.wallets.updated >= max(old.timestamp, 1)
    if len(old.wallets) <= len(new.wallets):
        n = len(old.wallets)
        same = (old.wallets.updated == new.wallets.updated[:n]) & (
            old.wallets.held == new.wallets.held[:n]
        )
        later[:n] &= ~(same & (old.wallets.staked == new.wallets.staked[:n]))
    rows = np.flatnonzero(later)
    return [new.wallets.address[row].tobytes() for row in rows[: CHANGED + 1].tolist()]
