"""docs/tutorial.md leads from a contract address to a running leaderboard."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pages import ROOT, blocks, page
from readme_example import commands, environment, outputs
from tutorial_example import CHAIN, settings

from localnode import served
from web.browsing import free_port

PATIENCE = 60.0


def test_the_settings_are_those_of_the_file() -> None:
    """The settings that the page shows are docs/example/erc721.toml."""
    assert blocks(page("docs/tutorial.md"), "toml") == [settings()]


def test_the_commands_print_what_the_page_shows() -> None:
    """Every command of the tutorial, run in its order, prints the page's text."""
    told = list(commands(page("docs/tutorial.md")))
    assert len(told) >= 6
    printed = outputs([command for command, _ in told], **CHAIN)
    for (command, shown), real in zip(told, printed, strict=True):
        assert _timeless(shown) == _timeless(real), command


def _timeless(text: str) -> str:
    """Without how long it took."""
    return re.sub(r"in [\d.,]+ s \([\d.,]+/s\)", "in a while", text)


def test_what_runs_in_the_end_serves_the_leaderboard(tmp_path: Path) -> None:
    """The page's `ngu run` serves the leaderboard that the page shows, and the dashboard."""
    text = page("docs/tutorial.md")
    (command,) = re.findall(r"^ngu run .*$", text, re.M)
    node = runpy.run_path(str(ROOT / "docs/example" / CHAIN["chain"]))[CHAIN["maker"]]()
    with served(node) as where:
        port = free_port()
        words = [sys.executable, "-m", "ngu_points", *shlex.split(command)[1:]]
        env = environment(where.url) | {"NGU_STORE_DB": str(tmp_path / "served.db")}
        with subprocess.Popen([*words, "--port", str(port)], cwd=ROOT, env=env) as running:
            try:
                board = _asked(f"http://127.0.0.1:{port}/api/leaderboard")
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as response:
                    assert b"<title>ngu points</title>" in response.read()
            finally:
                running.terminate()
    shown = dict(commands(text))["ngu leaderboard --config docs/example/erc721.toml"]
    for row in board["wallets"]:
        assert re.search(rf"{row['rank']}  {row['wallet']} +{re.escape(row['points'])}", shown)
    assert len(board["wallets"]) == shown.count("0x")


def _asked(url: str) -> Any:
    """The answer once there is one."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline
            time.sleep(0.1)
