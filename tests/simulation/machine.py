"""A machine whose disk fails and which stops dead between any two operations.

Every statement to SQLite, every file operation of the archive and every request to a node is an
operation. At a crash the disk is copied as it is at that moment; a power cut also takes back what
no fsync has brought onto it. Whatever runs on after that only meets more crashes.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from ngu_points.embedded import archive, database

DISK_ERRORS = ("disk I/O error", "database or disk is full")


class Crash(BaseException):
    """The machine has stopped; nothing catches it."""


class Machine:
    """One disk, in a folder of its own for each life."""

    def __init__(self, rng: random.Random, root: Path, *, loses_power: bool) -> None:
        self.rng = rng
        self.loses_power = loses_power
        self.root = root
        self.lives = 0
        self.tally: Counter[str] = Counter()
        self.folder = root / "life-0"
        self.folder.mkdir(parents=True)
        self.synced_wal = (b"", 0)  # its header and size when it was last brought onto the disk
        self.connections: list[sqlite3.Connection] = []
        self.start()

    def start(self, crash_in: int = 0, error_in: int = 0, commits: int = 0) -> None:
        """A new life; 0 for never, else the operation at which it ends or SQLite fails once.

        `commits`: it ends right behind that many commits.
        """
        self.release()
        self.commits_left = commits
        self.dead = False
        self.operations = 0
        self.crash_at, self.error_at = crash_in, error_in
        self.unsynced: set[Path] = set()

    def release(self) -> None:
        """Close what a crash left open; the disk of the next life is a copy made before."""
        for connection in self.connections:
            with suppress(sqlite3.Error):
                connection.close()
        self.connections.clear()

    @property
    def db(self) -> Path:
        return self.folder / "ngu.db"

    def io(self, kind: str) -> None:
        """One operation is about to happen."""
        if self.dead:
            raise Crash
        self.operations += 1
        if self.operations == self.crash_at:
            self._crash()
        if kind == "sql" and 0 < self.error_at <= self.operations:
            self.error_at = 0
            self.tally["SQLite errors"] += 1
            raise sqlite3.OperationalError(self.rng.choice(DISK_ERRORS))

    def committed(self) -> None:
        """A commit is done."""
        self.commits_left -= 1
        if self.commits_left == 0:
            self._crash()

    def _crash(self) -> None:
        self.dead = True
        self.lives += 1
        power = self.loses_power and self.rng.random() < 0.4
        self.tally["power cuts" if power else "crashes"] += 1
        old, self.folder = self.folder, self.root / f"life-{self.lives}"
        shutil.copytree(old, self.folder, ignore=shutil.ignore_patterns("*-shm", "*.lock"))
        if power:
            self._take_back(old)
        raise Crash

    def _take_back(self, old: Path) -> None:
        for path in sorted(self.unsynced):
            copy = self.folder / path.relative_to(old)
            if copy.exists() and self.rng.random() < 0.7:
                os.truncate(copy, self.rng.randint(0, copy.stat().st_size))
        wal = self.folder / "ngu.db-wal"
        if wal.exists():
            header, size = self.synced_wal
            kept = size if wal.read_bytes()[:32] == header else 0
            os.truncate(wal, self.rng.randint(kept, wal.stat().st_size))

    def note_checkpoint(self) -> None:
        """All of the log is on the disk now."""
        wal = self.db.with_name("ngu.db-wal")
        data = wal.read_bytes() if wal.exists() else b""
        self.synced_wal = (data[:32], len(data))

    # In the place of the real things ------------------------------------------------------

    def connect(self, *args: Any, **options: Any) -> sqlite3.Connection:
        machine = self

        class Connection(sqlite3.Connection):
            """Counts statements, and fails when the machine does."""

            def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
                machine.io("sql")
                cursor = super().execute(sql, *rest)
                if sql == "COMMIT":
                    machine.committed()
                if sql.startswith("PRAGMA wal_checkpoint"):
                    machine.note_checkpoint()
                return cursor

            def executemany(self, *args: Any) -> sqlite3.Cursor:
                machine.io("sql")
                return super().executemany(*args)

        self.connections.append(sqlite3.connect(*args, factory=Connection, **options))
        return self.connections[-1]

    def _fsync(self, handle: int) -> None:
        self.io("file")
        os.fsync(handle)

    def _written(self, path: Path, data: bytes) -> int:
        self.io("file")
        self.unsynced.add(path)
        half = len(data) // 2
        with path.open("wb") as file:
            file.write(data[:half])
            file.flush()
            self.io("file")
            file.write(data[half:])
        return len(data)

    def _replace(self, path: Path, target: Path) -> Path:
        self.io("file")
        path.rename(target)
        if path in self.unsynced:
            self.unsynced.remove(path)
            self.unsynced.add(target)
        return target

    def _unlink(self, path: Path, missing_ok: bool = False) -> None:
        self.io("file")
        if not missing_ok or path.exists():
            os.unlink(path)  # noqa: PTH108 -- `Path.unlink` is what this stands for

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let the program run on this machine."""
        shim = SimpleNamespace(**vars(sqlite3) | {"connect": self.connect})
        files = SimpleNamespace(**vars(os) | {"fsync": self._fsync})
        machine = self
        with ExitStack() as stack:
            stack.enter_context(patch.object(database, "sqlite3", shim))
            stack.enter_context(patch.object(archive, "os", files))
            for name, method in (
                ("write_bytes", machine._written),
                ("replace", machine._replace),
                ("unlink", machine._unlink),
            ):
                stack.enter_context(patch.object(Path, name, _method(method)))
            yield


def _method(call: Any) -> Any:
    """A method of a path that is a method of the machine."""

    def method(path: Path, *args: Any, **options: Any) -> Any:
        return call(path, *args, **options)

    return method
