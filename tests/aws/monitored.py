"""All that the event monitor works with, on loopback: a node, Firehose, the emulator's AWS."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aws.firehose.backup import Bucket
from aws.firehose.service import Service
from aws.firehose.stream import Clock, Faults, Secret, Settings, Stream
from aws.firehose.wire import Handler, api_of, serving
from cli.program import COMMAND, KEPT, address
from localnode import served
from ngu_points.aws import wiring
from ngu_points.aws.environment import Environment, environment
from ngu_points.aws.monitor import Monitor, follow
from ngu_points.aws.monitor_health import Health
from ngu_points.aws.monitor_start import opened
from ngu_points.aws.parameters import Parameters, Sent
from ngu_points.aws.records import Origin, read
from ngu_points.aws.sender import Pace
from ngu_points.aws.tables import COVERAGE, META, TABLES, creation, table_name
from ngu_points.demo.node import SimNode
from ngu_points.engine.coverage import STREAMS, Coverage, digest, of_stream, ready_through
from ngu_points.engine.events import Events, concat, ids
from ngu_points.pipeline.interfaces import Position

STAGE, REGION = "staging", "us-east-1"
PATIENCE = 60.0


@dataclass
class Deployment:
    """A stage of a service, with a chain for it and a folder for the monitor's outbox."""

    node: SimNode
    rpc: str
    service: Service
    variables: dict[str, str]
    folder: Path
    parameters: Parameters
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def env(self) -> Environment:
        return environment(self.variables)

    @property
    def origin(self) -> Origin:
        return Origin(STAGE, self.node.chain_id, (self.node.contract,))

    def put(self, name: str, value: str, kind: str = "String") -> None:
        """Write a parameter of the stage."""
        self.parameters.client.put_parameter(
            Name=f"{self.env.parameters}/{name}", Value=value, Type=kind, Overwrite=True
        )

    def position(self) -> Sent | None:
        return self.parameters.position()

    def accepted(self, stream: str) -> list[bytes]:
        """All that a stream has accepted, in order, what came twice twice."""
        return [held.data for held in self.service.streams[self.env.streams[stream]].accepted]

    def client(self, name: str) -> Any:
        return wiring.client(name, REGION)


SETTINGS = """
[chain]
finality = {finality}
timeout = 5
retries = 1
[contract]
address = "{address}"
kind = "ngu"
{more}
"""


@contextlib.contextmanager
def deployed(
    node: SimNode,
    emulator: str,
    folder: Path,
    patch: pytest.MonkeyPatch,
    *,
    faults: Faults | None = None,
    finality: object = 1,
    more: str = "",
) -> Iterator[Deployment]:
    """A stage of its own on the emulator, with settings and the tables that the monitor needs."""
    name = f"ngu{secrets.token_hex(4)}"
    streams = {
        (full := table_name(name, f"{stream}-events", STAGE)): Stream(
            Settings(full, backup_all=False), Clock(), Bucket(), Secret("key"), Faults()
        )
        for stream in STREAMS
    }
    service = Service(streams, faults or Faults())
    with served(node) as where, answering(api_of(service)) as port:
        variables = {
            "SERVICE": name,
            "NODE_ENV": STAGE,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": emulator,
            "AWS_ENDPOINT_URL_FIREHOSE": f"http://127.0.0.1:{port}",
            "LOG_LEVEL": "debug",
        }
        for key, value in variables.items():
            patch.setenv(key, value)
        wiring.client.cache_clear()
        parameters = Parameters(wiring.client("ssm", REGION), f"/{name}/{STAGE}")
        made = Deployment(node, where.url, service, variables, folder, parameters)
        text = SETTINGS.format(finality=json.dumps(finality), address=address(node), more=more)
        made.put("settings", text)
        made.put("rpc", where.url, "SecureString")
        for table in TABLES:
            if table.name in (META, COVERAGE):
                request = creation(table, table_name(name, table.name, STAGE))
                wiring.client("dynamodb", REGION).create_table(**request)
        try:
            yield made
        finally:
            for one in ("ssm", "dynamodb", "firehose", "cloudwatch", "sns"):
                wiring.client(one, REGION).close()
            wiring.client.cache_clear()


@contextlib.contextmanager
def answering(handler: Handler) -> Iterator[int]:
    """Serve a handler from a thread; gives the port."""
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    ports: list[int] = []

    async def serve() -> None:
        async with serving(handler) as port:
            ports.append(port)
            ready.set()
            await stop.wait()

    def work() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=work, name="firehose")
    thread.start()
    ready.wait()
    try:
        yield ports[0]
    finally:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)
        thread.join()


