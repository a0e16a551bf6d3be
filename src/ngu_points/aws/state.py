"""State out of the tables: the part that a batch touches, or all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import numpy as np

from ngu_points.aws import items
from ngu_points.aws.dynamo import Dynamo, Where
from ngu_points.aws.items import BIG, BUCKET_BITS, SMALL, Row
from ngu_points.aws.tables import FEAST_POOL, OWNER, POINTS, TOKENS
from ngu_points.engine.events import MAX_TOKEN, U8, Ints, blobs
from ngu_points.engine.feast import FeastDay
from ngu_points.engine.rules import DAY, Rules
from ngu_points.engine.runs import NOBODY, Runs, no_runs
from ngu_points.engine.state import State, Wallets, no_wallets

BUCKETS_MAX = 64
"""An event that reaches over more buckets than this is answered by reading all runs."""
PAGE = 32
CHUNK = 5_000
"""Rows that become columns at once."""


def load(
    dynamo: Dynamo,
    rules: Rules,
    position: Mapping[str, Any],
    ranges: tuple[Ints, Ints],
    address: U8,
    timestamp: int,
) -> State:
    """At least what events on the ranges [first, end) and these wallets touch.

    All stakers are in it if a feast day closes by `timestamp`.
    """
    first, end = ranges
    spans = sorted(zip(map(int, first), map(int, end), strict=True))
    runs = list(touched_runs(dynamo, spans))
    named = {items.hexed(a) for a in blobs(address)}
    named |= {str(r[who]) for r in runs for who in ("owner", "staker") if r.get(who)}
    wallets: list[Row] = []
    if position.get("day") is not None and timestamp // DAY > position["day"]:
        wallets = list(stakers(dynamo))
    known = {row["wallet"] for row in wallets}
    keys = [{"wallet": wallet} for wallet in sorted(named - known)]
    wallets += dynamo.get_many(POINTS, keys)
    return _state(rules, position, runs, [row for row in wallets if "gone" not in row])


@dataclass(frozen=True, slots=True)
class Everything:
    """All rows of the state tables, without shares."""

    runs: list[Row]
    wallets: list[Row]
    days: list[tuple[FeastDay, bytes]]


def read_all(dynamo: Dynamo) -> Everything:
    """Read all of the state tables; they may be changing meanwhile."""
    alive = Where("attribute_not_exists(#gone)", {})
    runs, wallets = dynamo.scan(TOKENS, alive), dynamo.scan(POINTS, alive)
    return Everything(list(runs), list(wallets), feast_days(dynamo))


def whole(rules: Rules, position: Mapping[str, Any], rows: Everything) -> State:
    """The state that all rows make up at a position."""
    return _state(rules, position, rows.runs, rows.wallets)


def read_whole(dynamo: Dynamo, rules: Rules, position: Mapping[str, Any]) -> State:
    """All of the state tables as columns, with no more than some rows in memory at a time.

    They may be changing meanwhile: what is read then fits together or not.
    """
    alive = Where("attribute_not_exists(#gone)", {})
    blank = no_wallets(rules, np.zeros((0, 20), np.uint8))
    parts = [items.wallets_of(some, blank) for some in _some(dynamo.scan(POINTS, alive))]
    wallets = Wallets(
        *(
            np.concatenate([getattr(blank, f.name), *(getattr(p, f.name) for p in parts)],
                           axis=-1 if f.name == "facts" else 0)
            for f in fields(Wallets)
        )
    )  # fmt: skip
    number = _Numbers({items.hexed(a): i for i, a in enumerate(blobs(wallets.address))})
    found = [items.runs_of(some, number) for some in _some(dynamo.scan(TOKENS, alive))]
    columns = (
        np.concatenate([getattr(no_runs(), f.name), *(getattr(p, f.name) for p in found)])
        for f in fields(Runs)
    )
    runs = Runs(*columns)
    return _at(position, runs.take(np.argsort(runs.first, kind="stable")), wallets)


class _Numbers(dict[str | None, int]):
    """The number of each wallet; nobody's for one that is not there (yet)."""

    def __missing__(self, _: str | None) -> int:
        return NOBODY


