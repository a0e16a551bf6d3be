"""A copy of a deployment in a local database: its archive, its event tables, its state.

What the archive holds is brought over file by file, once. Of the event tables only those ranges
are read whose rows here are not what their coverage records announce. The state is taken as the
tables show it; whether the events come to that state is another question, see `checked`.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ngu_points.aws import events, items, state
from ngu_points.aws.dynamo import Where
from ngu_points.aws.items import Row
from ngu_points.aws.store import FROZEN_KEY
from ngu_points.aws.tables import DEAD_LETTERS, FEAST_POOL, META
from ngu_points.config import contract_of
from ngu_points.embedded.archive import segment_files
from ngu_points.embedded.database import archive_of
from ngu_points.embedded.history import History
from ngu_points.embedded.store import Store
from ngu_points.engine import invariants
from ngu_points.engine.coverage import STREAMS, Coverage, Delivery
from ngu_points.engine.events import Rejected, blobs, ids_column
from ngu_points.engine.feast import FeastDay
from ngu_points.engine.fingerprint import fingerprint
from ngu_points.engine.hot import Hot
from ngu_points.engine.state import State, no_state
from ngu_points.errors import StoreError, TransientError
from ngu_points.mirror import ledger
from ngu_points.mirror.deployment import Deployment
from ngu_points.pipeline.interfaces import Position
from ngu_points.pipeline.query import Refolded, refold
from ngu_points.pipeline.segments import Segment, decoded, named

log = logging.getLogger("ngu")
LOOKS = 5
"""How often the index of the event tables is asked for rows that it does not show yet."""
PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Tables:
    """The state tables at one position; no state where they were folded by other rules."""

    at: Mapping[str, Any]
    whole: State | None
    days: list[Row]

    @property
    def lost(self) -> bool:
        """Whether nothing was ever processed, or all of it is gone."""
        return "hash" not in self.at


def read_tables(on: Deployment, *, led: bool) -> Tables:
    """Read all of the state; where this process leads nobody else changes it meanwhile."""
    store, rules = on.store, on.store.rules
    identity = store.dynamo.get(META, {"key": "identity"}) or {}

    def read(at: Mapping[str, Any]) -> tuple[State | None, list[Row]]:
        same = identity.get("fold") == rules.fold_key()
        whole = state.read_whole(store.dynamo, rules, at) if same else None
        alive = Where("attribute_not_exists(#gone)", {})
        return whole, list(store.dynamo.scan(FEAST_POOL, alive))

    at, (whole, days) = store.here(read) if led else store.steady(read)
    return Tables(at, whole, days)


def fingerprint_of(on: Deployment, tables: Tables) -> str:
    """Of what the tables hold; empty where they were folded by other rules."""
    if tables.whole is None:
        return ""
    heads = [row for row in tables.days if int(row["piece"]) == 0]
    days = [items.day_of(row) for row in sorted(heads, key=lambda row: int(row["day"]))]
    return fingerprint(tables.whole, days, on.store.rules, on.store.chain_id)


def copy(on: Deployment, path: Path, *, led: bool, strict: bool) -> None:
    """Make the database at `path` what the deployment holds now.

    `led`: this process leads, so nothing changes meanwhile. Files that are damaged and rows that
    are missing are a StoreError where it is `strict`; else, for a repair, they are left out.
    """
    tables = read_tables(on, led=led)
    if tables.lost:
        _recover_files(on, path, led=led)
        return
    local = Store.open(path, on.store.rules, write=True)
    try:
        segments = on.store.segments()
        _fetch_segments(on, local, segments, strict=strict)
        with local.commit():
            _note_meta(on, local, tables, segments)
            _events(on, local, int(tables.at["block"]), strict=strict)
            ledger.load(on, local)
            local.reload()
            _gaps(on, local)
            _state(on, local, tables, strict=strict)
        local.make_durable()
    finally:
        local.close()


def checked(on: Deployment, path: Path) -> None:
    """Raise StoreError unless what is held of events comes to the state in the tables."""
    local = Store.open(path, on.store.rules, write=True)
    try:
        history, rules, position = History(local), local.rules, local.position()
        shown = local.fingerprint()
        start = history.nearest(rules, position.timestamp, position.block)
        folded = _folded(history, start, position)
        if folded != shown and start.block >= 0:
            history.drop_snapshots()
            folded = _folded(history, no_state(rules), position)
        history.sweep(time.time())
        if folded != shown:
            raise StoreError(
                f"the events of {on.name} do not come to the state in its tables (fingerprint"
                f" {folded}, in the tables {shown}): `ngu rebuild --store dynamodb` folds them"
                " again"
            )
        history.snapshot()
    finally:
        local.close()


def _folded(history: History, start: State, position: Position) -> str:
    store = history.store
    until = (position.block, position.timestamp)
    again = refold(store.rules, history.covered(start.block), start, until)
    return fingerprint(again.hot.state, store.feasts.days(), store.rules, store.chain_id)


# The archive ------------------------------------------------------------------------------


def _fetch_segments(
    on: Deployment, local: Store, segments: Sequence[Segment], *, strict: bool
) -> None:
    """Bring over the files that the copy does not have, or that it did not get from the bucket."""
    folder, known = local.archive, {segment.name for segment in local.segments()}
    folder.mkdir(parents=True, exist_ok=True)
    missing = [s.name for s in segments if s.name not in known or not (folder / s.name).exists()]
    if missing:
        log.info("copying the archive", extra={"fields": {"files": len(missing)}})
    for name in missing:
        try:
            data = on.archive.data(name)
            if strict:
                decoded(data, on.archive.where(name), name)
        except StoreError as error:
            if strict:
                raise
            log.warning("segment not copied", extra={"fields": {"why": str(error)}})
            continue
        temporary = folder / f".{name}.{os.getpid()}"
        temporary.write_bytes(data)
        temporary.replace(folder / name)


def _recover_files(on: Deployment, path: Path, *, led: bool) -> None:
    """An empty database beside all files of the bucket: what is left where the tables are lost."""
    names = sorted(on.archive.names()) if led else []
    if not names:
        raise StoreError(
            f"the tables of {on.name} cover no block: does the event monitor run? If they were"
            " lost, `ngu rebuild --store dynamodb` makes them from the archive"
        )
    dropped(path)
    files = [Segment(*named(name)[:2], 0, name) for name in names]
    local = Store.open(path, on.store.rules, write=True)
    try:
        _fetch_segments(on, local, files, strict=False)
        with local.commit():
            for key, value in (("copy", True), ("files", names), ("sequence", _last_sequence(on))):
                local.set_meta(key, value)
    finally:
        local.close()


def dropped(path: Path) -> None:
    """Begin anew."""
    for file in segment_files(archive_of(path)):
        file.unlink()
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _note_meta(on: Deployment, local: Store, tables: Tables, segments: Sequence[Segment]) -> None:
    """What the copy is of, how far it goes, which files make up its archive."""
    head = on.store.dynamo.get(META, {"key": "head"}) or {"newest": 0, "final": 0}
    of = on.store.dynamo.get(META, {"key": "identity"}) or {}
    block = int(tables.at["block"])
    meta = {
        "copy": True,
        "identity": [of["chainId"], of["contract"], of["contractKind"]],
        "start_block": int(of["startBlock"]),
        "fold": of["fold"],
        "read": contract_of(on.config).digest(),
        "archived": segments[-1].to_block if segments else int(of["startBlock"]) - 1,
        "head": max(int(head["newest"]), block),
        "final": max(int(head["final"]), block),
        "sequence": _last_sequence(on),
        "frozen": json.loads((on.store.dynamo.get(META, FROZEN_KEY) or {"rates": "{}"})["rates"]),
        "files": [],
    }
    _drop_snapshots(local, segments)
    for key, value in meta.items():
        local.set_meta(key, value)
    local.final = meta["final"]
    _position(local, tables.at)
    local.db.execute("DELETE FROM segments")
    rows = [(s.from_block, s.to_block, s.events, s.name) for s in segments]
    local.db.executemany("INSERT INTO segments VALUES (?, ?, ?, ?)", rows)


def _position(local: Store, at: Mapping[str, Any]) -> None:
    local.set_meta("position", {
        "block": int(at["block"]), "hash": at["hash"], "timestamp": int(at["timestamp"]),
        "day": at.get("day"), "carry": int(at["carry"]), "contribution": int(at["contribution"]),
    })  # fmt: skip


def _drop_snapshots(local: Store, segments: Sequence[Segment]) -> None:
    """Snapshots of what lies behind a file that is another one now are of before."""
    known = {segment.name for segment in segments}
    other = [s.from_block for s in local.segments() if s.name not in known]
    if other:
        History(local).drop_snapshots(min(other) - 1)


def _last_sequence(on: Deployment) -> int:
    """The highest sequence number that the deployment has used: repairs number on behind it."""
    after = max(on.store.archived(), 0)
    used = [record.sequence for record in on.store.coverage(after)]
    sent = on.parameters.position()
    return max([*used, sent.sequence if sent else 0])


# The event tables -------------------------------------------------------------------------


def _events(on: Deployment, local: Store, position: int, *, strict: bool) -> None:
    """Coverage records, dead letters, and the rows of events that are not here yet."""
    archived, kept = local.archived(), local.queue
    records = [r for r in on.store.coverage(archived) if r.to_block <= position]
    local.db.execute("DELETE FROM coverage")
    kept.put_coverage(records)
    _letters(on, local)
    for look in range(LOOKS):
        left = {s: _missing(local, s, (archived + 1, position), records) for s in STREAMS}
        if look and not any(left.values()):
            return
        if look:
            time.sleep(PAUSE * (look > 1))
        for stream, spans in left.items():
            for first, last in spans:
                _fetch_rows(on, local, stream, first, last)
        announced = [r for s in STREAMS for r in in_force(records, s)]
        if all(kept.arrived(record) for record in announced):
            return
    stream, (first, last) = next((s, spans[0]) for s, spans in left.items() if spans)
    text = (
        f"the tables do not have all that was announced of blocks {first}..{last} on the {stream}"
        f" stream: `ngu replay {first} {last} --store dynamodb` asks the chain"
    )
    if strict:
        raise TransientError(text)
    log.warning(text)


def in_force(records: Sequence[Coverage], stream: str) -> list[Coverage]:
    """The records of a stream that no later one overlaps."""
    mine = [r for r in records if r.stream == stream]
    return [
        r
        for r in mine
        if not any(
            o.sequence > r.sequence and o.from_block <= r.to_block and o.to_block >= r.from_block
            for o in mine
        )
    ]


def _missing(
    local: Store, stream: str, within: tuple[int, int], records: Sequence[Coverage]
) -> list[tuple[int, int]]:
    """The blocks of which the rows here are not, or may not be, those that were announced."""
    here = sorted(
        (r.from_block, r.to_block) for r in in_force(records, stream) if local.queue.arrived(r)
    )
    spans, (block, end) = [], within
    for first, last in here:
        if first > block:
            spans.append((block, first - 1))
        block = max(block, last + 1)
    return [*spans, (block, end)] if block <= end else spans


def _fetch_rows(on: Deployment, local: Store, stream: str, first: int, last: int) -> None:
    found = events.between(on.store.dynamo, stream, first, last)
    local.queue.drop(stream, first, last)
    now = int(time.time())
    local.queue.put([Delivery(stream, found, (), ())], now, local.chain_id, processed=True)
    History(local).drop_snapshots(first - 1)


def _letters(on: Deployment, local: Store) -> None:
    local.db.execute("DELETE FROM dead_letters")
    rows = list(on.store.dynamo.scan(DEAD_LETTERS))
    for row in rows:
        local.queue.put_rejected([letter_of(row)], row["receivedAt"])


def letter_of(row: Row) -> Rejected:
    """A dead letter; one that nothing announced is of the stream that it came on."""
    letter = items.letter_of(row)
    return replace(letter, stream=row["of"]) if letter.stream == events.ASIDE else letter


def _gaps(on: Deployment, local: Store) -> None:
    rows = [(g.stream, g.from_block, g.to_block, g.why, g.since) for g in on.store.gaps()]
    local.db.execute("DELETE FROM gaps")
    local.db.executemany("INSERT OR IGNORE INTO gaps VALUES (?, ?, ?, ?, ?)", rows)
    local.set_meta("gaps", [row[:4] for row in rows])  # to know what a repair has filled


# The state --------------------------------------------------------------------------------


def _state(on: Deployment, local: Store, tables: Tables, *, strict: bool) -> None:
    """The state as the tables show it; an empty one where they cannot be read as one."""
    at, rules = tables.at, on.store.rules
    whole, days, closed = no_state(rules), list[FeastDay](), list[int]()
    if tables.whole is not None:
        try:
            invariants.check(tables.whole, rules)
            days, closed = _days(tables.days, tables.whole)
            whole = tables.whole
        except (AssertionError, KeyError) as error:
            if strict:
                raise contradiction(on, error) from error
            log.warning(str(contradiction(on, error)))
    notes = [(block, name, note) for name, block, note in on.store.anomalies()]
    again = Refolded(Hot(whole, rules), days, closed, notes, on.store.uncertain())
    position = Position(int(at["block"]), bytes.fromhex(at["hash"]), int(at["timestamp"]))
    fold = local.meta("fold")
    local.replace_state(again, dict(at["counters"]), position)
    local.set_meta("fold", fold)
    local.clear((), position.block)


def contradiction(on: Deployment, error: Exception) -> StoreError:
    """What to say of tables that no fold can have left."""
    why = f"a wallet {error} is missing" if isinstance(error, KeyError) else str(error)
    return StoreError(f"the tables of {on.name} contradict themselves ({why}): run `ngu rebuild"
                      " --store dynamodb`")  # fmt: skip


def _days(rows: Sequence[Row], whole: State) -> tuple[list[FeastDay], list[int]]:
    """Closed days with their shares, wallets as numbers in the state, and where each closed."""
    number = {a: i for i, a in enumerate(blobs(whole.wallets.address))}
    pieces: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (int(row["day"]), int(row["piece"]))):
        pieces.setdefault(int(row["day"]), []).append(row)
    days, closed = [], []
    for head, *rest in pieces.values():
        shares = items.shares_of(b"".join(row["shares"] for row in rest))
        wallets = np.array([number[a] for a, _ in shares], np.int64)
        amounts = ids_column([share for _, share in shares])
        days.append(replace(items.day_of(head)[0], wallet=wallets, share=amounts))
        closed.append(int(head["block"]))
    return days, closed
