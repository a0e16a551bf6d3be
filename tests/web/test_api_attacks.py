"""Attacks that go around parameters: odd numbers, forged cursors, smuggled requests, crowds."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
import uvicorn
from starlette.responses import Response

from cli.program import busy_chain
from ngu_points.web import openapi, protocol
from ngu_points.web.live import LISTENERS
from ngu_points.web.protocol import CONNECTIONS, WAIT
from web.api import PATIENCE, Api, running, until
from web.test_api_hostile import memory, problem, raw

MANY = CONNECTIONS + 200
LIVE = b"GET /api/live HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running(busy_chain(60), tmp_path_factory.mktemp("attacks")) as served:
        yield served


def connected(api: Api) -> socket.socket:
    """A connection that nobody looks after."""
    where = urlsplit(api.url)
    return socket.create_connection((where.hostname, where.port), PATIENCE)


def numbers() -> Iterator[tuple[str, str]]:
    """Every path with every parameter of it that is an integer."""
    for path, methods in openapi.document()["paths"].items():
        for given in methods["get"].get("parameters", []):
            if given["schema"].get("type") == "integer":
                yield path, given["name"]


@pytest.mark.parametrize(("path", "name"), list(numbers()))
def test_a_number_is_digits_and_nothing_else(api: Api, path: str, name: str) -> None:
    """Exponents, signs, floats, other alphabets' digits, blanks, bytes: the parameter is named."""
    wallet = "0x" + "11" * 20
    place = path.format(wallet=wallet, token=5, day="today", table="points")
    odd = ["1e3", "1E3", "-0", "+5", "1.0", "1_0", "0x10", " 5", "5 ", "\u0665", "\uff15", "\u00b2",
           "5\0", "NaN", "Infinity", "true", "[]", "", "9" * 400]  # fmt: skip
    for text in odd:
        answered = api.ask(f"{place}?{name}={quote(text)}")
        assert answered.status == 400, text
        assert problem(answered)["parameter"] == name


def forged(cursor: str, rng: random.Random) -> Iterator[str]:
    """Cursors like one, with each part replaced by the worst, and with single bits turned over."""
    worst: list[Any] = [0, -1, 2**53 - 1, 2**53, 2**64, -(2**63), "", "-1", "9" * 80, "\0", None,
                        True, 1.5, [], {}, str(2**256)]  # fmt: skip
    whole = base64.urlsafe_b64decode(cursor + "==")
    parts = json.loads(whole)
    for place in range(len(parts)):
        for value in worst:
            text = json.dumps([*parts[:place], value, *parts[place + 1 :]])
            yield base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    for _ in range(40):
        bent = bytearray(whole)
        bent[rng.randrange(len(bent))] ^= 1 << rng.randrange(8)
        yield base64.urlsafe_b64encode(bytes(bent)).decode().rstrip("=")


def test_a_forged_cursor_is_refused_or_a_page(api: Api) -> None:
    """Whatever its parts say the server does not fail; nor do cursors of other questions."""
    wallet = api.get("/api/leaderboard")["wallets"][0]["wallet"]
    of_wallet = [f"/api/wallets/{wallet}/{name}" for name in ("holdings", "explanation", "feasts")]
    paths = ["/api/leaderboard", "/api/events", "/api/feasts", "/api/tokens/5/history", *of_wallet]
    own = {path: api.get(path, limit=1)["next"] for path in paths}
    assert all(own.values())
    rng = random.Random(6)
    for path, cursor in own.items():
        for text in (*forged(cursor, rng), *own.values()):
            answered = api.ask(path, cursor=text, limit=2)
            assert answered.status in (200, 400), (path, text, answered.body)
            if answered.status == 400:
                assert problem(answered)["parameter"] == "cursor"


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length : 5",
        "Content-Length: 99999999999999999999",
        "X: a\rTransfer-Encoding: chunked",
        "X: a\0b",
        "Host: y",
    ],
)
def test_no_request_hides_in_another(api: Api, headers: str) -> None:
    """Where two servers may see another end of a request there is one answer, a problem, and the
    connection is closed: what follows is read by nobody."""
    hidden = "0\r\n\r\nGET /api/status HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = raw(api, f"GET /health HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{hidden}".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["code"] == "bad-request"


def test_requests_in_a_row_are_answered_in_order(api: Api) -> None:
    """Two hundred at once on one connection: as many answers, each to its own question."""
    asked = [f"/api/tokens/{number}" for number in range(200)]
    last = "/api/tokens/200 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    row = "".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in asked) + f"GET {last}"
    answer = raw(api, row.encode())
    assert [int(n) for n in re.findall(rb'"tokenId":"(\d+)"', answer)] == [*range(201)]


