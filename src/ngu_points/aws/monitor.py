"""The event monitor: confirmed blocks into the outbox, the outbox into the two streams.

Tasks run side by side. One reads ranges and adds each in one transaction to the outbox; one per
stream sends from its front; one saves how far both streams have accepted everything, and notices
when `ngu rewind` has set that back; one reports. Killed at any moment, it goes on from the outbox;
without one, from the position in Parameter Store. What is sent twice is harmless.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ngu_points.aws import sender
from ngu_points.aws.changes import POSITION_KEY
from ngu_points.aws.environment import Environment
from ngu_points.aws.monitor_fork import ForkedBelow, judged
from ngu_points.aws.monitor_health import NODE, POSITION, Health, patiently
from ngu_points.aws.monitor_report import Figure, Seen, figures, publish, since
from ngu_points.aws.outbox import Outbox
from ngu_points.aws.parameters import Parameters, Sent, naming_nodes
from ngu_points.aws.records import Origin, write
from ngu_points.aws.sender import Pace
from ngu_points.aws.store import Store
from ngu_points.aws.tables import META
from ngu_points.aws.trouble import naming
from ngu_points.chain.reader import Reader
from ngu_points.engine.coverage import STREAMS, Covered, Head, announce
from ngu_points.errors import NguError, TransientError
from ngu_points.pipeline.monitor import Forked, cover

log = logging.getLogger("ngu")
PAUSE = 10.0
"""Seconds between two looks at the head: Firehose gathers for a minute anyway."""
SAVED_EVERY = 5.0  # seconds; Parameter Store takes three writes a second
REPORTED_EVERY = 60.0
LOOKED_EVERY = 30.0  # at the head, while catching up
LASTING = 300.0
"""Seconds after which trouble makes the heartbeat 0."""
STOPS_WITHIN = 45.0
"""Seconds for sending what is in the outbox when stopped; systemd allows twice as long."""
SAVED_WITHIN = 10.0  # seconds for the position after that
BEYOND = 1 << 20
"""Added to the sequence on a machine without outbox: more ranges than a lost one could hold."""

CALLS: Mapping[str, tuple[str, ...]] = {
    "firehose:PutRecordBatch": ("stream:batch", "stream:staking"),
    "cloudwatch:PutMetricData": ("namespace",),
    "ssm:GetParameter": ("parameter:settings", "parameter:rpc", "parameter:position"),
    "ssm:PutParameter": ("parameter:position",),
    "dynamodb:GetItem": ("table:meta",),
    "dynamodb:PutItem": ("table:meta",),
    "dynamodb:Query": ("table:coverage",),
    "sns:Publish": ("topic",),
}
"""All that the monitor asks of AWS, and of what: its role allows this and nothing else.