def _some(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while some := list(islice(rows, CHUNK)):
        yield some


def stakers(dynamo: Dynamo) -> Iterator[Row]:
    """The wallets that share in the open feast day, by reading all wallets."""
    text = "#stakeWeight <> :none OR #daySeconds <> :none"
    return dynamo.scan(POINTS, Where(text, {"none": "0"}))


def touched_runs(dynamo: Dynamo, spans: Sequence[tuple[int, int]]) -> Iterator[Row]:
    """The runs that overlap or adjoin ranges [first, end), and some more; each once.

    `spans` are in ascending order. Runs of a part come in id order by their last ids as well as
    by their first ones, so that reading on from a range's start ends soon after its end.
    """
    if any((end - first) >> BUCKET_BITS > BUCKETS_MAX for first, end in spans):
        yield from dynamo.scan(TOKENS, Where("attribute_not_exists(#gone)", {}))
        return
    parts: dict[str, list[tuple[int, int]]] = {}
    for first, end in spans:
        low, high = max(first - 1, 0), min(end + SMALL - 1, MAX_TOKEN)
        for number in range(low >> BUCKET_BITS, (high >> BUCKET_BITS) + 1):
            parts.setdefault(items.bucket(number << BUCKET_BITS), []).append((first, end))
        parts.setdefault(BIG, []).append((first, end))
    for rows in dynamo.each(lambda one: list(_walk(dynamo, *one)), parts.items()):
        yield from rows


def _walk(dynamo: Dynamo, part: str, spans: Sequence[tuple[int, int]]) -> Iterator[Row]:
    """The runs of a part that touch any of the ranges, in id order."""
    reached, beyond = -1, -1  # last and first id of the last run that was read
    for first, end in spans:
        if beyond > end:
            continue
        low = max(first - 1, reached + 1, 0)
        where = Where("#part = :part AND #last >= :low", {"part": part, "low": items.padded(low)})
        beyond = MAX_TOKEN + 2  # unless a run says otherwise there is nothing more
        for row in dynamo.query(TOKENS, where, limit=PAGE):
            reached = int(row["last"])
            if "gone" in row:
                continue
            yield row
            if int(row["first"]) > end:
                beyond = int(row["first"])
                break


def holdings(dynamo: Dynamo, wallet: bytes) -> list[tuple[int, int]]:
    """The ranges [first, end) that a wallet owns, in id order; some moments old at times."""
    where = Where("#owner = :owner", {"owner": items.hexed(wallet)})
    rows = dynamo.query(TOKENS, where, index=OWNER)
    return [(int(row["first"]), int(row["last"]) + 1) for row in rows]


def feast_days(dynamo: Dynamo) -> list[tuple[FeastDay, bytes]]:
    """All closed days without their shares, each with the digest of its shares, in order."""
    heads = Where("#piece = :zero AND attribute_not_exists(#gone)", {"zero": 0})
    rows = sorted(dynamo.scan(FEAST_POOL, heads), key=lambda row: int(row["day"]))
    return [items.day_of(row) for row in rows]


def feast_shares(dynamo: Dynamo, day: int) -> list[tuple[bytes, int]]:
    """Who got how many micro-points on a closed day, lower address first."""
    where = Where("#day = :day AND #piece > :zero", {"day": day, "zero": 0})
    rows = [row for row in dynamo.query(FEAST_POOL, where) if "gone" not in row]
    return items.shares_of(b"".join(row["shares"] for row in rows))


def _state(
    rules: Rules, position: Mapping[str, Any], runs: Sequence[Row], wallets: Sequence[Row]
) -> State:
    number: dict[str | None, int] = {row["wallet"]: i for i, row in enumerate(wallets)}
    number[None] = -1
    blank = no_wallets(rules, np.zeros((0, 20), np.uint8))
    return _at(position, items.runs_of(runs, number), items.wallets_of(wallets, blank))


def _at(position: Mapping[str, Any], runs: Runs, wallets: Wallets) -> State:
    return State(
        runs,
        wallets,
        position.get("block", -1),
        position.get("timestamp", 0),
        position.get("day"),
        int(position.get("carry", 0)),
        int(position.get("contribution", 0)),
    )
