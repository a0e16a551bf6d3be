"""The API behind a Lambda function: the same application, over a copy of the stage's tables.

The copy lies in the function's own storage (/tmp) and is brought up to date when the tables have
moved on, at most every few seconds; so any number of questions costs as much as one. Live events
and exports are not served here: what polls with ETags has the one, `ngu export` the other.
"""

from __future__ import annotations

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
from ngu_points.config import rules_of
from ngu_points.embedded.replica import Replica
from ngu_points.errors import NguError, UsageError
from ngu_points.logs import configure_logging
from ngu_points.mirror.deployment import Deployment
from ngu_points.mirror.repair import copied
from ngu_points.web.app import application
from ngu_points.web.guard import Limits

log = logging.getLogger("ngu")
EVERY = 10.0
"""Seconds between two looks at the tables."""
TEXT = ["text/", "application/json", "application/problem+json", "image/svg+xml"]
STOPPED = 900
"""A position that is older than so many seconds means that nothing is being processed."""


class Site:
    """The copy, what answers from it, and when the tables were looked at last."""

    def __init__(self, deployment: Deployment, path: Path) -> None:
        config = deployment.config
        self.deployment, self.path = deployment, path
        self.replica = Replica(path, rules_of(config), running=self._running)
        limits = Limits(config.web.requests_per_second, tuple(config.web.cors))
        app = application(self.replica, None, limits)
        self.answer = Mangum(app, lifespan="off", text_mime_types=TEXT)
        self._looked = 0.0
        self._known: Any = None

    def follow(self, now: float) -> None:
        """Bring the copy up to date if it is time and the tables have moved."""
        if self._looked and now - self._looked < EVERY:
            return
        self._looked = now
        try:
            on = Deployment(self.deployment.env, self.deployment.config)
            position = on.store.position()
            if position != self._known:
                copied(on, self.path, strict=False)
                self.replica.forget()
                self._known = position
            self.replica.refresh()
        except NguError as error:  # what there is goes on answering, for the block that it is of
            log.warning("copy not brought up to date", extra={"fields": {"why": str(error)}})

    def _running(self) -> bool:
        seen = self.replica.newest()
        return seen is not None and time.time() - seen.view.timestamp < STOPPED


def handler(payload: Mapping[str, Any], context: Any) -> Any:
    """Answer a request of a function URL or an HTTP API."""
    site = _site()
    site.follow(time.time())
    return site.answer(dict(payload), context)


@cache
def _site() -> Site:
    configure_logging(os.environ.get("LOG_LEVEL", "info"))
    env = environments.environment(os.environ)
    if not env.archive:
        raise UsageError("ARCHIVE_BUCKET is not set in the environment: the deployment sets it")
    deployment = Deployment(env, wiring.settings(env, int(time.time())))
    return Site(deployment, Path(os.environ.get("COPY", "/tmp/ngu/copy.db")))
