"""Commands that ask about now answer from the tables what a database of the same chain answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from cli.program import ngu
from mirror.stage import Stage
from ngu_points.aws import wiring

LAST = 60


def test_now_is_the_same_in_tables_and_database(synced: Stage) -> None:
    """Points, tokens, leaderboard and fingerprint are printed alike, for people and machines."""
    wallet = synced.beside("leaderboard", "--json").json["leaderboard"][0]["wallet"]
    commands = [("leaderboard",), ("points", wallet), ("fingerprint",), ("token", 1), ("token", 7),
                ("points", "0x" + "11" * 20), ("token", 2**200)]  # fmt: skip
    for words in commands:
        for more in ((), ("--json",)):
            mine, other = synced.ngu(*words, *more), synced.beside(*words, *more)
            assert (mine.code, mine.out) == (other.code, other.out), (words, mine.err)


def test_status_has_the_figures_of_the_database_and_more(synced: Stage) -> None:
    """Position, identity, events; nothing waits, and what it adds is there."""
    mine, other = synced.ngu("status", "--json").json, synced.beside("status", "--json").json
    same = ("identity", "startBlock", "block", "timestamp", "blockHash", "final", "events",
            "backlog", "gaps", "deadLetters", "anomalies", "uncertainWallets")  # fmt: skip
    assert {n: mine[n] for n in same} == {n: other[n] for n in same}
    assert (mine["quarantine"], mine["archivedThrough"]) == (0, LAST // 2)
    assert synced.ngu("status").code == 0


def test_what_is_missing_is_said_in_one_line(synced: Stage) -> None:
    """No stage, another stage, another service, settings that are not there."""
    cases = [
        ({"NODE_ENV": ""}, (), 2, "--stage prod or --stage staging"),
        ({}, ("--stage", "prod"), 2, "/prod/settings is not there"),
        ({}, ("--service", "other"), 2, "/other/staging/settings is not there"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, (), 1, "AWS does not answer"),
    ]
    for env, words, code, said in cases:
        wiring.client.cache_clear()
        ended = synced.ngu("fingerprint", *words, **env)
        assert (ended.code, said in ended.complaint) == (code, True), ended.err
    wiring.client.cache_clear()


def test_settings_of_a_file_go_before_the_stage(synced: Stage, tmp_path: Path) -> None:
    """--config FILE is taken instead of Parameter Store; other rules are refused."""
    file = tmp_path / "own.toml"
    file.write_text("[feast]\nemission = 5\n")
    ended = synced.ngu("fingerprint", "--config", file)
    assert ended.code == 1
    assert "folded by other rules" in ended.complaint
    kind = '[store]\nkind = "dynamodb"\nstage = "staging"\n'
    file.write_text(f"{kind}service = {json.dumps(synced.env['SERVICE'])}\n")
    named = ngu("fingerprint", "--config", file, env={**synced.env, "SERVICE": "", "NODE_ENV": ""})
    assert named.out == synced.ngu("fingerprint").out


def test_without_boto3_it_says_what_to_install(
    synced: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS is an extra: the line names it."""
    wiring.client.cache_clear()
    monkeypatch.setitem(sys.modules, "boto3", None)
    ended = synced.ngu("status")
    assert (ended.code, "pip install 'ngu-points[aws]'" in ended.complaint) == (2, True)
    monkeypatch.undo()
    wiring.client.cache_clear()


def test_status_shows_what_cloudwatch_has_raised(
    synced: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alarms of this service and stage, no others, on all pages of the answer; exit code 3."""
    from botocore.stub import Stubber

    service, client = synced.env["SERVICE"], wiring.client
    names = [f"{service}-lag-staging", f"{service}-lag-prod", f"{service}-forks-staging"]
    cloudwatch = client("cloudwatch", synced.env["AWS_REGION"])
    asked = {"AlarmNamePrefix": f"{service}-", "StateValue": "ALARM"}
    stub = Stubber(cloudwatch)
    page = {"NextToken": "x"}
    for some, before, after in ((names[:2], {}, page), (names[2:], page, {})):
        alarms = [{"AlarmName": name, "StateReason": "too slow"} for name in some]
        stub.add_response("describe_alarms", {"MetricAlarms": alarms} | after, asked | before)
    stub.activate()
    monkeypatch.setattr(
        wiring, "client", lambda s, *more: cloudwatch if s == "cloudwatch" else client(s, *more)
    )
    ended = synced.ngu("status", "--json")
    told = [f"alarm {name}: too slow" for name in (names[0], names[2])]
    assert (ended.code, ended.json["alarms"]) == (3, told)
    stub.deactivate()
