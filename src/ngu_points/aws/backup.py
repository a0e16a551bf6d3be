"""What Firehose left in S3 is put back: the backup of all data, and what it could not deliver.

An object is read only once it is known to be whole, record by record; every record passes the
checks of a delivery. What has had its effect is not written again, so a replay may be broken off,
begun anew and repeated. A backup holds what was sent: repairs made since are not in it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from gzip import GzipFile
from typing import IO, Annotated, Any, Protocol

import msgspec
import numpy as np

from ngu_points.aws import records
from ngu_points.aws.records import Origin, Poison
from ngu_points.engine.coverage import Coverage, Delivery
from ngu_points.engine.events import Bool, Events
from ngu_points.errors import BadInput
from ngu_points.pipeline.interfaces import Position, Store
from ngu_points.pipeline.persist import persist

GZIP = b"\x1f\x8b"
PIECE = 1 << 20
LISTED = 20
"""Objects and blocks that a report names at most."""


@dataclass(frozen=True, slots=True)
class Saved:
    """An object of a backup; `content` opens it, and it must be possible to go back to its start.

    Lines of one that `failed` are Firehose's, each with a record that could not be delivered.
    """

    name: str
    stream: str
    failed: bool
    content: Callable[[], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a replay holds at once, and what it takes for an object of Firehose's at all."""

    line: int = 3 << 20  # bytes; the longest record is 1,024,000, and base64 makes it a third more
    unpacked: int = 1 << 30  # bytes of an object; Firehose writes at most 128 MB
    records: int = 500  # that are read and written together
    size: int = 4 << 20  # bytes of them
    events: int = 50_000  # written before what is complete is processed


class Place(Protocol):
    """Where a backup goes: a store and what is known for ever of it."""

    @property
    def store(self) -> Store: ...

    def archived(self) -> int:
        """The last block that is archived."""
        ...

    def holds(self, found: Events) -> Bool:
        """Which events of archived blocks the archive has, by id and block hash."""
        ...

    def arrived(self, record: Coverage) -> bool:
        """Whether all that a record announces is there; nothing of it is remembered."""
        ...

    def quarantine(self, poison: Sequence[Poison], stream: str) -> None:
        """Put records aside that are none of this deployment."""
        ...

    def process(self) -> int:
        """Fold what is complete, if this is who may; how many events."""
        ...


@dataclass
class Replayed:
    """What a replay has done so far."""

    objects: int = 0
    records: int = 0
    written: int = 0  # events and dead letters that may not have been there
    known: int = 0  # those that have had their effect
    unknown: list[int] = field(default_factory=list)  # archived blocks with events not of it
    poison: int = 0
    processed: int = 0
    damaged: list[str] = field(default_factory=list)  # the first objects, what is wrong with them
    not_used: int = 0  # objects that are damaged
    announced: int = -1  # the last block of all coverage records

    def shown(self, position: Position) -> dict[str, Any]:
        """As a report; `position` is where the store stands in the end."""
        numbers = {"objects": self.objects, "records": self.records, "written": self.written,
                   "known": self.known, "poison": self.poison, "processed": self.processed,
                   "block": position.block}  # fmt: skip
        return numbers | {
            "incomplete": max(self.announced - position.block, 0),
            "damagedObjects": self.not_used,
            "damaged": self.damaged,
            "unknownBlocks": sorted(set(self.unknown))[:LISTED],
        }


def in_doubt(report: dict[str, Any]) -> bool:
    """Whether a report names anything that a person should look at."""
    doubts = ("damagedObjects", "poison", "unknownBlocks", "incomplete")
    return any(report[name] for name in doubts)


def replay(
    objects: Iterable[Saved],
    place: Place,
    origin: Origin,
    now: int,
    limits: Limits = Limits(),
    seen: Callable[[int], None] = lambda _: None,
) -> Replayed:
    """Put back what the objects hold, and process it; `seen` is told how many are done.

    An object that is damaged, cut off or cannot be had is named, nothing of it is used, and the
    others go on. Objects are best in the order in which they were written; any order will do.
    """
    done, waiting = Replayed(), 0
    for saved in objects:
        try:
            before = done.written
            _object(saved, place, origin, now, limits, done)
            waiting += done.written - before
        except BadInput as error:
            done.not_used += 1
            done.damaged += [str(error)][: LISTED - len(done.damaged)]
        done.objects += 1
        if waiting >= limits.events:
            done.processed += place.process()
            waiting = 0
        seen(done.objects)
    done.processed += place.process()
    return done


def first_block(objects: Iterable[Saved], origin: Origin, limits: Limits = Limits()) -> int | None:
    """The first block that the first object with coverage announces; None if nothing does."""
    for saved in objects:
        found: list[int] = []
        for batch in _batches(saved, limits):
            deliveries, _ = records.read(batch, saved.stream, origin)
            found += [record.from_block for d in deliveries for record in d.coverage]
        if found:
            return min(found)
    return None


class _From(msgspec.Struct):
    stage: str
    chain: int = msgspec.field(name="chainId")


_from = msgspec.json.Decoder(_From)