def test_a_body_is_not_read(api: Api) -> None:
    """However much is sent, the connection is closed long before; nothing is unpacked or kept."""
    before, sent = memory(api), 0
    head = b"GET /api/status HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n"
    with connected(api) as connection:
        connection.sendall(head + b"Content-Length: 4000000000\r\n\r\n\x1f\x8b\x08")
        with contextlib.suppress(ConnectionError):
            for sent in range(400):  # noqa: B007
                connection.sendall(bytes(1_000_000))
    assert sent < 100
    assert memory(api) - before < 50_000_000


def test_a_crowd_of_listeners_has_an_end(api: Api) -> None:
    """All at once, no more than there are places are let in; others are told so, questions are
    answered meanwhile, and a place is free again when somebody leaves."""
    before = memory(api)
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(connected(api)) for _ in range(LISTENERS + 150)]
        for connection in crowd:
            connection.sendall(LIVE)
        found = Counter(connection.recv(12) for connection in crowd)
        assert found == {b"HTTP/1.1 200": LISTENERS, b"HTTP/1.1 503": 150}
        assert api.get("/api/leaderboard")["wallets"]
        assert f"ngu_live_listeners {float(LISTENERS)}" in api.ask("/metrics").body.decode()
    until(lambda: "ngu_live_listeners 0.0" in api.ask("/metrics").body.decode())
    assert memory(api) - before < 100_000_000


def test_a_slow_crowd_holds_nobody_up(api: Api) -> None:
    """More connections than there may be, each with a request that never ends, drop by drop: who
    has been slow for longest makes room, and whoever asks at once is answered all the while."""
    before = memory(api)
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(connected(api)) for _ in range(MANY)]
        for connection in crowd:
            with contextlib.suppress(OSError):
                connection.sendall(b"GET /api/status HTTP/1.1\r\nHost: x\r\nX-")
        began = time.monotonic()
        while time.monotonic() - began < WAIT - 2:
            assert {api.ask("/health").status for _ in range(20)} == {200}
            for connection in crowd:
                with contextlib.suppress(OSError):
                    connection.send(b"a")
            time.sleep(1)
        until(lambda: all(_closed(connection) for connection in crowd))
    assert memory(api) - before < 100_000_000


def _closed(connection: socket.socket) -> bool:
    """Whether the other side has nothing more to say."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
    except BlockingIOError:
        return False


def test_who_comes_when_all_are_busy_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who waits for an answer makes room; an answer says that the server is full."""
    monkeypatch.setattr(protocol, "CONNECTIONS", 2)
    asyncio.run(_filled())


async def _filled() -> None:
    over, here = asyncio.Event(), asyncio.Semaphore(0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        here.release()
        await over.wait()
        await Response("done")(scope, receive, send)

    config = uvicorn.Config(app, http=protocol.Patient, lifespan="off", log_config=None)
    server, listener = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    serving = asyncio.create_task(server.serve([listener]))
    async with aiohttp.ClientSession() as session:
        first = [asyncio.create_task(session.get(url)) for _ in range(2)]
        for _ in first:
            await here.acquire()
        async with session.get(url) as refused:
            assert (refused.status, refused.content_type) == (503, "application/problem+json")
            assert (await refused.json())["code"] == "busy"
        over.set()
        assert [(await one).status for one in first] == [200, 200]
    server.should_exit = True
    await serving


def test_a_file_is_sent_whole_whatever_part_is_asked_for(api: Api) -> None:
    """An odd Range, or one beyond the end, is no reason to refuse the dashboard."""
    whole = api.ask("/")
    for part in ("bytes=0-3", "bytes=9999999-", "bytes=x", "lines=1-2", "bytes=3-1", ""):
        found = api.ask("/", {"Range": part})
        assert (found.status, found.body) == (200, whole.body)
        assert "accept-ranges" not in found.headers


def test_listeners_do_not_disturb_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Streams end with the server, also those that nobody reads: no error, no traceback."""
    with contextlib.ExitStack() as stack, running(busy_chain(3), tmp_path) as api:
        for connection in [stack.enter_context(connected(api)) for _ in range(5)]:
            connection.sendall(LIVE)
            assert connection.recv(12) == b"HTTP/1.1 200"
    log = capsys.readouterr().err
    assert '"level": "error"' not in log
    assert "Traceback" not in log
