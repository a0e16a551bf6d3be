"""Databases and disks that cannot be used: one clear line, the right exit code, nothing lost."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.faulty import FaultyNode, serving
from cli.program import COMMAND, KEPT, Ended, busy_chain, ngu, place, started

WALLET = "0x" + "11" * 20
READING = (("status",), ("points", WALLET), ("token", 5), ("leaderboard",), ("fingerprint",))
WRITING = (("recalc",), ("rebuild",), ("sync",))


@pytest.fixture(scope="module")
def served() -> Iterator[FaultyNode]:
    with serving(busy_chain(60, per_block=6, max_span=10)) as faulty:
        yield faulty


@pytest.fixture(scope="module")
def good(served: FaultyNode, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that is all right."""
    db = tmp_path_factory.mktemp("good") / "ngu.db"
    assert run(served, "sync", db).code == 0
    return db


@pytest.fixture
def db(good: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil, with its archive."""
    copy = tmp_path / "ngu.db"
    shutil.copy(good, copy)
    shutil.copytree(f"{good}.archive", f"{copy}.archive")
    return copy


def run(served: FaultyNode, command: str, db: Path, *more: object) -> Ended:
    """A command on a database; `sync` with all that it needs."""
    if command != "sync":
        return ngu(command, *more, "--db", db, "--json")
    return ngu("sync", *place(served.node, served.url, db), "--finality", 0, "--json")


def fingerprint(db: Path) -> str:
    return str(ngu("fingerprint", "--db", db, "--json").json["fingerprint"])


def refuses(served: FaultyNode, db: Path, *words: str) -> None:
    """Every command refuses the database with the same words and exit code 1."""
    for command, *more in (*READING, *WRITING):
        ended = run(served, command, db, *more)
        assert ended.code == 1, command
        assert all(word in ended.complaint for word in (*words, str(db))), ended.complaint
        assert ended.json["exit"] == 1


def test_a_text_file_is_not_a_database(served: FaultyNode, tmp_path: Path) -> None:
    """A file of something else is refused by every command, and stays as it is."""
    db = tmp_path / "notes.txt"
    db.write_text("my notes\n" * 1000)
    refuses(served, db, "is damaged", "file is not a database", "ngu sync")
    assert db.read_text() == "my notes\n" * 1000


def test_a_database_of_another_program_is_refused(served: FaultyNode, tmp_path: Path) -> None:
    """Somebody else's SQLite file is refused, and gets no table of ours."""
    db = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(db)) as other:
        other.execute("CREATE TABLE theirs (x)")
    refuses(served, db, "is not a database of ngu-points", "--db")
    with contextlib.closing(sqlite3.connect(db)) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def test_a_newer_database_is_refused(served: FaultyNode, db: Path) -> None:
    """A schema from the future is refused by name of its version, and left alone."""
    with contextlib.closing(sqlite3.connect(db)) as opened:
        opened.execute("PRAGMA user_version = 99")
    refuses(served, db, "newer ngu-points (schema 99", "upgrade")


