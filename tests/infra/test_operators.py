"""What commands on deployed tables call is what the operators' policy allows, and no less."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from calls import Record, allowed, recording
from test_permissions import Functions

from cli.program import busy_chain
from infra import permissions
from mirror.stage import Stage, backed_up, filled, stage_of
from mirror.test_mirror_crash import spoil
from ngu_points.aws import wiring
from ngu_points.aws.saved import BACKUP, FAILED
from ngu_points.aws.tables import KEYS, META

LAST = 20


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Record:
    """What was called."""
    return recording(monkeypatch)


@pytest.fixture
def stage(
    emulator_url: str, tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    """A stage on the emulator that has 15 of 20 blocks; Lambda's client is a stand-in."""
    functions, client = Functions(record, None), wiring.client

    def given(service: str, *more: str) -> object:
        return functions if service == "lambda" else client(service, *more)

    given.cache_clear = client.cache_clear  # type: ignore[attr-defined]
    monkeypatch.setattr(wiring, "client", given)
    with stage_of(busy_chain(LAST, 2), emulator_url, tmp_path) as made:
        filled(made, 15)
        yield made


def test_commands_do_what_the_operators_policy_allows_and_no_less(
    stage: Stage, record: Record
) -> None:
    """Looking, repairing, draining, bringing a backup back.

    Of tables only the actions are compared: a repair may change any of them.
    """
    with record.acting("operator"):
        looked(stage)
    stage.send(16, LAST, int(time.time()))
    stage.client("dynamodb").update_table(
        TableName=stage.store.dynamo.names[META],
        OnDemandThroughput={"MaxWriteRequestUnits": 1_000},
    )
    spoil(stage)
    (key, *_) = backed_up(stage)
    stage.client("s3").put_object(
        Bucket=stage.env["ARCHIVE_BUCKET"], Key=key.replace(BACKUP, FAILED), Body=b"damaged"
    )
    with record.acting("operator"):
        repaired(stage)
    may, does = allowed(permissions.OPERATOR), record.calls["operator"]
    assert not sorted(does - may)
    assert {action for action, _ in may} == {action for action, _ in does}
    assert not sorted(call for call in may - does if call[1] not in KEYS)


def looked(stage: Stage) -> None:
    """Every command that reads."""
    wallet = stage.ngu("leaderboard", "--json").json["leaderboard"][0]["wallet"]
    for words in (
        ("status",), ("gaps",), ("dead-letters",), ("fingerprint",), ("points", wallet),
        ("token", 1), ("leaderboard", "--at", 12), ("retractions",), ("export", "feast"),
        ("certify", 1, 15), ("verify",),
    ):  # fmt: skip
        ended = stage.ngu(*words)
        assert ended.code in (0, 3), (words, ended.err)


def repaired(stage: Stage) -> None:
    """Every command that writes, each with something to do."""
    for words in (
        ("drain",), ("recalc",), ("rewind", 12), ("replay", 1, 10), ("rebuild",),
        ("dead-letters", "--retry"), ("replay", "--from-archive"),
    ):  # fmt: skip
        ended = stage.ngu(*words)
        assert ended.code in (0, 3), (words, ended.err)