PutMetricData knows no resources: the role names `metrics.NAMESPACE` as a condition. The RPC
addresses are encrypted with AWS's own key for Parameter Store, which needs no permission.
"""


@dataclass(slots=True)
class Monitor:
    """One running event monitor, and what it works with. Made by `monitor_start.opened`."""

    env: Environment
    reader: Reader
    origin: Origin
    outbox: Outbox
    parameters: Parameters
    store: Store
    clients: Mapping[str, Any]  # botocore's: firehose, cloudwatch, sns
    health: Health
    pause: float = PAUSE
    paces: Mapping[str, Pace] = field(default_factory=lambda: {s: Pace() for s in STREAMS})
    seen: Seen = field(default_factory=Seen)
    looked_at: float = 0.0  # monotonic seconds
    reported: list[Figure] = field(default_factory=list)
    keeping: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # the outbox, or a task
    rng: random.Random = field(default_factory=random.Random)

    @property
    def unsent(self) -> int:
        """How many records wait in the outbox."""
        return sum(map(self.outbox.records, STREAMS))

    # Reading ------------------------------------------------------------------------------

    async def catch_up(self) -> None:
        """Add everything that finality allows to the outbox, waiting while it is full.

        ForkedBelow where the chain is not the one of which blocks were sent.
        """
        with naming_nodes(self.parameters.path):
            head = await self._look()
            while (behind := self._end()).block < head.readable:
                try:
                    await self._add(behind, head.readable)
                except Forked:
                    known = self._end().position
                    raise await judged(self.reader, self.store, self.env, known) from None

    async def _add(self, behind: Sent, to_block: int) -> None:
        """Add range after range; ends early if the position was set back meanwhile."""
        async with aclosing(cover(self.reader, behind.position, to_block)) as ranges:
            async for covered in ranges:
                end = _end_of(covered, behind.sequence + 1)
                records = await asyncio.to_thread(self._records, covered, end.sequence)
                await self.until(lambda: not self.outbox.full)
                if not self.outbox.add(records, end, behind):
                    return
                self.health.well(NODE)
                self.changed.set()
                behind = end
                if time.monotonic() - self.looked_at > LOOKED_EVERY:
                    await self._look()

    async def _look(self) -> Head:
        """The head, noted for the figures: a long catch-up must not look like a chain at rest."""
        self.seen.head = head = await self.reader.head()
        self.looked_at = time.monotonic()
        return head

    def _records(self, covered: Covered, sequence: int) -> dict[str, list[bytes]]:
        return {d.stream: write(d, self.origin) for d in announce(covered, sequence)}

    def _end(self) -> Sent:
        end = self.outbox.end()
        assert end, "an outbox that was not begun"
        return end

    # Sending ------------------------------------------------------------------------------

    async def send(self, stream: str) -> None:
        """Send what is at the front of a stream, about one call's worth."""
        taken = self.outbox.take(stream)
        name = self.env.streams[stream]
        sent = await sender.send(
            self.clients["firehose"], name, taken.records, rng=self.rng, pace=self.paces[stream]
        )
        self.outbox.done(stream, taken)
        self.seen.sent[stream] += sent.records
        self.seen.resent[stream] += sent.resent
        self.changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that depends on the outbox or the tasks."""
        while not holds():
            self.changed.clear()
            await self.changed.wait()

    # The position -------------------------------------------------------------------------

    async def keep(self) -> None:
        """Save what both streams have accepted, unless somebody else has set the position."""
        async with self.keeping:
            known = await asyncio.to_thread(self.parameters.position)
            if self.heed(known):
                return
            accepted = self.outbox.accepted()
            if accepted is None or accepted == known:
                return
            self.outbox.claim(known, accepted)
            replaced = await asyncio.to_thread(self.parameters.put_position, accepted)
            self.heed(replaced, accepted)

    def heed(self, known: Sent | None, *now: Sent) -> bool:
        """Go on from what the parameter says, if it was not put there from this outbox.

        `now` is what took its place since. What is read again gets higher sequence numbers than
        anything that was sent before.
        """
        end = self.outbox.end()
        if end and self.outbox.owns(known):
            return False
        if known is None:
            behind = Sent(self.store.start_block - 1, bytes(32), 0, 0)
        elif end is None:
            behind = replace(known, sequence=known.sequence + BEYOND)
        else:
            behind = replace(known, sequence=max(known.sequence, end.sequence))
            told = {"block": known.block, "was": end.block}
            log.warning("the position was set by somebody else", extra={"fields": told})
        self.outbox.begin(behind, known, *now)
        self.changed.set()
        return True

    # Figures ------------------------------------------------------------------------------

    def figures(self) -> list[Figure]:
        """All figures as they are now, counters since the process began."""
        accepted = self.outbox.accepted()
        self.seen.accepted = accepted.block if accepted else None
        waiting = {stream: self.outbox.records(stream) for stream in STREAMS}
        return figures(self.seen, waiting, well=not self.health.lasting(LASTING))

    async def report(self) -> None:
        """Ask where processing stands, publish all figures; what fails is only logged."""
        try:
            if self.seen.head:
                await asyncio.to_thread(self.store.note_head, self.seen.head)
            self.seen.watermark = await asyncio.to_thread(self._watermark)
        except NguError as error:
            self.seen.watermark = None
            log.warning("processing cannot be seen", extra={"fields": {"why": str(error)}})
        now = self.figures()
        told = {f"{f.metric.name} {f.per}".strip(): f.value for f in now}
        log.info("figures", extra={"fields": told})
        try:
            news = since(now, self.reported)
            await asyncio.to_thread(publish, self.clients["cloudwatch"], self.env, news)
            self.reported = now
        except NguError as error:
            log.warning("metrics were not published", extra={"fields": {"why": str(error)}})

    def _watermark(self) -> int:
        """The last processed block; nothing else of the row, whatever version has written it."""
        row = self.store.dynamo.get(META, POSITION_KEY) or {}
        return int(row.get("block", self.store.start_block - 1))

    async def alarm(self, text: str) -> None:
        """Tell whoever has to act; the alarms tell too, so trouble with it is only logged."""
        if not self.env.error_topic:
            return
        subject = f"{self.env.service} {self.env.stage}: event monitor"[:100]
        tell = partial(self.clients["sns"].publish, TopicArn=self.env.error_topic)
        try:
            with naming(f"the topic {self.env.error_topic}"):
                await asyncio.to_thread(tell, Subject=subject, Message=text)
        except NguError as error:
            log.warning("nobody was told", extra={"fields": {"why": str(error)}})


def _end_of(covered: Covered, sequence: int) -> Sent:
    return Sent(covered.to_block, covered.last_hash, covered.timestamp, sequence)


# The tasks --------------------------------------------------------------------------------


async def follow(monitor: Monitor, stop: asyncio.Event) -> None:
    """Run all tasks until `stop` is set, then send what is left and save the position.

    Raises what ends a task: ForkedBelow, told to the error topic, or another NguError.
    """
    tasks = monitor.health.tasks
    tasks["reading"] = asyncio.create_task(_reading(monitor))
    for stream in STREAMS:
        tasks[f"sending {stream}"] = asyncio.create_task(_sending(monitor, stream))
    tasks["position"] = asyncio.create_task(_keeping(monitor))
    tasks["report"] = asyncio.create_task(_reporting(monitor))
    for task in tasks.values():
        task.add_done_callback(lambda _: monitor.changed.set())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([stopping, *tasks.values()], return_when=asyncio.FIRST_COMPLETED)
        if not _ended(tasks):
            await _finish(monitor, tasks)
        for task in _ended(tasks):
            task.result()
    except ForkedBelow as fork:
        monitor.seen.forks += 1
        await asyncio.gather(monitor.report(), monitor.alarm(str(fork)))
        raise
    finally:
        stopping.cancel()
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(stopping, *tasks.values(), return_exceptions=True)


def _ended(tasks: Mapping[str, asyncio.Task[None]]) -> list[asyncio.Task[None]]:
    return [task for task in tasks.values() if task.done() and not task.cancelled()]


async def _finish(monitor: Monitor, tasks: Mapping[str, asyncio.Task[None]]) -> None:
    tasks["reading"].cancel()
    await asyncio.gather(tasks["reading"], return_exceptions=True)
    with suppress(TimeoutError):
        async with asyncio.timeout(STOPS_WITHIN):
            await monitor.until(lambda: bool(_ended(tasks)) or not monitor.unsent)
    with suppress(TimeoutError, TransientError):
        async with asyncio.timeout(SAVED_WITHIN):
            await monitor.keep()
    log.info("stopped", extra={"fields": {"unsent": monitor.unsent}})


async def _reading(monitor: Monitor) -> None:
    while True:
        await patiently(monitor.health, NODE, monitor.catch_up)
        await asyncio.sleep(monitor.pause)


async def _sending(monitor: Monitor, stream: str) -> None:
    while True:
        await monitor.until(lambda: monitor.outbox.records(stream) > 0)
        await patiently(monitor.health, f"{stream} stream", partial(monitor.send, stream))


async def _keeping(monitor: Monitor) -> None:
    while True:
        await patiently(monitor.health, POSITION, monitor.keep)
        await asyncio.sleep(SAVED_EVERY)


async def _reporting(monitor: Monitor) -> None:
    while True:
        began = time.monotonic()
        await monitor.report()
        await asyncio.sleep(max(0.0, REPORTED_EVERY - (time.monotonic() - began)))