def test_half_a_database_is_refused_and_the_archive_brings_it_back(
    served: FaultyNode, db: Path, good: Path
) -> None:
    """A truncated file is named; moved away, `ngu rebuild` and `ngu sync` make it anew."""
    content = db.read_bytes()
    db.write_bytes(content[: len(content) // 8192 * 4096])
    refuses(served, db, "is damaged", "ngu rebuild")
    db.rename(db.with_name("broken.db"))
    rebuilt = run(served, "rebuild", db)
    assert (rebuilt.code, rebuilt.json["recovered"]) == (0, True)
    assert run(served, "sync", db).code == 0
    assert fingerprint(db) == fingerprint(good)


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bytes_never_show_a_traceback(served: FaultyNode, db: Path, seed: int) -> None:
    """A page of rubbish or of zeros: an answer or one line, never an internal error."""
    chance = random.Random(seed)
    content = bytearray(db.read_bytes())
    page = chance.randrange(len(content) // 4096) * 4096
    content[page : page + 4096] = chance.randbytes(4096) if seed % 2 else bytes(4096)
    for command, *more in (*READING, *WRITING):
        db.write_bytes(content)
        for beside in ("-wal", "-shm"):
            Path(f"{db}{beside}").unlink(missing_ok=True)
        ended = run(served, command, db, *more)
        if ended.code == 1:
            assert "damaged" in ended.complaint or "rebuild" in ended.complaint, command
        else:
            assert ended.code in (0, 3)
            assert not ended.err, command


def test_a_damaged_segment_is_named(served: FaultyNode, db: Path) -> None:
    """A flipped bit in the archive stops what reads it; the state and syncing are untouched."""
    (segment,) = Path(f"{db}.archive").glob("*.npz")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    before = fingerprint(db)
    for words in (("rebuild",), ("export", "events", "-o", db.with_name("out.csv"))):
        ended = ngu(*words, "--db", db, "--json")
        assert ended.code == 1
        assert f"{segment} is damaged: its checksum does not match" in ended.complaint
    segment.unlink()
    ended = ngu("rebuild", "--db", db, "--json")
    assert (ended.code, str(segment) in ended.complaint) == (1, True)
    assert fingerprint(db) == before
    assert run(served, "sync", db).code == 0


def test_a_database_of_another_contract_is_refused(served: FaultyNode, db: Path) -> None:
    """What holds one collection is not continued with another."""
    ended = ngu("sync", "--rpc", served.url, "--contract", WALLET, "--db", db, "--json")
    assert ended.code == 1
    assert served.node.contract.hex() in ended.complaint
    assert "name another with --db" in ended.complaint
    assert run(served, "sync", db).code == 0


def test_other_rules_are_refused_until_a_rebuild(served: FaultyNode, db: Path, good: Path) -> None:
    """Facts folded by other rules are not mixed: `ngu rebuild` first, and back again."""
    env = {"NGU_FEAST_EMISSION": "7"}
    for words in (("points", WALLET), ("sync", *place(served.node, served.url, db))):
        ended = ngu(*words, "--db", db, "--json", env=env)
        assert (ended.code, "run `ngu rebuild`" in ended.complaint) == (1, True)
    changed = ngu("rebuild", "--db", db, "--json", env=env)
    assert (changed.code, changed.json["rulesChanged"]) == (0, True)
    assert ngu("points", WALLET, "--db", db, "--json", env=env).code == 0
    assert ngu("points", WALLET, "--db", db, "--json").code == 1
    assert run(served, "rebuild", db).code == 0
    assert fingerprint(db) == fingerprint(good)


def test_two_processes_do_not_share_a_database(served: FaultyNode, db: Path) -> None:
    """Who comes second is told which process has it; reading goes on beside the writer."""
    words = ("run", *place(served.node, served.url, db), "--finality", 0)
    before = len(served.asked)
    with started(*words) as first:
        while len(served.asked) == before:
            assert first.poll() is None
            time.sleep(0.01)
        for command in ("sync", "recalc", "rebuild"):
            ended = run(served, command, db)
            assert ended.code == 1
            assert f"in use by another ngu (process {first.pid})" in ended.complaint
            assert "name another --db" in ended.complaint
        assert run(served, "status", db).code == 0
    assert run(served, "sync", db).code == 0


@pytest.mark.parametrize("command", ["status", "points", "export", "rebuild"])
def test_a_missing_database_says_what_to_do_first(command: str, tmp_path: Path) -> None:
    """Reading what has never been synced asks for `ngu sync`."""
    more: dict[str, list[object]] = {
        "points": [WALLET],
        "export": ["tokens", "-o", tmp_path / "out.csv"],
    }
    ended = ngu(command, *more.get(command, []), "--db", tmp_path / "none.db", "--json")
    assert ended.code == 1
    assert "ngu sync" in ended.complaint
    (tmp_path / "empty.db").touch()
    ended = ngu("status", "--db", tmp_path / "empty.db", "--json")
    assert (ended.code, "is empty: run `ngu sync`" in ended.complaint) == (1, True)


def test_a_folder_is_no_database(served: FaultyNode, tmp_path: Path) -> None:
    """--db takes a file; a folder, or a file used as one, is named."""
    ended = run(served, "sync", tmp_path)
    assert (ended.code, f"{tmp_path} is a folder" in ended.complaint) == (1, True)
    (tmp_path / "file").touch()
    ended = run(served, "sync", tmp_path / "file" / "ngu.db")
    assert ended.code == 1
    assert "cannot be written" in ended.complaint
    assert str(tmp_path / "file") in ended.complaint


def test_a_folder_that_may_not_be_written(
    served: FaultyNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to write, the line names the folder."""
    with tempfile.TemporaryDirectory(prefix="ngu-read-only-") as name:
        folder = Path(name)
        folder.chmod(0o555)
        monkeypatch.chdir(folder)  # the checkout may be closed to others, ngu.toml is looked for
        with as_somebody_else():
            ended = run(served, "sync", folder / "ngu.db")
        assert ended.code == 1
        assert "Permission denied" in ended.complaint
        assert str(folder) in ended.complaint
        assert "--db" in ended.complaint


@contextlib.contextmanager
def as_somebody_else() -> Iterator[None]:
    """Root may write anywhere: be nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_export_that_cannot_be_written_leaves_nothing(good: Path, tmp_path: Path) -> None:
    """A file in a folder that does not exist is named; no half file stays anywhere."""
    for target in (tmp_path / "none" / "out.csv", tmp_path):
        ended = ngu("export", "tokens", "--db", good, "-o", target, "--json")
        assert (ended.code, f"{target} cannot be written" in ended.complaint) == (1, True)
    assert list(tmp_path.iterdir()) == []


FULL = 12_000
"""Kilobytes, or fewer, on which the longer chain does not fit."""


@pytest.mark.parametrize("kilobytes", [300, 2_000, 4_000, FULL])
def test_a_full_disk_stops_and_loses_nothing(kilobytes: int, tmp_path: Path) -> None:
    """Where a file may grow no further: one line, exit 1; with room again, the right end."""
    with serving(busy_chain(2500, per_block=2, seconds_per_block=120, max_span=100)) as served:
        assert run(served, "sync", tmp_path / "roomy.db").code == 0
        db = tmp_path / "ngu.db"
        words = ["sync", *place(served.node, served.url, db), "--finality", 0, "--json"]
        limited = ["/bin/sh", "-c", 'ulimit -f "$0"; exec "$@"', str(kilobytes * 2), *COMMAND]
        done = subprocess.run(
            [*limited, *map(str, words)], env=KEPT, capture_output=True, text=True, check=False
        )
        ended = Ended(done.returncode, done.stdout, done.stderr)
        if kilobytes == FULL:
            assert ended.code == 0, "the limit is beyond what the files need"
        else:
            assert ended.code == 1
            assert "free some space" in ended.complaint
            assert str(db) in ended.complaint
        assert run(served, "sync", db).code == 0
        assert run(served, "rebuild", db).json["same"]
        assert fingerprint(db) == fingerprint(tmp_path / "roomy.db")


def test_a_lock_that_nobody_holds_is_no_hindrance(served: FaultyNode, db: Path) -> None:
    """The lock is the kernel's: a file that a killed process left behind stops nobody."""
    Path(f"{db}.lock").write_text("99999")
    assert run(served, "sync", db).code == 0
    with Path(f"{db}.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
