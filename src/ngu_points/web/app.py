"""The web application: an ASGI app over a `Source`. Read-only."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.routing import Route as Path_
from starlette.staticfiles import StaticFiles

from ngu_points.errors import NguError
from ngu_points.web import files, openapi, questions, reports
from ngu_points.web.guard import Guard, Limits
from ngu_points.web.interfaces import Source
from ngu_points.web.live import Hub, stream
from ngu_points.web.metrics import Meter
from ngu_points.web.problems import Problem, busy, of_error
from ngu_points.web.questions import asked, moment_asked
from ngu_points.web.routes import ROUTES, Route

log = logging.getLogger("ngu")
STATIC = Path(__file__).with_name("static")
THREADS, SLOW, WAITING = 4, 1, 16
"""Questions that are answered on threads at once, slow ones of them, and what may wait for each."""
Endpoint = Callable[[Request], Awaitable[Response]]


class Pool:
    """A few threads for what is not in memory; who would wait too long is told so."""

    def __init__(self, threads: int) -> None:
        self.limiter = anyio.CapacityLimiter(threads)

    async def run(self, work: Callable[[], Any]) -> Any:
        if self.limiter.statistics().tasks_waiting >= WAITING:
            raise busy("too many questions about the past are being answered")
        return await anyio.to_thread.run_sync(work, limiter=self.limiter)


def application(
    source: Source, hub: Hub | None, limits: Limits, most: int | None = None
) -> Starlette:
    """The app; whoever serves it feeds the hub. Without one nothing is streamed.

    `most` is how many bytes an answer may have, where all of it has to be there at once.
    """
    pool, slow, meter = Pool(THREADS), Pool(SLOW), Meter()
    paths = [
        Path_(
            route.path,
            _guarded(meter, route.path, _answering(source, slow if route.slow else pool, route)),
        )
        for route in ROUTES
    ]
    document = msgspec.json.encode(openapi.document())

    async def openapi_json(request: Request) -> Response:
        return tagged(request, document, "0")

    async def metrics(_: Request) -> Response:
        return Response(meter.text(source, hub), media_type=meter.media_type)

    async def live(request: Request) -> Response:
        if hub is None:
            hint = "/api/status with If-None-Match says when something is new"
            raise Problem(404, "not-found", "nothing is streamed from here", hint=hint)
        if request.method == "HEAD":  # its body, which is never sent, would not end
            return Response(media_type="text/event-stream")
        return stream(hub, request.headers.get("last-event-id"))

    async def export(request: Request) -> Response:
        question = asked(questions.ExportQuestion, request.path_params, _query(request))
        accepted = request.headers.get("accept-encoding", "")

        def made() -> Response:
            moment = moment_asked(question.at)
            form, ranges = question.format, question.ranges
            export = source.export(question.table, form, moment, ranges=ranges)
            return files.streamed(export) if most is None else files.whole(export, most, accepted)

        response: Response = await pool.run(made)
        return response

    for path, endpoint in (
        ("/openapi.json", openapi_json),
        ("/metrics", metrics),
        ("/api/live", live),
        ("/api/exports/{table}", export),
    ):
        paths.append(Path_(path, _guarded(meter, path, endpoint)))
    if STATIC.is_dir():
        paths.append(Mount("/", StaticFiles(directory=STATIC, html=True)))  # type: ignore[arg-type]
    middleware = [Middleware(Guard, limits=limits)]
    if limits.cors:
        middleware.append(
            Middleware(CORSMiddleware, allow_origins=list(limits.cors), allow_methods=["GET"])
        )
    return Starlette(
        routes=paths,
        middleware=middleware,
        exception_handlers={HTTPException: _no_route},
    )


def _answering(source: Source, pool: Pool, route: Route) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        question = asked(route.question, request.path_params, _query(request))
        work = partial(route.handle, source, question)
        past = getattr(question, "at", None) or getattr(question, "cursor", None)
        answer = work() if route.instant and not past else await pool.run(work)
        body = msgspec.json.encode(answer)
        if isinstance(answer, reports.Ready) and not answer.ready:
            return Response(body, 503, {"cache-control": "no-store"}, "application/json")
        valid = getattr(answer, "valid", None)
        return tagged(request, body, "0" if valid is None else str(valid.block))

    return endpoint


def _query(request: Request) -> list[tuple[str, str]]:
    return request.query_params.multi_items()


def tagged(request: Request, body: bytes, block: str) -> Response:
    """A JSON answer with its ETag; 304 for who has it already."""
    digest = hashlib.blake2b(body, digest_size=12).hexdigest()
    tag = f'"{block}.{digest}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    known = request.headers.get("if-none-match", "")
    if known == "*" or tag in [k.strip().removeprefix("W/") for k in known.split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def _guarded(meter: Meter, path: str, endpoint: Endpoint) -> Endpoint:
    """Whatever goes wrong is a problem for the client and a line in the log."""

    async def guarded(request: Request) -> Response:
        with meter.measured(path) as noted:
            response = await _safely(request, endpoint)
            noted.status = response.status_code
            return response

    return guarded


async def _safely(request: Request, endpoint: Endpoint) -> Response:
    try:
        return await endpoint(request)
    except Problem as problem:
        return problem.response()
    except NguError as error:
        refused = of_error(error)
        if refused.details.status >= 500:
            log.warning("not answered", extra={"fields": {"why": str(error)}})
        return refused.response()
    except Exception as error:
        fields = {"path": request.url.path, "why": f"{type(error).__name__}: {error}"}
        log.error("internal error, please report it", extra={"fields": fields})
        log.debug("internal error", exc_info=error)
        return Problem(500, "internal", "the server failed, its log says why").response()


async def _no_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        problem = Problem(405, "method-not-allowed", "only GET and HEAD are allowed here")
    elif error.status_code == 404:
        problem = Problem(404, "not-found", "there is nothing here", hint="see /openapi.json")
    else:
        problem = Problem(error.status_code, "bad-request", str(error.detail))
    response = problem.response()
    if error.status_code == 405:
        response.headers["allow"] = "GET, HEAD"
    return response
