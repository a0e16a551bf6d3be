"""The web server's process: it ends with the pipeline and never ends it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
import urllib.error
from contextlib import closing
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


def test_charts_have_their_history_after_a_restart(tmp_path: Path) -> None:
    """Windows of 5 minutes, hours and days that an earlier run has kept are answered by the next
    one, with the events that came in each; only the figures of 5 seconds begin anew."""
    node = busy_chain(5)
    with running(node, tmp_path):
        pass
    now = int(time.time())
    ages = {"5m": 1_200, "hour": 4 * 3_600, "day": 3 * 86_400}
    with closing(sqlite3.connect(tmp_path / "ngu.db")) as db:
        (text,) = db.execute("SELECT measured FROM metrics").fetchone()
        db.execute("DELETE FROM metrics")
        db.execute("UPDATE jobs SET lastRun = ?", (now + 3_600,))  # none of these runs meanwhile
        for events, age in ((1, ages["day"]), (3, ages["hour"]), (6, ages["5m"]), (9, 0)):
            kept = json.dumps(json.loads(text) | {"events": events})
            db.execute("REPLACE INTO metrics VALUES (?, ?)", ((now - age) // 300 * 300, kept))
        db.commit()
    with running(node, tmp_path) as api:
        for window, seconds in (("5m", 300), ("hour", 3_600), ("day", 86_400)):
            found = api.get("/api/series", window=window)
            assert found["seconds"] == seconds
            begins = [one["at"] for one in found["series"]]
            assert begins == sorted({at // seconds * seconds for at in begins})
            assert (now - ages[window]) // seconds * seconds in begins
            assert found["series"][-1]["events"] == 9
            assert sum(one["newEvents"] for one in found["series"]) == 8
        live = api.get("/api/series", window="live")["series"]
        assert all(one["at"] >= now - 5 for one in live)
