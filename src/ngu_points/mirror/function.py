"""The API behind a Lambda function: the same application, over a copy of the stage's tables.

The copy lies in the function's own storage (/tmp) and is brought up to date when the tables have
moved on, at most every few seconds; so any number of questions costs as much as one. Nothing is
streamed from here: who wants what is new polls with ETags, and exports are whole answers, which
have a limit.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mangum import Mangum

from ngu_points.aws import environment as environments
from ngu_points.aws import wiring
from ngu_points.aws.changes import POSITION_KEY
from ngu_points.aws.environment import Environment
from ngu_points.aws.tables import META
from ngu_points.config import Config, rules_of
from ngu_points.embedded.database import naming_errors
from ngu_points.embedded.replica import Replica
from ngu_points.embedded.windows import FIVE_MINUTES
from ngu_points.errors import NguError, UsageError
from ngu_points.logs import configure_logging
from ngu_points.mirror import figures
from ngu_points.mirror.deployment import Deployment
from ngu_points.mirror.repair import copied
from ngu_points.web.app import application
from ngu_points.web.guard import Limits

log = logging.getLogger("ngu")
EVERY = 10.0
"""Seconds between two looks at the tables."""
PART = 10
"""Looking takes no more than one in so many seconds, however much there is to copy."""
ASKING = ("/api/", "/health", "/ready", "/metrics")
"""Paths that are answered from the copy; all others are files of the dashboard."""
TEXT = ["text/", "application/json", "application/problem+json", "image/svg+xml"]
MOST = 4_000_000
"""Bytes of a file; with its quotes escaped or in base64 it stays below the 6 MB of an answer."""
STOPPED = 900
"""A position that is older than so many seconds means that nothing is being processed."""


class Site:
    """The copy, what answers from it, and when the tables are looked at next."""

    def __init__(self, env: Environment, config: Config, path: Path) -> None:
        self.env, self.config, self.path = env, config, path
        self.replica = Replica(path, rules_of(config), running=self._running)
        limits = Limits(config.web.requests_per_second, tuple(config.web.cors))
        self.app = application(self.replica, None, limits, MOST)
        self._due = 0.0
        self._known: Any = None
        self._window = 0  # in which figures were looked for last

    def answer(self, payload: Mapping[str, Any], context: Any) -> Any:
        """The answer to a request, made on an event loop of its own."""
        with asyncio.Runner() as runner:
            asyncio.set_event_loop(runner.get_loop())  # it is the current one that mangum takes
            try:
                asked = Mangum(self.app, lifespan="off", text_mime_types=TEXT)
                return asked(dict(payload), context)
            finally:
                asyncio.set_event_loop(None)

    def follow(self) -> None:
        """Bring the copy up to date if it is time and the tables have moved."""
        began = time.time()
        if began < self._due:
            return
        try:
            self._follow()
        except (NguError, OSError) as error:  # what there is goes on answering, for its block
            fields = {"why": str(error) or type(error).__name__}
            log.warning("copy not brought up to date", extra={"fields": fields})
        now = time.time()
        self._due = now + max(EVERY, PART * (now - began))

    def _follow(self) -> None:
        on = Deployment(self.env, self.config)
        # with the fence of who wrote it: a rebuild leaves the block as it was
        position = on.store.dynamo.get(META, POSITION_KEY)
        if self._known is None or position != self._known:
            with naming_errors(self.path):
                copied(on, self.path, strict=False)
            self.replica.forget()
            self._known = position
        self.replica.refresh()
        window = int(time.time()) // FIVE_MINUTES
        if window != self._window:
            with naming_errors(self.path):
                figures.follow(on, self.path)
            self._window = window

    def _running(self) -> bool:
        seen = self.replica.newest()
        return seen is not None and time.time() - seen.view.timestamp < STOPPED


def handler(payload: Mapping[str, Any], context: Any) -> Any:
    """Answer a request of an HTTP API or a function URL."""
    site = _site()
    if str(payload.get("rawPath")).startswith(ASKING):
        site.follow()
    return site.answer(payload, context)


def _site() -> Site:
    """The site; another one once the settings are others."""
    env, path, sites = _unit()
    try:
        config = wiring.settings(env, time.time())
    except NguError as error:
        if not sites:
            raise
        log.warning("settings not read again", extra={"fields": {"why": str(error)}})
        return sites[0]
    if not sites or sites[0].config != config:
        sites[:] = [Site(env, config, path)]
    return sites[0]


@cache
def _unit() -> tuple[Environment, Path, list[Site]]:
    env = environments.environment(os.environ)
    configure_logging(env.log_level)
    if not env.archive:
        raise UsageError("ARCHIVE_BUCKET is not set in the environment: the deployment sets it")
    return env, Path(os.environ.get("COPY", "/tmp/ngu/copy.db")), []
