"""What was read from the chain and not yet accepted by the streams: a SQLite file on the monitor.

A range is added in one transaction: the records of both streams and where it ends. Each stream's
sender takes from its front and drops what was accepted. So after a crash what was not accepted
is sent first, and reading goes on behind the end. A file that is damaged is set aside: then the
position in Parameter Store says where to go on, as on a new machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ngu_points.aws.parameters import Sent, sent_of
from ngu_points.aws.sender import BYTES_OF_A_CALL, RECORDS_OF_A_CALL, chunked
from ngu_points.engine.coverage import STREAMS
from ngu_points.errors import NguError, StoreError, TransientError, UsageError

log = logging.getLogger("ngu")
LIMIT = 64 << 20
"""Bytes of records from which on nothing more should be added until some were accepted."""

_FILE, _LOCK = "outbox.db", "outbox.lock"
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS ends (sequence INTEGER PRIMARY KEY, position TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS waiting (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice: a late `done` hits nothing else
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    records INTEGER NOT NULL,
    lines BLOB NOT NULL,
    crc INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS waiting_in_order ON waiting (stream, id);
CREATE INDEX IF NOT EXISTS waiting_by_range ON waiting (sequence);
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """Records from the front of a stream, about one call's worth; they stay until `done`."""

    ids: tuple[int, ...]
    records: tuple[bytes, ...]


class Outbox:
    """One open outbox, for any thread. Made by `opened`."""

    def __init__(self, db: sqlite3.Connection, limit: int) -> None:
        self._db = db
        self._limit = limit
        self._lock = threading.RLock()
        with self._reading():
            found = db.execute(
                "SELECT stream, sum(records), sum(length(lines)) FROM waiting GROUP BY stream"
            ).fetchall()
        self._held = {stream: [0, 0] for stream in STREAMS}
        self._held |= {stream: [records, size] for stream, records, size in found}

    @property
    def full(self) -> bool:
        """Whether to wait before more is added."""
        return sum(size for _, size in self._held.values()) >= self._limit

    def records(self, stream: str) -> int:
        """How many records wait to be accepted by a stream."""
        return self._held[stream][0]

    def end(self) -> Sent | None:
        """The end of the last range that was added; None before `begin`."""
        with self._reading():
            rows = "SELECT position FROM ends ORDER BY sequence DESC LIMIT 1"
            row = self._db.execute(rows).fetchone()
        return sent_of(row[0], "the outbox") if row else None

    def accepted(self) -> Sent | None:
        """The end of the last range of which both streams have accepted all; None before any."""
        with self._reading():
            row = self._db.execute(
                "SELECT position FROM ends"
                " WHERE sequence < ifnull((SELECT min(sequence) FROM waiting), 1 << 62)"
                " ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
        return sent_of(row[0], "the outbox") if row else None

    def add(self, records: Mapping[str, Sequence[bytes]], end: Sent, behind: Sent) -> bool:
        """Add a range that lies directly behind another; False, and nothing added, if that one
        is not the last any more. On disk when it returns.

        TransientError where the disk is full or fails.
        """
        rows = [
            (stream, end.sequence, len(chunk), lines := b"".join(chunk), zlib.crc32(lines))
            for stream in STREAMS
            for chunk in chunked(records[stream], stream)
        ]
        with self._writing():
            if self.end() != behind:
                return False
            self._db.execute("INSERT INTO ends VALUES (?, ?)", (end.sequence, end.text()))
            self._db.executemany(
                "INSERT INTO waiting (stream, sequence, records, lines, crc)"
                " VALUES (?, ?, ?, ?, ?)",
                rows,
            )
            for stream, _, count, lines, _ in rows:
                self._held[stream][0] += count
                self._held[stream][1] += len(lines)
        return True

    def take(self, stream: str) -> Taken:
        """The records at the front of a stream; empty where none wait."""
        ids: list[int] = []
        records: list[bytes] = []
        size = 0
        query = "SELECT id, lines FROM waiting WHERE stream = ? ORDER BY id"
        with self._reading(), contextlib.closing(self._db.execute(query, (stream,))) as rows:
            for name, lines in rows:
                ids.append(name)
                records += lines.splitlines(keepends=True)
                size += len(lines)
                if len(records) >= RECORDS_OF_A_CALL or size >= BYTES_OF_A_CALL:
                    break
        return Taken(tuple(ids), tuple(records))

    def done(self, stream: str, taken: Taken) -> None:
        """Forget what the stream has accepted."""
        gone: list[tuple[int, int]] = []
        query = "DELETE FROM waiting WHERE id = ? RETURNING records, length(lines)"
        with self._writing():
            for name in taken.ids:
                gone += self._db.execute(query, (name,)).fetchall()
            first = "SELECT min(sequence) FROM waiting"
            behind = f"SELECT max(sequence) FROM ends WHERE sequence < ifnull(({first}), 1 << 62)"
            self._db.execute(f"DELETE FROM ends WHERE sequence < ({behind})")
            for records, size in gone:
                self._held[stream][0] -= records
                self._held[stream][1] -= size

    def begin(self, behind: Sent, *known: Sent | None) -> None:
        """Drop all, and go on behind a position. `known` is what the parameter may say now."""
        with self._writing():
            self._db.execute("DELETE FROM waiting")
            self._db.execute("DELETE FROM ends")
            self._db.execute("INSERT INTO ends VALUES (?, ?)", (behind.sequence, behind.text()))
            self._own(*known)
            self._held = {stream: [0, 0] for stream in STREAMS}

    def claim(self, known: Sent | None, following: Sent) -> None:
        """Note what is about to be put into the parameter, and what is there before."""
        with self._writing():
            self._own(known, following)

    def owns(self, known: Sent | None) -> bool:
        """Whether what the parameter says was put there by the owner of this outbox."""
        with self._reading():
            row = self._db.execute("SELECT value FROM meta WHERE key = 'saved'").fetchone()
        return known is None or (row is not None and known.text() in json.loads(row[0]))

    def _own(self, *saved: Sent | None) -> None:
        texts = json.dumps([sent.text() for sent in saved if sent])
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('saved', ?)", (texts,))

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, _naming_trouble():
            yield

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction: all of it on disk at the end, or none."""
        with self._reading():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")


@contextlib.contextmanager
def opened(folder: Path, of: str, *, limit: int = LIMIT) -> Iterator[Outbox]:
    """The outbox in a folder, for one process at a time; made anew if it is damaged.

    `of` names the deployment and contract whose records it holds: a file of another one is set
    aside too. UsageError where another process has it or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
    except OSError as error:
        raise UsageError(f"{folder} cannot be used: {error.strerror}; name another folder with"
                         " --state") from error  # fmt: skip
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"{folder} is in use by another event monitor: stop that one, or name"
                             " another folder with --state") from error  # fmt: skip
        with contextlib.closing(_whole(folder / _FILE, of)) as db:
            yield Outbox(db, limit)


