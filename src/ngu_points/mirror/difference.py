"""What a repair of the copy has made another than it was: rows of the deployment's tables.

`base` is the copy as it was before the repair. The state is compared with the tables themselves,
so that afterwards they are what the copy says, whatever they were.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ngu_points.aws import changes, events, gaps, items, segments
from ngu_points.aws.changes import ANOMALY, UNCERTAIN, Step, Write
from ngu_points.aws.dynamo import Where, key_of
from ngu_points.aws.gaps import Gap
from ngu_points.aws.items import BLOCK_DIGITS, Row, hexed, unhexed
from ngu_points.aws.repairs import Plan
from ngu_points.aws.segments import SEGMENT
from ngu_points.aws.tables import (
    CHANGES,
    COVERAGE,
    DEAD_LETTERS,
    FEAST_POOL,
    META,
    POINTS,
    TOKENS,
)
from ngu_points.embedded import queue
from ngu_points.embedded.archive import read_segment
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import STREAMS, Coverage, of_stream
from ngu_points.engine.events import ids, ids_column
from ngu_points.errors import StoreError
from ngu_points.mirror.deployment import Deployment
from ngu_points.pipeline import jobs
from ngu_points.pipeline.persist import HIGHEST
from ngu_points.pipeline.segments import Segment

NOT_TOLD = ("fence", "ttl", "gone")
"""Attributes that say nothing of what a row holds."""
COARSE = {FEAST_POOL: ("block",)}
"""And those that depend on where steps end: the block with which a day was closed."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What the comparison goes by: both databases, and where the tables stand."""

    on: Deployment
    local: Store
    base: sqlite3.Connection  # the copy as it was; `main` is that, `now` the repaired one
    before: Row  # the position in the tables
    now: int

    @property
    def block(self) -> int:
        return self.local.position().block

    @property
    def lost(self) -> bool:
        """Whether the tables held nothing."""
        return "hash" not in self.before

    @property
    def rewound(self) -> bool:
        return self.block < int(self.before["block"])

    @property
    def beyond(self) -> tuple[int, int]:
        """The blocks (after, last] whose rows are wholly as the copy has them."""
        low, high = sorted((self.block, int(self.before["block"])))
        return low, HIGHEST if self.rewound else high


def step_of(scope: Scope) -> Step:
    """The state of the copy in the place of that in the tables, as one step."""
    local, position = scope.local, scope.local.position()
    state = local.state()
    known = state.wallets.take(np.flatnonzero(state.wallets.updated != 0))
    after = {
        "block": position.block,
        "hash": position.hash.hex(),
        "timestamp": position.timestamp,
        "day": state.day,
        "carry": str(state.carry),
        "contribution": str(state.contribution),
        "counters": local.meta("counters") or {},
        "totals": jobs.totals(state),
    }
    writes = [
        *_writes(scope, TOKENS, items.run_rows(state.runs, state.wallets.address)),
        *_writes(scope, POINTS, items.wallet_rows(known)),
        *_writes(scope, FEAST_POOL, _day_rows(local)),
        *_doubts(scope),
    ]
    before = None if scope.lost else dict(scope.before)
    return Step(0, position.block, scope.now, before, after, writes, [])


def nothing(plan: Plan) -> bool:
    """Whether a repair changes nothing."""
    step = plan.step
    still = step.before is not None and _told(step.before) == _told(step.after)
    return still and not step.writes and not plan.rows


def _writes(scope: Scope, table: str, rows: Iterable[Row]) -> Iterator[Write]:
    alive = Where("attribute_not_exists(#gone)", {})
    return differing(table, scope.on.store.dynamo.scan(table, alive), rows)


def _doubts(scope: Scope) -> Iterator[Write]:
    local = scope.local
    anomalies = [
        {"kind": ANOMALY, "at": f"{block:0{BLOCK_DIGITS}d}#{name}", "block": block, "id": name,
         "note": note}
        for name, block, note in local.db.execute("SELECT id, blockNumber, note FROM anomalies")
    ]  # fmt: skip
    found = changes.rows_of(scope.on.store.dynamo, ANOMALY)
    yield from differing(CHANGES, found, anomalies)
    mine = dict(local.db.execute("SELECT wallet, blockNumber FROM uncertain"))
    there = changes.rows_of(scope.on.store.dynamo, UNCERTAIN)
    known = {unhexed(row["at"].partition("#")[0]): row for row in there}
    for wallet in mine.keys() - known.keys():  # since when is not compared: steps are coarser
        at = f"{hexed(wallet)}#{mine[wallet]:0{BLOCK_DIGITS}d}"
        yield Write(CHANGES, None, {"kind": UNCERTAIN, "at": at, "block": mine[wallet]})
    for row in there:
        if unhexed(row["at"].partition("#")[0]) not in mine:
            yield Write(CHANGES, key_of(CHANGES, row), None)


