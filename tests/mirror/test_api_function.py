"""The API behind a Lambda function answers from the tables what one beside a database does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from mirror.stage import Stage
from ngu_points.config import rules_of
from ngu_points.embedded.replica import Replica
from ngu_points.web.questions import asked
from ngu_points.web.routes import ROUTES

function = pytest.importorskip("ngu_points.mirror.function", reason="the extra aws is missing")
MOVING = ("running", "at", "delay", "jobs", "endpoints", "rates", "stages", "alarms", "head", "lag",
          "finality", "coverage")  # fmt: skip


def called(path: str, headers: dict[str, str] | None = None, **query: Any) -> dict[str, Any]:
    """What the function answers to a request of its URL."""
    payload = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": urlencode(query),
        "headers": {"host": "x.lambda-url.us-east-1.on.aws", **(headers or {})},
        "requestContext": {
            "accountId": "1", "apiId": "x", "domainName": "x", "domainPrefix": "x",
            "http": {"method": "GET", "path": path, "protocol": "HTTP/1.1",
                     "sourceIp": "192.0.2.1", "userAgent": "test"},
            "requestId": "r", "routeKey": "$default", "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1_767_225_600_000,
        },
        "isBase64Encoded": False,
    }  # fmt: skip
    answer: dict[str, Any] = function.handler(payload, SimpleNamespace(aws_request_id="r"))
    return answer


@pytest.fixture
def site(synced: Stage, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replica]:
    """The function on the stage, and what answers beside the database of the same chain."""
    monkeypatch.setenv("COPY", str(tmp_path / "copy.db"))
    function._unit.cache_clear()
    loop = asyncio.new_event_loop()  # else the adapter makes one, and nobody closes it
    asyncio.set_event_loop(loop)
    beside = Replica(synced.folder / "ngu.db", rules_of(synced.config))
    beside.refresh()
    yield beside
    function._unit.cache_clear()
    asyncio.set_event_loop(None)
    loop.close()


def test_the_function_answers_what_the_server_does(site: Replica) -> None:
    """Every question that both can be asked: the same answer, byte for byte but for the moment."""
    seen = site.newest()
    assert seen is not None
    wallet = "0x" + seen.view.state.wallets.address[0].tobytes().hex()
    day = str(seen.view.timestamp // 86_400 - 1)
    given = {"wallet": wallet, "token": "5", "day": day}
    for route in ROUTES:
        path = route.path.format(**given)
        parts = {name: value for name, value in given.items() if f"{{{name}}}" in route.path}
        answer = called(path)
        if route.path in ("/api/series", "/ready"):
            assert answer["statusCode"] in (200, 503)
            continue
        assert answer["statusCode"] == 200, (path, answer["body"])
        mine = json.loads(answer["body"])
        other = msgspec.to_builtins(route.handle(site, asked(route.question, parts, [])))
        if route.path == "/api/status":
            mine, other = ({k: v for k, v in a.items() if k not in MOVING} for a in (mine, other))
        for day in mine.get("feasts", []) + other.get("feasts", []):
            day.pop("block", None)  # where a day closes depends on the steps
            day.pop("published", None)
        mine.get("feast", {}).pop("block", None)
        other.get("feast", {}).pop("block", None)
        assert mine == other, path
    past = called("/api/leaderboard", at=f"@{seen.view.timestamp - 7_000}")
    assert past["statusCode"] == 200


def test_polling_costs_nothing_while_nothing_is_new(site: Replica) -> None:
    """304 for who has the answer; live events and exports are told to be elsewhere; errors are
    problems here too."""
    first = called("/api/leaderboard")
    again = called("/api/leaderboard", {"if-none-match": first["headers"]["etag"]})
    assert (again["statusCode"], again["body"]) == (304, "")
    for path in ("/api/live", "/api/exports/tokens"):
        refused = called(path)
        assert refused["statusCode"] == 404
        assert "nothing is streamed" in refused["body"]
    wrong = called("/api/leaderboard", limit=0)
    assert wrong["statusCode"] == 400
    assert wrong["headers"]["content-type"] == "application/problem+json"
    assert "default-src 'none'" in called("/")["headers"]["content-security-policy"]
