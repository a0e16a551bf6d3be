"""The wiring on one machine: chain → monitor → buffer → persist and process → state.

Everything that touches the database runs on one worker thread, while ranges further on are read
and decoded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ngu_points.chain.reader import Reader, checked_chain, first_block
from ngu_points.config import Config, contract_of, finality_of, rules_of
from ngu_points.embedded import jobs
from ngu_points.embedded.buffer import Buffer
from ngu_points.embedded.bulk import Bulk
from ngu_points.embedded.client import client
from ngu_points.embedded.database import naming_errors, writer_lock
from ngu_points.embedded.history import History
from ngu_points.embedded.retractions import remember
from ngu_points.embedded.scores import Noted, note_endpoints
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import (
    Announced,
    Covered,
    Delivery,
    Head,
    announced,
    deliveries,
    ready_through,
)
from ngu_points.engine.fingerprint import fingerprint
from ngu_points.engine.rules import DAY, Rules
from ngu_points.errors import StoreError, TransientError, UsageError
from ngu_points.pipeline.interfaces import Position
from ngu_points.pipeline.monitor import Forked, cover, first_common
from ngu_points.pipeline.process import Step, ingest, process
from ngu_points.pipeline.segments import Identity

log = logging.getLogger("ngu")
T = TypeVar("T")
FORKS = 8
"""How often one catch-up may find the chain changed behind it."""
MINUTE = 60
SNAPSHOT_EVENTS = 1_000_000
"""A snapshot of the state is kept after so many events, and after each of the latest days."""


@dataclass(slots=True)
class Progress:
    """Where a catch-up stands; read by whoever draws it."""

    from_block: int = 0
    to_block: int = 0
    block: int = -1
    events: int = 0
    anomalies: int = 0
    started: float = field(default_factory=time.monotonic)
    head: Head | None = None


class App:
    """One pipeline over one database. Made by `opened`."""

    def __init__(
        self, config: Config, rules: Rules, store: Store, history: History, reader: Reader
    ) -> None:
        self.config = config
        self.rules = rules
        self.store = store
        self.history = history
        self.reader = reader
        self.buffer = Buffer()
        self.bulk = Bulk(store, history)
        self.progress = Progress()
        self.now: Callable[[], float] = time.time
        self.committed: Callable[[], None] = lambda: None  # tells whoever shows the state
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._flushing: asyncio.Future[None] | None = None
        self._since_snapshot = 0
        self._sequence = store.queue.last_sequence()
        self._noted: Noted = {}
        self._noted_at = 0.0

    async def on_worker(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run something that touches the database."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, work, *arguments)

    async def fingerprint(self) -> str:
        """Worked out beside the worker: until it is there, nothing else may change the state."""
        days = await self.on_worker(self.store.feasts.days)
        state, chain_id = self.store.state(), self.store.chain_id
        return await asyncio.to_thread(fingerprint, state, days, self.rules, chain_id)

    # Catching up --------------------------------------------------------------------------

    async def catch_up(self, to_block: int | None = None, *, again: bool = False) -> Head:
        """Read and process up to `to_block`, or as far as finality allows; returns the head.

        `again`: read from the position on, whatever has been announced behind it already.
        """
        head = await self.reach(to_block, again=again)
        await self.on_worker(self.bulk.settle)
        return head

    async def reach(self, to_block: int | None = None, *, again: bool = False) -> Head:
        """The same, but rows of the state may be left behind: `bulk.settle` brings them up."""
        head = await self.reader.head()
        self.progress.head = head
        head = await self._reconciled(head)
        await self.on_worker(self._backlog, head)
        target = head.readable if to_block is None else min(to_block, head.readable)
        for _ in range(FORKS):
            try:
                # a step never crosses finality: what is final is not undone with what is not
                await self._cover(min(target, head.final), again)
                await self._cover(target, again)
            except Forked as fork:
                await self._fork(fork.block)
            else:
                await self.on_worker(self.note_trouble, None)
                if self.now() - self._noted_at > MINUTE:
                    await self.on_worker(self.note_endpoints)
                return head
        raise TransientError(
            f"the chain below block {target} changed {FORKS} times while it was read: "
            "try again later, or add another --rpc"
        )

    async def _cover(self, target: int, again: bool) -> None:
        behind = self.store.position() if again else self._read_through()
        if behind.block >= target:
            return
        self.progress.from_block, self.progress.to_block = behind.block + 1, target
        try:
            async with aclosing(cover(self.reader, behind, target)) as ranges:
                async for covered in ranges:
                    await self._take(covered)
        finally:
            await self._flush()
            await self._settled()

    def _read_through(self) -> Position:
        """The last block up to which both streams have been announced without a gap."""
        position = self.store.position()
        records = self.store.coverage(position.block)
        end = ready_through(records, position.block, lambda _: True)
        if end is None:
            return position
        return Position(end.to_block, end.last_hash, end.timestamp)

    async def _take(self, covered: Covered) -> None:
        self._sequence += 1
        now = time.monotonic()
        self.buffer.add(announced(covered, self._sequence), now)
        writing = self._flushing is not None and not self._flushing.done()
        old = self.bulk.is_old(covered.timestamp, covered.to_block, int(self.now()))
        due = self.buffer.late(now) if old else self.buffer.due(now)
        if self.buffer.full or (due and not writing):
            await self._flush()

    async def _flush(self) -> None:
        """Hand the buffer to the worker; waits for the one before, so that at most two are held."""
        await self._settled()
        ranges = self.buffer.take()
        if ranges:
            loop = asyncio.get_running_loop()
            self._flushing = loop.run_in_executor(self._worker, self._ingest, ranges)

    async def _settled(self) -> None:
        if self._flushing is not None:
            flushing, self._flushing = self._flushing, None
            try:
                await flushing
            except BaseException:
                self.buffer.take()  # nothing may overtake what was not written: it is read again
                raise
            self.committed()

    # On the worker thread -----------------------------------------------------------------

    def _ingest(self, ranges: list[Announced]) -> None:
        if self.bulk.fits(ranges, int(self.now())):
            self._stepped(self.bulk.archive(ranges, self.rules))
        else:
            self._deliver([delivery for told in ranges for delivery in deliveries(told)])

    def _deliver(self, sent: list[Delivery]) -> None:
        for step in ingest(self.store, sent, self.rules, int(self.now())):
            self.history.add(step.events)
            self._stepped(step)

    def _backlog(self, head: Head) -> None:
        self.store.note_head(head)
        while step := process(self.store, self.rules, int(self.now())):
            self.history.add(step.events)
            self._stepped(step)

    def _stepped(self, step: Step) -> None:
        self.progress.block = step.position.block
        self.progress.events += len(step.events)
        self.progress.anomalies += step.anomalies
        self._since_snapshot += len(step.events)
        self.history.seal(self.store.final)
        recent = self.now() - step.position.timestamp < 2 * DAY
        if self._since_snapshot >= SNAPSHOT_EVENTS or (step.days and recent):
            self.snapshot()

    def mended(self) -> None:
        """Ranges were announced anew by somebody else: number the next ones behind them."""
        self._sequence = self.store.queue.last_sequence()

    def snapshot(self) -> None:
        """Keep the state, so that later questions about the past need not begin at the start."""
        self._since_snapshot = 0
        try:
            self.history.snapshot()
        except OSError as error:  # a cache: without it answers are slower, not wrong
            log.warning("no snapshot", extra={"fields": {"why": error.strerror}})

    def tidy(self) -> None:
        """Seal what is final, drop what expired."""
        jobs.tidy(self.history, int(self.now()))

    # Forks --------------------------------------------------------------------------------

    async def _fork(self, above: int) -> None:
        """Go back to the last block that the chain still has, and drop what lay above it."""
        common = await self._common(above)
        log.warning("fork: the chain has another block above %d; going back", common)
        try:
            await self.on_worker(self._go_back, common)
        except StoreError as error:
            await self.on_worker(self.note_trouble, str(error))
            raise

    async def _common(self, block: int) -> int:
        groups = self.history.checkpoints(block)
        while group := await self.on_worker(next, groups, None):
            at = await first_common(self.reader, group)
            if at is not None:
                return int(group[at].block)
        return int(self.store.meta("start_block", 0)) - 1

    def _go_back(self, common: int) -> None:
        nothing = common < int(self.store.meta("start_block", 0))
        if self.store.archived() > common and nothing:
            raise StoreError(
                f"{self.store.path} and the chain have no block in common, and what was read is "
                "archived as final: is --rpc another chain of the same id, or was it started anew? "
                "name another --db"
            )
        if self.store.archived() > common:
            raise StoreError(
                f"the chain forked at block {common}, below what is archived as final (block "
                f"{self.store.archived()}): `ngu rewind {common}` folds again from the archive, "
                "then `ngu sync` reads the branch that won"
            )
        self.history.drop_snapshots(self.store.archived())  # before: they must not outlive it
        with self.store.commit():
            remember(self.store, common + 1, f"fork at block {common}", int(self.now()))
            self.store.undo(common)
            self.store.forget(common)
        self.history.recall()
        if self.progress.head:
            self._backlog(self.progress.head)

    async def _reconciled(self, head: Head) -> Head:
        """Go back if the chain now has another block where this one stands.

        A number is the finality of our block only once our block is known to be the chain's: the
        head comes back with the old finality where that cannot be told.
        """
        end = await self.on_worker(self._newest_known, head.newest)
        if end is None:
            return head
        block, known = end
        for _ in range(2):  # a second look, at another endpoint if there is one
            found = await self.reader.hash_of(block)
            if found is None:
                return replace(head, final=min(head.final, self.store.final))
            if found == known:
                return head
            self.reader.rpc.answered.avoided(time.monotonic())
        await self._fork(block)
        return head

    def note_endpoints(self) -> None:
        """Keep how the endpoints have behaved, for whoever asks after them."""
        self._noted_at = self.now()
        self._noted = note_endpoints(
            self.store, self.reader.rpc.endpoints, self._noted, int(self.now())
        )

    def note_running(self, running: bool) -> None:
        """Keep since when the chain is being followed; nothing once that was stopped in order."""
        with self.store.commit():
            self.store.set_meta("running", int(self.now()) if running else None)

    def note_trouble(self, why: str | None) -> None:
        """Keep why the chain cannot be read, and since when; None once it can be again."""
        known = self.store.meta("trouble")
        if why is None and known is None:
            return
        since = known["since"] if known else int(self.now())
        with self.store.commit():
            self.store.set_meta("trouble", why and {"why": why, "since": since})

    def _newest_known(self, newest: int) -> tuple[int, bytes] | None:
        """The highest block that a chain of this height can have and whose hash we know."""
        known = self.store.queue.newest_end(newest)
        if self.store.position().block <= newest:
            return known
        # The chain has become shorter. It may be lag; an event on a lost branch tells otherwise.
        event = self.store.queue.newest_event(newest)
        return max((k for k in (known, event) if k), default=None, key=lambda k: k[0])

    async def close(self) -> None:
        try:
            await self._settled()
            await self.on_worker(self.tidy)
            await self.on_worker(self.note_endpoints)
        finally:
            self._worker.shutdown()


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[App]:
    """The app of a configuration, with its database locked and its chain checked."""
    rpc, contract, rules = client(config), contract_of(config), rules_of(config)
    with writer_lock(config.db), naming_errors(config.db):
        store = Store.open(config.db, rules, write=True)
        try:
            async with rpc:
                reader = Reader(rpc, contract, finality_of(config))
                await _identify(config, store, reader)
                history = History(store)
                history.recall()
                app = App(config, rules, store, history, reader)
                try:
                    yield app
                finally:
                    await app.close()
        finally:
            store.close()


async def _identify(config: Config, store: Store, reader: Reader) -> None:
    chain_id = await checked_chain(reader.rpc, config.chain.chain_id)
    token = reader.contract.token
    first = store.meta("start_block")
    wanted = config.contract.from_block
    if first is None:
        created = await first_block(reader.rpc, token, wanted)
    elif wanted not in (None, first):
        raise UsageError(
            f"{store.path} begins at block {first}, not at {wanted}: name another with --db"
        )
    store.identify(Identity(chain_id, "0x" + token.hex(), reader.contract.kind))
    store.check_read(reader.contract.digest())
    if first is None:
        with store.commit():
            store.set_meta("start_block", created)
    store.check_rules()
