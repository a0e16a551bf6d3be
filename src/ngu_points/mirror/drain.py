"""Clear the backlog of a deployment: with raised limits, from here, in order."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from ngu_points.aws import health, wiring
from ngu_points.aws.limits import Bounds, Limits
from ngu_points.aws.tables import table_name
from ngu_points.aws.trouble import naming
from ngu_points.errors import UsageError
from ngu_points.mirror.deployment import Deployment
from ngu_points.mirror.repair import copying, leading, publish
from ngu_points.mirror.status import status
from ngu_points.pipeline.recover import drain as drained

log = logging.getLogger("ngu")


def drain(on: Deployment, path: Path, *, dry: bool) -> dict[str, Any]:
    """Process all that is covered, order looked at; limits are raised meanwhile and put back.

    `path` is that of the copy: who repairs there does not drain at the same time.
    """
    now, began = int(time.time()), time.monotonic()
    on.check()
    report: dict[str, Any] = {"dryRun": dry, "backlogBefore": health.look(on.store, now).backlog}
    report |= {"events": 0, "steps": 0, "eventsPerStep": 0, "limits": []}
    report["alarmsBefore"] = status(on, now)["alarms"]
    if not dry:
        _drain(on, path, report)
    report["seconds"] = round(time.monotonic() - began, 3)
    if not dry:
        report["metrics"] = publish(on, int(time.time()))
    now = int(time.time())
    report |= {"backlog": health.look(on.store, now).backlog, "block": on.store.position().block}
    return report | {"alarms": status(on, now)["alarms"], "fingerprint": on.store.fingerprint()}


def _drain(on: Deployment, path: Path, report: dict[str, Any]) -> None:
    store, env = on.store, on.env
    functions = wiring.client("lambda", env.region)
    bounds = bounds_of(functions, table_name(env.service, "scale", env.stage))
    with copying(path), leading(store) as owner:
        limits = Limits(
            store.dynamo,
            functions,
            bounds,
            table_name(env.service, "process", env.stage),
            owner,
            lambda: int(time.time()),
            time.sleep,
        )
        for step in drained(store, store.rules, limits, int(time.time())):
            report["events"] += len(step.events)
            report["steps"] += 1
            done = {"events": report["events"], "block": step.position.block}
            log.info("processed", extra={"fields": done})
    report["limits"] = limits.changes


def bounds_of(functions: Any, scale: str) -> Bounds:
    """How far the deployment lets its scale function go; the defaults where that is not told."""
    try:
        with naming(f"the settings of {scale}"):
            found = functions.get_function_configuration(FunctionName=scale)
    except UsageError as error:  # the role may not ask, or there is no such function
        log.warning(
            "limits are raised as far as the defaults", extra={"fields": {"why": str(error)}}
        )
        return Bounds()
    return wiring.bounds(found.get("Environment", {}).get("Variables", {}))
