"""The web server's process: it ends with the pipeline and never ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import urllib.error
from pathlib import Path

from cli.program import busy_chain, ngu
from web.api import Api, running, until, web_process


def answers(api: Api) -> bool:
    with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
        return api.ask("/health").status == 200
    return False


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
        return state != "Z"
    return False


def test_a_killed_web_server_comes_back_and_the_pipeline_goes_on(tmp_path: Path) -> None:
    """Blocks are processed meanwhile; then the same address answers for them."""
    with running(busy_chain(5), tmp_path) as api:
        first = web_process(api)
        os.kill(first, signal.SIGKILL)
        api.node.mine([])
        head = api.node.head.number
        until(lambda: ngu("status", "--db", api.db, "--json").json["block"] == head)
        until(lambda: answers(api))
        api.caught_up()
        assert web_process(api) != first


def test_the_web_server_ends_with_a_pipeline_that_was_killed(tmp_path: Path) -> None:
    """Nothing is left behind that answers for a database that nobody follows."""
    with running(busy_chain(5), tmp_path) as api:
        serving = web_process(api)
        os.kill(api.pid, signal.SIGKILL)
        until(lambda: not alive(serving))
