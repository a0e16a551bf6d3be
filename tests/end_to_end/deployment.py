"""A whole deployment on loopback: node, event monitor, Firehose over HTTP, functions, tables.

Time is that of the simulated Firehose; what goes wrong comes from a seed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from aws.deployed import KEY, Deployed, deployed
from aws.dynamo.faults import Dead
from aws.firehose.backup import Bucket
from aws.firehose.service import Service
from aws.firehose.stream import Clock, Faults, Secret, Settings, Stream
from aws.firehose.wire import HttpClient, api_of, drive_over_http, serving
from aws.monitored import answering
from ngu_points.aws import wiring
from ngu_points.aws.functions import jobs, persist, process
from ngu_points.aws.monitor import follow
from ngu_points.aws.monitor_health import Health
from ngu_points.aws.monitor_start import opened
from ngu_points.aws.sender import Pace
from ngu_points.aws.tables import META
from ngu_points.demo.node import SimNode
from ngu_points.engine.coverage import STREAMS
from ngu_points.errors import NguError, TransientError

SETTINGS = """
[chain]
finality = 1
timeout = 10
[contract]
address = "0x{}"
kind = "ngu"
"""
LEASE = 130.0
"""Virtual seconds after which whoever died does not hold the lease any more."""


class Figures:
    """CloudWatch's client for the monitor: whoever publishes is heard."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def put_metric_data(self, *, Namespace: str, MetricData: Any) -> None:  # noqa: N803
        self.names |= {one["MetricName"] for one in MetricData}


@dataclass
class Deployment:
    """One stage with everything that runs in it."""

    stage: Deployed
    node: SimNode
    streams: dict[str, Stream]
    service: Service
    bucket: Bucket
    clock: Clock
    folder: Path
    rng: random.Random
    deaths: float = 0.0  # share of the functions' calls that end in the middle
    died: int = 0
    jobs: dict[str, int] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The last block that finality allows."""
        return self.node.head.number - 1

    # The monitor --------------------------------------------------------------------------

    def send(self, calls: int | None = None) -> None:
        """Run the monitor until it has sent everything, or is ended by force after some calls."""
        begun = len(self.service.calls)

        def enough() -> bool:
            return calls is not None and len(self.service.calls) - begun >= calls

        asyncio.run(self._send(enough))

    async def _send(self, enough: Callable[[], bool]) -> None:
        stop = asyncio.Event()
        async with opened(self.stage.env, self.folder, Health()) as monitor:
            monitor.paces = {stream: Pace(rate=1e9) for stream in STREAMS}
            following = asyncio.create_task(follow(monitor, stop))
            async with asyncio.timeout(120):
                while not following.done():
                    accepted = monitor.outbox.accepted()
                    if accepted is not None and accepted.block >= self.last:
                        stop.set()
                        break
                    if enough():
                        following.cancel()
                        break
                    await asyncio.sleep(0.005)
                with contextlib.suppress(asyncio.CancelledError):
                    await following

    # Firehose and the functions -----------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Let time pass: Firehose delivers over HTTP, `process` runs when it is told to."""
        asyncio.run(self._wait(seconds))

    async def _wait(self, seconds: float) -> None:
        async with serving(self._endpoint) as port:
            await drive_over_http(list(self.streams.values()), seconds, f"http://127.0.0.1:{port}/")

    async def _endpoint(self, request: web.Request) -> web.StreamResponse:
        """A function URL: the payload that Lambda makes of a request, and its answer."""
        arn = request.headers["X-Amz-Firehose-Source-Arn"]
        stream = next(name for name, s in self.streams.items() if s.settings.arn == arn)
        payload = {
            "version": "2.0",
            "rawPath": request.path,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": base64.b64encode(await request.read()).decode(),
            "isBase64Encoded": True,
        }
        answer: dict[str, Any] = {}

        def call() -> None:
            self.stage.of_stream(stream)
            answer.update(self.stage.persist(payload))

        if not self.lives(call):
            assert request.transport is not None
            request.transport.close()
            return web.Response(status=500)
        if self.stage.functions.names:
            self.stage.functions.names.clear()
            self.process()
        return web.Response(
            status=answer["statusCode"], headers=answer["headers"], body=answer["body"].encode()
        )

    def process(self, calls: int | None = None) -> None:
        """The schedule's call; it may die, and does after so many calls to DynamoDB."""
        self.lives(lambda: self.stage.process(), calls)

    def job(self, name: str) -> None:
        """A scheduled job; it may die, or find that another one is at it."""
        with contextlib.suppress(TransientError):
            if self.lives(lambda: self.stage.job(name)):
                self.jobs[name] = self.jobs.get(name, 0) + 1

    def lives(self, call: Callable[[], Any], calls: int | None = None) -> bool:
        """Make a call that may die at some call to DynamoDB; whether it lived."""
        client = self.stage.dynamo
        if self.rng.random() < self.deaths:
            calls = calls or self.rng.randrange(1, 120)
        client.dies_at = client.calls + calls if calls else None
        try:
            call()
        except Dead:
            self.died += 1
            return False
        finally:
            client.dies_at = None
        return True

    # The end ------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let everything calm down: all is sent, delivered and processed."""
        self.deaths = 0.0
        self.send()
        for _ in range(60):
            self.wait(LEASE)
            self.process()
            idle = all(s.due() == float("inf") for s in self.streams.values())
            if idle and self.stage.store().position().block == self.last:
                return
        raise NguError("the deployment does not calm down")


@contextlib.contextmanager
def running(
    node: SimNode, rpc: str, emulator: str, patch: pytest.MonkeyPatch, folder: Path, seed: int,
    faults: Faults,
) -> Iterator[Deployment]:  # fmt: skip
    """A deployment for a served node, with nothing in it yet."""
    clock, bucket, rng = Clock(1_800_000_000.0), Bucket(), random.Random(seed)
    with deployed(emulator, patch) as stage:
        streams = {}
        for stream in STREAMS:
            name = stage.env.streams[stream]
            settings = Settings(
                name,
                size=rng.choice([4_000, 30_000, 1 << 20]),
                prefix=f"backup/{name}/",
                failed_prefix=f"failed/{name}/!{{firehose:error-output-type}}/",
            )
            streams[stream] = Stream(settings, clock, bucket, Secret(KEY), faults)
        service = Service({s.settings.name: s for s in streams.values()}, faults)
        for module in (persist, process, jobs):
            patch.setattr(module, "time", SimpleNamespace(time=lambda: clock.now))
        made = Deployment(stage, node, streams, service, bucket, clock, folder, rng)
        with answering(api_of(service)) as port:
            stage.clients |= {"firehose": HttpClient(port), "cloudwatch": Figures()}
            empty(stage, node, rpc)
            yield made


def empty(stage: Deployed, node: SimNode, rpc: str) -> None:
    """Make a stage one of a node's contract, not begun yet."""
    stage.put_settings(SETTINGS.format(node.contract.hex()))
    stage.clients["ssm"].put_parameter(
        Name=f"{stage.env.parameters}/rpc", Value=rpc, Type="SecureString", Overwrite=True
    )
    wiring.dynamo(stage.env).delete(META, {"key": "identity"})
