"""Whatever is typed behind `ngu`: an exit code that means something, one line of complaint."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.faulty import serving
from cli.program import COMMAND, KEPT, Ended, address, busy_chain, ngu, place
from fuzz.anything import ODD_TEXTS, often
from ngu_points.cli import cli

NODE = busy_chain(12, per_block=3)
WALLET = "0x" + "ab" * 20
NOWHERE = "http://127.0.0.1:1"  # nothing listens there
QUICK = {"NGU_CHAIN_RETRIES": "0", "NGU_CHAIN_TIMEOUT": "2"}
TEXTS = (
    ODD_TEXTS | st.text(max_size=8) | st.sampled_from(["12", "@1700000000", "2023-11-14", WALLET])
)
NUMBERS = st.integers(-2, 2**70).map(str)
MOMENTS = (
    TEXTS
    | NUMBERS
    | NUMBERS.map("@".__add__)
    | st.sampled_from(
        [
            "@253402300799",
            "@253402300800",
            "9999-12-31T23:59:59Z",
            "0001-01-01",
            "2023-11-14T23:59:60Z",
        ]
    )
)
FILES = st.sampled_from(["ngu.db", "none.db", "folder", "folder/ngu.db", "text", "empty"])
OUTPUTS = st.sampled_from(["out", "folder", "none/out", "text", "-"])
VALUES: dict[str, st.SearchStrategy[str]] = {
    "address": st.just(WALLET),
    "when": MOMENTS,
    "season": st.sampled_from(["1", "2"]),
    "output": OUTPUTS,
    "file": FILES | OUTPUTS,
    "rpc": st.sampled_from([NOWHERE, "ftp://x", "ws://127.0.0.1:1", "http://", "x", "http://[::"]),
    "contract": st.sampled_from(["0x" + "00" * 20, "0xab", "0x" + "aB" * 20]),
    "finality": st.sampled_from(["safe", "finalized", "0"]) | NUMBERS,
}
PATHS = {"file", "output", "db", "rpc"}  # never any text: it might name a real file or host
FLAGS = st.sampled_from(
    ["--json", "--ranges", "--help", "-h", "--version", "--", "-", "-x", "--nope"]
)
ELSEWHERE = {"demo", "run", "init"}  # two go on until stopped, one writes wherever it is told
COMMANDS = {name: command for name, command in cli.commands.items() if name not in ELSEWHERE}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database, its archive, and some things that are none."""
    made = tmp_path_factory.mktemp("commands")
    with serving(NODE) as served:
        ended = ngu("sync", *place(NODE, served.url, made / "ngu.db"), "--finality", 3)
    assert ended.code == 0, ended.err
    (made / "folder").mkdir()
    (made / "text").write_text("no database\n")
    (made / "empty").write_bytes(b"")
    return made


def value_of(parameter: click.Parameter) -> st.SearchStrategy[str]:
    """Values for an argument or an option: fitting ones, near misses, anything."""
    if isinstance(parameter.type, click.Choice):
        return st.sampled_from([str(choice) for choice in parameter.type.choices]) | TEXTS
    fitting = VALUES.get(parameter.name or "", NUMBERS | TEXTS)
    return fitting | fitting | fitting | TEXTS if parameter.name not in PATHS else fitting


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A command with its own arguments and options in any order, some of them wrong."""
    name = draw(st.sampled_from(sorted(COMMANDS)))
    parameters = COMMANDS[name].params
    parts = [[draw(value_of(p))] for p in parameters if isinstance(p, click.Argument)]
    options = [p for p in parameters if isinstance(p, click.Option) and p.name != "db"]
    for option in draw(st.lists(st.sampled_from(options), max_size=3, unique_by=id)):
        given = [] if option.is_flag else [draw(value_of(option))]
        parts.append([option.opts[-1], *given])
    if draw(st.integers(0, 7)) == 0:
        parts.append([draw(FLAGS | TEXTS)])
    if "db" in (p.name for p in parameters):
        parts.append(["--db", draw(st.just("ngu.db") | st.just("ngu.db") | FILES)])
    return [name, *(word for part in draw(st.permutations(parts)) for word in part)]


def assert_well_ended(code: int, out: str, err: str, words: list[str]) -> None:
    """A code with a meaning; a complaint in one line; no traceback, no internal error."""
    complaints = [line for line in err.splitlines() if line.startswith("ngu: ")]
    assert code in (0, 1, 2, 3, 130), err
    assert "Traceback" not in out + err
    assert "internal error" not in err, err
    assert len(complaints) <= (2 if code in (0, 3) else 1), err
    if code in (1, 2) and "Usage:" not in err:
        assert len(complaints) == 1, (words, err)
        assert "Warning" not in err


def run_in_copy(folder: Path, words: list[str]) -> Ended:
    """Run a command in a fresh copy of the folder: some of them write."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(folder, Path(name) / "copy")
        os.chdir(Path(name) / "copy")
        try:
            return ngu(*words, env=QUICK)
        finally:
            os.chdir(before)


