"""What was taken back by repairs of a deployment, as rows of its changes table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ngu_points.aws.dynamo import Dynamo, Where
from ngu_points.aws.items import Row, hexed, unhexed
from ngu_points.aws.tables import CHANGES
from ngu_points.embedded.retractions import Retraction

RETRACTION = "retraction"


def retractions(dynamo: Dynamo, wallet: bytes) -> list[Retraction]:
    """What was taken back of a wallet's points, oldest first."""
    values = {"kind": RETRACTION, "from": hexed(wallet), "to": hexed(wallet) + "~"}
    rows = dynamo.query(CHANGES, Where("#kind = :kind AND #at BETWEEN :from AND :to", values))
    return [_retraction(row) for row in rows]


def rows_of(found: Sequence[Retraction]) -> list[Row]:
    """A row each."""
    return [
        {
            "kind": RETRACTION,
            "at": f"{hexed(r.wallet)}#{r.at:020d}#{r.timestamp:020d}",
            "takenAt": r.at,
            "why": r.why,
            "block": r.block,
            "timestamp": r.timestamp,
            "shown": r.shown,
            "now": r.now,
        }
        for r in found
    ]


def _retraction(row: Mapping[str, Any]) -> Retraction:
    wallet = unhexed(row["at"].partition("#")[0])
    at, why, block, timestamp = (row[name] for name in ("takenAt", "why", "block", "timestamp"))
    return Retraction(at, why, block, timestamp, wallet, row["shown"], row["now"])
