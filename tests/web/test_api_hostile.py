"""Hostile requests: clean errors, bounded memory, nothing leaked, others served meanwhile."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cli.program import busy_chain
from web.api import PATIENCE, Answered, Api, running, until, web_process

LEAKS = re.compile(r"Traceback|File \"|\.py\b|sqlite|/tmp/|site-packages|line \d+", re.IGNORECASE)
WALLET = "0x" + "11" * 20


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running(busy_chain(30), tmp_path_factory.mktemp("hostile")) as served:
        yield served


def raw(api: Api, request: bytes) -> bytes:
    """Send bytes, read until the server has done with them."""
    where = urlsplit(api.url)
    with socket.create_connection((where.hostname, where.port), PATIENCE) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65_536):
                answer += part
        return answer


def problem(answered: Answered) -> dict[str, object]:
    """The problem that an answer must be, with the marks of one."""
    assert answered.headers["content-type"] == "application/problem+json"
    found = answered.json
    assert found["status"] == answered.status
    assert found["detail"]
    assert found["code"]
    assert not LEAKS.search(answered.body.decode())
    assert len(answered.body) < 1_000
    return dict(found)


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/api/leaderboard?limit=0", "limit"),
        ("/api/leaderboard?limit=1001", "limit"),
        ("/api/leaderboard?limit=" + "9" * 400, "limit"),
        ("/api/leaderboard?limit=-1", "limit"),
        ("/api/leaderboard?limit=ten", "limit"),
        ("/api/leaderboard?limit=%00", "limit"),
        ("/api/leaderboard?limit=1&limit=2", "limit"),
        ("/api/leaderboard?nonsense=1", "nonsense"),
        ("/api/leaderboard?season=none", "season"),
        ("/api/leaderboard?cursor=AAAA", "cursor"),
        ("/api/leaderboard?cursor=%ff%fe", "cursor"),
        ("/api/leaderboard?cursor=WzEsMV0", "cursor"),
        ("/api/leaderboard?cursor=WzEsMSwiMCIsOSwxXQ", "cursor"),
        ("/api/leaderboard?at=999999999", "at"),
        ("/api/leaderboard?at=@99999999999", "at"),
        ("/api/leaderboard?at=yesterday", "at"),
        ("/api/leaderboard?at=" + "1" * 5000, None),
        ("/api/leaderboard?at=2026-13-45", "at"),
        ("/api/leaderboard?at=0001-01-01", "at"),
        ("/api/leaderboard?around=0x12", "around"),
        ("/api/wallets/0x12", "wallet"),
        ("/api/wallets/' OR 1=1 --", "wallet"),
        ("/api/wallets/0x" + "Ab" * 20, "wallet"),
        ("/api/wallets/" + WALLET + "/holdings?cursor=WyItMSJd", "cursor"),
        ("/api/tokens/-1", "token"),
        ("/api/tokens/1.5", "token"),
        ("/api/tokens/" + str(2**256), "token"),
        ("/api/tokens/" + "9" * 300, "token"),
        ("/api/tokens/0x" + "f" * 65, "token"),
        ("/api/events?type=Theft", "type"),
        ("/api/events?fromBlock=9&toBlock=3", "fromBlock"),
        ("/api/events?toBlock=" + "9" * 30, "toBlock"),
        ("/api/feasts/soon", "day"),
        ("/api/feasts/9999999", "day"),
        ("/api/feasts/2026-02-31", "day"),
        ("/api/series?window=year", "window"),
        ("/api/exports/secrets", "table"),
        ("/api/exports/tokens?format=exe", "format"),
        ("/api/exports/tokens?ranges=perhaps", "ranges"),
    ],
)
def test_a_wrong_parameter_is_named(api: Api, path: str, parameter: str | None) -> None:
    """400, 404 or 414 with the parameter's name and a hint; never an error of the server."""
    answered = api.ask(path.replace(" ", "%20").replace("'", "%27"))
    assert answered.status in (400, 404, 414), answered.body
    assert problem(answered)["parameter"] == parameter
    assert "regex" not in answered.body.decode()


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/css/../../app.py",
        "/css/..%5c..%5capp.py",
        "//etc/passwd",
        "/static/../app.py",
        "/%00",
        "/app.js%00.html",
        "/api/../../web/app.py",
        "/api/wallets/..%2f..%2fngu.db",
        "/ngu.db",
        "/.git/config",
    ],
)
def test_no_path_leads_out_of_the_files(api: Api, path: str) -> None:
    """Tricks with dots, encodings and null bytes find nothing."""
    answer = raw(api, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert re.match(rb"HTTP/1.1 (400|404|405) ", answer), answer[:200]
    assert b"root:" not in answer
    assert not LEAKS.search(answer.decode(errors="replace"))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"])
def test_nothing_can_be_written(api: Api, method: str) -> None:
    """Every method but GET and HEAD is refused, everywhere."""
    for path in ("/api/leaderboard", "/", "/metrics", "/api/live"):
        request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert re.match(rb"HTTP/1.1 (400|405) ", raw(api, request.encode()))


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(5_000)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 1_000,
        b"GET /api/events?wallet=\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["many headers", "a long header", "a long line", "smuggling", "TLS", "zeros",
         "bytes"],
)  # fmt: skip
def test_what_is_no_request_is_refused(api: Api, request_: bytes) -> None:
    """A flood of headers, garbage and contradictions end in a 4xx and a closed connection."""
    answer = raw(api, request_ + b"\r\n\r\n")
    assert not answer or re.match(rb"HTTP/1.1 (4\d\d) ", answer), answer[:200]
    assert not LEAKS.search(answer.decode(errors="replace"))
    assert api.get("/health") == {"status": "ok"}


