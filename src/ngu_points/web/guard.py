"""What every request passes: limits on it and on its sender, and headers on the answer."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ngu_points.web.problems import Problem

CLIENTS = 10_000
"""Clients whose rate is remembered."""
BURST = 4
"""Seconds' worth of requests that may come at once."""
PATH, QUERY = 512, 2_048
SEND = 30.0
"""Seconds in which a client must take what it is sent."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may ask for, and which other origins' pages may ask."""

    requests_per_second: float = 50.0
    cors: tuple[str, ...] = ()


class Guard:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self.allowances: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [h for h in message["headers"] if h[0] != b"accept-ranges"]
                headers = [*own, *HEADERS]
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-cache"))  # to be asked for anew
                message["headers"] = headers
            async with asyncio.timeout(SEND):
                await send(message)

        # Nothing is sent in parts, which RFC 9110 leaves to the server; the files' own code would
        # refuse an odd Range in a form of its own.
        scope["headers"] = [h for h in scope["headers"] if h[0] != b"range"]
        problem = self._problem(scope)
        try:
            if problem is not None:
                await problem.response()(scope, receive, sending)
            else:
                await self.app(scope, receive, sending)
        except TimeoutError:
            pass  # the client does not take its answer: the server drops the connection

    def _problem(self, scope: Scope) -> Problem | None:
        if len(scope["path"]) > PATH or len(scope["query_string"]) > QUERY:
            return Problem(414, "too-long", "the address is too long",
                           hint=f"at most {PATH} characters of path, {QUERY} of query")  # fmt: skip
        if any(_tells_of_body(name, value) for name, value in scope["headers"]):
            hint = "leave it out, with Content-Length and Transfer-Encoding"
            return Problem(400, "bad-request", "no request has a body here", hint=hint, close=True)
        client = scope["client"][0] if scope.get("client") else ""
        wait = self._wait(client, time.monotonic())
        if wait > 0:
            hint = "wait as long as Retry-After says"
            return Problem(
                429, "too-many-requests", "too many requests", hint=hint, retry=int(wait) + 1
            )
        return None

    def _wait(self, client: str, now: float) -> float:
        """Take one from a client's allowance; the seconds to wait where there is none."""
        rate = self.limits.requests_per_second
        left, then = self.allowances.pop(client, (rate * BURST, now))
        left = min(left + (now - then) * rate, max(rate * BURST, 1.0))
        if left < 1:
            self.allowances[client] = (left, now)
            return (1 - left) / rate
        self.allowances[client] = (left - 1, now)
        if len(self.allowances) > CLIENTS:
            self.allowances.popitem(last=False)
        return 0.0


def _tells_of_body(name: bytes, value: bytes) -> bool:
    """Whether a header announces a body: where one ends, two servers may see differently."""
    return name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
