"""How the event monitor is: what it waits for, and the server on loopback that tells it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ngu_points.errors import BadInput, TransientError, UsageError

log = logging.getLogger("ngu")
T = TypeVar("T")
HOST = "127.0.0.1"
SETTINGS, NODE, POSITION, REPORT = "settings", "node", "position", "report"
NEEDED = (SETTINGS, NODE, POSITION)
"""What must have worked once before the monitor is ready."""
SHORTEST, LONGEST = 1.0, 60.0
"""Seconds between two tries: at first, and at most."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something does not work, and since when (monotonic seconds)."""

    why: str
    since: float


def _unknown() -> dict[str, Trouble]:
    return {part: Trouble("not reached yet", time.monotonic()) for part in NEEDED}


@dataclass(slots=True)
class Health:
    """What the tasks say of themselves; they write it, the server and the report read it."""

    troubles: dict[str, Trouble] = field(default_factory=_unknown)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether everything that the monitor needs works."""
        return not self.troubles

    def lasting(self, seconds: float) -> bool:
        """Whether something has not worked for so long."""
        now = time.monotonic()
        return any(now - trouble.since >= seconds for trouble in self.troubles.values())

    def well(self, part: str) -> None:
        """Something works."""
        if self.troubles.pop(part, None):
            log.info("works", extra={"fields": {"part": part}})

    def fails(self, part: str, why: str) -> None:
        """Something does not work; it counts from the first time on."""
        known = self.troubles.get(part)
        self.troubles[part] = Trouble(why, known.since if known else time.monotonic())

    def running(self) -> dict[str, bool]:
        """Which tasks there are, and whether they run."""
        return {name: not task.done() for name, task in self.tasks.items()}


async def patiently(health: Health, part: str, work: Callable[[], Awaitable[T]]) -> T:
    """Repeat `work` until it succeeds, waiting longer each time for trouble that may pass.

    An answer that contradicts itself counts as such: another node or a corrected parameter helps.
    """
    pause = SHORTEST
    while True:
        try:
            result = await work()
        except (TransientError, BadInput) as error:
            seconds = random.uniform(pause / 2, pause)
            health.fails(part, str(error))
            told = {"part": part, "why": str(error), "retry": round(seconds, 1)}
            log.warning("does not work", extra={"fields": told})
        else:
            health.well(part)
            return result
        await asyncio.sleep(seconds)
        pause = min(LONGEST, 2 * pause)


@asynccontextmanager
async def serving(health: Health, metrics: Callable[[], bytes], port: int) -> AsyncIterator[int]:
    """Serve /health, /ready and /metrics on loopback alone; gives the port.

    Port 0 is any free one. UsageError where the port cannot be had.
    """

    async def alive(request: web.Request) -> web.Response:  # noqa: ARG001 -- aiohttp's signature
        running = health.running()
        return _told(all(running.values()), {"tasks": running})

    async def ready(request: web.Request) -> web.Response:  # noqa: ARG001
        return _told(health.ready, {"waitsFor": _shown(health)})

    async def measured(request: web.Request) -> web.Response:  # noqa: ARG001
        return web.Response(body=metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(client_max_size=1024)
    app.add_routes([web.get("/health", alive), web.get("/ready", ready)])
    app.add_routes([web.get("/metrics", measured)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError as error:
            raise UsageError(f"port {port} of {HOST} cannot be used ({error.strerror}): name"
                             " another one with --port") from error  # fmt: skip
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _told(good: bool, more: Mapping[str, Any]) -> web.Response:
    return web.json_response({"ok": good, **more}, status=200 if good else 503)


def _shown(health: Health) -> dict[str, Any]:
    now = time.monotonic()
    return {
        part: {"why": trouble.why, "seconds": int(now - trouble.since)}
        for part, trouble in health.troubles.items()
    }
