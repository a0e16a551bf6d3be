"""A PostgreSQL server of our own for one measurement: loopback only, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from ngu_points.errors import NguError

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "off",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
}
"""What is best for a rival: commits do not wait for the disk, which ours do."""


def programs() -> Path | None:
    """The folder with initdb and postgres; None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """A server with an empty database `bench`; yields its URL. NguError where there is none."""
    bins = programs()
    if bins is None:
        raise NguError("PostgreSQL is not installed")
    data, log, port = folder / "postgres", folder / "postgres.log", free_port()
    user = _user(folder)
    data.mkdir()
    log.touch()
    if user:
        shutil.chown(data, user)
        shutil.chown(log, user)
    _do([bins / "initdb", "-D", data, "-U", "bench", "-A", "trust", "--no-sync"], user)
    options = " ".join(f"-c {name}='{value}'" for name, value in SETTINGS.items())
    _do([bins / "pg_ctl", "-D", data, "-l", log, "-w", "-o", f"{options} -p {port}", "start"], user)
    try:
        url = f"postgresql://bench@127.0.0.1:{port}/"
        _do([bins / "createdb", "--maintenance-db", url + "postgres", "bench"], None)
        yield url + "bench"
    finally:
        _do([bins / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"], user)


def query(url: str, statement: str) -> list[list[str]]:
    """The rows of a statement as texts; an empty text for NULL. `statement` may be many."""
    bins = programs()
    assert bins is not None
    words = [str(bins / "psql"), "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1"]
    out = _do([*words, "-d", url, "-c", statement], None)
    return [line.split("\t") for line in out.splitlines()]


def free_port() -> int:
    """A port of the loopback address that nobody has at this moment."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
        return port


def _user(folder: Path) -> str | None:
    """Who the server runs as: root may not, so its own account, which must reach the folder."""
    if os.geteuid():
        return None
    folder.chmod(0o755)
    return "postgres"


def _do(words: Sequence[str | Path], user: str | None) -> str:
    given = list(map(str, words))
    # pg_ctl's child keeps the output open: it goes to a file or nowhere, never into a pipe.
    quiet = "start" in given
    done = subprocess.run(
        given, user=user, cwd="/", text=True, check=False,
        stdout=subprocess.DEVNULL if quiet else subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else subprocess.PIPE,
    )  # fmt: skip
    if done.returncode:
        raise NguError(f"{Path(given[0]).name} failed: {(done.stderr or '').strip()[-300:]}")
    return done.stdout or ""