def differing(table: str, there: Iterable[Row], wanted: Iterable[Row]) -> Iterator[Write]:
    """What makes the rows that are there the wanted ones."""
    old = {_key(table, row): row for row in there}
    for row in wanted:
        before = old.pop(_key(table, row), None)
        if before is None or _told(before, table) != _told(row, table):
            yield Write(table, before and key_of(table, before), row)
    for row in old.values():
        yield Write(table, key_of(table, row), None)


def _key(table: str, row: Row) -> tuple[Any, ...]:
    return tuple(key_of(table, row).values())


def _told(row: Row, table: str = "") -> Row:
    apart = (*NOT_TOLD, *COARSE.get(table, ()))
    return {n: v for n, v in row.items() if n not in apart and v is not None}


def _day_rows(local: Store) -> Iterator[Row]:
    blocks = dict(local.db.execute("SELECT day, block FROM feast_pool"))
    for day, _ in local.feasts.days():
        shares = local.feasts.shares(day.day)
        address = np.frombuffer(b"".join(a for a, _ in shares), np.uint8).reshape(-1, 20)
        amounts = ids_column([amount for _, amount in shares])
        told = replace(day, wallet=np.arange(len(shares)), share=amounts)
        yield from items.day_rows(told, address, blocks[day.day])


# All other tables -------------------------------------------------------------------------


def rows_of(scope: Scope) -> list[Write]:
    """Events, dead letters, coverage records, segments, gaps: what became another in the copy."""
    found = [w for stream in STREAMS for w in _events(scope, stream)]
    found += [*_coverage(scope), *_letters(scope), *_segments(scope), *_gaps(scope)]
    of, start = scope.local.identity(), scope.local.meta("start_block")
    identity = {"key": "identity", "chainId": of.chain_id, "contract": of.contract,
                "contractKind": of.kind, "startBlock": start,
                "fold": scope.local.meta("fold")}  # fmt: skip
    there = scope.on.store.dynamo.get(META, {"key": "identity"})
    return [*found, *differing(META, [there] if there else [], [identity])]


def _events(scope: Scope, stream: str) -> Iterator[Write]:
    local, table = scope.local, queue.TABLES[stream]
    names = [n for _, n, *_ in scope.base.execute(f"PRAGMA now.table_info({table})")]
    told = ", ".join(f'"{n}"' for n in names if n not in ("processed", "processedAt", "ttl"))
    changed = [
        row[0]
        for row in scope.base.execute(
            f"SELECT id FROM (SELECT {told} FROM now.{table}"
            f" EXCEPT SELECT {told} FROM main.{table})"
        )
    ]
    for some in _chunks(changed):
        marks = ",".join("?" * len(some))
        where = f"id IN ({marks})"
        kept = local.queue.events(stream, where, some)
        errors = dict(local.db.execute(f"SELECT id, error FROM {table} WHERE {where}", some))
        ttl = scope.now + events.KEEP
        for row in items.event_rows(kept, local.chain_id, ttl):
            done = {"processed": True, "processedAt": scope.now, "receivedAt": scope.now}
            yield Write(events.TABLE[stream], None, row | done | {"error": errors[row["id"]]})
    for name in sorted(_dropped_events(scope, stream)):
        yield Write(events.TABLE[stream], {"id": name}, None)


def _dropped_events(scope: Scope, stream: str) -> set[str]:
    """The events that are in the tables and not in the copy, of the blocks that it knows wholly."""
    table, dynamo = queue.TABLES[stream], scope.on.store.dynamo
    here = {row[0] for row in scope.base.execute(f"SELECT id FROM now.{table}")}
    low, high = scope.beyond
    gone = set(ids(events.between(dynamo, stream, low + 1, high))) if low < high else set()
    archived = scope.local.archived()
    query = f"SELECT id FROM main.{table} WHERE blockNumber > ?"
    gone |= {row[0] for row in scope.base.execute(query, (archived,))}
    gone |= {name for name, s in _dropped_archived(scope) if s == stream}
    return gone - here


