"""What each role may do is what its code does: nothing is missing, nothing is too much."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from calls import Record, allowed, recording, wrapped

from aws.deployed import SETTINGS, Deployed, context, deployed, url_payload
from chains import CONTRACT, Chain, block_hash
from conformance.test_stores import ALICE, BOB, CAROL, START, deliveries_of, event
from infra import permissions
from mirror.payloads import request
from ngu_points.aws import wiring
from ngu_points.aws.functions import jobs, persist, process, scale
from ngu_points.aws.metrics import NAMESPACE
from ngu_points.aws.monitor import CALLS
from ngu_points.aws.records import write
from ngu_points.aws.store import UNDO_KEPT
from ngu_points.aws.strays import WAIT
from ngu_points.aws.tables import BATCH_EVENTS, META, STAKING_EVENTS
from ngu_points.engine.coverage import BATCH, STREAMS, announce
from ngu_points.engine.events import Rejected
from ngu_points.engine.rules import DAY
from ngu_points.errors import StoreError
from ngu_points.mirror import function, ledger
from ngu_points.mirror.deployment import Deployment as Stage
from ngu_points.pipeline.schedule import JOBS

ROLES = {
    **{f"persist-{stream}": permissions.persist(stream) for stream in STREAMS},
    "process": permissions.PROCESS,
    "jobs": permissions.JOBS,
    "scale": permissions.SCALE,
    "api": permissions.API,
}
EVENTS = [
    event("BatchMint", 1, 0, "", ALICE, 1, 9),
    event("BatchMint", 1, 1, "", BOB, 20, 3),
    event("BatchMint", 1, 2, "", BOB, 2**200, 2**100),  # over more ids than are looked for
    event("Stake", 2, 0, ALICE, "", 2),
    event("BatchTransfer", 26, 0, BOB, CAROL, 21),
]
UNTIL = START + 30 * 3600
BAD = Rejected(3, 7, 0, START, b"t" * 32, block_hash(3), CONTRACT, BATCH, "no", b"{}")
BAD_STAKE = replace(BAD, log_index=8, stream="staking")
CHAIN = Chain(EVENTS, 30, UNTIL, [BAD, BAD_STAKE])


class Clock:
    """The wall clock of all functions."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """To be moved."""
    made = Clock()
    for module in (persist, process, jobs, scale):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=made.time, sleep=lambda _: None))
    return made


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Record:
    """What was called."""
    return recording(monkeypatch)


@pytest.fixture
def stage(emulator_url: str, monkeypatch: pytest.MonkeyPatch, record: Record) -> Iterator[Deployed]:
    """A stage on the emulator whose functions' calls are written down."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed (extra `aws`)")
    own = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    cloudwatch = boto3.client(
        "cloudwatch", endpoint_url=emulator_url, region_name="us-east-1", **own
    )
    with deployed(emulator_url, monkeypatch) as made:
        role = {
            persist: lambda: f"persist-{persist.os.environ['STREAM']}",
            process: lambda: "process",
            jobs: lambda: "jobs",
            scale: lambda: "scale",
            function: lambda: "api",
        }
        for module, whose in role.items():
            monkeypatch.setattr(module, "handler", wrapped(record, whose, module.handler))
        made.clients["lambda"] = Functions(record, made.clients["lambda"])
        monkeypatch.setattr(scale, "os", SimpleNamespace(environ=made.variables))
        scale._unit.cache_clear()
        made.clients["cloudwatch"] = cloudwatch
        yield made
    cloudwatch.close()
    function._unit.cache_clear()


class Functions:
    """Lambda's client: the emulator has no function to call or to change."""

    def __init__(self, record: Record, real: Any) -> None:
        self._record = record
        self._real = real
        self._memory = 1_769

    def invoke(self, **arguments: Any) -> None:
        self._record.note("lambda", "Invoke", arguments)
        self._real.invoke(**arguments)

    def get_function_configuration(self, **arguments: Any) -> dict[str, Any]:
        self._record.note("lambda", "GetFunctionConfiguration", arguments)
        return {"MemorySize": self._memory}

    def update_function_configuration(self, **arguments: Any) -> None:
        self._record.note("lambda", "UpdateFunctionConfiguration", arguments)
        self._memory = arguments["MemorySize"]


def ordinary(stage: Deployed, clock: Clock) -> None:
    """Deliveries with dead letters and noise, folded, and each job; the archive grows."""
    for stream in STREAMS:
        stage.of_stream(stream)
        wiring._settings.cache_clear()
        assert stage.persist(url_payload([b"noise"]))["statusCode"] == 200
    stage.deliver(deliveries_of(CHAIN, [0, 5, 26]), write)
    assert stage.process()["events"] == len(EVENTS)
    for job in JOBS:
        stage.job(job.name)
    for block in (40, 50):  # the second time, the segment is read and written again
        clock.now += UNDO_KEPT + 60
        until = UNTIL + 3_600 * block
        more = [event("BatchTransfer", block, 0, CAROL, BOB, 21)]
        stage.deliver(deliveries_of(Chain(more, block, until), [block - 9]), write)
        stage.process()
        for job in JOBS:
            stage.job(job.name)
    clock.now += 2 * DAY
    stage.job("tidy")