def origin(objects: Iterable[Saved], limits: Limits = Limits()) -> tuple[str, int] | None:
    """The stage and the chain that the first record names; None if there is no record."""
    for saved in objects:
        with suppress(BadInput):  # it is named when the objects are read
            for line in (line for batch in _batches(saved, limits) for line in batch):
                with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    told = _from.decode(line)
                    return told.stage, told.chain
    return None


def _object(
    saved: Saved, place: Place, origin: Origin, now: int, limits: Limits, done: Replayed
) -> None:
    for batch in _batches(saved, limits):
        deliveries, poison = records.read(batch, saved.stream, origin)
        for delivery in deliveries:
            wanted = _wanted(delivery, place, done)
            persist(place.store, [wanted], now)
            done.written += len(wanted.events) + len(wanted.rejected)
            ends = (record.to_block for record in delivery.coverage)
            done.announced = max(done.announced, *ends, -1)
        place.quarantine(poison, saved.stream)
        done.records += len(batch)
        done.poison += len(poison)


# What is written --------------------------------------------------------------------------


def _wanted(delivery: Delivery, place: Place, done: Replayed) -> Delivery:
    """The part of a delivery that may be missing.

    Blocks that are archived, or processed and complete, need nothing: what they do not have was
    taken out, by a fork or a repair, and would only be in the way.
    """
    archived, position = place.archived(), place.store.position().block
    events, blocks = delivery.events, delivery.events.block
    old = blocks <= archived
    if old.any():
        strange = ~place.holds(events.take(old))
        done.unknown = sorted({*done.unknown, *blocks[old][strange].tolist()})[: LISTED + 1]
    letters = [r.block for r in delivery.rejected]
    late = {b for b in (*blocks.tolist(), *letters) if archived < b <= position}
    settled = _complete(delivery.stream, late, place)
    keep = ~old & ~np.isin(blocks, sorted(settled))
    rejected = tuple(r for r in delivery.rejected if r.block > archived and r.block not in settled)
    done.known += len(events) - int(keep.sum()) + len(letters) - len(rejected)
    records_ = tuple(c for c in delivery.coverage if c.to_block > archived)
    return replace(delivery, events=events.take(keep), rejected=rejected, coverage=records_)


def _complete(stream: str, blocks: set[int], place: Place) -> set[int]:
    """Those of the blocks of which everything that was announced last is there."""
    if not blocks:
        return set()
    found = [r for r in place.store.coverage(min(blocks) - 1) if r.stream == stream]
    answers: dict[tuple[int, int], bool] = {}
    complete = set()
    for block in blocks:
        covers = [r for r in found if r.from_block <= block <= r.to_block]
        newest = max(covers, key=lambda r: r.sequence, default=None)
        if newest is None:
            continue
        key = (newest.to_block, newest.sequence)
        if key not in answers:
            answers[key] = place.arrived(newest)
        if answers[key]:
            complete.add(block)
    return complete


# What an object holds ---------------------------------------------------------------------


class _Undelivered(msgspec.Struct):
    data: Annotated[bytes, msgspec.Meta(min_length=1)] = msgspec.field(name="rawData")


_undelivered = msgspec.json.Decoder(_Undelivered)


def _batches(saved: Saved, limits: Limits) -> Iterator[list[bytes]]:
    """The records of an object, some at a time; BadInput if it is not whole."""
    with _naming(saved.name), saved.content() as file:
        _check(file, saved.name, limits)
        batch: list[bytes] = []
        size = 0
        for line in _lines(_unpacked(file), limits.line):
            batch.append(_record(line) if saved.failed else line)
            size += len(line)
            if len(batch) == limits.records or size >= limits.size:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def _record(line: bytes) -> bytes:
    """What could not be delivered; the line itself, which is no record, if it does not say."""
    try:
        return _undelivered.decode(line).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    file.seek(0)
    packed = file.read(len(GZIP)) == GZIP
    file.seek(0)
    return GzipFile(fileobj=file) if packed else file  # type: ignore[return-value]


def _check(file: IO[bytes], name: str, limits: Limits) -> None:
    """Read an object to its end: gzip says only there whether it is as it was written."""
    stream, size, tail = _unpacked(file), 0, b""
    while piece := stream.read(PIECE):
        size += len(piece)
        if size > limits.unpacked:
            raise BadInput(f"{name} is larger than {limits.unpacked:,} bytes: Firehose wrote no"
                           " such object, and nothing of it was used")  # fmt: skip
        tail = (tail + piece).rpartition(b"\n")[2][-limits.line - 1 :]
    if not size or (tail and not _is_json(tail)):
        raise _damaged(name, "it is cut off")


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _lines(stream: IO[bytes], longest: int) -> Iterator[bytes]:
    """Lines with their ends; of one that is too long its beginning, which is no record."""
    while line := stream.readline(longest):
        rest = line
        while len(rest) == longest and not rest.endswith(b"\n"):
            rest = stream.readline(longest)
        if line.strip():
            yield line


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Errors of reading an object become one line that names it."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(name, str(error) or type(error).__name__) from error


def _damaged(name: str, why: str) -> BadInput:
    return BadInput(f"{name} is damaged, and nothing of it was used: {why}")
