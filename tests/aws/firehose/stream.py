"""One delivery stream: it gathers records, delivers batches, retries, and keeps what it must.

Nothing happens by itself: a driver (`drive`) moves the shared clock from one due time to the next.
While failed records cannot be written to S3 the stream pauses; what is older than 24 hours by then
is lost, as on AWS.
"""

from __future__ import annotations

import heapq
import random
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from aws.firehose.backup import Bucket, Failed, content_of, key_of
from aws.firehose.protocol import (
    ACK_SECONDS,
    LONGEST_WAIT,
    HttpRequest,
    NoAnswer,
    Outcome,
    Verdict,
    judged,
    request_of,
    waits,
)

RETENTION = 24 * 3600.0
KEY_CACHED = 600.0
MOST_RECORDS = 10_000


@dataclass
class Clock:
    """Virtual seconds since 1970."""

    now: float = 1_700_000_000.0


@dataclass
class Secret:
    """The access key as Secrets Manager has it; a stream may know an older one for ten minutes."""

    value: str = ""


@dataclass(frozen=True)
class Settings:
    """A stream as it is configured; sizes in bytes, times in seconds."""

    name: str
    size: int = 1 << 20
    interval: float = 60.0
    enlarge: int = 1  # times the size that is gathered while an earlier batch is not delivered
    retry: float = 3600.0
    gzipped: bool = True  # what goes to the endpoint
    s3_gzipped: bool = True
    backup_all: bool = True  # S3BackupMode AllData; else FailedDataOnly
    prefix: str = "backup/"
    failed_prefix: str = "failed/!{firehose:error-output-type}/"
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        return f"arn:aws:firehose:us-east-1:000000000000:deliverystream/{self.name}"


@dataclass
class Faults:
    """How unkind AWS is; shares of one, except `delay` in seconds."""

    rng: random.Random = field(default_factory=lambda: random.Random(0))
    refuse: float = 0.0  # entries of a put
    throttle: float = 0.0  # puts
    lose_put: float = 0.0  # puts that are accepted and not answered
    lose_request: float = 0.0  # deliveries that do not reach the endpoint
    lose_answer: float = 0.0  # deliveries that the endpoint has acted upon, unheard
    repeat: float = 0.0  # batches that come once more as another request
    shuffle: bool = False  # records within a batch
    delay: float = 0.0  # the most that a batch waits before its first attempt


@dataclass(frozen=True, eq=False)
class Held:
    """A record that the stream has accepted."""

    data: bytes
    arrived: float


@dataclass(eq=False)
class Batch:
    """Records on their way in one request, which keeps its id."""

    records: list[Held]
    request_id: str
    waits: Iterator[float]
    waited: float = 0.0
    attempts: int = 0


@dataclass(frozen=True, eq=False)
class Attempt:
    """A request to be made now."""

    batch: Batch
    request: HttpRequest
    at: float


@dataclass(eq=False)
class Gathering:
    """What is gathered until it is due."""

    records: list[Held] = field(default_factory=list)
    size: int = 0
    turn: int = 0  # so that a timer knows whether it was meant for what is gathered now


