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
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ngu_points.embedded import rows
from ngu_points.embedded.database import (
    naming_errors,
    open_database,
    sql_int,
)
from ngu_points.embedded.undo import image_of, restored
from ngu_points.engine.coverage import (
    BATCH,
    STAKING,
    STREAMS,
    Coverage,
    Covered,
    Delivery,
    Head,
    digest,
)
from ngu_points.engine.events import I64, U8, Events, Ints, Rejected, blobs, concat, event_id
from ngu_points.engine.feast import FeastDay
from ngu_points.engine.fingerprint import fingerprint, shares_digest, words
from ngu_points.engine.hot import Hot, Part
from ngu_points.engine.rules import DAY, Rules
from ngu_points.engine.runs import Runs
from ngu_points.engine.state import State, Wallets, no_wallets
from ngu_points.errors import StoreError
from ngu_points.pipeline.interfaces import Change, Position

KEEP = 7 * DAY
FAR_AWAY = 253_370_764_800  # 9999-01-01: an event that is not processed does not expire
TABLES = {BATCH: "batch_events", STAKING: "staking_events"}
SELECTS = {BATCH: rows.SELECT_BATCH, STAKING: rows.SELECT_STAKING}


@dataclass(frozen=True, slots=True)
class Identity:
    """What a database is of; it refuses to be opened for another."""

    chain_id: int
    contract: str
    kind: str


