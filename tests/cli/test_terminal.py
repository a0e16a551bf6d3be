"""What people see on a terminal of 80 columns, `ngu top` above all."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from cli.program import COMMAND, KEPT, busy_chain, ngu, place
from localnode import served

HOME = "\x1b[H"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a few days of traffic."""
    path = tmp_path_factory.mktemp("top") / "top.db"
    node = busy_chain(40)
    with served(node) as where:
        assert ngu("sync", *place(node, where.url, path)).code == 0
    return path


def drawn(*words: object, until: str | None = None) -> tuple[str, int]:
    """What a command prints on a terminal of 80 columns; Ctrl-C once it shows some text."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    seen, pressed = "", until is None
    end = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    env = KEPT | {"TERM": "xterm-256color"}
    with subprocess.Popen([*COMMAND, *map(str, words)], env=env, **end) as process:
        os.close(terminal)
        try:
            while part := os.read(screen, 65_536):
                seen += part.decode(errors="replace").replace(HOME, "\n")
                seen = ESCAPES.sub("", seen)
                if not pressed and until is not None and until in seen:
                    process.send_signal(signal.SIGINT)
                    pressed = True
        except OSError:  # Linux: the other end is closed
            pass
    os.close(screen)
    assert max(len(line.rstrip()) for line in seen.splitlines()) <= 80
    return seen, process.returncode


def test_what_is_asked_for_fits_on_a_terminal(db: Path) -> None:
    """Status, leaderboard, a wallet and a token are whole within 80 columns."""
    first = ngu("leaderboard", "--db", db, "--json").json["leaderboard"][0]
    record = ngu("points", first["wallet"], "--db", db, "--json").json
    token = record["runs"][0]["first"]
    board, code = drawn("leaderboard", "--db", db)
    assert code == 0
    assert f"{first['wallet'][:10]}…{first['wallet'][-8:]}" in board
    assert f"{int(first['points'].split('.')[0]):,}" in board
    told, _ = drawn("points", first["wallet"], "--db", db)
    assert first["wallet"] in told
    worth = [line["points"] for line in record["explanation"] if line["points"] != "0.000000"]
    assert worth
    assert all(points.split(".")[1] in told for points in worth)
    about, _ = drawn("token", token, "--db", db)
    assert f"token {token}" in about
    assert re.search(r"owned since +20\d\d-\d\d-\d\d", about)
    status, _ = drawn("status", "--db", db)
    assert re.search(r"alarms +none", status)


def test_the_live_view_shows_the_figures(db: Path) -> None:
    """Position, tokens, every event type and the first wallet are drawn within 80 columns."""
    told = ngu("top", "--db", db, "--json").json
    seen, code = drawn("top", "--db", db, until="Ctrl-C ends it")
    assert code == 0
    assert f"{told['block']:,} final" in seen
    assert f"{told['tokens']:,}" in seen
    assert told["leaders"][0]["points"] in seen
    assert "BatchMint" in seen
    assert "Unstake" in seen


def test_a_look_as_json_is_what_status_says(db: Path) -> None:
    """Head, block and counts are those of `ngu status` and `ngu leaderboard`."""
    look = ngu("top", "--db", db, "--json").json
    status = ngu("status", "--db", db, "--json").json
    board = ngu("leaderboard", "--db", db, "--json").json
    assert (look["block"], look["head"]) == (status["block"], status["head"])
    assert sum(look["counts"]) == status["events"]
    assert look["leaders"] == board["leaderboard"]
    assert look["alarms"] == status["alarms"]


def test_without_a_terminal_it_says_what_else_to_type(db: Path) -> None:
    """A pipe is no terminal: wrong usage, in one line."""
    ended = ngu("top", "--db", db)
    assert ended.code == 2
    assert "ngu status" in ended.complaint


def test_run_says_where_the_dashboard_is(tmp_path: Path) -> None:
    """On a terminal `ngu run` names the dashboard and how to end it, and Ctrl-C ends it well."""
    node = busy_chain(20)
    with served(node) as where:
        words = ("run", *place(node, where.url, tmp_path / "run.db"), "--port", 0)
        seen, code = drawn(*words, until="Ctrl-C ends it")
    assert re.search(r"dashboard: http://127\.0\.0\.1:\d+", seen)
    assert code == 0


def test_a_sync_without_events_asks_about_the_kind(tmp_path: Path) -> None:
    """Who forgets the kind of an ERC-721 collection is told, not left with an empty board."""
    node = busy_chain(20)
    with served(node) as where:
        other = ("--kind", "erc721", "--from-block", 1)
        ended = ngu("sync", *place(node, where.url, tmp_path / "none.db"), *other)
    assert ended.code == 0
    assert "no event of kind 'erc721' so far" in ended.out
    assert "no wallet has points" in ngu("leaderboard", "--db", tmp_path / "none.db").out
