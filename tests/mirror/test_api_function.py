"""The API behind a Lambda function answers from the tables what one beside a database does."""

from __future__ import annotations

import base64
import gzip
import json
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from cli.program import busy_chain
from mirror.payloads import request, url_request
from mirror.stage import Stage, filled, modelled, parameter, stage_of
from ngu_points.aws import figures, wiring
from ngu_points.aws.tables import METRICS, POINTS
from ngu_points.config import rules_of
from ngu_points.embedded.exports import FORMATS, TABLES
from ngu_points.embedded.replica import Replica
from ngu_points.engine.rules import DAY
from ngu_points.errors import TransientError
from ngu_points.web.app import STATIC
from ngu_points.web.questions import asked, moment_asked
from ngu_points.web.routes import ROUTES

LAMBDA_TAKES = 6 * 2**20
"""Bytes of an answer, as a function gives it: quotes are escaped, other bytes are in base64."""
function = pytest.importorskip("ngu_points.mirror.function", reason="the extra aws is missing")
MOVING = ("running", "at", "delay", "jobs", "endpoints", "rates", "stages", "alarms", "head", "lag",
          "finality", "coverage")  # fmt: skip


def called(
    path: str,
    headers: dict[str, str] | None = None,
    method: str = "GET",
    shape: Any = request,
    **query: Any,
) -> dict[str, Any]:
    """What the function answers to a request of the API."""
    payload = shape(path, urlencode(query), headers, method)
    answer: dict[str, Any] = function.handler(payload, SimpleNamespace(aws_request_id="r"))
    return answer


@pytest.fixture
def site(synced: Stage, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replica]:
    """The function on the stage, and what answers beside the database of the same chain."""
    monkeypatch.setenv("COPY", str(tmp_path / "copy.db"))
    function._unit.cache_clear()
    beside = Replica(synced.folder / "ngu.db", rules_of(synced.config))
    beside.refresh()
    yield beside
    function._unit.cache_clear()


def here() -> Any:
    """The site that this process keeps."""
    return function._unit()[2][0]


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
    """304 for who has the answer; live events are told to be elsewhere; errors are problems here
    too."""
    first = called("/api/leaderboard")
    again = called("/api/leaderboard", {"if-none-match": first["headers"]["etag"]})
    assert (again["statusCode"], again["body"]) == (304, "")
    refused = called("/api/live")
    assert refused["statusCode"] == 404
    assert "nothing is streamed" in refused["body"]
    for answer, status in (
        (called("/api/leaderboard", limit=0), 400),
        (called("/api/wallets/0x12"), 400),
        (called("/api/nothing"), 404),
        (called("/api/status", method="POST"), 405),
        (called("/" + "x" * 600), 414),
    ):
        assert answer["statusCode"] == status
        assert answer["headers"]["content-type"] == "application/problem+json"
    assert "access-control-allow-origin" not in called("/api/status", {"origin": "https://x"})


def test_exports_are_those_of_the_server(site: Replica) -> None:
    """Every table in every format, now and in the past, plain and compressed: the same bytes."""
    seen = site.newest()
    assert seen is not None
    for table, form in product(TABLES, FORMATS):
        for at in (None, f"@{seen.view.timestamp - 7_000}"):
            asked_for = {"format": form} | ({} if at is None else {"at": at})
            beside = site.export(table, form, moment_asked(at), ranges=False)
            content = b"".join(beside.parts)
            for headers in ({}, {"accept-encoding": "br, gzip"}):
                answer = called(f"/api/exports/{table}", headers, **asked_for)
                assert answer["statusCode"] == 200, answer["body"]
                assert answer["headers"]["content-disposition"].endswith(f'"{beside.name}"')
                assert answer["isBase64Encoded"] == (bool(headers) or form == "parquet")
                body = answer["body"].encode()
                if answer["isBase64Encoded"]:
                    body = base64.b64decode(body)
                if headers:
                    assert answer["headers"]["content-encoding"] == "gzip"
                    body = gzip.decompress(body)
                assert body == content