@dataclass(frozen=True)
class Arrived:
    """What the streams brought, as the tables would hold it: by id, each once."""

    events: Events
    coverage: list[Coverage]
    poison: int
    records: int

    def complete_through(self, after: int) -> int:
        """The block up to which both streams are whole, told from nothing but what they brought."""

        def whole(record: Coverage) -> bool:
            mine = self.events.take(
                of_stream(self.events, record.stream)
                & (self.events.block >= record.from_block)
                & (self.events.block <= record.to_block)
            )
            return len(mine) == record.count and digest(mine, ()) == record.digest

        end = ready_through(self.coverage, after, whole)
        return end.to_block if end else after


def arrived(deployment: Deployment) -> Arrived:
    """Read all that was accepted as the persisting function does."""
    found, coverage, poison, records = [], [], 0, 0
    for stream in STREAMS:
        raw = deployment.accepted(stream)
        deliveries, bad = read(raw, stream, deployment.origin)
        records += len(raw)
        poison += len(bad)
        for delivery in deliveries:
            found.append(delivery.events)
            coverage += delivery.coverage
    events = concat(found).sorted()
    first = {name: row for row, name in reversed(list(enumerate(ids(events))))}
    return Arrived(events.take(sorted(first.values())), coverage, poison, records)


def on_chain(node: SimNode, through: int) -> list[str]:
    """The ids of all events of the contract, as the blocks themselves have them."""
    found = []
    for block in node.blocks[: through + 1]:
        for log in json.loads(b"[" + block.logs + b"]"):
            at = int(log["logIndex"], 16)
            found.append(f"{block.number}-{log['transactionHash']}-{at}")
    return found


def everything(deployment: Deployment, through: int) -> None:
    """What arrived is the chain's events, each of them, and both streams say so."""
    found = arrived(deployment)
    assert found.poison == 0
    assert ids(found.events) == on_chain(deployment.node, through)
    assert found.complete_through(0) == through
    position = deployment.position()
    assert position
    block = deployment.node.block(through)
    assert block
    assert position.position == Position(through, block.hash, block.timestamp)


def wait_for(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds; fails with what was waited for."""
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.02)


@dataclass
class Running:
    """A monitor that runs as a program, and what it has logged."""

    process: subprocess.Popen[str]
    port: int
    lines: list[str] = field(default_factory=list)

    def get(self, path: str) -> tuple[int, str]:
        """What its server on loopback answers; 0 while it does not."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""


@contextlib.contextmanager
def running(deployment: Deployment) -> Iterator[Running]:
    """`ngu monitor` on a free port; killed at the end if it is still there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ("monitor", "--state", str(deployment.folder), "--port", str(port), "--json")
    process = subprocess.Popen(
        [*COMMAND, *words],
        env=KEPT | deployment.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    made = Running(process, port)
    assert process.stdout
    assert process.stderr
    reader = threading.Thread(target=made.lines.extend, args=(process.stderr,))
    reader.start()
    try:
        yield made
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()
        process.stdout.close()


def figure(monitor: Running, name: str) -> float:
    """A figure of /metrics; -1 while there is none."""
    for line in monitor.get("/metrics")[1].splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    return -1


async def followed(
    deployment: Deployment,
    done: Callable[[Monitor], bool],
    meanwhile: Callable[[Monitor], None] | None = None,
) -> Monitor:
    """Run the monitor in this process until something holds, then stop it in order.

    `meanwhile` is called once when it has begun. Raises what the monitor ends with.
    """
    stop = asyncio.Event()
    async with opened(deployment.env, deployment.folder, Health()) as monitor:
        monitor.pause = 0.02
        monitor.paces = {stream: Pace(rate=1e9) for stream in STREAMS}
        if meanwhile:
            meanwhile(monitor)
        following = asyncio.create_task(follow(monitor, stop))
        until = time.monotonic() + PATIENCE
        while not following.done() and not done(monitor):
            assert time.monotonic() < until, f"waited in vain; {monitor.health.troubles}"
            await asyncio.sleep(0.01)
        stop.set()
        await following
    return monitor


def sent_through(block: int) -> Callable[[Monitor], bool]:
    """Whether both streams have accepted everything up to a block."""

    def reached(monitor: Monitor) -> bool:
        accepted = monitor.outbox.accepted()
        return accepted is not None and accepted.block >= block

    return reached
