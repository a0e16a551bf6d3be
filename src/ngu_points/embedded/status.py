"""Where the pipeline stands, in figures that a person and an alarm can read."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Protocol

from ngu_points.embedded.database import in_use
from ngu_points.embedded.repair import missing
from ngu_points.embedded.scores import endpoints
from ngu_points.embedded.store import Store
from ngu_points.errors import StoreError


def status(store: Store) -> dict[str, Any]:
    """Position, head, lag, backlog, gaps, dead letters, doubts, proofs, endpoints, alarms."""
    position, counters = store.position(), store.meta("counters") or {}
    head, final = store.meta("head"), store.meta("final", -1)
    found = {
        "database": str(store.path),
        "identity": store.meta("identity"),
        "startBlock": store.meta("start_block"),
        "block": position.block,
        "timestamp": position.timestamp,
        "blockHash": "0x" + position.hash.hex(),
        "head": head,
        "final": 0 <= position.block <= final,
        "lag": None if head is None else max(head - position.block, 0),
        "events": sum(v for k, v in counters.items() if k.isdigit()),
        "backlog": store.queue.backlog(),
        "archivedThrough": store.archived(),
        "gaps": [_gap(gap) for gap in missing(store)],
        "deadLetters": store.queue.dead_letters(),
        "anomalies": counters.get("anomalies", 0),
        "uncertainWallets": store.uncertain_wallets(),
        "retractions": _count(store, "retractions") + _count(store, "shown"),
        "certified": _certified(store),
        "verified": store.meta("verified"),
        "endpoints": endpoints(store),
    }
    found["alarms"] = _alarms(store, found)
    return found


def _gap(gap: dict[str, Any]) -> str:
    return f"{gap['stream']} {gap['from']}..{gap['to']}: {gap['why']}"


def _count(store: Store, table: str) -> int:
    return int(store.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _certified(store: Store) -> list[str]:
    """The block ranges that certificates prove."""
    return joined(store.db.execute("SELECT fromBlock, toBlock FROM certificates"))


def joined(ranges: Iterable[tuple[int, int]]) -> list[str]:
    """Block ranges in order, joined where they touch."""
    found: list[list[int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1][1] = max(found[-1][1], last)
        else:
            found.append([first, last])
    return [f"{first}..{last}" for first, last in found]


def _alarms(store: Store, found: dict[str, Any]) -> list[str]:
    position, gaps, trouble = found["block"], found["gaps"], store.meta("trouble")
    end = max((r.to_block for r in store.coverage(position)), default=position)
    differing = (found["verified"] or {}).get("differences", 0)
    running, uncertain = store.meta("running"), found["uncertainWallets"]
    return [
        text
        for text, raised in (
            ("nothing is covered yet: run `ngu sync`", store.meta("position") is None),
            (trouble and f"the chain cannot be read since {_when(trouble['since'])}: "
                         f"{trouble['why']}", bool(trouble)),
            (f"{len(gaps)} gaps: see `ngu gaps`", bool(gaps)),
            (f"{found['deadLetters']} dead letters", bool(found["deadLetters"])),
            (f"{found['backlog']} events wait to be processed", bool(found["backlog"])),
            (f"blocks up to {end} are read but not processed", end > position),
            *((f"{name} failed: {why}", True) for name, why in store.failed_jobs()),
            (f"{uncertain} wallets are uncertain, events contradict the record: see "
             "`ngu verify`", bool(uncertain)),
            (f"`ngu run`, begun {_when(running or 0)}, ended without being stopped: start it "
             "again", running is not None and not in_use(store.path)),
            *((why, True) for why in other_rules(store)),
            (f"{differing} tokens differ from the contract: see `ngu verify`", bool(differing)),
        )
        if raised
    ]  # fmt: skip


class Folded(Protocol):
    """A store that knows by which rules it was folded."""

    def check_rules(self) -> None: ...


def other_rules(store: Folded) -> list[str]:
    """Why a store cannot go on under these rules, if it cannot."""
    try:
        store.check_rules()
    except StoreError as error:
        return [str(error)]
    return []


def _when(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