@pytest.mark.parametrize("shape", [request, url_request])
def test_compression_and_etags_survive_gateway_and_function_url(site: Replica, shape: Any) -> None:
    """A file is gzip in base64, and says so, for who takes that and for nobody else; an ETag is
    known again, alone, weakened or among others."""
    plain = called("/api/exports/tokens", shape=shape)
    for takes, packed in (
        ("gzip, deflate, br, zstd", True),
        ("GZIP;q=0.5", True),
        ("br", False),
        ("gzip;q=0, br", False),
        ("x-gzip-not", False),
    ):
        answer = called("/api/exports/tokens", {"accept-encoding": takes}, shape=shape)
        headers, body = answer["headers"], answer["body"].encode()
        assert (answer["statusCode"], answer["isBase64Encoded"]) == (200, packed), takes
        if packed:
            body = base64.b64decode(body, validate=True)
            assert (headers["content-encoding"], headers["vary"]) == ("gzip", "accept-encoding")
        assert ("content-encoding" in headers) == packed
        assert int(headers["content-length"]) == len(body)
        assert (gzip.decompress(body) if packed else body) == plain["body"].encode()
    first = called("/api/leaderboard", {"accept-encoding": "gzip"}, shape=shape)
    tag = first["headers"]["etag"]
    assert json.loads(first["body"])["wallets"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = called("/api/leaderboard", {"if-none-match": known}, shape=shape)
        assert (again["statusCode"], again["body"], again["isBase64Encoded"]) == (304, "", False)
        assert again["headers"]["etag"] == tag
    changed = called("/api/leaderboard", {"if-none-match": tag}, shape=shape, limit=1)
    assert changed["statusCode"] == 200


def test_an_export_that_is_too_long_says_who_can_write_it(
    site: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond what an answer can have there is a problem with what to do; compressed more fits; the
    longest answer that can be is one that Lambda takes."""
    text, most = called("/api/exports/events", format="json")["body"], function.MOST
    assert max(len(json.dumps(text)) / len(text), 4 / 3) * most < LAMBDA_TAKES
    long = len(called("/api/exports/events")["body"])
    monkeypatch.setattr(function, "MOST", long // 2)
    function._unit.cache_clear()
    refused = called("/api/exports/events")
    assert refused["statusCode"] == 501
    found = json.loads(refused["body"])
    assert found["code"] == "too-long"
    assert "Accept-Encoding: gzip" in found["hint"]
    assert "`ngu export`" in found["hint"]
    assert called("/api/exports/events", {"accept-encoding": "gzip"})["statusCode"] == 200
    for _ in range(5):  # no refused one keeps its place
        assert called("/api/exports/events")["statusCode"] == 501


def test_parquet_where_it_cannot_be_made_is_a_problem(
    site: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyarrow does not fit into the function: before anything is sent it says what to ask for."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused = called("/api/exports/points", format="parquet")
    assert refused["statusCode"] == 400
    found = json.loads(refused["body"])
    assert (found["parameter"], found["code"]) == ("format", "bad-parameter")
    assert "csv or json" in found["detail"]


def test_the_dashboard_comes_from_the_function(site: Replica) -> None:
    """Every file as it is, binary ones in base64; none of them needs a look at the tables."""
    for path in STATIC.rglob("*.*"):
        answer = called("/" + path.relative_to(STATIC).as_posix())
        assert answer["statusCode"] == 200, path
        body = answer["body"]
        got = base64.b64decode(body) if answer["isBase64Encoded"] else body.encode()
        assert got == path.read_bytes(), path
    page = called("/")
    assert "default-src 'none'" in page["headers"]["content-security-policy"]
    assert page["headers"]["content-type"].startswith("text/html")
    assert here()._due == 0.0


def test_who_asks_too_much_waits(site: Replica, synced: Stage) -> None:
    """Each address has its allowance, and changed settings hold without a new deployment."""
    settings = f'[contract]\naddress = "{synced.config.contract.address}"\n[chain]\nfinality = 0\n'
    assert called("/health")["statusCode"] == 200
    before = here()
    parameter(synced, "settings", settings + "[web]\nrequests_per_second = 1\n")
    wiring._settings.cache_clear()
    try:
        answers = [called("/health") for _ in range(8)]
        assert here() is not before
        assert {answer["statusCode"] for answer in answers} == {200, 429}
        assert int(answers[-1]["headers"]["retry-after"]) >= 1
    finally:
        parameter(synced, "settings", settings)
        wiring._settings.cache_clear()


def test_the_tables_are_looked_at_seldom(
    site: Replica, synced: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for many questions; what takes long is done less often; nothing is copied in vain."""
    copies, clock = [], [time.time()]
    real = function.copied

    def copied(*given: Any, **how: Any) -> None:
        copies.append(given)
        clock[0] += 7.0
        real(*given, **how)

    monkeypatch.setattr(function, "copied", copied)
    monkeypatch.setattr(function, "time", SimpleNamespace(time=lambda: clock[0]))
    for _ in range(20):
        assert called("/api/status")["statusCode"] == 200
    assert len(copies) == 1
    assert here()._due == clock[0] + function.PART * 7.0
    clock[0] += 1_000
    called("/api/status")
    assert len(copies) == 1
    assert here()._due == clock[0] + function.EVERY


def test_what_there_is_is_answered_while_tables_are_out_of_reach(
    site: Replica, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the block that it is of; before the first copy there is nothing, which is said."""

    def refused(*_: Any, **__: Any) -> None:
        raise TransientError("DynamoDB is busy")

    with monkeypatch.context() as patch:
        patch.setattr(function, "copied", refused)
        nothing = called("/api/leaderboard")
    assert nothing["statusCode"] == 503
    assert nothing["headers"]["content-type"] == "application/problem+json"
    here()._due = 0.0
    block = json.loads(called("/api/leaderboard")["body"])["valid"]["block"]
    here()._due, here()._known = 0.0, None
    monkeypatch.setattr(function, "copied", refused)
    monkeypatch.setattr(wiring, "settings", refused)
    assert json.loads(called("/api/leaderboard")["body"])["valid"]["block"] == block
    assert capsys.readouterr().err.count("DynamoDB is busy") == 3


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The function is just starting, with a copy of its own; the next test's is another."""
    monkeypatch.setenv("COPY", str(tmp_path / "copy.db"))
    function._unit.cache_clear()
    yield
    function._unit.cache_clear()


@pytest.mark.usefixtures("own")
def test_answers_follow_the_tables(emulator_url: str, tmp_path: Path) -> None:
    """Blocks that come are in the answers; blocks taken back are not, nor in those of the past."""
    with modelled(), stage_of(busy_chain(30, 3), emulator_url, tmp_path) as stage:
        filled(stage, 20)
        assert valid() == 20
        function._unit()[2][0]._due = 0.0
        stage.send(21, 30, int(time.time()))
        stage.process(int(time.time()))
        assert valid() == 30
        assert valid(at=25) == 25
        assert stage.ngu("rewind", 22, "--json").code in (0, 3)
        function._unit()[2][0]._due = 0.0
        assert valid() == stage.store.position().block < 25
        assert called("/api/leaderboard", at=25)["statusCode"] == 404


@pytest.mark.usefixtures("own")
def test_answers_follow_a_rebuild_that_leaves_the_block_as_it_was(
    emulator_url: str, tmp_path: Path
) -> None:
    """What was wrong is answered no longer than until the next look."""
    with modelled(), stage_of(busy_chain(20, 2), emulator_url, tmp_path) as stage:
        filled(stage, 20)
        right = ranked()
        assert ranked() == right
        row = next(iter(stage.store.dynamo.scan(POINTS)))
        more = [[value and value + 10**6 for value in facts] for facts in json.loads(row["facts"])]
        stage.store.dynamo.put(POINTS, row | {"facts": json.dumps(more)})
        here()._due, here()._known = 0.0, None
        assert ranked() != right
        assert stage.ngu("rebuild", "--json").json["block"] == 20
        here()._due = 0.0
        assert ranked() == right


def ranked() -> Any:
    """The wallets in their ranks, and the block that they are valid to."""
    answer = json.loads(called("/api/leaderboard")["body"])
    return answer["valid"]["block"], answer["wallets"]


def test_charts_have_history_after_a_restart(
    site: Replica, synced: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of 5 minutes, hours and days as they were kept, also in a function that is new; old
    figures are in the longer windows only, and what grew is asked for again."""
    store, now = synced.store, int(time.time())
    ages = [400 * DAY, 40 * DAY, 7_200, 900, 600]
    for events, age in enumerate(ages, 1):
        figures.keep(store.dynamo, now - age, FIGURES | {"events": 10 * events})
    for old, kept in ((400 * DAY, ("5m", "hour")), (40 * DAY, ("5m",))):
        for window in (w for w in figures.WINDOWS if w.name in kept):
            at = (now - old) // window.seconds * window.seconds
            store.dynamo.delete(METRICS, {"window": window.name, "at": at})
    for place in ("copy.db", "other.db"):
        monkeypatch.setenv("COPY", str(tmp_path / place))
        function._unit.cache_clear()
        days, hours, fine = (series(window) for window in ("day", "hour", "5m"))
        assert days[0] == ((now - 400 * DAY) // DAY * DAY, 10)
        assert ((now - 40 * DAY) // DAY * DAY, 20) in days
        assert ((now - 40 * DAY) // 3_600 * 3_600, 20) in hours
        assert days[-1][1] == hours[-1][1] == fine[-1][1] == 50
        assert fine[-3:] == [((now - age) // 300 * 300, 10 * n) for n, age in
                             zip((3, 4, 5), ages[2:], strict=True)]  # fmt: skip
    figures.keep(store.dynamo, now - 600, FIGURES | {"events": 70})
    here()._due, here()._window = 0.0, 0
    assert series("5m")[-1][1] == 70


def test_charts_have_no_hole_where_expired_figures_are_left(
    site: Replica, synced: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DynamoDB drops what has expired within days, in any order: one row that it has not come to
    yet takes the place of nothing."""
    store, now = synced.store, int(time.time())
    left, gone = now - 33 * DAY, now - 32 * DAY
    for events, moment in enumerate((left, gone, now - 600), 1):
        figures.keep(store.dynamo, moment, FIGURES | {"events": 10 * events})
    store.dynamo.delete(METRICS, {"window": "5m", "at": gone // 300 * 300})
    monkeypatch.setenv("COPY", str(tmp_path / "other.db"))
    function._unit.cache_clear()
    hours = series("hour")
    for moment, events in ((left, 10), (gone, 20)):
        assert (moment // 3_600 * 3_600, events) in hours


FIGURES = {"block": 9, "lag": 0, "delay": 0, "gaps": 0, "anomalies": 0, "backlog": 0,
           "deadLetters": 0, "tokens": "9", "staked": "3", "wallets": 2}  # fmt: skip


def series(window: str) -> list[tuple[int, int]]:
    """When the windows of a kind begin, and their events."""
    found = json.loads(called("/api/series", window=window, limit=1000)["body"])["series"]
    return [(one["at"], one["events"]) for one in found]


def valid(**query: Any) -> int:
    """The block that an answer is valid to."""
    answer = called("/api/leaderboard", **query)
    assert answer["statusCode"] == 200, answer["body"]
    block: int = json.loads(answer["body"])["valid"]["block"]
    return block
