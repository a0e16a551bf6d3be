"""The jobs of the schedule on one machine; each can run at any time, and twice."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from ngu_points.embedded import windows
from ngu_points.embedded.history import History
from ngu_points.embedded.repair import missing, note_damage, note_missing
from ngu_points.embedded.retractions import settle
from ngu_points.errors import NguError, StoreError
from ngu_points.pipeline import board, query
from ngu_points.pipeline import jobs as pure
from ngu_points.pipeline.schedule import JOBS, due

log = logging.getLogger("ngu")


def points_recalc(history: History, now: int) -> dict[str, Any]:
    """Rank all wallets at the last covered block; StoreError if the record contradicts itself."""
    store, rules = history.store, history.store.rules
    position, state = store.position(), store.state()
    pure.check(state, (day for day, _ in store.feasts.days()), store.feasts.shares, rules)
    frozen = store.freeze()
    damaged = note_damage(history, now)
    view = query.View.of(state, rules)
    ranked = board.ranked(board.reaching(board.board_of(view), pure.RANKED), 0, pure.RANKED)
    with store.commit():
        store.db.execute("DELETE FROM leaderboard")
        store.db.executemany(
            "INSERT INTO leaderboard VALUES (?, ?, ?, ?)",
            [
                (r["rank"], bytes.fromhex(r["wallet"][2:]), r["points"], r["totalPoints"])
                for r in ranked
            ],
        )
    return {"block": position.block, "wallets": len(ranked), "frozenSeasons": frozen, "at": now,
            "damagedFiles": damaged}  # fmt: skip


def metrics_aggregation(history: History, now: int) -> dict[str, Any]:
    """One row of running figures: the windows of 5 minutes, hours and days are made of them."""
    store = history.store
    state, position = store.state(), store.position()
    counters = store.meta("counters") or {}
    measured = {
        "block": position.block,
        "lag": max(store.meta("head", position.block) - position.block, 0),
        "delay": max(now - position.timestamp, 0),
        "gaps": len(missing(store)),
        **pure.folded(counters),
        "backlog": store.queue.backlog(),
        "deadLetters": store.queue.dead_letters(),
        **pure.totals(state),
    }
    with store.commit():
        windows.keep(store.db, now, measured)
    return measured


def gap_check(history: History, now: int) -> dict[str, Any]:
    """Keep the ledger of what is missing."""
    found = note_missing(history.store, now)
    for gap in found:
        log.warning("gap", extra={"fields": gap})
    return {"gaps": found}


def heartbeat(history: History, now: int) -> dict[str, Any]:
    store = history.store
    position = store.position()
    log.debug(
        "heartbeat", extra={"fields": {"block": position.block, "backlog": store.queue.backlog()}}
    )
    return {"block": position.block}


def tidy(history: History, now: int) -> dict[str, Any]:
    """Seal what is final, drop what expired or was replaced."""
    store = history.store
    history.seal(store.final, least=0)
    history.sweep(now)
    settle(history, now)
    return {"dropped": store.prune(store.final, store.archived(), now)}


Run = Callable[[History, int], dict[str, Any]]
RUNS: dict[str, Run] = {
    "points-recalc": points_recalc,
    "metrics-aggregation": metrics_aggregation,
    "gap-check": gap_check,
    "heartbeat": heartbeat,
    "tidy": tidy,
}


def _result(name: str, history: History, now: int) -> dict[str, Any]:
    """A job that fails is noted and raises an alarm; it does not end the others."""
    try:
        return RUNS[name](history, now)
    except (NguError, OSError) as error:
        log.error("job failed", extra={"fields": {"job": name, "why": str(error)}})
        return {"error": str(error)}


def catch_up(history: History, now: int) -> list[str]:
    """Run every job that is due, in the order of the table; what was missed is one run."""
    last = dict(history.store.db.execute("SELECT name, lastRun FROM jobs"))
    names = [job.name for job in JOBS if due(job, last.get(job.name), now)]
    for name in names:
        _run(name, history, now)
    return names


def recalc(history: History, now: int) -> dict[str, Any]:
    """Points Recalc at once; StoreError if the record contradicts itself."""
    if history.store.meta("position") is None:
        raise NguError(f"{history.store.path} covers no block yet: run `ngu sync` first")
    result = _run("points-recalc", history, now)
    if "error" in result:
        raise StoreError(result["error"])
    return result


def publish(history: History, now: int) -> dict[str, Any]:
    """What a recovery ends with: the ledger of gaps and the figures as they are now."""
    _run("gap-check", history, now)
    return _run("metrics-aggregation", history, now)


def _run(name: str, history: History, now: int) -> dict[str, Any]:
    result = _result(name, history, now)
    with history.store.commit():
        history.store.db.execute(
            "REPLACE INTO jobs VALUES (?, ?, ?)", (name, now, json.dumps(result))
        )
    return result
