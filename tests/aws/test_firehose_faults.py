"""From the monitor to persist, whatever goes wrong between: nothing is lost, all of it is told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aws.firehose.backup import Bucket, failed_records
from aws.firehose.service import Client, Service
from aws.firehose.setup import START, endpoint_in_process
from aws.firehose.stream import Clock, Faults, Secret, Settings, Stream, drive
from chains import CONTRACT, Chain
from histories import histories
from ngu_points.aws.endpoint import Request, Response, handle
from ngu_points.aws.records import Origin, Poison, read, write
from ngu_points.aws.sender import send
from ngu_points.engine.coverage import STREAMS, Coverage, Delivery, announce, digest
from ngu_points.engine.events import Events, concat, ids
from ngu_points.errors import TransientError
from ngu_points.pipeline.persist import validate

HERE = Origin("staging", 8453, (CONTRACT,))
KEY = b"key"


@st.composite
def faults(draw: st.DrawFn) -> Faults:
    """From none to AWS at its worst."""
    share = st.sampled_from([0.0, 0.0, 0.1, 0.4])
    return Faults(
        random.Random(draw(st.integers(0, 10**6))),
        refuse=draw(share),
        throttle=draw(share),
        lose_put=draw(share),
        lose_request=draw(share),
        lose_answer=draw(share),
        repeat=draw(share),
        shuffle=draw(st.booleans()),
        delay=draw(st.sampled_from([0.0, 90.0, 1000.0])),
    )


@dataclass
class Receiver:
    """Behind the endpoint of one stream: reads batches, or has trouble with storing them."""

    stream: str
    rng: random.Random
    trouble: float
    raw: list[bytes] = field(default_factory=list)
    got: list[Delivery] = field(default_factory=list)
    poison: list[Poison] = field(default_factory=list)

    def deliver(self, records: Sequence[bytes]) -> None:
        if self.rng.random() < self.trouble:
            raise TransientError("the table is throttled: try again later")
        got, poison = read(records, self.stream, HERE)
        for delivery in got:
            validate(delivery)
        self.got += got
        self.poison += poison
        self.raw += records

    def handle(self, request: Request) -> Response:
        return handle(request, [KEY], self.deliver, 1)


def unique(deliveries: Sequence[Delivery]) -> tuple[Events, set[Coverage]]:
    """What a table that is written by id would hold: each event once, in order of position."""
    events = concat([d.events for d in deliveries])
    _, first = np.unique(np.array(ids(events), object), return_index=True)
    return events.take(first).sorted(), {c for d in deliveries for c in d.coverage}


def streams_of(unkind: Faults, settings: Settings) -> dict[str, Stream]:
    clock, bucket, secret = Clock(START), Bucket(), Secret(KEY.decode())
    return {
        name: Stream(
            replace(settings, name=name, prefix=f"backup/{name}/", failed_prefix=f"failed/{name}/"),
            clock, bucket, secret, unkind,
        )
        for name in STREAMS
    }  # fmt: skip


async def put(service: Service, name: str, records: Sequence[bytes]) -> None:
    """Send as the monitor does: again until it has worked."""
    client = Client(service)

    async def sleep(seconds: float) -> None:
        pass

    for attempt in range(100):
        try:
            await send(client, name, records, rng=random.Random(attempt), sleep=sleep)
        except TransientError:
            continue
        return
    raise AssertionError("the stream never accepted it")


@given(histories(max_events=25), faults(), st.sampled_from([0.0, 0.0, 0.3, 1.0]), st.booleans())
def test_every_accepted_record_is_delivered_or_kept(
    history: Any, unkind: Faults, trouble: float, backup_all: bool
) -> None:
    """Whatever the faults: delivered at least once, or among the failed, and all in the backup."""
    _, events, until = history
    chain = Chain(events, (events[-1].block if events else 0) + 3, until)
    streams = streams_of(unkind, Settings("", size=3_000, backup_all=backup_all, retry=900.0))
    service = Service(streams, unkind)
    receivers = {n: Receiver(n, unkind.rng, trouble) for n in STREAMS}
    both = list(streams.values())

    def endpoint(request: Any) -> Any:
        name = request.headers["X-Amz-Firehose-Source-Arn"].rsplit("/", 1)[1]
        return endpoint_in_process(receivers[name].handle, seconds=1.0)(request)

    written: dict[str, list[bytes]] = {name: [] for name in STREAMS}
    sent: list[Delivery] = []
    span = chain.last_block // 5 + 1
    with asyncio.Runner() as runner:
        for sequence, block in enumerate(range(0, chain.last_block + 1, span), 1):
            last = min(block + span - 1, chain.last_block)
            for delivery in announce(chain.covered(block, last), sequence):
                records = write(delivery, HERE)
                runner.run(put(service, delivery.stream, records))
                written[delivery.stream] += records
                sent.append(delivery)
            drive(both, 40, endpoint)
    drive(both, 12 * 3600, endpoint)
    for name in STREAMS:
        found = check_stream(streams[name], receivers[name], written[name])
        assert_complete([d for d in sent if d.stream == name], found)


def check_stream(stream: Stream, receiver: Receiver, written: list[bytes]) -> list[Delivery]:
    """Nothing of one stream is missing; gives all that was delivered or can be redriven."""
    failed = failed_records(stream.bucket, stream.settings.failed_prefix)
    assert not stream.undelivered
    assert not stream.expired
    assert not receiver.poison
    assert {held.data for held in stream.accepted} == set(written)
    assert set(written) == set(receiver.raw) | set(failed)
    assert {held.data for held in stream.delivered} <= set(receiver.raw)
    if stream.settings.backup_all:
        lines = b"".join(stream.bucket.under(stream.settings.prefix)).splitlines(keepends=True)
        assert sorted(lines) == sorted(held.data for held in stream.accepted)
    redriven, poison = read(failed, stream.settings.name, HERE)
    assert not poison
    return receiver.got + redriven


def assert_complete(sent: Sequence[Delivery], found: Sequence[Delivery]) -> None:
    """Written by id, what was found is what was sent, and every coverage record agrees."""
    events, coverage = unique(found)
    wanted, announced = unique(sent)
    assert (ids(events), coverage) == (ids(wanted), announced)
    for record in coverage:
        inside = (events.block >= record.from_block) & (events.block <= record.to_block)
        assert digest(events.take(inside), ()) == record.digest


def test_poison_in_the_middle_is_answered_200_and_found() -> None:
    """Records of another stage, of nobody, of the other stream are told apart; the rest counts."""
    chain = Chain([], 9, 100)
    batch, staking = announce(chain.covered(0, 9), 1)
    good, foreign = write(batch, HERE), write(batch, replace(HERE, stage="prod"))
    unkind = Faults()
    stream = streams_of(unkind, Settings(""))["batch"]
    receiver = Receiver("batch", unkind.rng, 0.0)
    for record in [*foreign, b"\xff\xfe", *good, *write(staking, HERE), b""]:
        stream.put(record)
    drive([stream], 60, endpoint_in_process(receiver.handle))
    assert len(stream.attempts) == 1
    assert len(stream.delivered) == 5
    [got] = receiver.got
    assert got.coverage == batch.coverage
    assert [p.raw for p in receiver.poison] == [*foreign, b"\xff\xfe", *write(staking, HERE), b""]
    assert "stage 'prod'" in receiver.poison[0].reason
