"""Which segments of the archive are live: a row of the changes table each, by its first block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ngu_points.aws.dynamo import Dynamo, Where
from ngu_points.aws.items import BLOCK_DIGITS, Row
from ngu_points.aws.tables import CHANGES
from ngu_points.pipeline.segments import Segment

SEGMENT = "segment"


def live(dynamo: Dynamo) -> list[Segment]:
    """All segments in the order of blocks.

    One that lies within what comes before it was replaced by that, and waits to be dropped.
    """
    found: list[Segment] = []
    for row in dynamo.query(CHANGES, Where("#kind = :kind", {"kind": SEGMENT})):
        segment = _segment(row)
        if not found or segment.from_block > found[-1].to_block:
            found.append(segment)
    return found


def last(dynamo: Dynamo) -> Segment | None:
    """The segment with the highest blocks."""
    return next(iter(live(dynamo)[-1:]), None)


def note(dynamo: Dynamo, segment: Segment, now: int) -> None:
    """Write down that the archive holds a range; what began behind its first block goes."""
    dynamo.put(CHANGES, row_of(segment, now))
    values = {"kind": SEGMENT, "at": _at(segment.from_block)}
    for row in list(dynamo.query(CHANGES, Where("#kind = :kind AND #at > :at", values))):
        dynamo.delete(CHANGES, {"kind": SEGMENT, "at": row["at"]})


def row_of(segment: Segment, now: int) -> Row:
    """A segment's row of the changes table."""
    named = {"fromBlock": segment.from_block, "toBlock": segment.to_block}
    told = {"events": segment.events, "name": segment.name, "sealedAt": now}
    return {"kind": SEGMENT, "at": _at(segment.from_block), **named, **told}


def _segment(row: Mapping[str, Any]) -> Segment:
    return Segment(row["fromBlock"], row["toBlock"], row["events"], row["name"])


def _at(block: int) -> str:
    return f"{block:0{BLOCK_DIGITS}d}"
