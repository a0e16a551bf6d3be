"""Where a deployment stands: the figures of `ngu status`, read from its tables."""

from __future__ import annotations

from itertools import islice
from typing import Any

from ngu_points.aws import health, repairs, wiring
from ngu_points.aws.environment import Environment
from ngu_points.aws.gaps import Gap
from ngu_points.aws.store import Store
from ngu_points.aws.tables import DEAD_LETTERS, META, QUARANTINE
from ngu_points.aws.trouble import naming
from ngu_points.embedded.status import joined, other_rules
from ngu_points.errors import NguError
from ngu_points.mirror import ledger
from ngu_points.mirror.deployment import Deployment
from ngu_points.mirror.ledger import Ledger

COUNTED = 10_000
"""Rows of the quarantine that are counted at most."""


def status(on: Deployment, now: int) -> dict[str, Any]:
    """Position, head, lag, backlog, gaps, dead letters, quarantine, doubts, alarms."""
    store, dynamo = on.store, on.store.dynamo
    found, counters = health.look(store, now), store.counters()
    position, row = store.position(), dynamo.get(META, {"key": "head"})
    of = dynamo.get(META, {"key": "identity"})
    told: dict[str, Any] = {
        "database": on.name,
        "identity": [of["chainId"], of["contract"], of["contractKind"]] if of else None,
        "startBlock": store.start_block if of else None,
        "block": position.block,
        "timestamp": position.timestamp,
        "blockHash": "0x" + position.hash.hex(),
        "head": int(row["newest"]) if row else None,
        "final": final(store, position.block),
        "lag": found.lag if row else None,
        "events": sum(v for k, v in counters.items() if k.isdigit()),
        "backlog": found.backlog,
        "delay": found.delay,
        "archivedThrough": store.archived(),
        "gaps": [f"{g.stream} {g.from_block}..{g.to_block}: {g.why}" for g in missing(on, now)],
        "deadLetters": found.dead_letters,
        "quarantine": sum(1 for _ in islice(dynamo.scan(QUARANTINE), COUNTED)),
        "anomalies": counters.get("anomalies", 0),
        "uncertainWallets": len(store.uncertain()),
    }
    unread = []
    try:
        told |= _noted(ledger.read(on))
    except NguError as error:  # a role that may not read the bucket sees all else
        told |= _noted(Ledger())
        unread = [str(error)]
    told["endpoints"] = []
    return told | {"alarms": [*_doubts(on, told), *unread, *_alarms(on.env)]}


def _noted(known: Ledger) -> dict[str, Any]:
    """What commands have found out, wherever they ran."""
    taken = sum(len(known.rows.get(table, [])) for table in ("retractions", "shown"))
    ranges = [(row[0], row[1]) for row in known.rows.get("certificates", [])]
    return {
        "retractions": taken,
        "certified": joined(ranges),
        "verified": known.meta.get("verified"),
    }


def final(store: Store, block: int) -> bool:
    """Whether a processed block is final: only what was confirmed is ever sent."""
    head = store.dynamo.get(META, {"key": "head"})
    return block >= store.start_block and (head is None or block <= int(head["final"]))


def missing(on: Deployment, now: int, *, archive: bool = False) -> list[Gap]:
    """What is known to be missing, and what can be seen to be missing now.

    With `archive`, whether the segments' objects are there is looked at too.
    """
    store = on.store
    known = {gap.place: gap for gap in store.gaps()}
    seen = [*health.uncovered(store, now), *health.outstanding(store, now)]
    if archive:
        seen += [Gap("archive", a, b, why, now) for a, b, why in on.archive.holes()]
    for gap in seen:
        known.setdefault(gap.place, gap)
    return sorted(known.values(), key=lambda gap: (gap.from_block, gap.to_block, gap.stream))


def _doubts(on: Deployment, told: dict[str, Any]) -> list[str]:
    letters, set_aside, uncertain = (
        told[n] for n in ("deadLetters", "quarantine", "uncertainWallets")
    )
    marker = repairs.unfinished(on.store.dynamo)
    differing = (told["verified"] or {}).get("differences", 0)
    delay = f"{told['delay'] // 60} minutes" if told["delay"] >= 120 else f"{told['delay']} s"
    return [
        text or ""
        for text, raised in (
            (marker and repairs.told(marker), marker is not None),
            ("nothing is covered yet: does the event monitor run?", told["timestamp"] == 0),
            (f"{len(told['gaps'])} gaps: see `ngu gaps`", bool(told["gaps"])),
            (f"{letters} dead letters", bool(letters)),
            (f"{set_aside} records in the quarantine are none of this deployment", bool(set_aside)),
            (f"{told['backlog']} events wait to be processed, the oldest for {delay}",
             bool(told["backlog"])),
            (f"{uncertain} wallets are uncertain, events contradict the record: see "
             "`ngu verify`", bool(uncertain)),
            (f"{differing} tokens differ from the contract: see `ngu verify`", bool(differing)),
            *((why, True) for why in other_rules(on.store)),
        )
        if raised
    ]  # fmt: skip


def _alarms(env: Environment) -> list[str]:
    """The alarms of CloudWatch that are raised; where they cannot be asked for, why."""
    try:
        with naming("the alarms of CloudWatch"):
            pages = wiring.client("cloudwatch", env.region).get_paginator("describe_alarms")
            asked = pages.paginate(AlarmNamePrefix=f"{env.service}-", StateValue="ALARM")
            found = [alarm for page in asked for alarm in page.get("MetricAlarms", [])]
    except NguError as error:
        return [str(error)]
    raised = [alarm for alarm in found if alarm["AlarmName"].endswith(f"-{env.stage}")]
    return [f"alarm {a['AlarmName']}: {a.get('StateReason', 'raised')}" for a in raised]


def dead_letters(store: Store) -> list[dict[str, Any]]:
    """The logs that could not become events, oldest first."""
    found = [
        {
            "id": row["id"],
            "stream": row.get("of") or row["stream"],
            "blockNumber": int(row["blockNumber"]),
            "logIndex": int(row["logIndex"]),
            "timestamp": int(row["timestamp"]),
            "reason": row["reason"],
            "raw": row["raw"].decode("utf-8", "replace"),
        }
        for row in store.dynamo.scan(DEAD_LETTERS)
    ]
    return sorted(found, key=lambda row: (row["blockNumber"], row["logIndex"]))