def test_head_is_answered_without_a_body(api: Api) -> None:
    """Everywhere, also where a GET would not end."""
    for path in ("/api/live", "/api/leaderboard", "/api/exports/tokens", "/metrics", "/"):
        request = f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        head, _, body = raw(api, request.encode()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert body == b""


def test_answers_carry_the_headers_that_browsers_heed(api: Api) -> None:
    """A policy that lets the shipped files only in, no sniffing, no frames, no other origin."""
    for path in ("/api/status", "/api/nothing", "/", "/openapi.json"):
        headers = {n.lower(): v for n, v in api.ask(path).headers.items()}
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] in ("no-cache", "no-store")
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def memory(api: Api) -> int:
    """Resident bytes of the web server's process."""
    status = Path(f"/proc/{web_process(api)}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) * 1024


def test_slow_clients_and_floods_cost_little(api: Api) -> None:
    """Connections that send nothing, or a request drop by drop, are closed; who does not read its
    answer holds nobody up; memory stays bounded."""
    where = urlsplit(api.url)
    before = memory(api)
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection((where.hostname, where.port), PATIENCE))
            for _ in range(150)
        ]
        for number, connection in enumerate(slow):
            if number % 3 == 1:
                connection.sendall(b"GET /api/status HTTP/1.1\r\nHost:")
            if number % 3 == 2:
                many = b"GET /api/events?limit=500 HTTP/1.1\r\nHost: x\r\n\r\n"
                connection.sendall(many * 20)
        for _ in range(50):
            assert api.get("/api/leaderboard")["wallets"]
        silent = slow[0]
        silent.settimeout(PATIENCE)
        assert silent.recv(1) == b"", "the server waits for a request without end"
        dripping = slow[1]
        dripping.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP/1.1 200" not in dripping.recv(1_000)
        assert time.monotonic() - began < PATIENCE
    until(lambda: memory(api) - before < 150_000_000)


def test_one_client_gets_so_much_and_no_more(tmp_path: Path) -> None:
    """Beyond its rate a client is told to wait; it is served again later."""
    env = {"NGU_WEB_REQUESTS_PER_SECOND": "5"}
    with running(busy_chain(3), tmp_path, env=env) as api:
        answers = [api.ask("/health") for _ in range(60)]
        refused = [a for a in answers if a.status == 429]
        assert refused
        found = problem(refused[0])
        assert found["code"] == "too-many-requests"
        assert int(refused[0].headers["retry-after"]) >= 1
        until(lambda: api.ask("/health").status == 200)


def test_other_origins_are_let_in_only_if_named(tmp_path: Path) -> None:
    """CORS is off by default; with web.cors the origins named there, and no others."""
    env = {"NGU_WEB_CORS": "https://app.example"}
    with running(busy_chain(3), tmp_path, env=env) as api:
        allowed = api.ask("/api/status", headers={"Origin": "https://app.example"})
        assert allowed.headers["access-control-allow-origin"] == "https://app.example"
        other = api.ask("/api/status", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


def test_a_taken_port_is_one_clear_line(api: Api, tmp_path: Path) -> None:
    """Which port, and what to do; nothing is started."""
    from cli.program import place, spawned

    port = urlsplit(api.url).port
    ended = spawned("run", *place(api.node, api.node_url, tmp_path / "b.db"), "--port", port)
    assert ended.code == 2
    assert f"port {port} on 127.0.0.1" in ended.complaint
    assert "--port" in ended.complaint
    assert not (tmp_path / "b.db").exists()
    assert json.loads(api.ask("/health").body) == {"status": "ok"}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/api/leaderboard?limit=0", "limit: it takes a number of at least 1"),
        ("/api/leaderboard?limit=1001", "limit: it takes a number of at most 1000"),
        ("/api/exports/nothing", "table: it takes tokens, points, events or feast"),
        ("/api/series?window=week", "window: it takes live, 5m, hour or day"),
    ],
)
def test_a_refusal_says_what_would_be_taken(api: Api, path: str, says: str) -> None:
    """In words, not in those of a library."""
    assert problem(api.ask(path))["detail"] == says
