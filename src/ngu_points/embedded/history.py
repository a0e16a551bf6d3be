"""What happened, from the archive and the working queue; the state as it was at any time."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ngu_points.chain.decode import Decoded
from ngu_points.embedded.archive import (
    check_segment,
    read_segment,
    read_segments,
    segment_files,
    write_segment,
)
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import Covered
from ngu_points.engine.events import Events, blobs, concat
from ngu_points.engine.fingerprint import fingerprint, shares_digest
from ngu_points.engine.rules import Rules
from ngu_points.engine.runs import Runs
from ngu_points.engine.state import State, Wallets, no_state
from ngu_points.errors import StoreError
from ngu_points.pipeline.interfaces import Position
from ngu_points.pipeline.pack import pack_into, unpack
from ngu_points.pipeline.query import View, refold
from ngu_points.pipeline.segments import Segment, joined

log = logging.getLogger("ngu")
LATEST = 2**62
SNAPSHOTS = 32  # that are kept
REPLACED_FOR = 3600.0  # seconds that a replaced segment stays
SEGMENT = 50_000
"""Events that fill a segment."""


class History:
    """The archive folder beside a store, and the snapshots in it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.folder = store.archive
        self.tail: list[Events] = []  # what the writer has yet to seal, see `recall`
        self.lost: set[str] = set()  # segments to do without, because their files are damaged
        self._last: tuple[str, Covered] | None = None

    def recall(self) -> None:
        """Take what is processed and not yet archived from the tables (on opening, after undo)."""
        recent = self.store.queue.recent(self.store.archived() + 1, self.store.position().block)
        self.tail = [recent] if len(recent) else []

    def add(self, events: Events) -> None:
        """Note what a step has processed."""
        if len(events):
            self.tail.append(events)

    def seal(self, final: int, *, least: int = SEGMENT) -> Covered | None:
        """Move what is final into the archive, if it is at least `least` events.

        A small last segment is written again together with what follows it, so that the archive
        stays a few large files however often it is sealed.
        """
        if sum(map(len, self.tail)) < least:
            return None
        end = self.store.queue.end_at(self.store.sealable(final))
        start = self.store.archived() + 1
        if end is None or end.to_block < start:
            return None
        events = concat(self.tail)
        if len(events) and int(events.block[0]) < start:
            raise StoreError(f"{self.folder} already holds block {events.block[0]}: start again")
        old = events.block <= end.to_block
        parent = self.store.queue.parent_of(start)
        letters = self.store.queue.letters(start, end.to_block)
        covered = Covered(
            start, end.to_block, parent, end.last_hash, end.timestamp, events.take(old), letters
        )
        self._write(covered)
        left = events.take(~old)
        self.tail = [left] if len(left) else []
        return covered

    def _write(self, covered: Covered) -> None:
        last = self.store.last_segment()
        small = last is not None and last.events + len(covered.events) <= SEGMENT
        if last is not None and small:
            try:
                covered = joined(read_segment(self.folder / last.name), covered)
            except StoreError as error:  # the gap check tells of it; what comes after goes on
                log.warning("segment not joined", extra={"fields": {"why": str(error)}})
                small = False
        name = write_segment(self.folder, covered, self.store.identity())
        self.store.sealed(covered, name)
        if last is not None and small:
            (self.folder / last.name).touch()  # its hour of grace begins

    def sweep(self, now: float) -> None:
        """Remove segments that larger ones have replaced, once no reader can be at them."""
        if not self.store.make_durable():
            return
        known = {segment.name for segment in self.store.segments()}
        for path in [*segment_files(self.folder), *self.folder.glob(".*.npz.*"),
                     *self.folder.glob("snapshots/.*")]:  # fmt: skip
            if path.name not in known and now - path.stat().st_mtime > REPLACED_FOR:
                path.unlink(missing_ok=True)
        for path, _, _ in self._snapshots()[:-SNAPSHOTS]:
            path.unlink(missing_ok=True)

    def covered(self, after: int = -1) -> Iterator[Covered]:
        """Everything processed beyond a block, range by range, in order."""
        last_hash = b""
        names = [segment.name for segment in self.store.segments() if segment.to_block > after]
        for name, covered in zip(names, read_segments(self.folder, names), strict=True):
            if last_hash and covered.parent_hash not in (last_hash, b"", bytes(32)):
                raise StoreError(f"{self.folder / name} does not follow on the file before it: "
                                 "bring the right one back, or `ngu replay` makes it anew from "
                                 "the chain")  # fmt: skip
            last_hash = covered.last_hash
            yield beyond(covered, after)
        yield from self._recent(max(after, self.store.archived()))

    def between(self, first: int, last: int) -> Decoded:
        """Everything that is held of some blocks: events and dead letters."""
        events, letters = [], []
        for segment in self.store.segments():
            overlaps = segment.from_block <= last and segment.to_block >= first
            if overlaps and segment.name not in self.lost:
                covered = self._segment(segment.name)
                rows = (covered.events.block >= first) & (covered.events.block <= last)
                events.append(covered.events.take(rows))
                letters += [r for r in covered.rejected if first <= r.block <= last]
        start = max(first, self.store.archived() + 1)
        if start <= last:
            events.append(self.store.queue.recent(start, last))
            letters += self.store.queue.letters(start, last)
        return Decoded(concat(events), tuple(letters), 0)

    def checkpoints(self, block: int) -> Iterator[list[Position]]:
        """Blocks whose hash and time are known, from `block` downwards, in groups.

        The first group is the ends of ranges that are still in the tables; then, segment by
        segment, its end and every block of it that has an event.
        """
        recent = [Position(*end) for end in self.store.queue.ends_below(block)]
        if recent:
            yield recent
        lowest = recent[-1].block if recent else block + 1
        for segment in reversed(self.store.segments()):
            if segment.from_block < lowest and segment.name not in self.lost:
                known = _known(self._segment(segment.name))
                yield [p for p in known if p.block < lowest]

    def damaged(self, first: int, last: int) -> list[Segment]:
        """The segments of a range whose files are not there, or not as they were written."""
        found = []
        for segment in self.store.segments():
            if segment.from_block <= last and segment.to_block >= first:
                try:
                    check_segment(self.folder / segment.name)
                except StoreError:
                    found.append(segment)
        return found

    def _segment(self, name: str) -> Covered:
        """A segment, of which the last one asked for is kept at hand."""
        if self._last is None or self._last[0] != name:
            self._last = name, read_segment(self.folder / name)
        return self._last[1]

    def _recent(self, after: int) -> Iterator[Covered]:
        position = self.store.position()
        if position.block > after:
            events = self.store.queue.recent(after + 1, position.block)
            letters = self.store.queue.letters(after + 1, position.block)
            yield Covered(
                after + 1, position.block, b"", position.hash, position.timestamp, events, letters
            )

    # Snapshots: a cache; deleting them loses nothing ----------------------------------------

    def snapshot(self) -> None:
        """Keep the state of the present position."""
        state, position = self.store.state(), self.store.position()
        head = {"block": state.block, "timestamp": state.timestamp, "hash": position.hash.hex(),
                "day": state.day, "carry": str(state.carry),
                "contribution": str(state.contribution),
                "fold": self.store.rules.fold_key()}  # fmt: skip
        arrays: dict[str, Any] = {"head": np.frombuffer(json.dumps(head).encode(), np.uint8)}
        arrays |= {f"run_{f.name}": getattr(state.runs, f.name) for f in fields(Runs)}
        arrays |= {f"wallet_{f.name}": getattr(state.wallets, f.name) for f in fields(Wallets)}
        folder = self.folder / "snapshots"
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{state.block}.{os.getpid()}"
        with temporary.open("w+b") as file:
            pack_into(file, arrays)
        temporary.replace(folder / _snapshot_name(head))

    def drop_snapshots(self, above: int = -1) -> None:
        """Forget the snapshots of blocks above one."""
        for path, block, _ in self._snapshots():
            if block > above:
                path.unlink(missing_ok=True)

    def _snapshots(self) -> list[tuple[Path, int, int]]:
        found = []
        for path in (self.folder / "snapshots").glob("[0-9]*.npz"):
            block, _, timestamp = path.stem.partition("-")
            found.append((path, int(block), int(timestamp)))
        return sorted(found, key=lambda f: f[1])

    def state_at(
        self, rules: Rules, timestamp: int, block: int = LATEST, start: State | None = None
    ) -> View:
        """The state as it was at a time (and not beyond a block).

        It is folded on from `start`, an earlier state, or from the snapshot before that time.
        """
        position = self.store.position()
        if timestamp >= position.timestamp and block >= position.block:
            return View.of(self.store.state(), rules, timestamp)
        start = self.nearest(rules, timestamp, block) if start is None else start
        again = refold(rules, self.covered(start.block), start, (block, timestamp))
        return View.of(again.hot.state, rules, timestamp)

    def fingerprint_at(self, at: tuple[int, int]) -> tuple[str, View]:
        """The fingerprint as it was at a (block, time), and the view it is of."""
        rules = self.store.rules
        again = refold(rules, self.covered(), no_state(rules), at)
        state = replace(again.hot.state, block=at[0], timestamp=at[1])
        closed = [(day, shares_digest(day, state.wallets.address)) for day in again.days]
        value = fingerprint(state, closed, rules, self.store.chain_id)
        return value, View.of(state, rules)

    def timed(self, block: int) -> tuple[int, int] | None:
        """Of the blocks at or below `block` whose time is known the nearest, and its time.

        Those are the ends of ranges and segments, and every block that has an event.
        """
        known, archived = [], self.store.archived()
        end = self.store.queue.end_at(block)
        if end is not None:
            known.append((end.to_block, end.timestamp))
        events = self.store.queue.recent(max(archived, known[0][0] if known else -1) + 1, block)
        if len(events):
            known.append((int(events.block[-1]), int(events.timestamp[-1])))
        for segment in reversed(self.store.segments()):
            if segment.from_block <= block and segment.name not in self.lost:
                inside = (p for p in _known(self._segment(segment.name)) if p.block <= block)
                if nearest := next(inside, None):
                    known.append((nearest.block, nearest.timestamp))
                    break
        return max(known, default=None)

    def nearest(self, rules: Rules, timestamp: int, limit: int) -> State:
        """The state of the last snapshot at or before a time and a block; none: an empty one."""
        for path, block, at in reversed(self._snapshots()):
            if at <= timestamp and block <= limit:
                state = self._read_snapshot(path, rules)
                if state is not None:
                    return state
        return no_state(rules)

    def _read_snapshot(self, path: Path, rules: Rules) -> State | None:
        """None where it is damaged, of other rules, or of a branch that lost."""
        try:
            arrays = unpack(path.read_bytes(), str(path))
        except (StoreError, OSError):
            return None
        head = json.loads(arrays["head"].tobytes())
        if path.name != _snapshot_name(head):
            return None
        end = self.store.queue.end_at(head["block"])
        lost = (
            end is not None
            and end.to_block == head["block"]
            and (end.last_hash.hex() != head["hash"])
        )
        if head["fold"] != rules.fold_key() or lost:
            return None
        return State(
            Runs(*(arrays[f"run_{f.name}"] for f in fields(Runs))),
            Wallets(*(arrays[f"wallet_{f.name}"] for f in fields(Wallets))),
            head["block"],
            head["timestamp"],
            head["day"],
            int(head["carry"]),
            int(head["contribution"]),
        )


def _snapshot_name(head: dict[str, Any]) -> str:
    return f"{head['block']:012d}-{head['timestamp']}.npz"


def _known(covered: Covered) -> list[Position]:
    """The blocks of a segment whose hash and time are known, the highest first."""
    events = covered.events
    last = np.flatnonzero(np.diff(events.block, append=-1))
    blocks, times = events.block[last].tolist(), events.timestamp[last].tolist()
    known = list(map(Position, blocks, blobs(events.block_hash[last]), times))
    if not blocks or blocks[-1] != covered.to_block:
        known.append(Position(covered.to_block, covered.last_hash, covered.timestamp))
    return known[::-1]


def beyond(covered: Covered, block: int) -> Covered:
    """The part of a range behind a block."""
    if covered.from_block > block:
        return covered
    later = covered.events.take(covered.events.block > block)
    letters = tuple(r for r in covered.rejected if r.block > block)
    return replace(covered, from_block=block + 1, parent_hash=b"", events=later, rejected=letters)