def _dropped_archived(scope: Scope) -> Iterator[tuple[str, str]]:
    """The events, with their streams, that a segment had and its new revision has not."""
    folder = scope.local.archive
    new = {s.from_block: s for s in scope.local.segments()}
    for old in segments_of(scope.base):
        mended = new.get(old.from_block)
        if mended is None or mended.name == old.name or mended.to_block != old.to_block:
            continue
        try:
            before = read_segment(folder / old.name).events
        except StoreError:
            continue  # it was lost: nobody knows what it had
        kept = set(ids(read_segment(folder / mended.name).events))
        for stream in STREAMS:
            mine = before.take(of_stream(before, stream))
            yield from ((name, stream) for name in ids(mine) if name not in kept)


def _coverage(scope: Scope) -> Iterator[Write]:
    local, archived = scope.local, scope.local.archived()
    mine = set(local.coverage(-1))
    was = {Coverage(*row) for row in scope.base.execute("SELECT * FROM main.coverage")}
    if scope.rewound:
        was |= set(scope.on.store.coverage(scope.block))
    new = [items.coverage_row(record) for record in mine - was]
    yield from (Write(COVERAGE, None, row | {"receivedAt": scope.now}) for row in new)
    kept = {_key(COVERAGE, items.coverage_row(record)) for record in mine}
    for record in was - mine:
        row = items.coverage_row(record)
        if record.to_block > archived and _key(COVERAGE, row) not in kept:
            yield Write(COVERAGE, key_of(COVERAGE, row), None)


def _letters(scope: Scope) -> Iterator[Write]:
    was = {row[0] for row in scope.base.execute("SELECT id FROM main.dead_letters")}
    here = {row[0] for row in scope.base.execute("SELECT id FROM now.dead_letters")}
    query = "SELECT * FROM {}.dead_letters"
    new = f"{query.format('now')} EXCEPT {query.format('main')}"
    mine = {row[0] for row in scope.base.execute(new)}
    for letter in scope.local.queue.letters(0, HIGHEST):
        row = items.letter_row(letter, scope.now)
        if row["id"] in mine:
            yield Write(DEAD_LETTERS, None, row)
    if scope.rewound:
        was |= {r["id"] for r in scope.on.store.dynamo.scan(DEAD_LETTERS)
                if int(r["blockNumber"]) > scope.block}  # fmt: skip
    for name in sorted(was - here):
        yield Write(DEAD_LETTERS, {"id": name}, None)


def _segments(scope: Scope) -> Iterator[Write]:
    """Files that are new here go to the bucket; the rows name what is there then."""
    archive = scope.on.archive
    known = {segment.name for segment in segments_of(scope.base)} | {*scope.local.meta("files")}
    wanted = []
    for segment in scope.local.segments():
        name = segment.name
        if name not in known:
            name = archive.write(read_segment(scope.local.archive / name))
        wanted.append(segments.row_of(replace(segment, name=name), scope.now))
    values = Where("#kind = :kind", {"kind": SEGMENT})
    there = list(scope.on.store.dynamo.query(CHANGES, values))
    at = {row["at"]: row.get("sealedAt") for row in there}
    wanted = [row | {"sealedAt": at.get(row["at"], scope.now)} for row in wanted]
    yield from differing(CHANGES, there, wanted)


def segments_of(base: sqlite3.Connection) -> list[Segment]:
    """The files of the archive as the copy had it before."""
    found = base.execute("SELECT * FROM main.segments ORDER BY fromBlock")
    return [Segment(*row) for row in found]


def _gaps(scope: Scope) -> Iterator[Write]:
    for gap in filled(scope.local):
        yield Write(CHANGES, gaps.key_of(gap), None)
    yield from (Write(CHANGES, None, gaps.row_of(gap)) for gap in noticed(scope.local, scope.now))


def filled(local: Store) -> Iterator[Gap]:
    """The gaps that were copied and are none any more."""
    here = set(local.db.execute("SELECT stream, fromBlock, toBlock, why FROM gaps"))
    copied = {tuple(gap) for gap in local.meta("gaps", [])}
    yield from (_gap(gap, 0) for gap in sorted(copied - here) if gap[3] not in gaps.DERIVED)


def noticed(local: Store, now: int) -> Iterator[Gap]:
    """The gaps that are new in the copy. What the tables show by themselves is not looked at."""
    here = set(local.db.execute("SELECT stream, fromBlock, toBlock, why FROM gaps"))
    copied = {tuple(gap) for gap in local.meta("gaps", [])}
    yield from (_gap(gap, now) for gap in sorted(here - copied) if gap[3] not in gaps.DERIVED)


def _gap(row: Sequence[Any], since: int) -> Gap:
    stream, first, last, why = row
    return Gap(stream, first, last, why, since)


def _chunks(names: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    for at in range(0, len(names), size):
        yield names[at : at + size]
