"""The simulator over real HTTP on loopback: its API for producers, its requests to an endpoint."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from aws.firehose.protocol import Answer, HttpRequest, NoAnswer, Outcome
from aws.firehose.service import (
    ClientError,
    LostAnswer,
    ReadTimeoutError,
    Service,
    ServiceError,
)
from aws.firehose.stream import Stream, due_attempts
from ngu_points.aws.endpoint import Request, Response

TARGET = "Firehose_20150804.PutRecordBatch"
AMZ_JSON = "application/x-amz-json-1.1"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """Serve every path on a free port of loopback, bodies as they came; gives the port."""
    app = web.Application(client_max_size=128 << 20)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, auto_decompress=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def api_of(service: Service) -> Handler:
    """PutRecordBatch in AWS's JSON protocol."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            shown = await _called(service, request)
        except ServiceError as error:
            shown = {"__type": error.code, "message": error.message}
            return web.json_response(shown, status=error.status, content_type=AMZ_JSON)
        except LostAnswer:
            assert request.transport is not None
            request.transport.close()
            return web.Response(status=500)
        return web.json_response(shown, content_type=AMZ_JSON)

    return answer


async def _called(service: Service, request: web.Request) -> dict[str, Any]:
    if request.headers.get("X-Amz-Target") != TARGET:
        raise ServiceError(400, "UnknownOperationException", "only PutRecordBatch is simulated")
    body = json.loads(await request.read())
    data = [base64.b64decode(entry["Data"], validate=True) for entry in body["Records"]]
    return service.put_record_batch(body["DeliveryStreamName"], data)


def endpoint_of(handle: Callable[[Request], Response]) -> Handler:
    """An endpoint's pure handler behind a server."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = handle(Request(dict(request.headers), await request.read()))
        return web.Response(status=response.status, headers=response.headers, body=response.body)

    return answer


async def post(session: aiohttp.ClientSession, url: str, request: HttpRequest) -> Outcome:
    """Make one delivery request."""
    try:
        async with session.post(
            url, data=request.body, headers=request.headers, allow_redirects=False
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())
    except aiohttp.ClientError as error:
        return NoAnswer(type(error).__name__)


async def drive_over_http(streams: Sequence[Stream], seconds: float, url: str) -> None:
    """Let virtual time pass; deliveries are made for real."""
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for stream, attempt in due_attempts(streams, streams[0].clock.now + seconds):
            stream.settle(attempt, await post(session, url, attempt.request))


@dataclass
class HttpClient:
    """Shaped like botocore's client; calls a service on a port of loopback."""

    port: int

    def put_record_batch(
        self,
        *,
        DeliveryStreamName: str,  # noqa: N803 -- botocore's names
        Records: Sequence[Mapping[str, bytes]],  # noqa: N803
    ) -> dict[str, Any]:
        entries = [{"Data": base64.b64encode(entry["Data"]).decode()} for entry in Records]
        body = json.dumps({"DeliveryStreamName": DeliveryStreamName, "Records": entries})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Content-Type": AMZ_JSON, "X-Amz-Target": TARGET}
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            shown = json.loads(answer.read())
        except (http.client.HTTPException, OSError) as error:
            raise ReadTimeoutError("Read timeout on endpoint") from error
        finally:
            connection.close()
        if answer.status != 200:
            failure = ServiceError(answer.status, shown["__type"], shown["message"])
            raise ClientError(failure, "PutRecordBatch")
        return dict(shown)
