"""One world from one number: what happens in it, and what must hold when it has calmed down."""

from __future__ import annotations

import asyncio
import math
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from ngu_points.chain.rpc import Rpc
from ngu_points.config import ChainSettings, Config, rules_of
from ngu_points.embedded import app as app_module
from ngu_points.embedded import client as client_module
from ngu_points.embedded import history as history_module
from ngu_points.embedded.app import App, opened
from ngu_points.embedded.buffer import Buffer
from ngu_points.embedded.run import follow
from ngu_points.engine.coverage import Covered
from ngu_points.engine.events import event_id, ids
from ngu_points.errors import BadInput, NguError, StoreError, TransientError
from ngu_points.pipeline.process import process
from simulation.blocks import Block, Chain, branch
from simulation.clock import VirtualLoop, run
from simulation.ending import settle
from simulation.knobs import DEFAULT, Knobs, Report
from simulation.machine import Crash, Machine
from simulation.nodes import CREATED, Network
from simulation.programmes import PLAIN, RICH
from simulation.sockets import Sockets
from simulation.stream import Stream
from simulation.transport import HOPELESS, installed
from simulation.truth import (
    Truth,
    Violation,
    check_state,
    same,
    truth_of,
)
from simulation.weather import Weather

DEAD = 0.1
"""The share of worlds in which a node may stay on a branch that lost, below what is final."""
LIVES = 40
"""Restarts after which a world is taken to be stuck."""


