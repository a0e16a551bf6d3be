"""`ngu demo` shows the pipeline on a local chain, agrees with it, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ngu_points.demo.anvil import find_anvil
from ngu_points.demo.fetch import Reason


def environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NGU_")}
    return kept | {"TMPDIR": str(folder), "NGU_WEB_PORT": "0"}


def demo(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ngu_points", "demo", *words]
    return subprocess.run(
        command, env=environment(folder), capture_output=True, text=True, timeout=90, check=False
    )


@pytest.mark.parametrize("chain", ["anvil", "simulated node"])
def test_the_demo_ends_with_every_token_equal_to_the_contract(tmp_path: Path, chain: str) -> None:
    """Events of several kinds, a fingerprint, a leaderboard; its files are gone afterwards."""
    if chain == "anvil" and isinstance(found := find_anvil(True), Reason):
        pytest.skip(found)
    ended = demo(tmp_path, "--for", "4s", "--json", *(["--simulated"] if chain != "anvil" else []))
    assert ended.returncode == 0, ended.stderr
    summary = json.loads(ended.stdout.splitlines()[-1])
    assert summary["chain"] == chain
    assert summary["events"] == sum(summary["counts"].values()) > 20
    assert summary["tokens"] == summary["tokensEqualToContract"] > 0
    assert summary["leaderboard"][0]["rank"] == 1
    assert len(summary["fingerprint"]) == 64
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_ends_the_demo_gracefully(tmp_path: Path) -> None:
    """Ctrl-C prints the summary, exits 0, and no file or process stays."""
    command = [sys.executable, "-m", "ngu_points", "demo", "--simulated"]
    with subprocess.Popen(
        command, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    ) as program:  # fmt: skip
        assert program.stderr is not None
        until = time.monotonic() + 60
        while "block" not in program.stderr.readline():
            assert time.monotonic() < until, "no sign of life"
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=60)
    assert program.returncode == 0, err
    assert "tokens equal the contract's own answers" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("--for", "soon"), ("--for", "-1s"), ("--for", "0")])
def test_a_duration_that_is_none_is_named(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Nonsense is one line that says what a duration looks like."""
    ended = demo(tmp_path, *words)
    assert ended.returncode == 2
    assert "it takes 20s, 2m or 1h" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
