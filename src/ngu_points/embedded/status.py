"""Where the pipeline stands, in figures that a person and an alarm can read."""

from __future__ import annotations

from typing import Any

from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import gaps


def status(store: Store) -> dict[str, Any]:
    """Position, head, lag, backlog, coverage gaps, dead letters, alarms."""
    position, counters = store.position(), store.meta("counters") or {}
    head, final = store.meta("head"), store.meta("final", -1)
    records = store.coverage(position.block)
    end = max((r.to_block for r in records), default=position.block)
    missing = [f"{s} {a}..{b}" for s, a, b in gaps(records, position.block + 1, end)]
    dead, backlog = store.queue.dead_letters(), store.queue.backlog()
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
        "backlog": backlog,
        "archivedThrough": store.archived(),
        "gaps": missing,
        "deadLetters": dead,
        "anomalies": counters.get("anomalies", 0),
        "uncertainWallets": store.uncertain_wallets(),
    }
    found["alarms"] = [
        text
        for text, raised in (
            ("nothing is covered yet: run `ngu sync`", store.meta("position") is None),
            (f"{len(missing)} coverage gaps", bool(missing)),
            (f"{dead} dead letters", bool(dead)),
            (f"{backlog} events wait to be processed", bool(backlog)),
            (f"blocks up to {end} are read but not processed", end > position.block),
            *((f"{name} failed: {why}", True) for name, why in store.failed_jobs()),
            (f"{found['anomalies']} events contradict the record", bool(found["anomalies"])),
        )
        if raised
    ]
    return found
