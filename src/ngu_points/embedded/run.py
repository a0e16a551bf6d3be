"""Follow the chain: catch up at each new head, run what is due, until stopped."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ngu_points.embedded import jobs
from ngu_points.embedded.app import App
from ngu_points.errors import BadInput, TransientError
from ngu_points.pipeline.schedule import next_moment

log = logging.getLogger("ngu")
PATIENCE = 60.0
"""The longest wait between two tries while no endpoint answers, in seconds."""


async def follow(app: App, stop: asyncio.Event) -> None:
    """Run the monitor and the schedules side by side until `stop` is set."""
    await app.on_worker(app.note_running, True)
    stopping = asyncio.create_task(stop.wait())
    work: list[asyncio.Task[None]] = [
        asyncio.create_task(_watch(app)),
        asyncio.create_task(_schedule(app)),
    ]
    waiting: list[asyncio.Task[Any]] = [stopping, *work]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for running in work:
            if running.done():
                running.result()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    await app.on_worker(app.note_running, False)


async def _watch(app: App) -> None:
    failures = 0
    async for _ in app.reader.rpc.heads(app.config.chain.poll_interval):
        try:
            await app.catch_up()
            failures = 0
        except (TransientError, BadInput) as error:
            failures += 1
            pause = min(2.0**failures, PATIENCE)
            await app.on_worker(app.note_trouble, str(error))
            log.warning("chain not readable", extra={"fields": {"why": str(error), "retry": pause}})
            await asyncio.sleep(pause)


async def _schedule(app: App) -> None:
    while True:
        now = int(app.now())
        await app.on_worker(jobs.catch_up, app.history, now)
        await asyncio.sleep(next_moment(app.now()))