def _whole(path: Path, of: str) -> sqlite3.Connection:
    """The file, if it is there and all of it can be read; else a new one."""
    existed = path.exists()
    try:
        return _connected(path, of)
    except (StoreError, sqlite3.DatabaseError) as error:
        if not existed or isinstance(error, sqlite3.OperationalError):
            raise StoreError(f"{path} cannot be used: {error}") from error
        aside = path.with_name(f"outbox.damaged-{int(time.time())}.db")
        log.error("outbox set aside", extra={"fields": {"why": str(error), "kept": aside.name}})
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").replace(f"{aside}{suffix}")
    return _connected(path, of)


def _connected(path: Path, of: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if (found := db.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
            raise StoreError(f"the file is damaged: {found[0]}")
        db.executescript(_TABLES)
        for name, lines, crc in db.execute("SELECT id, lines, crc FROM waiting"):
            if zlib.crc32(lines) != crc:
                raise StoreError(f"the records of row {name} are damaged")
        for (position,) in db.execute("SELECT position FROM ends"):
            sent_of(position, "the outbox")
        db.execute("INSERT OR IGNORE INTO meta VALUES ('of', ?)", (of,))
        (mine,) = db.execute("SELECT value FROM meta WHERE key = 'of'").fetchone()
        if mine != of:
            raise StoreError(f"it holds records of {mine}, not of {of}")
    except (NguError, sqlite3.Error, TypeError, ValueError) as error:
        db.close()
        if isinstance(error, sqlite3.Error | StoreError):
            raise
        raise StoreError(f"the file is damaged: {error}") from error
    return db


@contextlib.contextmanager
def _naming_trouble() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:  # full, locked, an error of the disk: it may pass
        raise TransientError(f"the outbox cannot be written: {error}; is the disk full?") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"the outbox is damaged ({error}): start again, it is then set aside"
                         " and the position in Parameter Store counts") from error  # fmt: skip
