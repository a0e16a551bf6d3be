"""Repairs of a deployment: each ends in the fingerprint of a clean pass over the same chain."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.program import Ended, busy_chain
from mirror.stage import Stage, filled, modelled, position, stage_of
from ngu_points.aws.tables import META, POINTS, TOKENS
from ngu_points.engine.coverage import Covered

LAST = 30


@pytest.fixture(scope="module")
def stage(emulator_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage and a database of the same 30 blocks; every test leaves both equal."""
    folder: Path = tmp_path_factory.mktemp("stage")
    with modelled(), stage_of(busy_chain(LAST, 3), emulator_url, folder) as made:
        filled(made, LAST)
        assert made.beside("sync", "--to-block", LAST).code == 0
        yield made
        same(made)


def same(stage: Stage) -> None:
    """The tables hold what the database holds."""
    wallet = stage.beside("leaderboard", "--json").json["leaderboard"][0]["wallet"]
    for words in (("fingerprint",), ("points", wallet)):
        mine, other = stage.ngu(*words, "--json"), stage.beside(*words, "--json")
        assert (mine.code, without_doubts(mine)) == (other.code, without_doubts(other)), mine.err


def without_doubts(ended: Ended) -> dict[str, Any]:
    """What was said, but for what only one of both has been through."""
    return {n: v for n, v in ended.json.items() if n not in ("uncertain", "retractions")}


def test_a_rebuild_of_what_is_right_changes_nothing(stage: Stage) -> None:
    """The same fingerprint, exit code 0, and no row is written anew."""
    before = {row["wallet"]: row["fence"] for row in stage.store.dynamo.scan(POINTS)}
    ended = stage.ngu("rebuild", "--json")
    assert (ended.code, ended.json["same"]) == (0, True), ended.err
    assert before == {row["wallet"]: row["fence"] for row in stage.store.dynamo.scan(POINTS)}
    same(stage)


def test_a_rebuild_puts_a_spoiled_state_right(stage: Stage) -> None:
    """A wallet and a run that are wrong, one of each that is gone: exit code 3, then equal."""
    dynamo = stage.store.dynamo
    wallets, runs = list(dynamo.scan(POINTS)), list(dynamo.scan(TOKENS))
    dynamo.put(POINTS, wallets[0] | {"totalStaked": "99999"})
    dynamo.put(TOKENS, runs[0] | {"ownedSince": 12345})
    dynamo.delete(POINTS, {"wallet": wallets[1]["wallet"]})
    dynamo.delete(TOKENS, {"part": runs[1]["part"], "last": runs[1]["last"]})
    refused = stage.ngu("fingerprint", "--at", 9)
    assert (refused.code, "ngu rebuild --store dynamodb" in refused.complaint) == (1, True)
    ended = stage.ngu("rebuild", "--json")
    assert (ended.code, ended.json["same"]) == (3, False), ended.err
    same(stage)
    assert stage.ngu("fingerprint", "--at", 9).code == 0


def test_a_rewind_takes_tables_and_monitor_back(stage: Stage) -> None:
    """Archive, events, coverage and state end there; what is read again leads to the same."""
    was = position(stage)
    ended = stage.ngu("rewind", 11, "--json")
    assert (ended.code, ended.json["block"]) == (0, 11), ended.err
    assert stage.store.position().block == 11
    assert stage.store.coverage(11) == []
    assert not len(stage.store.recent(12, LAST))
    assert stage.archive.archived() == 11
    assert ended.json["fingerprint"] == stage.beside("fingerprint", "--at", 11).out.strip()
    again(stage, was["sequence"])


def again(stage: Stage, before: int) -> None:
    """The monitor goes on from where it was put, and in the end all is the same."""
    now = position(stage)
    assert now["sequence"] > before
    stage.sequence = now["sequence"]
    stage.send(now["block"] + 1, LAST, int(time.time()))
    stage.process(int(time.time()))
    same(stage)


def test_a_replay_brings_back_what_was_lost(stage: Stage) -> None:
    """Events gone from the archive and from the tables, and one that never was."""
    archive, dynamo = stage.archive, stage.store.dynamo
    for segment in stage.store.segments():
        covered = archive.read(segment.name)
        kept = covered.events.take(covered.events.block != 3)
        name = archive.write(replace(covered, events=kept))
        stage.store.sealed(replace(segment, name=name, events=len(kept)), 0)
    spoil_the_past(stage)
    found = stage.ngu("replay", 1, LAST, "--dry-run", "--json")
    assert (found.code, found.json["differing"]) == (3, 2), found.err
    ended = stage.ngu("replay", 1, LAST, "--json")
    assert (ended.code, ended.json["repaired"], ended.json["stillDiffering"]) == (0, 2, [])
    same(stage)
    assert stage.ngu("gaps").out == "no gaps\n"
    told = stage.ngu("retractions", "--json", XDG_CACHE_HOME=str(stage.folder / "other")).json
    taken = (ended.json["retracted"], ended.json["feastDaysCorrected"])
    assert (len(told["retractions"]), len(told["feastDays"])) == taken
    assert taken > (0, 0)
    assert stage.ngu("export", "events").out == stage.beside("export", "events").out
    assert dynamo.get(META, {"key": "repair"}) is None


def spoil_the_past(stage: Stage) -> None:
    """Fold again without the events of block 27, as if the node had left them out."""
    stage.ngu("rewind", 26)  # to the last end of a range before it
    sent = position(stage)
    stage.sequence = sent["sequence"]
    right = stage.read
    stage.read = lambda a, b: without(right(a, b), 27)  # type: ignore[method-assign]
    stage.send(sent["block"] + 1, LAST, int(time.time()))
    del stage.read
    stage.process(int(time.time()))
    assert stage.store.position().block == LAST


def without(covered: Covered, block: int) -> Covered:
    return replace(covered, events=covered.events.take(covered.events.block != block))
