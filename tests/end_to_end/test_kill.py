"""kill -9 at any moment loses nothing: going on gives what an uninterrupted run gives."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.faulty import Call, FaultyNode, Reply, serving
from cli.program import busy_chain, ngu, place, spawned, started

KILLS = 20
KILLS_A_DATABASE = 7
REBUILD_KILLS = 3
BLOCKS = 20_000
SPAN = 250


@dataclass(frozen=True)
class Scene:
    """A served chain, and how a run that nobody disturbs ends on it."""

    node: FaultyNode
    requests: int
    summary: dict[str, Any]
    db: Path

    def words(self, db: Path) -> tuple[object, ...]:
        return ("sync", *place(self.node.node, self.node.url, db), "--finality", 0, "--json")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A week of events in many small answers; the newer half is not final, so it can be undone."""
    node = busy_chain(BLOCKS, per_block=1, seconds_per_block=30, max_span=SPAN)
    node.set_finalized(BLOCKS // 2)
    db = tmp_path_factory.mktemp("undisturbed") / "ngu.db"
    with serving(node, slowly) as served:
        scene = Scene(served, 0, {}, db)
        summary = ngu(*scene.words(db)).json
        assert summary["events"] >= 20_000
        yield Scene(served, len(served.asked), summary, db)


def slowly(calls: list[Call], _right: bytes) -> Reply | None:
    """Logs take their time, as they do elsewhere, so that what came before is committed."""
    if calls[0]["method"] == "eth_getLogs":
        time.sleep(0.01)
    return None


def killed(words: tuple[object, ...], node: FaultyNode, requests: int, delay: float) -> bool:
    """Start a run, and kill it so long after so many of its requests; whether it was in time."""
    before = len(node.asked)
    with started(*words) as program:
        while len(node.asked) - before < requests and program.poll() is None:
            time.sleep(0.001)
        time.sleep(delay)
        program.kill()
        return bool(program.wait() == -9)


def checked_position(db: Path) -> int:
    """The last block in a database that must be whole; -1 if it covers none yet."""
    if not db.exists():
        return -1
    with closing(sqlite3.connect(db)) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not opened.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
            return -1
        found = opened.execute("SELECT value FROM meta WHERE key = 'position'").fetchone()
    return json.loads(found[0])["block"] if found else -1


def same(summary: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two runs ended alike, but for what they did themselves."""
    own = {"eventsNow", "seconds"}
    return {k: v for k, v in summary.items() if k not in own} == {
        k: v for k, v in other.items() if k not in own
    }


def test_a_killed_sync_goes_on_where_it_was(scene: Scene, tmp_path: Path) -> None:
    """Killed twenty times at random moments, it ends with the undisturbed run's fingerprint."""
    chance = random.Random(20_240)
    kills, partial = 0, 0
    databases = 0
    while kills < KILLS:
        databases += 1
        db = tmp_path / f"{databases}.db"
        for _ in range(KILLS_A_DATABASE):
            left = scene.requests if checked_position(db) < 0 else scene.requests // 2
            requests = min(left, chance.randint(1, left * 5 // 4))
            in_time = killed(scene.words(db), scene.node, requests, chance.uniform(0, 0.1))
            kills += in_time
            position = checked_position(db)
            partial += in_time and 0 < position < scene.summary["block"]
            if not in_time:
                break
        ended = ngu(*scene.words(db))
        assert ended.code == 0, ended.err
        assert same(ended.json, scene.summary)
        rebuilt = ngu("rebuild", "--db", db, "--json")
        assert (rebuilt.code, rebuilt.json["same"]) == (0, True)
        assert checked_position(db) == scene.summary["block"]
    assert partial >= KILLS // 4, f"only {partial} of {kills} kills fell into the middle"


def test_a_killed_rebuild_changes_nothing(scene: Scene) -> None:
    """Killed at random moments of `ngu rebuild`, the database keeps answering as before."""
    words = ("rebuild", "--db", scene.db, "--json")
    began = time.monotonic()
    assert spawned(*words).json["same"]
    seconds = time.monotonic() - began
    chance = random.Random(7)
    for _ in range(REBUILD_KILLS):
        with started(*words) as program:
            time.sleep(chance.uniform(0.3, 1.0) * seconds)
            program.kill()
            program.wait()
        assert checked_position(scene.db) == scene.summary["block"]
        found = ngu("fingerprint", "--db", scene.db, "--json").json
        assert found["fingerprint"] == scene.summary["fingerprint"]
    assert ngu(*words).json["same"]
    assert same(ngu(*scene.words(scene.db)).json, scene.summary)
