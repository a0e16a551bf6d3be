"""The store on one machine: a SQLite file for truth, the state as arrays for speed.

Implements `pipeline.interfaces.Store`. A commit is one SQLite transaction, so a crash at any
moment leaves either all of a step or nothing of it. What is above finality also leaves a before
image, with which `undo` takes it back.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ngu_points.embedded import strays, tables
from ngu_points.embedded.archive import read_segments
from ngu_points.embedded.database import (
    BUSY_TIMEOUT,
    archive_of,
    naming_damage,
    naming_errors,
    open_database,
)
from ngu_points.embedded.feasts import Feasts
from ngu_points.embedded.queue import Queue
from ngu_points.embedded.undo import image_of, restored
from ngu_points.engine import invariants
from ngu_points.engine.coverage import Coverage, Covered, Delivery, Head
from ngu_points.engine.events import U8, Events, Ints
from ngu_points.engine.fingerprint import fingerprint
from ngu_points.engine.hot import Hot, Part
from ngu_points.engine.rules import Rules
from ngu_points.engine.state import State
from ngu_points.errors import StoreError
from ngu_points.pipeline.interfaces import Change, Position
from ngu_points.pipeline.query import Refolded, refold
from ngu_points.pipeline.segments import Identity, Segment


class Store:
    """Open with `Store.open`; one writer, or any number of readers."""

    def __init__(self, path: Path, db: sqlite3.Connection, rules: Rules) -> None:
        self.path = path
        self.archive = archive_of(path)
        self.db = db
        self.queue = Queue(db)
        self.feasts = Feasts(db)
        self.rules = rules
        self._hot: Hot | None = None
        self._rows: State | None = None  # what the rows say, where they are behind
        self._meta: dict[str, Any] = {}
        self.reload()
        self.final = int(self.meta("final", -1))  # the newest final block, as far as is known

    @classmethod
    def open(cls, path: Path, rules: Rules, *, write: bool = False) -> Store:
        """A reader sees the database as it is now, whatever is written meanwhile."""
        db = open_database(path, write=write)
        if not write:
            db.execute("BEGIN")
        return cls(path, db, rules)

    def close(self) -> None:
        self.db.close()

    # What it is of ------------------------------------------------------------------------

    def identify(self, identity: Identity) -> None:
        """Note what the database is of, or refuse if it is of something else."""
        mine = [identity.chain_id, identity.contract, identity.kind]
        stored = self._meta.get("identity")
        if stored is None:
            with self.commit():
                self.set_meta("identity", mine)
                self.set_meta("fold", self.rules.fold_key())
        elif stored != mine:
            raise StoreError(
                f"{self.path} holds {stored[2]} contract {stored[1]} on chain {stored[0]}, not "
                f"{mine[2]} contract {mine[1]} on chain {mine[0]}: name another with --db"
            )

    def check_read(self, digest: str) -> None:
        """Refuse to go on with other addresses or events than were read so far."""
        stored = self._meta.get("read")
        if stored is None:
            with self.commit():
                self.set_meta("read", digest)
        elif stored != digest:
            raise StoreError(
                f"{self.path} was read with other staking contracts or event signatures: "
                "restore them, or sync into a new --db (a rebuild cannot know what was not read)"
            )

    def check_rules(self) -> None:
        """Refuse to go on under rules that the stored facts were not folded by."""
        self.check_frozen()
        if self._meta.get("fold", self.rules.fold_key()) != self.rules.fold_key():
            raise StoreError(
                f"{self.path} was folded by other rules (weights, tiers, exclusions, season "
                "borders, staking or feast have changed): run `ngu rebuild`, or restore them"
            )

    def check_frozen(self) -> None:
        """Refuse other rates for a season that is over for good."""
        for name, rates in self._meta.get("frozen", {}).items():
            if self.rules.rates(name) != rates:
                raise StoreError(
                    f"season {name!r} is closed and its rates are frozen: restore them ({rates})"
                )

    def identity(self) -> Identity:
        return Identity(*self._meta["identity"])

    @property
    def chain_id(self) -> int:
        return int(self._meta["identity"][0]) if "identity" in self._meta else 0

    def meta(self, key: str, default: Any = None) -> Any:
        return self._meta.get(key, default)

    def set_meta(self, key: str, value: Any) -> None:
        """Inside a commit."""
        self.db.execute("REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))
        self._meta[key] = value

    # Transactions -------------------------------------------------------------------------

    @contextmanager
    def commit(self) -> Iterator[None]:
        """Everything inside happens, or nothing of it."""
        if self.db.in_transaction:
            yield
            return
        with naming_errors(self.path):
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")
        self.reload()

    def reload(self) -> None:
        with naming_damage(self.path):
            stored = self.db.execute("SELECT key, value FROM meta").fetchall()
            self._meta = {key: json.loads(value) for key, value in stored}
        self._hot, self._rows = None, None

    @property
    def hot(self) -> Hot:
        if self._hot is None:
            state = self._load_rows()
            self._hot = Hot(state, self.rules)
            if "rows" in self._meta:
                self._rows = state
                refold(self.rules, self._archived_beyond(state.block), self._hot)
        return self._hot

    def _load_rows(self) -> State:
        with naming_damage(self.path):
            at = self._meta.get("rows", self._meta.get("position", {}))
            state = tables.load_state(self.db, self.rules, at)
            invariants.check(state, self.rules)
        return state

    def _archived_beyond(self, block: int) -> Iterator[Covered]:
        names = [segment.name for segment in self.segments() if segment.to_block > block]
        return read_segments(self.archive, names)

    # Events -------------------------------------------------------------------------------

    def put(self, deliveries: Sequence[Delivery], now: int, *, processed: bool) -> None:
        self.queue.put(deliveries, now, self.chain_id, processed=processed)

    def coverage(self, after: int) -> list[Coverage]:
        return self.queue.coverage(after)

    def arrived(self, record: Coverage) -> bool:
        return self.queue.arrived(record)

    def settle(self, now: int) -> None:
        strays.settle(self, now)

    def set_aside(self, events: Events, now: int) -> None:
        with self.commit():
            self.queue.put_aside(events, now)

    def pending(self, through: int) -> Events:
        return self.queue.pending(self.position().block, through)

    # State --------------------------------------------------------------------------------

    def position(self) -> Position:
        at = self._meta.get("position")
        if at is None:
            start = self._meta.get("start_block", 0)
            return Position(start - 1, bytes(32), 0)
        return Position(at["block"], bytes.fromhex(at["hash"]), at["timestamp"])

    def load(self, first: Ints, end: Ints, address: U8, timestamp: int) -> Part:
        return self.hot.take(first, end, address, timestamp)

    def apply(self, change: Change, now: int) -> None:
        """Write a step: rows as absolute values, then the position."""
        self.write_rows()
        before, after = change.before.state, change.after.state
        previous = self.position().block
        if change.position.block > self.final:
            image = image_of(change, self._meta.get("position"), self._meta.get("counters"))
            self.db.execute(
                "INSERT OR REPLACE INTO changes VALUES (?, ?, ?)",
                (change.position.block, previous + 1, image),
            )
        tables.write_changes(self.db, before, after)
        days, block = change.after.days, change.position.block
        self.feasts.write(days, after.wallets.address, [block] * len(days))
        self.queue.mark(change, previous, now)
        self._count(change)
        self.set_position(change.position, after)
        self.hot.put(change.before, after)

    def leave_rows(self) -> None:
        """Let the rows of tokens and wallets stay where they are; inside a commit."""
        if "rows" not in self._meta:
            self._rows = self.hot.kept()
            self.set_meta("rows", self._meta.get("position", {}))

    def apply_archived(self, again: Refolded, counters: dict[str, int], position: Position) -> None:
        """Write a step that the archive holds, after `leave_rows`; inside a commit.

        `again` was folded in place on `hot`. Whoever opens the store before `write_rows` folds the
        archive on from where the rows stand.
        """
        self.feasts.write(again.days, again.hot.state.wallets.address, again.closed)
        self.queue.note(again.notes, again.uncertain.items())
        self.set_meta("counters", counters)
        self.set_position(position, again.hot.state)

    def write_rows(self) -> None:
        """Bring the rows of tokens and wallets up to the position."""
        if "rows" not in self._meta:
            return
        after, before = self.hot.state, self._rows
        assert before is not None, "what the rows say is known since the state was loaded"
        with self.commit():
            tables.write_changes(self.db, before, after)
            self.db.execute("DELETE FROM meta WHERE key = 'rows'")
            del self._meta["rows"]
        self._rows = None

    def set_position(self, position: Position, state: State) -> None:
        """Note how far the state is; inside a commit."""
        feast = {"day": state.day, "carry": state.carry, "contribution": state.contribution}
        at = {
            "block": position.block,
            "hash": position.hash.hex(),
            "timestamp": position.timestamp,
        }
        self.set_meta("position", at | feast)

    def _count(self, change: Change) -> None:
        counters = dict(self._meta.get("counters") or {})
        for kind, number in enumerate(np.bincount(change.events.kind, minlength=5).tolist()):
            counters[str(kind)] = counters.get(str(kind), 0) + number
        counters["anomalies"] = counters.get("anomalies", 0) + len(change.notes)
        self.set_meta("counters", counters)

    # Reading ------------------------------------------------------------------------------

    def failed_jobs(self) -> list[tuple[str, str]]:
        """Scheduled jobs whose last run failed, and why."""
        found = self.db.execute("SELECT name, result FROM jobs ORDER BY name").fetchall()
        results = [(name, json.loads(result)) for name, result in found]
        return [(name, str(result["error"])) for name, result in results if "error" in result]

    def uncertain_wallets(self) -> int:
        return int(self.db.execute("SELECT count(*) FROM uncertain").fetchone()[0])

    def is_uncertain(self, wallet: bytes) -> bool:
        """Whether an event that contradicts our record concerns the wallet."""
        found = self.db.execute("SELECT 1 FROM uncertain WHERE wallet = ?", (wallet,)).fetchone()
        return found is not None

    def note_head(self, head: Head) -> None:
        """Remember the newest and the newest final block of the chain."""
        self.final = head.final
        with self.commit():
            self.set_meta("head", head.newest)
            self.set_meta("final", head.final)

    def state(self) -> State:
        """The whole state at the position. Treat it as read-only."""
        return self.hot.state

    def fingerprint(self) -> str:
        return fingerprint(self.state(), self.feasts.days(), self.rules, self.chain_id)

    def fingerprint_once(self) -> str:
        """The same for a store that is asked nothing else: what it takes is not kept."""
        state = self.state() if "rows" in self._meta else self._load_rows()
        return fingerprint(state, self.feasts.days(), self.rules, self.chain_id)

    def freeze(self) -> list[str]:
        """Freeze the rates of the seasons that are over for good; their names."""
        frozen = dict(self._meta.get("frozen", {}))
        end = self.queue.end_at(min(self.meta("final", -1), self.position().block))
        for season in self.rules.seasons:
            if end and season.ends <= end.timestamp and season.name not in frozen:
                frozen[season.name] = self.rules.rates(season.name)
        if frozen != self._meta.get("frozen", {}):
            with self.commit():
                self.set_meta("frozen", frozen)
        return list(frozen)

    # Going back ---------------------------------------------------------------------------

    def undoable(self, block: int) -> bool:
        """Whether before images lead back from the position to `block`, or below it."""
        at = self.position().block
        while at > max(block, self.archived()):
            found = self.db.execute(
                "SELECT fromBlock FROM changes WHERE toBlock = ?", (at,)
            ).fetchone()
            if found is None:
                return False
            at = int(found[0]) - 1
        return at >= self.archived()

    def undo(self, block: int) -> Position:
        """Take back every step that reaches beyond `block`; the position it leaves.

        Steps are taken back whole, so the position may end below `block`. StoreError if a before
        image is missing.
        """
        with self.commit():
            while (position := self.position()).block > block:
                found = self.db.execute(
                    "SELECT image FROM changes WHERE toBlock = ?", (position.block,)
                ).fetchone()
                if found is None or position.block <= self.archived():
                    raise StoreError(
                        f"{self.path} cannot undo down to block {block}: what is final is not "
                        f"undone; `ngu rewind {block}` folds it again from the archive"
                    )
                restored(self, found[0], position.block)
                self.revise()
            return self.position()

    def sealed(self, covered: Covered, name: str) -> None:
        """Note that the archive holds a range, in the place of what it held of it before."""
        with self.commit():
            self.db.execute("DELETE FROM segments WHERE fromBlock >= ?", (covered.from_block,))
            self.db.execute(
                "INSERT INTO segments VALUES (?, ?, ?, ?)",
                (covered.from_block, covered.to_block, len(covered.events), name),
            )
            self.set_meta("archived", covered.to_block)

    def revised(self, segment: Segment, name: str, events: int) -> None:
        """Note that another file holds a segment's blocks now; inside a commit."""
        self.db.execute(
            "UPDATE segments SET name = ?, events = ? WHERE fromBlock = ?",
            (name, events, segment.from_block),
        )

    def sealable(self, final: int) -> int:
        """The last block that may be archived: final, and behind every step that may be undone.

        A copy's archive is that of what it is a copy of: it grows there, not here.
        """
        if self.meta("copy"):
            return self.archived()
        found = self.db.execute(
            "SELECT min(fromBlock) FROM changes WHERE toBlock > ?", (final,)
        ).fetchone()[0]
        limit = min(final, self.position().block)
        return limit if found is None else min(limit, int(found) - 1)

    def make_durable(self) -> bool:
        """Bring every commit onto the disk, so that even a power cut cannot take it back.

        False if a reader is in the way; then it is for another time.
        """
        with naming_errors(self.path):
            self.db.execute("PRAGMA busy_timeout = 0")
            try:
                busy, _, _ = self.db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            finally:
                self.db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
        return not busy

    def forget(self, above: int) -> None:
        """Drop everything above a block, and what was found out about it; inside a commit."""
        self.queue.forget(above)
        self.revise()
        verified = self.meta("verified")
        if verified and verified["block"] > above:
            self.set_meta("verified", None)
        cleared = self.meta("cleared", {}).items()
        self.set_meta("cleared", {wallet: block for wallet, block in cleared if block <= above})

    def clear(self, wallets: Sequence[bytes], block: int) -> None:
        """Call wallets certain again: the contract agrees with us at a block; inside a commit.

        A new fold of the same events does not bring the doubt back.
        """
        cleared = self.meta("cleared", {}) | {wallet.hex(): block for wallet in wallets}
        self.set_meta("cleared", cleared)
        self.db.executemany(
            "DELETE FROM uncertain WHERE wallet = ? AND blockNumber <= ?",
            [(bytes.fromhex(wallet), until) for wallet, until in cleared.items()],
        )

    def revise(self) -> None:
        """Note that what was held is not what is held: findings about it are of before."""
        self.set_meta("revision", self.meta("revision", 0) + 1)

    def unseal(self, above: int) -> None:
        """Forget the archive's files above a block; inside a commit."""
        self.db.execute("DELETE FROM segments WHERE toBlock > ?", (above,))
        if self.archived() > above:
            self.set_meta("archived", above)

    def archived(self) -> int:
        """The last block in the archive."""
        return int(self._meta.get("archived", self._meta.get("start_block", 0) - 1))

    def segments(self) -> list[Segment]:
        """The archive's files, in block order."""
        return [
            Segment(*row) for row in self.db.execute("SELECT * FROM segments ORDER BY fromBlock")
        ]

    def last_segment(self) -> Segment | None:
        segments = self.segments()
        return segments[-1] if segments else None

    def prune(self, final: int, archived: int, now: int) -> int:
        """Drop images of what is final, and rows that expired and are in the archive."""
        with self.commit():
            self.db.execute("DELETE FROM changes WHERE toBlock <= ?", (final,))
            done = min(final, archived, self.position().block)
            self.db.execute("DELETE FROM coverage WHERE toBlock < ?", (done,))
            return self.queue.expire(archived, now)

    def stored(self) -> State:
        """What the rows of tokens and wallets say, which may be behind the position."""
        state = self.hot.state
        return state if self._rows is None else self._rows

    def replace_state(
        self,
        again: Refolded,
        counters: dict[str, int],
        position: Position,
        rows: State | None = None,
    ) -> None:
        """Put another whole state in the place of this one (rebuild).

        `rows` is what the rows are known to say: only what differs is written then.
        """
        state = again.hot.state
        after = None if rows is None else tables.aligned(rows, state)
        with self.commit():
            for table in ("feast_pool", "changes", "uncertain", "anomalies"):
                self.db.execute(f"DELETE FROM {table}")
            if rows is None or after is None:
                self.db.execute("DELETE FROM tokens")
                self.db.execute("DELETE FROM points")
                blank = State(state.runs.take(slice(0, 0)), state.wallets.take(slice(0, 0)))
                rows, after = blank, state
            self.revise()
            self.queue.clear_notes()
            self.queue.note(again.notes, again.uncertain.items())
            self.set_meta("counters", counters)
            tables.write_changes(self.db, rows, after)
            self.db.execute("DELETE FROM meta WHERE key = 'rows'")
            self._meta.pop("rows", None)
            self.feasts.write(again.days, state.wallets.address, again.closed)
            self.set_meta("fold", self.rules.fold_key())
            self.set_position(position, state)
        again.hot.state = replace(state, block=position.block, timestamp=position.timestamp)
        self._hot = again.hot
        self._rows = None
