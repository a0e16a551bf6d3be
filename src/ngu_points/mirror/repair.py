"""Repair a deployment: the repairs of one machine, done on a copy, and the way back.

While it lasts this process leads: nobody folds, what arrives waits. A repair that fails leaves
the tables as they were. One that was broken off on the way back is finished by whoever repairs
next, from what was written down (`aws.repairs`).
"""

from __future__ import annotations

import getpass
import logging
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from ngu_points.aws import jobs, repairs
from ngu_points.aws import lease as leases
from ngu_points.aws.jobs import Deployment as Jobs
from ngu_points.aws.lease import LeaseLostError
from ngu_points.aws.parameters import Sent
from ngu_points.aws.repairs import Marker, Plan, Repairs
from ngu_points.aws.store import Store as Tables
from ngu_points.embedded.archive import segment_files
from ngu_points.embedded.database import archive_of, in_use, writer_lock
from ngu_points.embedded.store import Store
from ngu_points.errors import NguError, StoreError, TransientError
from ngu_points.mirror import ledger
from ngu_points.mirror.copy import checked, copy, dropped, fingerprint_of, read_tables
from ngu_points.mirror.deployment import Deployment
from ngu_points.mirror.difference import Scope, nothing, rows_of, segments_of, step_of

log = logging.getLogger("ngu")
RENEWED = 30.0  # seconds between signs of life
WAIT = 3 * leases.SECONDS
"""Seconds that a repair waits for whoever is processing."""
PATIENCE = 60.0  # seconds
AHEAD = 1_000_000
"""Sequence numbers that are left out when the event monitor is set back: what is still on its
way was announced under lower ones."""


@contextmanager
def copying(path: Path) -> Iterator[None]:
    """Hold the right to change the copy at `path`; undo what a repair that failed left in it.

    Another command of this machine that has it is waited for, for a while.
    """
    lock, until = path.parent / "copy", time.monotonic() + PATIENCE
    while in_use(lock) and time.monotonic() < until:
        time.sleep(0.2)
    with writer_lock(lock, "XDG_CACHE_HOME"):
        if _base(path).exists():
            _undone(path)
        yield


@contextmanager
def leading(store: Tables, *, repair: bool = False) -> Iterator[str]:
    """Lead until the end, under the name that it gives.

    Waits for whoever is processing; TransientError if that takes long.
    """
    name, until = owner(), time.monotonic() + WAIT
    while True:
        try:
            lead = store.lead_repair if repair else store.lead
            lead(name, int(time.time()))
            break
        except TransientError as error:
            if time.monotonic() > until:
                raise
            log.info("waiting", extra={"fields": {"why": str(error)}})
            time.sleep(min(5.0, WAIT / 4))
    over = threading.Event()
    thread = threading.Thread(target=_renew, args=(store, over), daemon=True)
    thread.start()
    try:
        yield name
    finally:
        over.set()
        thread.join()
        with suppress(NguError):  # it runs out by itself
            store.release()


def _renew(store: Tables, over: threading.Event) -> None:
    while not over.wait(RENEWED):
        try:
            leases.renew(store.dynamo, store.lease, int(time.time()))
        except LeaseLostError as error:  # every write is refused from now on
            log.error("lease lost", extra={"fields": {"why": str(error)}})
            return
        except NguError as error:
            log.warning("lease not renewed", extra={"fields": {"why": str(error)}})


def copied(on: Deployment, path: Path, *, strict: bool = True) -> None:
    """Bring the copy at `path` up to date, to be asked.

    `strict`: StoreError unless all that was announced is there, and comes to the tables' state.
    """
    with copying(path):
        copy(on, path, led=False, strict=strict)
        if not strict:
            return
        try:
            checked(on, path)
        except StoreError:  # the tables may have been taken back meanwhile, or the copy is damaged
            dropped(path)
            copy(on, path, led=False, strict=True)
            checked(on, path)