class World:
    """Use `play`."""

    def __init__(self, seed: int, root: Path, knobs: Knobs) -> None:
        self.knobs = knobs
        self.rng = random.Random(f"{seed} world")
        self.chain = Chain(random.Random(f"{seed} chain"))
        self.chain.mine(self.rng.choice([CREATED, CREATED, 8, 30, 70, 70]))
        self.chain.finalise()
        self.chain.versions = [self.chain.now]
        self.network = Network(
            random.Random(f"{seed} network"),
            self.chain,
            omissions=knobs.omissions,
            dead_branches=random.Random(f"{seed} branches").random() < DEAD,
        )
        self.sockets = Sockets(self.network)
        choices: list[str | int] = [0, 0, 0, 0, 1, 3, "finalized", "safe"]
        self.settings = ChainSettings(
            rpc=self.network.urls,
            finality=self.rng.choice(choices),
            requests_per_second=self.rng.choice([None, None, 4.0, 40.0]),
            timeout=self.rng.choice([5.0, 30.0]),
            retries=self.rng.choice([1, 3, 8]),
        )
        self.stream = Stream(
            random.Random(f"{seed} stream"), confirmed=self.settings.finality == "finalized"
        )
        # A stream that forgets what was acknowledged needs a store that keeps it.
        self.machine = Machine(
            random.Random(f"{seed} machine"), root, loses_power=not self.stream.confirmed
        )
        self.programme = self.rng.choice([PLAIN, RICH])
        self.rules = rules_of(self.config)
        self.start = self.rng.choice([None, None, CREATED, 5, 20])
        self.crashes = self.rng.choice([0, 1, 1, 2, 4])
        self.errors = self.rng.choice([0, 0, 1, 4])
        self.ticks = self.rng.choice([4, 8, 12, 20, 40])
        self.clock: Callable[[], float] = float
        self.report = Report(seed)
        self.truths: dict[bytes, Truth] = {}
        self.weather = Weather(self.rng, self.chain, self.network, self.report, self.begin)

    @property
    def config(self) -> Config:
        start = getattr(self, "start", None)
        return self.programme.config(self.machine.db, self.settings, start)

    def client(self) -> Rpc:
        """A client that remembers nothing of the nodes."""
        chosen = self.settings
        return Rpc(
            chosen.rpc,
            timeout=chosen.timeout,
            max_retries=chosen.retries,
            span=self.network.span,
            rng=self.network.rng,
        )

    # Lives --------------------------------------------------------------------------------

    def play(self) -> None:
        """Live until the weather is over, then check."""
        while self.ticks > 0:
            self.report.faults["lives"] += 1
            self.machine.start(*self._fate())
            self._life(self._follow)
            self.ticks -= 1
            same("lives", self.machine.lives < LIVES, True)
        self.machine.start()
        self.network.calm = True
        # A bare rollback looks like lag until the chain is longer than it was.
        self.chain.mine(self.chain.deepest_head - self.chain.now.head + 4)
        self.chain.finalise()
        self._run(partial(settle, self))

    def _fate(self) -> tuple[int, int, int]:
        """Where this life ends and where SQLite fails, see `Machine.start`."""
        crash = round(math.exp(self.rng.uniform(1, 7.5))) if self.crashes else 0
        error = round(math.exp(self.rng.uniform(1, 7.5))) if self.errors else 0
        self.crashes -= bool(crash)
        self.errors -= bool(error)
        if crash and self.rng.random() < 0.5:
            return 0, error, self.rng.randint(1, 25)
        return crash, error, 0

    def _life(self, main: Callable[[], Any]) -> None:
        """Run until stopped; an error that a person is told of ends a life as well."""
        try:
            self._run(main)
        except Crash:
            pass
        except (TransientError, StoreError, BadInput) as error:
            if isinstance(error, BadInput) and not self._hopeless():
                raise Violation(f"BadInput: {error}") from error
            self.report.stops[type(error).__name__ + ": " + _gist(error)] += 1
        except NguError as error:
            raise Violation(f"{type(error).__name__}: {error}") from error

    def _hopeless(self) -> int:
        """How many answers there were after which nobody need ask again."""
        return sum(self.network.tally[kind] for kind in HOPELESS)

    def _run(self, main: Callable[[], Any]) -> None:
        self.stream.forget()
        loop = VirtualLoop(self.clock(), lambda: self.rng.random() * 0.3)
        self.clock = loop.time
        with self._installed(loop):
            run(loop, main())

    @contextmanager
    def _installed(self, loop: VirtualLoop) -> Iterator[None]:
        """Put this world in the place of the network, the disk and the clocks."""
        clock = SimpleNamespace(monotonic=loop.time, time=self.now)
        some = partial(process, limit=3)
        with ExitStack() as stack:
            stack.enter_context(self.machine.installed())
            stack.enter_context(installed(self.machine, self.sockets, clock))
            for module, name, value in (
                (client_module, "Rpc", partial(Rpc, span=self.network.span, rng=self.network.rng)),
                (app_module, "time", clock),
                (app_module, "process", some),
                (app_module, "SNAPSHOT_EVENTS", 15),
                (history_module, "SEGMENT", 12),
            ):
                stack.enter_context(patch.object(module, name, value))
            yield

    async def _follow(self) -> None:
        async with opened(self.config) as app:
            await app.on_worker(self.stream.drain, app._deliver)
            self.prepare(app)
            self.look(app)
            stop = asyncio.Event()
            weather = asyncio.create_task(self._happenings(app, stop))
            try:
                await follow(app, stop)
            finally:
                weather.cancel()
                await asyncio.gather(weather, return_exceptions=True)
                if weather.done() and not weather.cancelled() and weather.exception():
                    raise weather.exception() or Violation("weather")

    def prepare(self, app: App) -> None:
        """Small limits, so that a small world reaches them."""
        app.now = self.now
        app.buffer = Buffer(self.rng.choice([1, 2_000, 1 << 20]), self.rng.choice([1.0, 60.0]))
        app.bulk.segment = self.rng.choice([1, 20, 50_000])
        ingest, go_back, read = app._deliver, app._go_back, app.reader.read
        rpc: Any = app.reader.rpc
        distrust = rpc.distrust

        def distrusted(reason: str, *endpoint: Any) -> None:
            self.report.faults["answers distrusted"] += 1
            self.report.faults["ranges that Reader saw to be incomplete"] += "left out" in reason
            distrust(reason, *endpoint)

        rpc.distrust = distrusted

        def went_back(common: int) -> None:
            self.stream.forget()
            self.report.faults["times the app went back"] += 1
            go_back(common)

        app._deliver = partial(self.stream.carry, ingest)  # type: ignore[method-assign]
        app._go_back = went_back  # type: ignore[method-assign]
        app.reader.read = partial(  # type: ignore[method-assign]
            self._second_opinion, rpc, read
        )
        least = self.rng.choice([3, 20, 50_000])
        app.history.seal = partial(app.history.seal, least=least)  # type: ignore[method-assign]

    async def _second_opinion(self, rpc: Any, read: Any, from_block: int, to_block: int) -> Covered:
        """See `Knobs.second_opinion`."""
        covered: Covered = await read(from_block, to_block)
        blocks = branch(self.chain.by_hash[covered.last_hash], from_block)
        wanted = {id_ for block in blocks for id_ in block.ids}
        wanted |= {letter.id for block in blocks for letter in block.letters}
        found = set(ids(covered.events))
        found |= {event_id(r.block, r.tx_hash, r.log_index) for r in covered.rejected}
        if wanted - found:
            self.report.faults["ranges whose omissions Reader did not see"] += 1
            if self.knobs.second_opinion:
                rpc.distrust("logs are missing")
                raise TransientError(f"sim: blocks {from_block}..{to_block}: logs are missing")
        return covered

    def now(self) -> float:
        """The wall clock, which also jumps."""
        return self.weather.offset + self.clock()

    async def _happenings(self, app: App, stop: asyncio.Event) -> None:
        try:
            while self.ticks > 0:
                await asyncio.sleep(self.rng.expovariate(1 / 1.5))
                self.ticks -= 1
                self.weather.tick()
                self.sockets.announce()
                if self.rng.random() < 0.1:
                    self.look(app)
                if self.rng.random() < 0.04:
                    self.report.faults["graceful stops"] += 1
                    break
        finally:
            stop.set()

    # What must hold -----------------------------------------------------------------------

    def truth(self, tip: Block) -> Truth:
        """The truth of a branch up to a block; folded once."""
        if tip.hash not in self.truths:
            self.truths[tip.hash] = truth_of(branch(tip, self.first(tip)), self.rules)
        return self.truths[tip.hash]

    @property
    def begin(self) -> int:
        """The first block that is read."""
        return CREATED if self.start is None else self.start

    def first(self, tip: Block) -> int:
        return min(self.begin, tip.number)

    def look(self, app: App) -> None:
        """At any moment the state is that of the branch which ends at the position.

        Unless logs may be missing of which nobody has told: those the end brings to light.
        """
        position = app.store.position()
        if any(position.hash) and not self.knobs.silent:
            check_state(app.store, self.truth(self.chain.by_hash[position.hash]))


def _gist(error: Exception) -> str:
    """An error's text without what differs from world to world."""
    text = re.sub("[0-9]+", "#", re.sub("0x[0-9a-f]+", "#", str(error)))
    if "ngu.db" in text:
        return text[text.find("ngu.db") :][:120]
    return ": ".join(text.split(": ")[1:3]).partition(";")[0]


def folder_for_worlds() -> Path | None:
    """In memory where that is possible."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else None


def play(seed: int, knobs: Knobs = DEFAULT) -> Report:
    """Play the world of a seed; the report says which guarantee broke, if one did."""
    root = Path(tempfile.mkdtemp(prefix="ngu-world-", dir=folder_for_worlds()))
    world = World(seed, root, knobs)
    report = world.report
    try:
        world.play()
    except Violation as violation:
        report.violation = str(violation)
    except Crash:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever escapes is a finding
        report.violation = f"{type(error).__name__}: {error}"
    finally:
        world.machine.release()
        shutil.rmtree(root, ignore_errors=True)
    if report.violation:
        report.violation = report.violation.replace(f"{root}/", "")
    for part in (world.network.tally, world.stream.tally, world.machine.tally):
        report.faults.update(part)
    return report