class Store:
    """Open with `Store.open`; one writer, or any number of readers."""

    far_away = FAR_AWAY

    def __init__(self, path: Path, db: sqlite3.Connection, rules: Rules) -> None:
        self.path = path
        self.db = db
        self.rules = rules
        self._hot: Hot | None = None
        self._meta: dict[str, Any] = {}
        self.final = -1  # the newest final block, as far as is known
        self.reload()

    @classmethod
    def open(cls, path: Path, rules: Rules, *, write: bool = False) -> Store:
        return cls(path, open_database(path, write=write), rules)

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

    def check_rules(self) -> None:
        """Refuse to go on under rules that the stored facts were not folded by."""
        if self._meta.get("fold", self.rules.fold_key()) != self.rules.fold_key():
            raise StoreError(
                f"{self.path} was folded by other rules (weights, tiers, exclusions, season "
                "borders, staking or feast have changed): run `ngu rebuild`, or restore them"
            )

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
        with naming_errors(self.path):
            stored = self.db.execute("SELECT key, value FROM meta").fetchall()
        self._meta = {key: json.loads(value) for key, value in stored}
        self._hot = None

    @property
    def hot(self) -> Hot:
        if self._hot is None:
            with naming_errors(self.path):
                self._hot = Hot(self._load_state(), self.rules)
        return self._hot

    def _load_state(self) -> State:
        blank = no_wallets(self.rules, np.zeros((0, 20), np.uint8))
        found = self.db.execute(f"SELECT {rows.WALLET_COLUMNS} FROM points").fetchall()
        wallets = rows.wallets_of(found, blank)
        if wallets.facts.shape[:2] != blank.facts.shape[:2]:
            self.check_rules()
        number: dict[bytes | None, int] = {a: i for i, a in enumerate(blobs(wallets.address))}
        number[None] = -1
        found = self.db.execute(f"SELECT {rows.RUN_COLUMNS} FROM tokens ORDER BY first").fetchall()
        at = self._meta.get("position", {})
        return State(
            rows.runs_of(found, number),
            wallets,
            at.get("block", -1),
            at.get("timestamp", 0),
            at.get("day"),
            at.get("carry", 0),
            at.get("contribution", 0),
        )

    # Events -------------------------------------------------------------------------------

    def put(self, deliveries: Sequence[Delivery], now: int, *, processed: bool) -> None:
        stamp = (1, now, now + KEEP) if processed else (0, None, FAR_AWAY)
        for delivery in deliveries:
            events = delivery.events
            if delivery.stream == BATCH:
                self._insert(BATCH, rows.BATCH_COLUMNS, 17,
                             rows.batch_rows(events, self.chain_id, stamp))  # fmt: skip
            else:
                self._insert(STAKING, rows.STAKING_COLUMNS, 15,
                             rows.staking_rows(events, self.chain_id, stamp))  # fmt: skip
            self._put_rejected(delivery.rejected, now)
            self._put_coverage(delivery.coverage)

    def _insert(self, stream: str, columns: str, width: int, values: Iterator[Any]) -> None:
        marks = ",".join("?" * width)
        self.db.executemany(
            f"INSERT INTO {TABLES[stream]} ({columns}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE"
            " SET blockHash = excluded.blockHash, timestamp = excluded.timestamp,"
            " processed = excluded.processed, processedAt = excluded.processedAt,"
            " ttl = excluded.ttl, error = NULL"
            " WHERE blockHash != excluded.blockHash OR processed < excluded.processed",
            values,
        )

    def _put_rejected(self, rejected: Sequence[Rejected], now: int) -> None:
        self.db.executemany(
            "INSERT OR REPLACE INTO dead_letters VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            [
                (event_id(r.block, r.tx_hash, r.log_index), r.stream, r.block, r.log_index,
                 r.tx_index, r.tx_hash, r.block_hash, r.contract, r.timestamp, r.reason, r.raw, now)
                for r in rejected
            ],
        )  # fmt: skip

    def _put_coverage(self, records: Sequence[Coverage]) -> None:
        self.db.executemany(
            "INSERT OR REPLACE INTO coverage VALUES (?,?,?,?,?,?,?,?,?)",
            [
                (r.stream, r.sequence, r.from_block, r.to_block, r.parent_hash, r.last_hash,
                 r.timestamp, r.count, r.digest)
                for r in records
            ],
        )  # fmt: skip

    def coverage(self, after: int) -> list[Coverage]:
        found = self.db.execute(
            "SELECT * FROM coverage WHERE stream = ? AND toBlock > ? "
            "UNION ALL SELECT * FROM coverage WHERE stream = ? AND toBlock > ?",
            (BATCH, after, STAKING, after),
        )
        return [Coverage(*row) for row in found]

    def covered_through(self) -> tuple[int, int]:
        """The last block announced on both streams, and the highest sequence used."""
        last, sequence = self.db.execute(
            "SELECT min(last), max(top) FROM (SELECT max(toBlock) AS last, max(sequence) AS top"
            " FROM coverage GROUP BY stream)"
        ).fetchone()
        return (-1 if last is None else last), (0 if sequence is None else sequence)

    def arrived(self, record: Coverage) -> bool:
        within = (record.from_block, record.to_block)
        events = self._events(record.stream, "blockNumber BETWEEN ? AND ?", within)
        lost = self.db.execute(
            "SELECT blockNumber, logIndex, transactionIndex, timestamp, transactionHash, blockHash,"
            " contract, stream, reason, raw FROM dead_letters"
            " WHERE stream = ? AND blockNumber BETWEEN ? AND ?",
            (record.stream, *within),
        ).fetchall()
        rejected = [Rejected(*row) for row in lost]
        if len(events) + len(rejected) != record.count:
            return False
        return digest(events, rejected) == record.digest

    def pending(self, through: int) -> Events:
        position = self.position().block
        where, values = (
            "processed = 0 AND blockNumber > ? AND blockNumber <= ?",
            (position, through),
        )
        return concat([self._events(s, where, values) for s in STREAMS]).sorted()

    def backlog(self) -> int:
        """How many events wait to be processed."""
        counts = [
            self.db.execute(f"SELECT count(*) FROM {t} WHERE processed = 0").fetchone()[0]
            for t in TABLES.values()
        ]
        return int(sum(counts))

    def dead_letters(self) -> int:
        """How many logs could not become events."""
        return int(self.db.execute("SELECT count(*) FROM dead_letters").fetchone()[0])

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

    def recent(self, from_block: int, to_block: int) -> Events:
        """Processed events of the working queue, in position order."""
        where, values = "processed = 1 AND blockNumber BETWEEN ? AND ?", (from_block, to_block)
        return concat([self._events(s, where, values) for s in STREAMS]).sorted()

    def _events(self, stream: str, where: str, values: Sequence[Any]) -> Events:
        found = self.db.execute(
            f"SELECT {SELECTS[stream]} FROM {TABLES[stream]} WHERE {where}"
            " ORDER BY blockNumber, logIndex",
            values,
        ).fetchall()
        return rows.events_of(found)

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
        before, after = change.before.state, change.after.state
        previous = self.position().block
        if change.position.block > self.final:
            image = image_of(change, self._meta.get("position"), self._meta.get("counters"))
            self.db.execute(
                "INSERT OR REPLACE INTO changes VALUES (?, ?, ?)",
                (change.position.block, previous + 1, image),
            )
        self._write_runs(before, after)
        self._write_wallets(before.wallets, after.wallets)
        self._write_days(change.after.days, after.wallets.address, change.position.block)
        self._mark(change, previous, now)
        self._count(change)
        self.set_meta("position", {
            "block": change.position.block,
            "hash": change.position.hash.hex(),
            "timestamp": change.position.timestamp,
            "day": after.day,
            "carry": after.carry,
            "contribution": after.contribution,
        })  # fmt: skip
        self.hot.put(change.before, after)

    def _write_runs(self, before: State, after: State) -> None:
        old, new = before.runs, after.runs
        gone = np.flatnonzero(~np.isin(old.first, new.first))
        changed = np.flatnonzero(~_same_runs(old, new))
        self.db.executemany(
            "DELETE FROM tokens WHERE first = ?", zip(blobs(words(old.first[gone])), strict=True)
        )
        self.db.executemany(
            f"REPLACE INTO tokens ({rows.RUN_COLUMNS}) VALUES (?,?,?,?,?,?)",
            rows.run_rows(new.take(changed), after.wallets.address),
        )

    def _write_wallets(self, old: Wallets, new: Wallets) -> None:
        differs = np.zeros(len(new), np.bool_)
        for f in fields(Wallets)[1:]:
            change = getattr(old, f.name) != getattr(new, f.name)
            differs |= change.any(axis=(0, 1)) if f.name == "facts" else change
        self.write_wallets(new.take(np.flatnonzero(differs)))

    def write_wallets(self, wallets: Wallets) -> None:
        self.db.executemany(
            f"REPLACE INTO points ({rows.WALLET_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            rows.wallet_rows(wallets),
        )

    def _write_days(self, days: Sequence[FeastDay], address: U8, block: int) -> None:
        self.db.executemany(
            "REPLACE INTO feast_pool VALUES (?,?,?,?,?,?,?,?,?,?)",
            [
                (d.day, sql_int(d.carry_in), sql_int(d.emission), sql_int(d.contribution),
                 sql_int(d.seconds), sql_int(d.carry_out), d.season, block,
                 shares_digest(d, address), pack_shares(d, address))
                for d in days
            ],
        )  # fmt: skip

    def _mark(self, change: Change, previous: int, now: int) -> None:
        within = (now, now + KEEP, previous, change.position.block)
        for table in TABLES.values():
            self.db.execute(
                f"UPDATE {table} SET processed = 1, processedAt = ?, ttl = ?"
                " WHERE processed = 0 AND blockNumber > ? AND blockNumber <= ?",
                within,
            )
        for row, note in change.notes.items():
            event = change.events.take([row])
            id_ = event_id(int(event.block[0]), event.tx_hash[0].tobytes(), int(event.log_index[0]))
            for table in TABLES.values():
                self.db.execute(f"UPDATE {table} SET error = ? WHERE id = ?", (note, id_))
            self.db.execute(
                "REPLACE INTO anomalies VALUES (?, ?, ?)", (id_, int(event.block[0]), note)
            )
        self.db.executemany(
            "INSERT OR IGNORE INTO uncertain VALUES (?, ?)",
            [(wallet, change.position.block) for wallet in change.uncertain],
        )

    def _count(self, change: Change) -> None:
        counters = dict(self._meta.get("counters") or {})
        for kind, number in enumerate(np.bincount(change.events.kind, minlength=5).tolist()):
            counters[str(kind)] = counters.get(str(kind), 0) + number
        counters["anomalies"] = counters.get("anomalies", 0) + len(change.notes)
        self.set_meta("counters", counters)

    # Reading ------------------------------------------------------------------------------

    def state(self) -> State:
        """The whole state at the position. Treat it as read-only."""
        return self.hot.state

    def feast_days(self) -> list[tuple[FeastDay, bytes]]:
        """All closed days without their shares, each with the digest of its shares."""
        none: I64 = np.zeros(0, np.int64)
        found = self.db.execute(
            "SELECT day, carryIn, emission, contribution, seconds, carryOut, season, sharesDigest"
            " FROM feast_pool ORDER BY day"
        )
        return [
            (
                FeastDay(day, int(a), int(b), int(c), int(d), int(e), season, none, none),
                digest_,
            )
            for day, a, b, c, d, e, season, digest_ in found
        ]

    def feast_shares(self, day: int) -> list[tuple[bytes, int]]:
        """Who got how many micro-points on a closed day, lower address first."""
        found = self.db.execute("SELECT shares FROM feast_pool WHERE day = ?", (day,)).fetchone()
        return unpack_shares(found[0]) if found else []

    def fingerprint(self) -> str:
        return fingerprint(self.state(), self.feast_days(), self.rules, self.chain_id)

    # Going back ---------------------------------------------------------------------------

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
                if found is None:
                    raise StoreError(
                        f"{self.path} cannot go back to block {block}, which lies below its undo "
                        "window: run `ngu rebuild`"
                    )
                restored(self, found[0], position.block)
            return self.position()

    def ends_below(self, block: int) -> Iterator[tuple[int, bytes]]:
        """Ends of covered ranges with their hashes, from `block` downwards."""
        yield from self.db.execute(
            "SELECT toBlock, lastHash FROM coverage WHERE stream = ? AND toBlock <= ?"
            " ORDER BY toBlock DESC, sequence DESC",
            (BATCH, block),
        )

    def end_at(self, block: int) -> Coverage | None:
        """The record of the last covered range that ends at or below a block."""
        found = self.db.execute(
            "SELECT * FROM coverage WHERE stream = ? AND toBlock <= ?"
            " ORDER BY toBlock DESC, sequence DESC LIMIT 1",
            (BATCH, block),
        ).fetchone()
        return Coverage(*found) if found else None

    def parent_of(self, block: int) -> bytes:
        """The parent hash of a block at which a covered range begins; zeros if none does."""
        found = self.db.execute(
            "SELECT parentHash FROM coverage WHERE stream = ? AND fromBlock = ?"
            " ORDER BY sequence DESC LIMIT 1",
            (BATCH, block),
        ).fetchone()
        return found[0] if found else bytes(32)

    def sealed(self, covered: Covered, name: str) -> None:
        """Note that the archive holds a range."""
        with self.commit():
            self.db.execute(
                "REPLACE INTO segments VALUES (?, ?, ?, ?)",
                (covered.from_block, covered.to_block, len(covered.events), name),
            )
            self.set_meta("archived", covered.to_block)

    def archived(self) -> int:
        """The last block in the archive."""
        return int(self._meta.get("archived", self._meta.get("start_block", 0) - 1))

    def segments(self) -> list[str]:
        """The archive's files, in block order."""
        return [n for (n,) in self.db.execute("SELECT name FROM segments ORDER BY fromBlock")]

    def forget(self, above: int) -> None:
        """Drop events, dead letters and coverage above a block: the chain has others there."""
        with self.commit():
            for table in (*TABLES.values(), "dead_letters", "anomalies"):
                self.db.execute(f"DELETE FROM {table} WHERE blockNumber > ?", (above,))
            self.db.execute("DELETE FROM coverage WHERE toBlock > ?", (above,))

    def prune(self, final: int, archived: int, now: int) -> int:
        """Drop images of what is final, and rows that expired and are in the archive."""
        with self.commit():
            self.db.execute("DELETE FROM changes WHERE toBlock <= ?", (final,))
            dropped = 0
            for table in TABLES.values():
                dropped += self.db.execute(
                    f"DELETE FROM {table} WHERE ttl < ? AND processed = 1 AND blockNumber <= ?",
                    (now, archived),
                ).rowcount
            return dropped

    def replace_state(self, state: State, days: Sequence[FeastDay], position: Position) -> None:
        """Put another whole state in the place of this one (rebuild)."""
        with self.commit():
            for table in ("tokens", "points", "feast_pool", "changes", "uncertain"):
                self.db.execute(f"DELETE FROM {table}")
            blank = State(state.runs.take(slice(0, 0)), state.wallets.take(slice(0, 0)))
            self._write_runs(blank, state)
            self.write_wallets(state.wallets)
            self._write_days(days, state.wallets.address, position.block)
            self.set_meta("fold", self.rules.fold_key())
            self.set_meta("position", {
                "block": position.block, "hash": position.hash.hex(),
                "timestamp": position.timestamp, "day": state.day, "carry": state.carry,
                "contribution": state.contribution,
            })  # fmt: skip
        self._hot = None


def pack_shares(day: FeastDay, address: U8) -> bytes:
    """20-byte address and 16-byte share each, lower address first."""
    named = zip(blobs(address[day.wallet]), day.share.tolist(), strict=True)
    return b"".join(a + int(s).to_bytes(16, "big") for a, s in named if s)


def unpack_shares(data: bytes) -> list[tuple[bytes, int]]:
    return [
        (data[i : i + 20], int.from_bytes(data[i + 20 : i + 36], "big"))
        for i in range(0, len(data), 36)
    ]


def _same_runs(old: Runs, new: Runs) -> Any:
    """Which of the new runs were there before, unchanged."""
    if not len(old) or not len(new):
        return np.zeros(len(new), np.bool_)
    at = np.minimum(np.searchsorted(old.first, new.first), len(old) - 1)
    same = np.ones(len(new), np.bool_)
    for f in fields(Runs):
        same &= getattr(old, f.name)[at] == getattr(new, f.name)
    return same