class Stream:
    """Direct put in, HTTP requests and objects in S3 out."""

    def __init__(
        self, settings: Settings, clock: Clock, bucket: Bucket, secret: Secret, faults: Faults
    ) -> None:
        self.settings, self.clock, self.bucket = settings, clock, bucket
        self.secret, self.faults = secret, faults
        self.rng = faults.rng
        self.agenda: list[tuple[float, int, Callable[[], Attempt | None]]] = []
        self.planned = self.written = self.undelivered = self.unwritten = 0
        self.gathering, self.saving = Gathering(), Gathering()
        self.attempts: list[Attempt] = []
        self.accepted: list[Held] = []
        self.delivered: list[Held] = []
        self.dropped: list[Held] = []  # answered with 413
        self.expired: list[Held] = []
        self._key, self._key_at = "", -KEY_CACHED

    def put(self, data: bytes) -> None:
        """Accept a record."""
        held = Held(data, self.clock.now)
        self.accepted.append(held)
        self._gather(self.gathering, held, self._flush)
        if self.settings.backup_all:
            self._gather(self.saving, held, self._save)

    def due(self) -> float:
        """When something is to be done next; infinity if nothing is."""
        return self.agenda[0][0] if self.agenda else float("inf")

    def step(self) -> Attempt | None:
        """Do what is due next; what it gives must be settled before the next step."""
        when, _, action = heapq.heappop(self.agenda)
        self.clock.now = max(self.clock.now, when)
        return action()

    def settle(self, attempt: Attempt, outcome: Outcome) -> None:
        """What became of a request."""
        if self.rng.random() < self.faults.lose_answer:
            outcome = NoAnswer("the answer was lost", ACK_SECONDS)
        seconds = min(outcome.seconds, ACK_SECONDS)
        self._after(seconds, lambda: self._conclude(attempt.batch, outcome))

    def _after(self, seconds: float, action: Callable[[], Attempt | None]) -> None:
        self.planned += 1
        heapq.heappush(self.agenda, (self.clock.now + seconds, self.planned, action))

    def _gather(self, into: Gathering, held: Held, flush: Callable[[], None]) -> None:
        into.records.append(held)
        into.size += len(held.data)
        if len(into.records) == 1:
            turn = into.turn
            self._after(self.settings.interval, lambda: flush() if into.turn == turn else None)
        behind = self.undelivered and into is self.gathering
        limit = self.settings.size * (self.settings.enlarge if behind else 1)
        if into.size >= limit or len(into.records) == MOST_RECORDS:
            flush()

    def _take(self, gathered: Gathering) -> list[Held]:
        records = gathered.records
        gathered.records, gathered.size, gathered.turn = [], 0, gathered.turn + 1
        return records

    def _flush(self) -> None:
        records = self._take(self.gathering)
        times = 2 if self.rng.random() < self.faults.repeat else 1
        for _ in range(times):
            if self.faults.shuffle:
                self.rng.shuffle(records)
            name = uuid.UUID(int=self.rng.getrandbits(128), version=4)
            batch = Batch(list(records), str(name), waits(self.rng))
            self.undelivered += 1
            delay = self.rng.uniform(0, self.faults.delay)
            self._after(delay, partial(self._attempt, batch))

    def _attempt(self, batch: Batch) -> Attempt | None:
        batch.records = self._alive(batch.records)
        if not batch.records:
            self.undelivered -= 1
            return None
        if self.unwritten:
            self._after(LONGEST_WAIT, lambda: self._attempt(batch))
            return None
        batch.attempts += 1
        settings, now = self.settings, self.clock.now
        request = request_of(
            [held.data for held in batch.records],
            batch.request_id,
            int(now * 1000),
            settings.arn,
            key=self._access_key(),
            attributes=settings.attributes,
            gzipped=settings.gzipped,
        )
        attempt = Attempt(batch, request, now)
        self.attempts.append(attempt)
        if self.rng.random() < self.faults.lose_request:
            self._conclude(batch, NoAnswer("the endpoint cannot be reached"))
            return None
        return attempt

    def _conclude(self, batch: Batch, outcome: Outcome) -> None:
        verdict = judged(outcome, batch.request_id)
        wait = next(batch.waits)
        if verdict is None:
            self.delivered += batch.records
        elif verdict.final:
            self.dropped += batch.records
        elif batch.waited + wait <= self.settings.retry:
            batch.waited += wait
            self._after(wait, lambda: self._attempt(batch))
            return
        else:
            self.unwritten += 1
            self._give_up(batch, verdict)
        self.undelivered -= 1

    def _give_up(self, batch: Batch, verdict: Verdict) -> None:
        """Write a batch to the error prefix, as soon as S3 takes it."""
        records = self._alive(batch.records)
        now = self.clock.now
        lines = [Failed(batch.attempts, h.arrived, now, verdict, h.data).line() for h in records]
        if records and not self._written(self.settings.failed_prefix, records, lines):
            self._after(LONGEST_WAIT, lambda: self._give_up(batch, verdict))
            return
        self.unwritten -= 1

    def _save(self, records: Sequence[Held] = ()) -> None:
        """Write the backup of all data, as soon as S3 takes it."""
        waiting = list(records) or self._take(self.saving)
        waiting = [held for held in waiting if self.clock.now - held.arrived < RETENTION]
        data = [held.data for held in waiting]
        if waiting and not self._written(self.settings.prefix, waiting, data):
            self._after(LONGEST_WAIT, lambda: self._save(waiting))

    def _written(self, prefix: str, records: Sequence[Held], parts: Sequence[bytes]) -> bool:
        if not self.bucket.available:
            return False
        gzipped = self.settings.s3_gzipped
        self.written += 1
        key = key_of(prefix, self.settings.name, records[0].arrived, self.written, gzipped=gzipped)
        self.bucket.objects[key] = content_of(parts, gzipped=gzipped)
        return True

    def _alive(self, records: Sequence[Held]) -> list[Held]:
        now = self.clock.now
        self.expired += [held for held in records if now - held.arrived >= RETENTION]
        return [held for held in records if now - held.arrived < RETENTION]

    def _access_key(self) -> str:
        if self.clock.now - self._key_at >= KEY_CACHED:
            self._key, self._key_at = self.secret.value, self.clock.now
        return self._key


def due_attempts(streams: Sequence[Stream], until: float) -> Iterator[tuple[Stream, Attempt]]:
    """Requests to make up to a time, in order; each is settled before the next is taken."""
    while True:
        stream = min(streams, key=Stream.due)
        if stream.due() > until:
            break
        attempt = stream.step()
        if attempt is not None:
            yield stream, attempt
    for stream in streams:
        stream.clock.now = max(stream.clock.now, until)


def drive(
    streams: Sequence[Stream], seconds: float, endpoint: Callable[[HttpRequest], Outcome]
) -> None:
    """Let time pass; all streams share a clock. `endpoint` answers at once, in virtual time."""
    for stream, attempt in due_attempts(streams, streams[0].clock.now + seconds):
        stream.settle(attempt, endpoint(attempt.request))
