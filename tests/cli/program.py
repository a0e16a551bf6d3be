"""Run `ngu` as a person would, and look at what it printed; a small chain to run it on."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ngu_points.cli import main
from ngu_points.demo.node import SimNode
from ngu_points.demo.traffic import Traffic, events_of, wallets

COMMAND = (sys.executable, "-m", "ngu_points")
KEPT = {k: v for k, v in os.environ.items() if not k.startswith("NGU_") and k != "LOG_LEVEL"}
"""The environment without settings that whoever runs the tests may have, and any free port."""
KEPT["NGU_WEB_PORT"] = "0"


@dataclass(frozen=True)
class Ended:
    """How one run of the program ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line on stdout, which --json promises to be one object."""
        found = json.loads(self.out.splitlines()[-1])
        assert isinstance(found, dict)
        return found

    @property
    def complaint(self) -> str:
        """The one `ngu:` line on stderr, next to nothing but structured log lines."""
        mine = [line for line in self.err.splitlines() if line.startswith("ngu: ")]
        others = [line for line in self.err.splitlines() if not line.startswith("ngu: ")]
        assert len(mine) == 1, self.err
        assert all(isinstance(json.loads(line), dict) for line in others), self.err
        assert "Traceback" not in self.err + self.out
        assert "internal error" not in self.err
        return mine[0]


def ngu(*words: object, env: Mapping[str, str] | None = None) -> Ended:
    """Run a command in this process, which is faster than starting another."""
    out, err = io.StringIO(), io.StringIO()
    settings = patch.dict(os.environ, {**KEPT, **(env or {})}, clear=True)
    with settings, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code: Any = 0
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
    return Ended(int(code or 0), out.getvalue(), err.getvalue())


def spawned(*words: object, env: Mapping[str, str] | None = None, **more: Any) -> Ended:
    """Run a command as a program of its own."""
    done = subprocess.run(
        [*COMMAND, *map(str, words)],
        env={**KEPT, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **more,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def started(*words: object, env: Mapping[str, str] | None = None) -> Iterator[Any]:
    """A running program; killed at the end if it is still there."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, words)],
        env={**KEPT, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def address(node: SimNode) -> str:
    return "0x" + node.contract.hex()


def busy_chain(
    blocks: int = 150,
    per_block: int = 10,
    seconds_per_block: int = 1800,
    max_span: int | None = None,
) -> SimNode:
    """A chain with events of all five types in nearly every block; always the same."""
    node = SimNode(seconds_per_block=seconds_per_block, max_span=max_span)
    node.mine()
    traffic = Traffic(1, wallets(8))
    for _ in range(blocks):
        node.mine_transactions([events_of(action) for action in traffic.take(per_block)])
    return node


def place(node: SimNode, url: str, db: Path) -> tuple[object, ...]:
    """The options that a command needs where there is no file of settings."""
    return ("--rpc", url, "--contract", address(node), "--db", db)