@often(5)
@given(lines())
def test_any_line_ends_with_a_code_and_one_complaint(folder: Path, words: list[str]) -> None:
    """Arguments out of range, unfit, missing or too many, files of other kinds: no traceback."""
    ended = run_in_copy(folder, words)
    assert_well_ended(ended.code, ended.out, ended.err, words)
    if "--json" in words[:-1] and ended.code in (1, 2) and "--" not in words:
        assert isinstance(json.loads(ended.out.splitlines()[-1]), dict)


@pytest.mark.parametrize("command", ["recalc", "rebuild", "sync"])
@pytest.mark.parametrize("db", ["", ".", "/"])
def test_a_database_without_a_name_is_refused(command: str, db: str, folder: Path) -> None:
    """An empty --db, as an unset variable in a script leaves it, is named like any other fault."""
    words = [command, "--db", db, "--rpc", NOWHERE, "--contract", WALLET]
    ended = run_in_copy(folder, words)
    assert_well_ended(ended.code, ended.out, ended.err, words)
    assert "--db" in ended.err or "store.db" in ended.err


def test_an_export_without_a_name_is_refused(folder: Path) -> None:
    """An empty -o is named like any other fault."""
    words = ["export", "tokens", "--output", "", "--db", "ngu.db"]
    ended = run_in_copy(folder, words)
    assert_well_ended(ended.code, ended.out, ended.err, words)
    assert ended.code in (1, 2)


EXTREMES = {
    "a path with a zero byte": '[store]\ndb = "a\\u0000b"',
    "a first block past 63 bits": "[contract]\nfrom_block = 99999999999999999999",
    "a timeout without end": "[chain]\ntimeout = inf",
    "a host name too long for any": f'[chain]\nrpc = ["http://{"a" * 300}/v3/key"]',
}


@pytest.mark.parametrize("text", EXTREMES.values(), ids=EXTREMES)
def test_a_value_that_nothing_can_use_is_named(text: str, tmp_path: Path) -> None:
    """What cannot be a path, a block, a time or a host ends in one line, whoever finds it."""
    (tmp_path / "ngu.toml").write_text(text)
    with serving(NODE) as served:
        rpc = () if "rpc" in text else ("--rpc", served.url)
        db = () if "db" in text else ("--db", tmp_path / "ngu.db")
        words = ("sync", "--config", tmp_path / "ngu.toml", *rpc, *db, "--contract", address(NODE))
        ended = ngu(*words, "--finality", 0, env={"NGU_CHAIN_RETRIES": "0"})
    assert_well_ended(ended.code, ended.out, ended.err, ["sync"])
    assert ended.code in (1, 2)


@given(st.lists(TEXTS | FLAGS, max_size=3))
def test_any_words_are_usage_or_help(words: list[str]) -> None:
    """What is no command at all is refused with a pointer to the help."""
    ended = ngu(*words)
    assert_well_ended(ended.code, ended.out, ended.err, words)
    assert ended.code == 2 or "Usage:" in ended.out or "version" in ended.out


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("points", b"\xff\xfe"),
        ("token", b"\xed\xa0\x80"),
        ("leaderboard --season", "é".encode("latin-1")),
        ("status --contract", b"\x1b[2J"),
        ("points", b"a\rb"),
    ],
)
def test_words_that_are_no_text_are_refused_like_others(
    command: str, word: bytes, folder: Path
) -> None:
    """Bytes that no encoding explains come from real shells: the program itself copes."""
    done = subprocess.run(
        [*COMMAND, *command.split(), word, "--db", "ngu.db", "--json"],
        env=KEPT | {"LC_ALL": "C.UTF-8"},
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=False,
    )
    err = done.stderr.decode("utf-8", "backslashreplace")
    assert_well_ended(done.returncode, done.stdout.decode(), err, [command])
    assert done.returncode == 2
    assert all(letter.isprintable() for letter in err.rstrip("\n"))
