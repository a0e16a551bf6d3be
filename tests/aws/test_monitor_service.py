"""`ngu monitor` as systemd runs it: a program of its own, killed, stopped, asked how it is."""

from __future__ import annotations

import json
import random
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import pytest

from aws.firehose.service import ServiceError
from aws.firehose.stream import Faults
from aws.monitored import (
    Deployment,
    Running,
    arrived,
    everything,
    figure,
    on_chain,
    running,
    wait_for,
)
from cli.program import busy_chain
from ngu_points.demo.node import SimNode

Make = Callable[..., AbstractContextManager[Deployment]]
SEED, KILLS = 11, 5


@pytest.fixture
def chain() -> SimNode:
    """Some blocks with events of all types, read in ranges of five."""
    return busy_chain(60, per_block=6, max_span=5)


def busy(monitor: Running, deployment: Deployment, calls: int) -> bool:
    """Whether so many calls were made, or all is sent."""
    last = deployment.node.head.number - 1
    return len(deployment.service.calls) >= calls or figure(monitor, "ngu_sent_block") == last


def test_killed_at_any_moment_nothing_is_lost(make: Make, chain: SimNode) -> None:
    """After kill -9 at random calls, while AWS refuses and answers get lost, what arrived is what
    the chain has, and the position is its end."""
    rng = random.Random(SEED)
    faults = Faults(random.Random(SEED), refuse=0.05, throttle=0.05, lose_put=0.1)
    with make(chain, faults=faults) as deployment:
        places = set()
        for _ in range(KILLS):
            with running(deployment) as monitor:
                calls = len(deployment.service.calls) + rng.randint(0, 5)
                wait_for(partial(busy, monitor, deployment, calls), "some calls")
                places.add(len(deployment.service.calls))
                monitor.process.send_signal(signal.SIGKILL)
            for _ in range(2):
                chain.mine()
        last = chain.head.number - 1
        with running(deployment) as monitor:
            wait_for(lambda: figure(monitor, "ngu_sent_block") == last, "the end")
            monitor.process.send_signal(signal.SIGTERM)
            assert monitor.process.wait(30) == 0
        everything(deployment, last)
        assert len(places) > KILLS // 2, "it was hardly killed at work"
        assert arrived(deployment).records > len(on_chain(chain, last))


def test_it_stops_in_order(make: Make, chain: SimNode) -> None:
    """At SIGTERM it sends what is in the outbox, saves the position and exits 0."""
    with make(chain) as deployment:
        gate = threading.Event()
        put = deployment.service.put_record_batch

        def slowly(name: str, data: object) -> object:
            if not gate.is_set():
                raise ServiceError(503, "ServiceUnavailableException", "Slow down.")
            return put(name, data)  # type: ignore[arg-type]

        deployment.service.put_record_batch = slowly  # type: ignore[method-assign,assignment]
        with running(deployment) as monitor:
            wait_for(lambda: figure(monitor, "ngu_outbox_records") > 100, "a filled outbox")
            monitor.process.send_signal(signal.SIGTERM)
            gate.set()
            assert monitor.process.wait(60) == 0
            assert monitor.process.stdout
            summary = json.loads(monitor.process.stdout.read())
        position = deployment.position()
        assert position
        everything(deployment, position.block)
        assert summary == {"block": position.block, "unsent": 0}
        stopped = json.loads(monitor.lines[-1])
        assert (stopped["event"], stopped["unsent"]) == ("stopped", 0)


def test_it_says_how_it_is(make: Make, chain: SimNode) -> None:
    """/health, /ready and /metrics on loopback: well, then waiting for what fails, by name."""
    with make(chain) as deployment, running(deployment) as monitor:
        last = chain.head.number - 1
        wait_for(lambda: figure(monitor, "ngu_sent_block") == last, "everything sent")
        wait_for(lambda: monitor.get("/ready")[0] == 200, "readiness")
        status, text = monitor.get("/health")
        assert status == 200
        assert json.loads(text)["tasks"] == dict.fromkeys(
            ("reading", "sending batch", "sending staking", "position", "report"), True
        )
        assert figure(monitor, "ngu_head_block") == chain.head.number
        assert figure(monitor, "ngu_ready") == 1
        sent = figure(monitor, 'ngu_sent_records_total{stream="batch"}')
        assert sent == len(deployment.accepted("batch"))
        assert monitor.get("/other")[0] == 404


def test_it_waits_for_a_node_and_for_aws(make: Make, chain: SimNode) -> None:
    """A node that is away at the start is waited for; /ready says so, /health does not mind."""
    with make(chain) as deployment:
        deployment.put("rpc", "http://127.0.0.1:9", "SecureString")
        with running(deployment) as monitor:
            wait_for(lambda: "127.0.0.1:9" in monitor.get("/ready")[1], "the node's name")
            status, text = monitor.get("/ready")
            assert status == 503
            assert set(json.loads(text)["waitsFor"]) == {"node", "position"}
            assert monitor.get("/health")[0] == 200
            monitor.process.send_signal(signal.SIGTERM)
            assert monitor.process.wait(30) == 0
