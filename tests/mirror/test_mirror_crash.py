"""A repair that is broken off anywhere is finished, or done anew, by the same command."""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aws.dynamo.faults import Client, Dead
from cli.program import busy_chain
from mirror.stage import Stage, filled, modelled, parameter, position, stage_of
from ngu_points.aws import changes, lease, repairs
from ngu_points.aws.changes import Step
from ngu_points.aws.parameters import Parameters
from ngu_points.aws.repairs import Marker, Plan, Repairs
from ngu_points.aws.store import Store
from ngu_points.aws.tables import META, POINTS, TABLES
from ngu_points.errors import StoreError, TransientError, UsageError
from ngu_points.mirror import repair

LAST, BACK, POINTS_TRIED = 10, 4, 9
VOLATILE = ("fence", "ttl", "receivedAt", "processedAt", "sealedAt", "at", "since")


@pytest.fixture(scope="module")
def stage(emulator_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage and a database of the same 10 blocks."""
    folder: Path = tmp_path_factory.mktemp("stage")
    with modelled(), stage_of(busy_chain(LAST, 2), emulator_url, folder) as made:
        filled(made, LAST)
        assert made.beside("sync", "--to-block", LAST).code == 0
        yield made


@pytest.fixture
def model(stage: Stage) -> Iterator[Client]:
    """The tables, which are what they were when a test is over; so is the monitor's position."""
    client: Client = stage.client("dynamodb")
    tables, sent = copy.deepcopy(client.real.tables), position(stage)
    yield client
    client.dies_at = None
    client.real.tables = tables
    parameter(stage, "position", json.dumps(sent))


def all_rows(stage: Stage) -> dict[str, list[dict[str, Any]]]:
    """What all tables hold, stamps apart."""
    found = {}
    for table in TABLES:
        rows = [row for row in stage.store.dynamo.scan(table.name) if "gone" not in row]
        rows = [row for row in rows if row.get("key") not in ("lease", "head", "ledger")]
        rows = [row for row in rows if row.get("kind") != "image"]  # it expires
        kept = [{n: v for n, v in row.items() if n not in VOLATILE} for row in rows]
        found[table.name] = sorted(kept, key=repr)
    del found["metrics"]
    return found


@pytest.fixture
def dying(model: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The tables; who dies at their calls does so at those to the bucket and to parameters too."""
    clients = pytest.importorskip("botocore.client")
    real = clients.BaseClient._make_api_call

    def made(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        model.counted()
        return real(client, operation, arguments)

    monkeypatch.setattr(clients.BaseClient, "_make_api_call", made)
    return model


@pytest.mark.parametrize("words", [("rewind", BACK), ("rebuild",), ("replay", 1, LAST)])
def test_it_may_die_at_any_call(stage: Stage, dying: Client, words: tuple[object, ...]) -> None:
    """Nobody folds and nobody reads what is half done; run again, all is as without the crash.

    A rewind ends well then too, also where it had been broken off at its very last call.
    """
    model, well = dying, (0,) if words[0] == "rewind" else (0, 3)  # 3: it has put something right
    spoil(stage)
    spoiled, sent = copy.deepcopy(model.real.tables), position(stage)

    def as_it_was() -> None:
        model.real.tables = copy.deepcopy(spoiled)
        parameter(stage, "position", json.dumps(sent))

    for _ in range(2):  # the first time the copy is made
        as_it_was()
        before = model.calls
        assert stage.ngu(*words).code in well
    calls, right, then = model.calls - before, all_rows(stage), position(stage)
    for number in range(POINTS_TRIED):
        as_it_was()
        model.dies_at = model.calls + number * (calls - 1) // (POINTS_TRIED - 1)
        with pytest.raises(Dead):
            stage.ngu(*words)
        model.dies_at = None
        refused(stage)
        again = stage.ngu(*words, "--json")
        assert again.code in well, again.err
        assert all_rows(stage) == right
        assert position(stage)["block"] == then["block"]


def spoil(stage: Stage) -> None:
    """A wallet is wrong, and the archive lacks what block 3 logged."""
    row = next(iter(stage.store.dynamo.scan(POINTS)))
    stage.store.dynamo.put(POINTS, row | {"totalStaked": "99999"})
    for segment in stage.store.segments():
        covered = stage.archive.read(segment.name)
        kept = covered.events.take(covered.events.block != 3)
        name = stage.archive.write(replace(covered, events=kept))
        stage.store.sealed(replace(segment, name=name, events=len(kept)), 0)


def refused(stage: Stage) -> None:
    """While a repair is unfinished the processor and readers are told so."""
    store, later = stage.store, int(time.time()) + 1_000
    if repairs.unfinished(store.dynamo):
        with pytest.raises(StoreError, match="run it again to finish it"):
            store.lead("process", later)
        read = stage.ngu("fingerprint")
        assert (read.code, "run it again to finish it" in read.complaint) == (1, True)
        assert "was broken off" in stage.ngu("status", "--json").json["alarms"][0]


def test_a_repair_whose_object_is_gone_begins_anew(
    stage: Stage, model: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off among the rows and left for so long that the bucket has dropped what it was."""

    def dies(*_: Any) -> None:
        raise Dead

    spoil(stage)
    with monkeypatch.context() as patch:
        patch.setattr(changes, "write_rows", dies)
        with pytest.raises(Dead):
            stage.ngu("rebuild")
    marker = repairs.unfinished(stage.store.dynamo)
    assert marker is not None
    stage.client("s3").delete_object(Bucket=stage.env["ARCHIVE_BUCKET"], Key=marker.name)
    refused(stage)
    ended = stage.ngu("rebuild", "--json")
    assert (ended.code in (0, 3), "damaged or gone" in ended.err) == (True, True), ended.err
    assert repairs.unfinished(stage.store.dynamo) is None
    assert stage.ngu("rebuild", "--json").code == 0


def test_one_that_cannot_be_finished_ends_also_where_nothing_is_wrong(
    stage: Stage, model: Client
) -> None:
    """Broken off before its first row, then its object was dropped: the tables are as they should
    be, and after a rebuild nobody is refused any more."""
    store = stage.store
    store.lead_repair("a repair", int(time.time()))
    marker = Marker("repairs/gone.bin", "ngu rebuild", 0)
    store.dynamo.put(META, {**repairs.KEY, **msgspec.to_builtins(marker), "fence": 1})
    store.release()
    refused(stage)
    assert stage.ngu("rebuild").code == 0
    assert stage.ngu("fingerprint").code == 0


def test_who_wakes_late_does_not_end_anothers_repair(stage: Stage, model: Client) -> None:
    """It had done all of its own and slept: what the other has written down stays."""
    one, other, now = stage.store, stage.store, int(time.time())
    at = one.here(lambda _: None)[0]
    plan = Plan("ngu rebuild", Step(0, int(at["block"]), now, dict(at), dict(at), [], []), [])
    parameters = Parameters(stage.client("ssm"), stage.environment.parameters)

    def begun(store: Store, name: str, now: int) -> tuple[Repairs, Marker]:
        store.lead_repair(name, now)
        made = Repairs(store.dynamo, stage.client("s3"), stage.environment.archive, parameters)
        return made, made.begin(store.lease, plan, now)

    mine, marker = begun(one, "one", now)
    mine.apply(one.lease, marker, now)
    _, others = begun(other, "another", now + 2 * lease.SECONDS)
    mine.close(marker)
    assert repairs.unfinished(other.dynamo) == others


def test_while_another_processes_it_waits_then_says_so(
    stage: Stage, model: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease of a processor that is at work is not taken; what it is told names it."""
    monkeypatch.setattr(repair, "WAIT", 0.2)
    other = stage.store
    other.lead("the processor", int(time.time()))
    ended = stage.ngu("rebuild")
    assert (ended.code, "written by the processor" in ended.err) == (1, True)
    other.release()
    assert stage.ngu("rebuild").code == 0


def test_who_lost_the_lease_writes_nothing_more(stage: Stage, model: Client) -> None:
    """Another took over while a repair slept: its rows are refused, the tables stay right."""
    spoil(stage)
    store, names = stage.store, []

    def wakes_late(name: str, request: dict[str, Any]) -> None:
        names.append(name)
        if name == "transact_write_items" and names.count(name) == 1:
            other = stage.store
            model.before = None
            other.lead_repair("another", int(time.time()) + 1_000)
            other.release()

    model.before = wakes_late
    ended = stage.ngu("rebuild")
    model.before = None
    assert (ended.code, "lost the right to write" in ended.complaint) == (1, True)
    assert store.dynamo.get(META, repairs.KEY) is None
    assert stage.ngu("rebuild", "--json").code == 3
    assert stage.ngu("rebuild", "--json").code == 0


def test_a_reader_waits_for_nobody(stage: Stage, model: Client) -> None:
    """The lease keeps writers apart; who asks is answered meanwhile."""
    other = stage.store
    other.lead("the processor", int(time.time()))
    assert stage.ngu("leaderboard").code == 0
    with pytest.raises(TransientError):
        stage.store.lead("somebody else", int(time.time()))
    other.release()


def test_a_sign_of_life_that_fails_is_followed_by_others(
    stage: Stage, model: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials that are being changed or a refusal of a moment do not end a repair; only
    another who leads does."""
    troubles = [UsageError("no credentials"), StoreError("refused"), lease.LeaseLostError("lost")]
    tried, enough = list[Exception](), threading.Event()

    def renew(*_: Any) -> None:
        tried.append(troubles[len(tried)])
        if len(tried) == len(troubles):
            enough.set()
        raise tried[-1]

    monkeypatch.setattr(repair, "RENEWED", 0.01)
    monkeypatch.setattr(lease, "renew", renew)
    with repair.leading(stage.store):
        assert enough.wait(60)
    assert tried == troubles
