"""The event tables: the working queue of the last days, dead letters, coverage records."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ngu_points.chain.decode import Decoded
from ngu_points.embedded import rows
from ngu_points.engine.coverage import (
    BATCH,
    STAKING,
    STREAMS,
    Coverage,
    Delivery,
    digest,
    of_stream,
)
from ngu_points.engine.events import TYPES, Events, Rejected, concat, event_id, ids
from ngu_points.engine.rules import DAY
from ngu_points.pipeline.interfaces import Change

KEEP = 7 * DAY
CHUNK = 5_000
FAR_AWAY = 253_370_764_800  # 9999-01-01: an event that is not processed does not expire
UNANNOUNCED = "an event came that nothing had announced"
TABLES = {BATCH: "batch_events", STAKING: "staking_events"}
BATCH_TYPES = TYPES[:3]
BY_BLOCK = {BATCH: f"type IN {BATCH_TYPES} AND", STAKING: ""}
SELECTS = {BATCH: rows.SELECT_BATCH, STAKING: rows.SELECT_STAKING}


class Queue:
    """Reads and writes within the transaction of its store."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def put(
        self, deliveries: Sequence[Delivery], now: int, chain_id: int, *, processed: bool
    ) -> None:
        stamp = (1, now, now + KEEP) if processed else (0, None, FAR_AWAY)
        for delivery in deliveries:
            events = delivery.events
            if delivery.stream == BATCH:
                self._insert(BATCH, rows.BATCH_COLUMNS, 17,
                             rows.batch_rows(events, chain_id, stamp))  # fmt: skip
            else:
                self._insert(STAKING, rows.STAKING_COLUMNS, 15,
                             rows.staking_rows(events, chain_id, stamp))  # fmt: skip
            self.put_rejected(delivery.rejected, now)
            self.put_coverage(delivery.coverage)

    def _insert(self, stream: str, columns: str, width: int, values: Iterator[Any]) -> None:
        """Insert; the same id again changes nothing, unless it is of another block or further."""
        marks = ",".join("?" * width)
        names = [name.strip() for name in columns.split(",")[1:]]
        takes = ", ".join(f"{name} = excluded.{name}" for name in names)
        self.db.executemany(
            f"INSERT INTO {TABLES[stream]} ({columns}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE"
            f" SET error = NULL, {takes}"
            " WHERE blockHash != excluded.blockHash OR processed < excluded.processed",
            values,
        )

    def put_rejected(self, rejected: Sequence[Rejected], now: int) -> None:
        self.db.executemany(
            "INSERT OR REPLACE INTO dead_letters VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            [
                (event_id(r.block, r.tx_hash, r.log_index), r.stream, r.block, r.log_index,
                 r.tx_index, r.tx_hash, r.block_hash, r.contract, r.timestamp, r.reason, r.raw, now)
                for r in rejected
            ],
        )  # fmt: skip

    def put_coverage(self, records: Sequence[Coverage]) -> None:
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

    def last_sequence(self) -> int:
        """The highest sequence number that a coverage record has used, here or where it is from."""
        used = self.db.execute("SELECT max(sequence) FROM coverage").fetchone()[0] or 0
        found = self.db.execute("SELECT value FROM meta WHERE key = 'sequence'").fetchone()
        return max(used, int(found[0]) if found else 0)

    def arrived(self, record: Coverage) -> bool:
        within = (record.from_block, record.to_block)
        events = self.within(record.stream, *within)
        rejected = [r for r in self.letters(*within) if r.stream == record.stream]
        if len(events) + len(rejected) != record.count:
            return False
        return digest(events, rejected) == record.digest

    def outstanding(self, record: Coverage) -> int:
        """How many of the events that a record announces have not come; negative: too many have."""
        within = (record.from_block, record.to_block)
        there = self.db.execute(
            f"SELECT count(*) FROM {TABLES[record.stream]}"
            f" WHERE {BY_BLOCK[record.stream]} blockNumber BETWEEN ? AND ?",
            within,
        ).fetchone()[0]
        letters = sum(r.stream == record.stream for r in self.letters(*within))
        return record.count - int(there) - letters

    def pending(self, after: int, through: int) -> Events:
        """Unprocessed events of the blocks (after, through], in position order."""
        where, values = (
            "processed = 0 AND blockNumber > ? AND blockNumber <= ?",
            (after, through),
        )
        return concat([self.events(s, where, values) for s in STREAMS]).sorted()

    def backlog(self) -> int:
        """How many events wait to be processed."""
        counts = [
            self.db.execute(f"SELECT count(*) FROM {t} WHERE processed = 0").fetchone()[0]
            for t in TABLES.values()
        ]
        return int(sum(counts))

    def mark(self, change: Change, previous: int, now: int) -> None:
        """Note a step's events as processed, and what they contradicted; inside a commit."""
        within = (now, now + KEEP, previous, change.position.block)
        for table in TABLES.values():
            self.db.execute(
                f"UPDATE {table} SET processed = 1, processedAt = ?, ttl = ?"
                " WHERE processed = 0 AND blockNumber > ? AND blockNumber <= ?",
                within,
            )
        rows = sorted(change.notes)
        named = ids(change.events.take(rows))
        blocks, notes = change.events.block[rows].tolist(), (change.notes[row] for row in rows)
        self.note(
            list(zip(blocks, named, notes, strict=True)),
            [(wallet, change.position.block) for wallet in change.uncertain],
        )

    def note(
        self, notes: Sequence[tuple[int, str, str]], uncertain: Iterable[tuple[bytes, int]]
    ) -> None:
        """Record contradicted events (block, id, note) and the wallets concerned, by block."""
        for block, id_, note in notes:
            for table in TABLES.values():
                self.db.execute(f"UPDATE {table} SET error = ? WHERE id = ?", (note, id_))
            self.db.execute("REPLACE INTO anomalies VALUES (?, ?, ?)", (id_, block, note))
        self.db.executemany("INSERT OR IGNORE INTO uncertain VALUES (?, ?)", uncertain)

    def clear_notes(self) -> None:
        """Forget which events contradicted the record."""
        for table in TABLES.values():
            self.db.execute(f"UPDATE {table} SET error = NULL WHERE error IS NOT NULL")

    def dead_letters(self) -> int:
        """How many logs could not become events."""
        return int(self.db.execute("SELECT count(*) FROM dead_letters").fetchone()[0])

    def letters(self, from_block: int, to_block: int) -> tuple[Rejected, ...]:
        """The dead letters of some blocks that were announced as such, in position order."""
        found = self.db.execute(
            "SELECT blockNumber, logIndex, transactionIndex, timestamp, transactionHash, blockHash,"
            " contract, stream, reason, raw FROM dead_letters WHERE blockNumber BETWEEN ?1 AND ?2"
            " AND substr(reason, 1, length(?3)) != ?3 ORDER BY blockNumber, logIndex",
            (from_block, to_block, UNANNOUNCED),
        )
        return tuple(Rejected(*row) for row in found)

    def recent(self, from_block: int, to_block: int) -> Events:
        """Processed events of the working queue, in position order."""
        found = [self.within(s, from_block, to_block, "processed = 1") for s in STREAMS]
        return concat(found).sorted()

    def within(self, stream: str, first: int, last: int, also: str = "1") -> Events:
        """The events of some blocks, in position order, by the index that knows blocks."""
        where = f"{BY_BLOCK[stream]} blockNumber BETWEEN ? AND ? AND {also}"
        return self.events(stream, where, (first, last))

    def events(self, stream: str, where: str, values: Sequence[Any]) -> Events:
        found = self.db.execute(
            f"SELECT {SELECTS[stream]} FROM {TABLES[stream]} WHERE {where}"
            " ORDER BY blockNumber, logIndex",
            values,
        ).fetchall()
        return rows.events_of(found)

    def ends_below(self, block: int) -> Iterator[tuple[int, bytes, int]]:
        """Ends of covered ranges with their hashes and times, from `block` downwards."""
        yield from self.db.execute(
            "SELECT toBlock, lastHash, timestamp FROM coverage WHERE stream = ? AND toBlock <= ?"
            " ORDER BY toBlock DESC, sequence DESC",
            (BATCH, block),
        )

    def newest_end(self, block: int) -> tuple[int, bytes] | None:
        """The last end of a covered range at or below a block, with its hash."""
        end = next(self.ends_below(block), None)
        return end and end[:2]

    def newest_event(self, block: int) -> tuple[int, bytes] | None:
        """The last block at or below one that has an event in the tables, with its hash."""
        places = [("staking_events", "1")]
        places += [("batch_events", f"type = '{type_}'") for type_ in BATCH_TYPES]
        found = [
            self.db.execute(
                f"SELECT blockNumber, blockHash FROM {table} WHERE {which} AND blockNumber <= ?"
                " ORDER BY blockNumber DESC LIMIT 1",
                (block,),
            ).fetchone()
            for table, which in places
        ]
        return max((f for f in found if f), default=None, key=lambda f: f[0])

    def end_at(self, block: int) -> Coverage | None:
        """The record of the last covered range that ends at or below a block.

        An end inside a range that was announced later is none: that range counts as a whole.
        """
        found = self.db.execute(
            "SELECT * FROM coverage AS c WHERE stream = ?1 AND toBlock <= ?2 AND NOT EXISTS ("
            "SELECT 1 FROM coverage WHERE stream = ?1 AND sequence > c.sequence"
            " AND fromBlock <= c.toBlock AND toBlock > c.toBlock)"
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

    def expire(self, archived: int, now: int) -> int:
        """Drop rows whose time has come and that the archive holds; how many.

        Rows are processed in about the order in which they came, so the expired ones are the
        first ones: no index on ttl is needed to find them.
        """
        dropped = 0
        for table in TABLES.values():
            last = 0
            while True:
                found = self.db.execute(
                    "SELECT max(rowid), sum(gone) FROM (SELECT rowid,"
                    " processed = 1 AND ttl < ? AND blockNumber <= ? AS gone"
                    f" FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT {CHUNK})",
                    (now, archived, last),
                ).fetchone()
                if not found[1]:
                    break
                dropped += self.db.execute(
                    f"DELETE FROM {table} WHERE rowid > ? AND rowid <= ?"
                    " AND processed = 1 AND ttl < ? AND blockNumber <= ?",
                    (last, found[0], now, archived),
                ).rowcount
                last = found[0]
        return dropped

    def reopen(self, after: int) -> None:
        """Mark the events above a block as not processed; inside a commit."""
        for table in TABLES.values():
            self.db.execute(
                f"UPDATE {table} SET processed = 0, processedAt = NULL, ttl = ?, error = NULL"
                " WHERE blockNumber > ?",
                (FAR_AWAY, after),
            )

    def events_until(self, block: int) -> Events:
        """Events at or below a block that are not processed, in position order."""
        found = [self.events(s, "processed = 0 AND blockNumber <= ?", (block,)) for s in STREAMS]
        return concat(found).sorted()

    def mark_known(self, events: Events, now: int) -> None:
        """Mark events as processed that have had their effect before; inside a commit."""
        for table in TABLES.values():
            self.db.executemany(
                f"UPDATE {table} SET processed = 1, processedAt = ?, ttl = ? WHERE id = ?",
                [(now, now + KEEP, id_) for id_ in ids(events)],
            )

    def put_aside(self, events: Events, now: int) -> None:
        """Make dead letters of events that nothing had announced; inside a commit.

        Only the chain can say whether they belong there: a gap asks for it.
        """
        for stream in STREAMS:
            mine = events.take(of_stream(events, stream))
            self.put_rejected([_unannounced(mine, row, stream) for row in range(len(mine))], now)
            self.db.executemany(
                f"DELETE FROM {TABLES[stream]} WHERE id = ?", [(id_,) for id_ in ids(mine)]
            )
            self.db.executemany(
                "INSERT OR IGNORE INTO gaps VALUES (?, ?, ?, ?, ?)",
                [(stream, block, block, UNANNOUNCED, now) for block in mine.block.tolist()],
            )

    def settle_unannounced(self, first: int, last: int) -> None:
        """Drop what was put aside of blocks that are proven: it is held, or is not on the chain."""
        within = (UNANNOUNCED, first, last)
        self.db.execute("DELETE FROM gaps WHERE why = ? AND fromBlock BETWEEN ? AND ?", within)
        self.db.execute(
            "DELETE FROM dead_letters WHERE substr(reason, 1, length(?1)) = ?1"
            " AND blockNumber BETWEEN ?2 AND ?3",
            within,
        )

    def replace(self, true: Mapping[int, Decoded], now: int, chain_id: int) -> None:
        """Put other events and dead letters in the place of those of some blocks, as processed."""
        for block, found in true.items():
            for table in ("dead_letters", "anomalies"):
                self.db.execute(f"DELETE FROM {table} WHERE blockNumber = ?", (block,))
            for stream, table in TABLES.items():
                self.db.execute(
                    f"DELETE FROM {table} WHERE {BY_BLOCK[stream]} blockNumber = ?", (block,)
                )
            deliveries = [
                Delivery(s, found.events.take(of_stream(found.events, s)), (), ()) for s in STREAMS
            ]
            self.put(deliveries, now, chain_id, processed=True)
            self.put_rejected(found.rejected, now)

    def announce_again(self, record: Coverage, count: int, digest_: bytes) -> None:
        """Supersede a record by one that announces something else; inside a commit."""
        self.db.execute(
            "DELETE FROM coverage WHERE stream = ? AND toBlock = ? AND sequence = ?",
            (record.stream, record.to_block, record.sequence),
        )
        sequence = self.last_sequence() + 1
        self.put_coverage([replace(record, sequence=sequence, count=count, digest=digest_)])

    def drop(self, stream: str, first: int, last: int) -> None:
        """Drop a stream's events of some blocks; inside a commit."""
        where = f"{BY_BLOCK[stream]} blockNumber BETWEEN ? AND ?"
        self.db.execute(f"DELETE FROM {TABLES[stream]} WHERE {where}", (first, last))

    def forget(self, above: int) -> None:
        """Drop everything above a block: the chain has others there; inside a commit."""
        for table in (*TABLES.values(), "dead_letters", "anomalies"):
            self.db.execute(f"DELETE FROM {table} WHERE blockNumber > ?", (above,))
        for table in ("coverage", "certificates", "gaps"):
            self.db.execute(f"DELETE FROM {table} WHERE toBlock > ?", (above,))


def _unannounced(events: Events, row: int, stream: str) -> Rejected:
    """An event as a dead letter; `raw` has what is known of it."""
    one = events.take([row])
    known = {"type": TYPES[int(one.kind[0])], "from": "0x" + one.sender[0].tobytes().hex(),
             "to": "0x" + one.recipient[0].tobytes().hex(),
             "first": str(one.first[0]), "quantity": str(one.quantity[0])}  # fmt: skip
    return Rejected(
        int(one.block[0]),
        int(one.log_index[0]),
        int(one.tx_index[0]),
        int(one.timestamp[0]),
        one.tx_hash[0].tobytes(),
        one.block_hash[0].tobytes(),
        one.contract[0].tobytes(),
        stream,
        f"{UNANNOUNCED}: `ngu replay {one.block[0]} {one.block[0]}` asks the chain",
        json.dumps(known).encode(),
    )
