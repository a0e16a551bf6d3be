"""Records that are none of this deployment or of no use: kept, and out of the way."""

from __future__ import annotations

import hashlib

from ngu_points.aws.dynamo import Dynamo, Where
from ngu_points.aws.records import Poison
from ngu_points.aws.tables import QUARANTINE

LONGEST_RAW = 300_000  # bytes of a record that are kept; a row holds 400 KB


def set_aside(dynamo: Dynamo, poison: Poison, stream: str, now: int) -> None:
    """Keep a record that is of no use; the same one again changes nothing.

    Of one that is too long for a row its beginning is kept; all of it is in Firehose's backup.
    """
    row = {
        "id": hashlib.sha256(poison.raw).hexdigest(),
        "stream": stream,
        "reason": poison.reason,
        "raw": poison.raw[:LONGEST_RAW],
        "size": len(poison.raw),
        "receivedAt": now,
    }
    dynamo.put(QUARANTINE, row, Where("attribute_not_exists(#id)", {}))
