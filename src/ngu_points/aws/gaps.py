"""The ledger of gaps: what is known to be missing, since when, and why."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ngu_points.aws.dynamo import Dynamo, Where
from ngu_points.aws.items import BLOCK_DIGITS, Row
from ngu_points.aws.tables import CHANGES

GAP = "gap"
NOT_ANNOUNCED, OUTSTANDING = "not announced", "events outstanding"
NO_SEGMENT, NO_FILE = "no segment", "no file"
DERIVED = frozenset({NOT_ANNOUNCED, OUTSTANDING, NO_SEGMENT, NO_FILE})
"""Reasons that can be seen in the tables at any time, so that they also end there."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A block range that is missing on a stream, or in the archive."""

    stream: str
    from_block: int
    to_block: int
    why: str
    since: int  # when it was noticed

    @property
    def place(self) -> tuple[str, int, int, str]:
        return self.stream, self.from_block, self.to_block, self.why

    def shown(self, now: int) -> dict[str, Any]:
        """For people and machines; one that is noticed only now has no date."""
        since = None if self.since == now else self.since
        return {"stream": self.stream, "from": self.from_block, "to": self.to_block,
                "why": self.why, "since": since}  # fmt: skip


def known(dynamo: Dynamo) -> list[Gap]:
    """The ledger, by stream and block."""
    rows = dynamo.query(CHANGES, Where("#kind = :kind", {"kind": GAP}))
    return [Gap(r["stream"], r["fromBlock"], r["toBlock"], r["why"], r["since"]) for r in rows]


def note(dynamo: Dynamo, gap: Gap) -> bool:
    """Write a gap down; False if it is there already, with the time when it was noticed."""
    return dynamo.put(CHANGES, row_of(gap), Where("attribute_not_exists(#kind)", {}))


def drop(dynamo: Dynamo, gap: Gap) -> None:
    """Take a gap off the ledger: it is filled."""
    dynamo.delete(CHANGES, key_of(gap))


def bring_up_to_date(dynamo: Dynamo, found: Collection[Gap], looked: Collection[str]) -> list[Gap]:
    """What is new goes on the ledger, what was filled off it; the gaps that are new.

    `looked` are the reasons that were looked for: gaps of others stay.
    """
    places = {gap.place for gap in found}
    before = known(dynamo)
    for gap in before:
        if gap.why in looked and gap.place not in places:
            drop(dynamo, gap)
    noted = {gap.place for gap in before}
    new = [gap for gap in found if gap.place not in noted]
    return [gap for gap in new if note(dynamo, gap)]


def row_of(gap: Gap) -> Row:
    """A gap's row of the changes table."""
    row: Row = {"stream": gap.stream, "fromBlock": gap.from_block, "toBlock": gap.to_block}
    return row | {**key_of(gap), "why": gap.why, "since": gap.since}


def key_of(gap: Gap) -> Row:
    """The key of a gap's row."""
    first, last = f"{gap.from_block:0{BLOCK_DIGITS}d}", f"{gap.to_block:0{BLOCK_DIGITS}d}"
    return {"kind": GAP, "at": f"{gap.stream}#{first}#{last}#{gap.why}"}