@contextmanager
def repairing(on: Deployment, path: Path, why: str) -> Iterator[None]:
    """Copy the deployment to `path` for a repair there, then make the tables what the copy is.

    A repair that had been broken off is finished first.
    """
    with copying(path), leading(on.store, repair=True):
        _finish(on)
        copy(on, path, led=True, strict=False)
        with closing(sqlite3.connect(path)) as now, closing(sqlite3.connect(_base(path))) as base:
            now.backup(base)
        yield
        marker = _way_back(on, path, why)
        _base(path).unlink()
        copy(on, path, led=True, strict=False)
        publish(on, int(time.time()))
        if marker:
            _repairs(on).close(marker)


def _finish(on: Deployment) -> None:
    """Finish a repair that was broken off."""
    marker = repairs.unfinished(on.store.dynamo)
    if marker is None:
        return
    try:
        _repairs(on).apply(on.store.lease, marker, int(time.time()))
        _repairs(on).close(marker)
    except StoreError as error:
        log.warning("not finished", extra={"fields": {"why": str(error)}})
    else:
        log.warning("finished a repair that was broken off", extra={"fields": {"was": marker.why}})


def _repairs(on: Deployment) -> Repairs:
    return Repairs(on.store.dynamo, on.s3, on.bucket, on.parameters)


def _way_back(on: Deployment, path: Path, why: str) -> Marker | None:
    """Write down what differs, then do it; None, and nothing is written, where nothing does.

    One that could not be finished gives place to this one, even if that has nothing to do.
    """
    now = int(time.time())
    local = Store.open(path, on.store.rules)
    try:
        with closing(sqlite3.connect(_base(path))) as base:
            base.execute("ATTACH ? AS now", (str(path),))
            before, _ = on.store.here(lambda _: None)
            if set(segments_of(base)) != set(on.store.segments()):
                raise TransientError("the archive has changed meanwhile: run the command again")
            scope = Scope(on, local, base, dict(before), now)
            plan = Plan(why, step_of(scope), rows_of(scope), _sent(scope))
        shown = local.fingerprint()
        noted = ledger.written(on, local, now)
    finally:
        local.close()
    if noted:
        plan.rows.append(ledger.write_of(noted))
    if nothing(plan) and repairs.unfinished(on.store.dynamo) is None:
        return None
    marker = _repairs(on).begin(on.store.lease, plan, now)
    _repairs(on).apply(on.store.lease, marker, now)
    on.store.recall()
    there = fingerprint_of(on, read_tables(on, led=True))
    if there != shown:
        raise StoreError(f"the tables are not what was written (fingerprint {there}, not {shown}):"
                         " run `ngu rebuild --store dynamodb`, and report it")  # fmt: skip
    return marker


def _sent(scope: Scope) -> str | None:
    """Where the event monitor has to go on, if that is below where it was."""
    at, known = scope.local.position(), scope.on.parameters.position()
    behind = scope.lost and known is not None and known.block > at.block
    if not scope.rewound and not behind:
        return None
    used = max(scope.local.meta("sequence", 0), known.sequence if known else 0)
    return Sent(at.block, at.hash, at.timestamp, used + AHEAD).text()


def publish(on: Deployment, now: int) -> dict[str, Any]:
    """What a recovery ends with: the ledger of gaps and the figures as they are now."""
    run_job(on, "gap-check", now)
    return run_job(on, "metrics-aggregation", now)


def run_job(on: Deployment, name: str, now: int) -> dict[str, Any]:
    """Run a job of the schedule from here."""
    return jobs.run(name, Jobs(on.store, on.archive, lambda _: None, f"{owner()}, {name}"), now)


def owner() -> str:
    """The name under which this machine's commands lead, one at a time."""
    return f"ngu of {getpass.getuser()} on {socket.gethostname()}"


# The copy ---------------------------------------------------------------------------------


def _base(path: Path) -> Path:
    return path.with_name(f"{path.name}.before")


def _undone(path: Path) -> None:
    """Take the copy back to what it was; files that were made here may not be the bucket's."""
    base = _base(path)
    with closing(sqlite3.connect(base)) as db, suppress(sqlite3.DatabaseError):
        known = {name for (name,) in db.execute("SELECT name FROM segments")}
        for file in segment_files(archive_of(path)):
            if file.name not in known:
                file.unlink()
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        base.replace(path)
        return
    dropped(path)
    base.unlink()
