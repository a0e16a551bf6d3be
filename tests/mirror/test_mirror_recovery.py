"""The other commands of recovery on deployed tables."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.program import busy_chain
from mirror.stage import Stage, emptied, filled, modelled, position, stage_of
from ngu_points.aws import lease as leases
from ngu_points.aws import wiring
from ngu_points.aws.archive import Archive
from ngu_points.aws.jobs import Deployment as Jobs
from ngu_points.aws.jobs import run as run_job
from ngu_points.aws.limits import Bounds
from ngu_points.aws.store import UNDO_KEPT
from ngu_points.aws.tables import META, STAKING_EVENTS
from ngu_points.engine.coverage import Covered, announce
from ngu_points.engine.events import Rejected
from ngu_points.errors import UsageError
from ngu_points.mirror import copy, repair
from ngu_points.mirror.drain import bounds_of

LAST = 20


@pytest.fixture
def stage(emulator_url: str, tmp_path: Path) -> Iterator[Stage]:
    """A stage that has 15 of 20 blocks, and a database of all."""
    with modelled(), stage_of(busy_chain(LAST, 2), emulator_url, tmp_path) as made:
        filled(made, 15)
        assert made.beside("sync", "--to-block", LAST).code == 0
        yield made


def right(stage: Stage) -> str:
    return stage.beside("fingerprint").out.strip()


def test_a_drain_clears_the_backlog_and_puts_limits_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is covered is processed from here, in order; what was raised is as before.

    It is raised as far as the deployment says to its scale function.
    """
    functions = Functions({"WRITE_UNITS_MAX": "6000", "PROCESS_MEMORY_MAX": "2048"})
    client = wiring.client
    dynamo, full = stage.client("dynamodb"), stage.store.dynamo.names[META]
    dynamo.update_table(TableName=full, OnDemandThroughput={"MaxWriteRequestUnits": 1_000})
    monkeypatch.setattr(
        wiring, "client", lambda s, *more: functions if s == "lambda" else client(s, *more)
    )
    stage.send(16, LAST, int(time.time()))
    assert stage.ngu("status", "--json").json["backlog"] > 0
    dry = stage.ngu("drain", "--dry-run", "--json")
    assert (dry.code, dry.json["events"]) == (0, 0)
    ended = stage.ngu("drain", "--json")
    assert (ended.code, ended.json["backlog"], ended.json["block"]) == (0, 0, LAST), ended.err
    assert ended.json["fingerprint"] == right(stage)
    assert ended.json["events"] == dry.json["backlogBefore"]
    assert functions.memory == [1_000, 2_048, 1_000]
    assert [change.partition(": ")[2] for change in ended.json["limits"]] == [
        "memory 1000 to 2048", "write 1000 to 6000", "memory 2048 to 1000", "write 6000 to 1000",
    ]  # fmt: skip
    assert stage.store.dynamo.get(META, {"key": "limits"}) is None


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException"])
def test_limits_that_are_not_told_are_the_defaults(
    code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A role that may not ask the scale function drains all the same, and a line says so."""
    exceptions = pytest.importorskip("botocore.exceptions", reason="boto3 is not installed")
    error = exceptions.ClientError({"Error": {"Code": code}}, "GetFunctionConfiguration")
    assert bounds_of(Functions(error), "ngu-scale-prod") == Bounds()
    (line,) = caplog.records
    assert code in line.fields["why"]
    assert bounds_of(Functions({}), "ngu-scale-prod") == Bounds()
    with pytest.raises(UsageError, match="WRITE_UNITS_MAX"):
        bounds_of(Functions({"WRITE_UNITS_MAX": "all"}), "ngu-scale-prod")


class Functions:
    """Lambda, as far as a drain calls it: the processor's memory, what the scale function is told.

    Asked about the latter it raises `told`, if that is an error.
    """

    def __init__(self, told: Mapping[str, str] | Exception) -> None:
        self.memory = [1_000]
        self._told = told

    def get_function_configuration(self, *, FunctionName: str) -> dict[str, Any]:  # noqa: N803
        if "-scale-" not in FunctionName:
            return {"MemorySize": self.memory[-1]}
        if isinstance(self._told, Exception):
            raise self._told
        return {"MemorySize": 256, "Environment": {"Variables": self._told}}

    def update_function_configuration(self, *, MemorySize: int, **_: Any) -> None:  # noqa: N803
        self.memory.append(MemorySize)


def test_a_range_that_never_came_holds_all_up_until_it_is_replayed(stage: Stage) -> None:
    """The monitor lost blocks 16 and 17: what lies behind them waits, then everything counts."""
    stage.send(18, LAST, int(time.time()))
    stage.process(int(time.time()))
    assert stage.store.position().block == 15
    ended = stage.ngu("replay", 16, 17, "--json")
    assert (ended.code, ended.json["to"]) == (0, 17), ended.err
    stage.process(int(time.time()))
    assert stage.ngu("fingerprint").out.strip() == right(stage)
    assert stage.ngu("gaps").out == "no gaps\n"


def test_rows_that_vanished_from_the_event_table_come_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record says what must be there; a copy to ask is refused, a replay brings the rows."""
    monkeypatch.setattr(copy, "PAUSE", 0.0)
    dynamo = stage.store.dynamo
    row = next(r for r in dynamo.scan(STAKING_EVENTS) if r["blockNumber"] > 10)
    dynamo.delete(STAKING_EVENTS, {"id": row["id"]})
    refused = stage.ngu("leaderboard", "--at", 12)
    assert refused.code == 1
    assert "ngu replay 11 15 --store dynamodb" in refused.complaint
    ended = stage.ngu("replay", 11, 15, "--json")
    assert (ended.code, ended.json["repaired"]) == (0, 1), ended.err
    assert stage.ngu("leaderboard", "--at", 12).out == stage.beside("leaderboard", "--at", 12).out
    assert dynamo.get(STAKING_EVENTS, {"id": row["id"]})["processed"]


def test_other_rules_need_a_rebuild(stage: Stage, tmp_path: Path) -> None:
    """Tables folded by other weights are refused, rebuilt, and rebuilt back."""
    stage.send(16, LAST, int(time.time()))
    stage.process(int(time.time()))
    own = tmp_path / "own.toml"
    own.write_text(
        f'[contract]\naddress = "{stage.store._identity["contract"]}"\n'
        "[points]\ndefault_weight = 3\n[chain]\nfinality = 0\n"
    )
    words = ("--config", own)
    assert "folded by other rules" in stage.ngu("leaderboard", *words).complaint
    ended = stage.ngu("rebuild", *words, "--json")
    assert (ended.code, ended.json["rulesChanged"]) == (0, True), ended.err
    mine = stage.ngu("leaderboard", *words, "--json").json
    assert mine["leaderboard"] != stage.beside("leaderboard", "--json").json["leaderboard"]
    assert "folded by other rules" in stage.ngu("leaderboard").complaint
    assert stage.ngu("rebuild").code == 0
    assert stage.ngu("fingerprint").out.strip() == right(stage)


def test_what_was_found_out_is_noted_in_the_tables(stage: Stage) -> None:
    """certify and verify on one machine; status and gaps on any other say what they found."""
    assert stage.ngu("certify", 1, 15).code == 0
    archive = stage.archive
    (segment,) = stage.store.segments()
    covered = archive.read(segment.name)
    kept = covered.events.take(covered.events.block != 3)
    name = archive.write(replace(covered, events=kept))
    stage.store.sealed(replace(segment, name=name, events=len(kept)), 0)
    ended = stage.ngu("certify", 1, 5)
    assert ended.code == 1, "the state is of other events than the archive's"
    assert stage.ngu("rebuild").code == 3
    assert stage.ngu("certify", 1, 5).code == 3
    elsewhere = str(stage.folder / "other machine")
    seen = stage.ngu("gaps", "--json", XDG_CACHE_HOME=elsewhere)
    assert [g["from"] for g in seen.json["gaps"]] == [3]
    told = stage.ngu("status", "--json", XDG_CACHE_HOME=elsewhere).json
    assert (told["certified"], told["uncertainWallets"]) == (["1..15"], 2)
    assert stage.ngu("verify", "--json").json["cleared"] == 2
    told = stage.ngu("status", "--json", XDG_CACHE_HOME=elsewhere).json
    assert (told["verified"]["differences"], told["uncertainWallets"]) == (0, 0)
    assert stage.ngu("replay", 1, 15, XDG_CACHE_HOME=elsewhere).code == 0
    told = stage.ngu("status", "--json").json
    assert (told["gaps"], told["certified"], told["alarms"]) == ([], ["1..15"], [])
    mine, other = stage.ngu("fingerprint", "--at", 15), stage.beside("fingerprint", "--at", 15)
    assert mine.out == other.out


def test_dead_letters_are_listed_and_tried_again(stage: Stage) -> None:
    """A log that had been put aside by mistake becomes the event that it is."""
    covered = stage.read(16, LAST)
    row = int(np.flatnonzero(covered.events.block == 17)[0])
    one, rest = covered.events.take([row]), np.ones(len(covered.events), np.bool_)
    rest[row] = False
    letter = Rejected(
        17, int(one.log_index[0]), int(one.tx_index[0]), int(one.timestamp[0]),
        one.tx_hash[0].tobytes(), one.block_hash[0].tobytes(), one.contract[0].tobytes(),
        "batch" if one.kind[0] < 3 else "staking", "a decoder that was wrong", raw_of(stage, one),
    )  # fmt: skip
    spoiled = replace(covered, events=covered.events.take(rest), rejected=(letter,))
    stage.store.put(announce(spoiled, 100), int(time.time()), processed=False)
    stage.process(int(time.time()))
    listed = stage.ngu("dead-letters", "--json")
    assert (listed.code, listed.json["deadLetters"][0]["blockNumber"]) == (3, 17)
    assert stage.ngu("dead-letters", "--retry", "--dry-run", "--json").json["recovered"] == 1
    ended = stage.ngu("dead-letters", "--retry", "--json")
    assert (ended.code, ended.json["recovered"]) == (0, 1), ended.err
    assert stage.ngu("fingerprint").out.strip() == right(stage)


def raw_of(stage: Stage, one: Any) -> bytes:
    """The log as the node tells it."""
    import json
    import urllib.request

    params = [{"fromBlock": hex(17), "toBlock": hex(17)}]
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": params}
    request = urllib.request.Request(stage.served.url, json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        logs = json.loads(answer.read())["result"]
    index = int(one.log_index[0])
    return json.dumps(next(log for log in logs if int(log["logIndex"], 16) == index)).encode()


def test_points_recalc_runs_from_here(stage: Stage) -> None:
    """The ranked snapshot is written, ledger and totals agree."""
    ended = stage.ngu("recalc", "--json")
    assert (ended.code, ended.json["block"]) == (0, 15), ended.err


def test_what_needs_the_chain_here_is_refused(stage: Stage) -> None:
    """sync and run read into a database; on AWS that is the event monitor's."""
    for command in ("sync", "run"):
        ended = stage.ngu(command)
        assert (ended.code, "ngu monitor" in ended.complaint) == (2, True)


def test_a_lost_branch_that_comes_late_is_taken_out_again(stage: Stage) -> None:
    """After a rewind the streams still bring the other branch: it waits, a replay drops it."""
    lost = stage.read(11, 15)
    assert stage.ngu("rewind", 10).code == 0
    hashes = lost.events.block_hash ^ np.uint8(1), lost.events.tx_hash ^ np.uint8(1)
    events = replace(lost.events, block_hash=hashes[0], tx_hash=hashes[1])
    other = announce(replace(lost, events=events), 3)
    stage.store.put(other, int(time.time()), processed=False)
    stage.sequence = position(stage)["sequence"]
    stage.send(11, LAST, int(time.time()))
    stage.process(int(time.time()))
    assert stage.store.position().block == 10
    ended = stage.ngu("replay", 11, LAST, "--json")
    assert (ended.code, ended.json["to"]) == (0, LAST), ended.err
    assert stage.ngu("fingerprint").out.strip() == right(stage)
    assert stage.ngu("export", "events").out == stage.beside("export", "events").out


def test_tables_that_were_lost_are_made_from_the_archive(stage: Stage) -> None:
    """All rows are gone, the bucket is there: a rebuild, and the monitor goes on from its end."""
    was = position(stage)["sequence"]
    emptied(stage)
    assert "ngu rebuild --store dynamodb" in stage.ngu("leaderboard", "--at", 3).complaint
    ended = stage.ngu("rebuild", "--json")
    assert (ended.code, ended.json["recovered"], ended.json["block"]) == (0, True, 5), ended.err
    now = position(stage)
    assert (now["block"], now["sequence"] > was) == (5, True)
    stage.sequence = now["sequence"]
    stage.send(6, LAST, int(time.time()))
    stage.process(int(time.time()))
    assert stage.ngu("fingerprint").out.strip() == right(stage)
    assert stage.ngu("fingerprint", "--at", 4).out == stage.beside("fingerprint", "--at", 4).out


def test_nobody_repairs_while_the_archive_is_tidied(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rewind in the middle of it would leave blocks in the archive that were taken back. It
    waits, as does a second run of the job; the right to tidy ends with it, or after a while."""
    now, store, met = int(time.time()), stage.store, list[Any]()
    later = now + UNDO_KEPT + 60
    stage.send(16, LAST, now)
    stage.process(now)
    real, tidy = Archive.write, partial(run_job, "tidy")
    monkeypatch.setattr(repair, "WAIT", 0.2)

    def write(archive: Archive, covered: Covered) -> str:
        name = real(archive, covered)
        met.append(stage.ngu("rewind", 7))
        met.append(tidy(tidier(stage, "another"), later))
        return name

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "write", write)
        done = tidy(tidier(stage, "one"), later)
    assert (met[0].code, "the archive is being tidied" in met[0].complaint) == (1, True)
    assert "another run" in met[1]["waitsFor"]
    assert done["archivedThrough"] == store.archived() == 15
    assert stage.ngu("rewind", 7).code == 0
    assert store.archived() <= store.position().block <= 7
    with leases.tidying(store.dynamo, "one", now) as may:
        assert may
        with leases.tidying(store.dynamo, "another", now + leases.TIDIED_WITHIN) as too:
            assert too


def tidier(stage: Stage, owner: str) -> Jobs:
    """What the job works on, for one run of it."""
    return Jobs(stage.store, stage.archive, lambda _: None, owner)


def test_the_archive_is_not_tidied_while_somebody_repairs(stage: Stage) -> None:
    """Nor where a repair was broken off; a run that has waited leaves nothing behind."""
    now, store = int(time.time()), stage.store
    store.lead_repair("a repair", now)
    assert "a repair" in run_job("tidy", tidier(stage, "one"), now)["waitsFor"]
    assert not leases.is_tidied(store.dynamo, now)
    store.release()
    assert run_job("tidy", tidier(stage, "one"), now)["archivedThrough"] == store.archived()
