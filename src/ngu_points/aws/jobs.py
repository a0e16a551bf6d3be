"""The scheduled jobs on AWS; each can run at any time, and twice."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ngu_points.aws import figures, health, metrics, repairs
from ngu_points.aws import lease as leases
from ngu_points.aws.archive import Archive
from ngu_points.aws.gaps import DERIVED, NO_FILE, NO_SEGMENT, Gap, bring_up_to_date
from ngu_points.aws.items import Row
from ngu_points.aws.metrics import Metric
from ngu_points.aws.store import Store
from ngu_points.aws.tables import LEADERBOARD
from ngu_points.errors import TransientError, UsageError
from ngu_points.pipeline import jobs as pure
from ngu_points.pipeline import query

log = logging.getLogger("ngu")
PIECE = 1_000  # ranks in a row of the leaderboard, some 200 bytes each
BANK = 1_000
"""A snapshot's pieces have numbers from 1 or from 1,001 on, in turns, so that a reader of the one
before is not disturbed."""
SEGMENTS_AT_ONCE = 20  # that a run of `tidy` writes at most: some seconds each


@dataclass(frozen=True, slots=True)
class Deployment:
    """What the jobs work on."""

    store: Store
    archive: Archive | None
    publish: Callable[[Mapping[Metric, float]], None]
    owner: str  # names this run among those that may hold the lease


def run(name: str, deployment: Deployment, now: int) -> dict[str, Any]:
    """Run one job of the table; UsageError for any other name."""
    if name not in RUNS:
        raise UsageError(f"there is no job {name!r}: it is one of {', '.join(RUNS)}")
    return RUNS[name](deployment, now)


def points_recalc(on: Deployment, now: int) -> dict[str, Any]:
    """Rank all wallets at the position; StoreError if the record contradicts itself."""
    store, rules = on.store, on.store.rules
    store.check_rules()
    with store.still(on.owner, now):
        state = store.state()
        pure.check(state, (day for day, _ in store.feast_days()), store.feast_shares, rules)
    frozen = store.freeze()
    view = query.View.of(state, rules)
    ranked = query.leaderboard(view, pure.RANKED)
    season = rules.seasons[view.season].name if rules.seasons else ""
    _publish_ranks(store, season, ranked, {"block": state.block, "timestamp": state.timestamp,
                                           "at": now, "wallets": len(state.wallets)})  # fmt: skip
    return {"block": state.block, "wallets": len(ranked), "frozenSeasons": frozen, "at": now}


def _publish_ranks(store: Store, season: str, ranked: list[dict[str, Any]], about: Row) -> None:
    """Write a snapshot beside the last one, then point to it."""
    before = store.dynamo.get(LEADERBOARD, {"season": season, "piece": 0}) or {}
    first = 1 if before.get("first") != 1 else BANK + 1
    pieces = [ranked[at : at + PIECE] for at in range(0, len(ranked), PIECE)]
    for number, piece in enumerate(pieces, first):
        row = {"season": season, "piece": number, "block": about["block"]}
        store.dynamo.put(LEADERBOARD, row | {"ranks": json.dumps(piece)})
    head = {"season": season, "piece": 0, "first": first, "pieces": len(pieces), **about}
    store.dynamo.put(LEADERBOARD, head)
    store.dynamo.put(LEADERBOARD, {**head, "season": LATEST, "of": season})


LATEST = "latest"
"""In the place of a season: which one was ranked last, with what its first row says."""


def ranks(store: Store) -> tuple[Row, list[dict[str, Any]]] | None:
    """The last snapshot: what it is of (block, timestamp, at, season), and its rows; None if none.

    TransientError where it was replaced while it was read.
    """
    head = store.dynamo.get(LEADERBOARD, {"season": LATEST, "piece": 0})
    if head is None:
        return None
    keys = [{"season": head["of"], "piece": head["first"] + n} for n in range(head["pieces"])]
    found = sorted(store.dynamo.get_many(LEADERBOARD, keys), key=lambda row: int(row["piece"]))
    if [row["block"] for row in found] != [head["block"]] * len(keys):
        raise TransientError("the leaderboard was replaced while it was read: try again")
    about = {"season": head["of"], **{n: head[n] for n in ("block", "timestamp", "at", "wallets")}}
    return about, [rank for row in found for rank in json.loads(row["ranks"])]


def metrics_aggregation(on: Deployment, now: int) -> dict[str, Any]:
    """Running figures, kept as the last of their 5 minutes, their hour and their day."""
    store, found = on.store, health.look(on.store, now)
    measured = {
        "block": found.block,
        "lag": found.lag,
        "delay": max(now - found.timestamp, 0) if found.timestamp else 0,
        "gaps": found.gaps,
        **pure.folded(store.counters()),
        "backlog": found.backlog,
        "deadLetters": found.dead_letters,
        **store.totals(),
    }
    figures.keep(store.dynamo, now, measured)
    return measured


def gap_check(on: Deployment, now: int) -> dict[str, Any]:
    """Keep the ledger of what is missing."""
    found = [*health.uncovered(on.store, now), *health.outstanding(on.store, now)]
    looked = set(DERIVED)
    if on.archive is None:
        looked -= {NO_SEGMENT, NO_FILE}
    else:
        found += [Gap("archive", a, b, why, now) for a, b, why in on.archive.holes()]
    for gap in bring_up_to_date(on.store.dynamo, found, looked):
        named = {"stream": gap.stream, "from": gap.from_block, "to": gap.to_block, "why": gap.why}
        log.warning("gap", extra={"fields": named})
    return {"gaps": len(on.store.gaps())}


def heartbeat(on: Deployment, now: int) -> dict[str, Any]:
    """Publish where processing stands, seen from outside of it."""
    found = health.look(on.store, now)
    on.publish(
        {
            metrics.DELAY: found.delay,
            metrics.BACKLOG: found.backlog,
            metrics.POSITION: found.block,
            metrics.GAPS: found.gaps,
            metrics.DEAD_LETTERS: found.dead_letters,
            metrics.HEARTBEAT: 1,
        }
    )
    return {"block": found.block, "backlog": found.backlog, "delay": found.delay}


def tidy(on: Deployment, now: int) -> dict[str, Any]:
    """Drop what was replaced before, forget what can no more be taken back, archive it.

    Not while somebody repairs: a repair goes by the archive as it found it.
    """
    with leases.tidying(on.store.dynamo, on.owner, now) as may:
        if not may or repairs.unfinished(on.store.dynamo):
            return {"waitsFor": "a repair, or another run of this job"}
        done: dict[str, Any] = {"steps": on.store.prune(now)}
        if on.archive is not None:
            done["swept"] = on.archive.sweep(now)  # not what is replaced now: readers are at it
            done["archivedThrough"] = on.archive.seal(now, SEGMENTS_AT_ONCE)
        return done


Run = Callable[[Deployment, int], dict[str, Any]]
RUNS: dict[str, Run] = {
    "points-recalc": points_recalc,
    "metrics-aggregation": metrics_aggregation,
    "gap-check": gap_check,
    "heartbeat": heartbeat,
    "tidy": tidy,
}
