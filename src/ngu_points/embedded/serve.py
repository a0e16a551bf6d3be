"""Serve the web application over a database, and keep its copy of the state up to date."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from ngu_points.config import Config, rules_of
from ngu_points.embedded.replica import Replica
from ngu_points.errors import NguError
from ngu_points.web.app import application
from ngu_points.web.guard import Limits
from ngu_points.web.live import Before, Hub, Said, message
from ngu_points.web.protocol import HEADERS, Patient

log = logging.getLogger("ngu")
LOOK = 0.25  # seconds between two looks whether the database has changed, where nobody says so
SHARE, CREDIT = 9, 0.25
"""How many times longer than it takes a refresh rests, and seconds of rest that may wait: at the
head nobody rests between the few blocks, through a long history following takes a tenth."""
SLOWEST, AT_LEAST = 30.0, 5.0
"""Seconds between two refreshes at most where they take long, and where nothing changes."""


async def serve(config: Config, listener: socket.socket) -> None:
    """Serve until standard input ends."""
    servers = logging.getLogger("uvicorn")
    servers.handlers, servers.propagate = log.handlers, False
    servers.setLevel(logging.ERROR)  # what is no request is not worth a line
    replica, hub = Replica(config.db, rules_of(config)), Hub()
    limits = Limits(config.web.requests_per_second, tuple(config.web.cors))
    server = uvicorn.Server(
        uvicorn.Config(
            application(replica, hub, limits),
            http=Patient,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=HEADERS,
            timeout_graceful_shutdown=1,
        )
    )
    server.capture_signals = _nothing  # type: ignore[method-assign, assignment]
    loop = asyncio.get_running_loop()
    stop, news = threading.Event(), threading.Event()

    def say(said: Said) -> None:
        loop.call_soon_threadsafe(hub.say, said)

    following = threading.Thread(target=follow, args=(replica, say, stop, news), daemon=True)
    following.start()
    listening = asyncio.create_task(_listening(server, hub, news))
    try:
        await server.serve([listener])
    finally:
        stop.set()
        news.set()
        listening.cancel()


async def _listening(server: uvicorn.Server, hub: Hub, news: threading.Event) -> None:
    """Whoever started the server says when there is news; it ends once they are gone."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1_024):
        news.set()
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # whom it cuts off need not be told of
    hub.end()
    server.should_exit = True


def follow(
    replica: Replica, say: Callable[[Said], None], stop: threading.Event, news: threading.Event
) -> None:
    """Take over what changes until told to stop, leaving most of the time to the pipeline.

    `news` is set where somebody knows of a change; whatever else writes is found by looking.
    """
    watch, before, tries, rest = Watch(replica.path), Before(), 0, Rest()
    while not stop.is_set():
        if not watch.changed():
            news.wait(LOOK)
            news.clear()
            continue
        began = time.monotonic()
        try:
            replica.refresh()
            replica.sample(time.time())
            standing = replica.standing()
            if standing is not None:
                said, before = message(before, replica.newest(), replica.newest_board(), standing)
                say(said)
            tries = 0
        except (NguError, OSError) as error:
            tries += 1
            if tries in (3, 100):  # a database that is just being made is no trouble
                log.warning("database not readable", extra={"fields": {"why": str(error)}})
        except Exception as error:
            log.error("not followed", extra={"fields": {"why": f"{type(error).__name__}: {error}"}})
            log.debug("not followed", exc_info=error)
            stop.wait(AT_LEAST)
        stop.wait(rest.after(began, time.monotonic()))


@dataclass(slots=True)
class Rest:
    """What refreshes owe the pipeline."""

    owed: float = 0.0  # seconds
    since: float = 0.0

    def after(self, began: float, ended: float) -> float:
        """How long to rest now, behind a refresh."""
        left = max(self.owed - (began - self.since), 0.0)
        self.owed, self.since = left + SHARE * (ended - began), ended
        return min(max(self.owed - CREDIT, 0.0), SLOWEST)


class Watch:
    """Tells cheaply whether a database has been written to, or is another file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db: sqlite3.Connection | None = None
        self.known: tuple[int, int] | None = None
        self.looked = 0.0

    def changed(self) -> bool:
        """Whether there is anything new, or it is time to look anyhow."""
        now = time.monotonic()
        try:
            inode = self.path.stat().st_ino
            if self.db is None or self.known is None or self.known[0] != inode:
                self.close()
                uri = f"{self.path.absolute().as_uri()}?mode=ro"
                self.db = sqlite3.connect(uri, uri=True, isolation_level=None)
            known = inode, int(self.db.execute("PRAGMA data_version").fetchone()[0])
        except (OSError, sqlite3.Error):
            self.close()
            known = None
        if known == self.known and now - self.looked < AT_LEAST:
            return False
        self.known, self.looked = known, now
        return True

    def close(self) -> None:
        if self.db is not None:
            self.db.close()
            self.db = None


def _nothing() -> contextlib.AbstractContextManager[None]:
    """Signals are the pipeline's."""
    return contextlib.nullcontext()