def asked(stage: Deployed, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """The API answers from what there is, a ledger of repairs among it."""
    stage.variables["COPY"] = str(folder / stage.env.service / "copy.db")
    patch.setattr(function, "os", SimpleNamespace(environ=stage.variables))
    function._unit.cache_clear()
    on = Stage(stage.env, wiring.settings(stage.env, 0))
    name = f"{ledger.PREFIX}1.bin"
    on.s3.put_object(Bucket=on.bucket, Key=name, Body=ledger._packed(ledger.Ledger()))
    on.store.dynamo.put(META, {**ledger.KEY, "name": name, "version": 1})
    answer = function.handler(request("/api/status"), context())
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["valid"]["block"] == stage.store().position().block


def forgotten(stage: Deployed) -> None:
    """What was processed, archived and has expired comes again."""
    tables = {BATCH_EVENTS: BATCH, STAKING_EVENTS: "staking"}
    for table in tables:
        for row in stage.rows(table):
            wiring.dynamo(stage.env).delete(table, {"id": row["id"]})
    stage.deliver(deliveries_of(CHAIN, [0, 5, 26]), write)
    assert stage.process()["steps"] == 0


def taken_back(stage: Deployed, clock: Clock) -> None:
    """Late events: announced by a later record, and by none."""
    until = START + 9 * 3600
    early = [event("BatchMint", 1, 0, "", ALICE, 1, 9), event("BatchTransfer", 6, 0, BOB, CAROL, 2)]
    late = [event("BatchTransfer", 4, 0, ALICE, BOB, 2), event("Stake", 5, 0, ALICE, "", 3)]
    stage.deliver(deliveries_of(Chain(early, 9, until), [0, 3, 6]), write)
    stage.process()
    whole = Chain([early[0], *late, early[1]], 9, until)
    stage.deliver(announce(whole.covered(3, 5), 7), write)
    assert stage.process()["steps"] > 0
    strays = [event("BatchTransfer", 7, 0, ALICE, BOB, 8), event("Stake", 7, 1, ALICE, "", 7)]
    for delivery in announce(Chain(strays, 9, until).covered(0, 9), 9):
        stage.deliver([replace(delivery, coverage=())], write)
    clock.now += WAIT + 60
    stage.process()
    assert len(stage.store().gaps()) == 2


def stopped(stage: Deployed) -> None:
    """Rules that the facts were not folded by: the topic is told."""
    stage.put_settings(SETTINGS.replace("emission = 1000", "emission = 1"))
    with pytest.raises(StoreError):
        stage.process()


def limits(stage: Deployed, clock: Clock) -> None:
    """An alarm of each kind raises, the schedule puts back."""
    metrics = [
        {"metricStat": {"metric": {"name": name, "dimensions": dimensions}}}
        for name, dimensions in (
            ("EventProcessingDelay", {}),
            *(("WriteThrottleEvents", {"TableName": name}) for name in names(stage)),
        )
    ]
    alarm = {
        "alarmData": {
            "alarmName": "full",
            "state": {"value": "ALARM", "timestamp": "2026-11-30T00:00:00.000+0000"},
            "configuration": {"metrics": metrics},
        }
    }
    for name in names(stage):
        stage.dynamo.update_table(
            TableName=name, OnDemandThroughput={"MaxWriteRequestUnits": 1_000}
        )
    assert scale.handler(alarm, context())["causes"] == ["full"]
    for _ in range(3):
        clock.now += 3_600
        result = scale.handler({}, context())
    assert result["causes"] == []


def names(stage: Deployed) -> list[str]:
    """The full names of the stage's tables."""
    return sorted(wiring.dynamo(stage.env).names.values())


def test_functions_do_what_their_roles_allow_and_no_less(
    stage: Deployed, clock: Clock, record: Record, emulator_url: str, monkeypatch, tmp_path: Path
) -> None:
    """All that may happen to them happens here; the calls are the tables of permissions."""
    ordinary(stage, clock)
    asked(stage, tmp_path, monkeypatch)  # of tables with an archive and dead letters
    forgotten(stage)
    limits(stage, clock)
    stopped(stage)
    with deployed(emulator_url, monkeypatch) as second:
        taken_back(second, clock)
        asked(second, tmp_path, monkeypatch)  # of tables with gaps, and nothing archived yet
    compare(record)


def test_the_monitors_role_is_what_it_says_it_calls() -> None:
    """Its own table of calls, which a test of the monitor compares with what it does."""
    words = {
        **{f"stream:{stream}": table for stream, table in permissions.EVENT_TABLES.items()},
        "namespace": NAMESPACE,
        "topic": "",
    }
    does = {
        (action, words.get(place, place.partition(":")[2]))
        for action, places in CALLS.items()
        for place in places
    }
    assert does == allowed(permissions.MONITOR)


def compare(record: Record) -> None:
    """What was called against what is allowed, both ways."""
    wrong = []
    for role, granted in ROLES.items():
        may, does = allowed(granted), record.calls[role]
        wrong += [f"{role} may not {call}" for call in sorted(does - may)]
        wrong += [f"{role} never does {call}" for call in sorted(may - does)]
    assert not wrong, "\n".join(wrong)
