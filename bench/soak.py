"""A long life compressed: one `ngu run` follows a simulated chain for hours and for weeks.

    python -m bench.soak                      four hours of 2 s blocks, then 14 days of 300 s ones
    python -m bench.soak --hours 4 --days 0   only the first part

The program under test is a real process with a real database; only its wall clock is the time of
the chain's newest block, and its timer looks at that clock four times a second, so that hourly
jobs, the day's close and the seven days of retention happen when chain time says so. The chain is
mined as fast as it is followed, one block at a time, with a short fork now and then. The
collection does not grow (what is burned is minted again), so nothing of its state should either.
Memory, handles, threads and bytes are read from /proc and from the files (Linux only). Memory goes
up and down by some 20 MiB while the events of the next archive segment gather (50,000 of them).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import mmap
import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.measure import NGU, ROOT
from bench.measure import run as run_to_end
from ngu_points.demo.contract import Event
from ngu_points.demo.node import SimNode
from ngu_points.demo.server import serving
from ngu_points.demo.traffic import wallets
from ngu_points.engine.events import ZERO_ADDRESS, Kind
from ngu_points.errors import NguError

START = "import sys; from bench.soak import by_chain_time; by_chain_time(sys.argv[1], sys.argv[2:])"
RESULTS = ROOT / "bench" / "results"
DAY = 86_400
TOKENS = 10_000
DEEPEST = 6  # blocks of a fork; the simulated chain is final eight blocks below its head
FORK_EVERY = 60  # blocks, about
PATIENCE = 120.0  # seconds without progress
MEMORY_BOUND = 2_048  # bytes a block, in the second half; by then caches are full
FEWEST = 3_000  # blocks that tell memory that grows from memory that goes up and down
HANDLES_BOUND = 4  # descriptors: connections, and a file that is being written
THREADS_BOUND = 2
LIFETIMES = {
    "batch_events": "7 days after processing, once archived",
    "staking_events": "7 days after processing, once archived",
    "coverage": "until final and archived",
    "changes": "until final (undo)",
    "tokens": "state: a row a run",
    "points": "state: a row a wallet",
    "feast_pool": "for ever: a row a day",
    "metrics": "30 days: a row every 5 minutes",
    "leaderboard": "replaced daily",
    "shown": "the latest 100 forks, until they are settled",
    "retractions": "90 days",
}


def by_chain_time(clock: str, words: list[str]) -> None:
    """Be `ngu`, with the number in a file as the wall clock (the process under test)."""
    from ngu_points.cli import main
    from ngu_points.embedded import run

    with Path(clock).open("rb") as file:
        shown = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    time.time = lambda: float(struct.unpack("<q", shown[:8])[0])
    vars(run)["next_moment"] = lambda _now: 0.25  # the clock chooses what is due, not this pause
    main(words)


@dataclass(frozen=True, slots=True)
class Sample:
    """The process and its files at one moment; bytes, except where a name says otherwise."""

    seconds: float  # since the start
    timestamp: int  # chain time
    block: int
    events: int
    runs: int
    queued: int  # rows of the event tables
    rss: int
    handles: int
    threads: int
    db: int
    wal: int
    archive: int
    snapshots: int


@dataclass(slots=True)
class Crowd:
    """Wallets that use a collection of a fixed size, every event valid after those before it."""

    wallets: tuple[bytes, ...] = field(default_factory=lambda: wallets(300))
    owner: list[bytes | None] = field(default_factory=lambda: [None] * TOKENS)
    staked: list[bool] = field(default_factory=lambda: [False] * TOKENS)
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    def take(self, count: int) -> list[Event]:
        """The next events, each of a single token."""
        return [self.on(self.chance.randrange(TOKENS)) for _ in range(count)]

    def on(self, token: int) -> Event:
        """The next event of a token."""
        owner, other = self.owner[token], self.chance.choice(self.wallets)
        if owner is None:
            self.owner[token] = other
            return Event(Kind.MINT, ZERO_ADDRESS, other, token)
        if self.staked[token]:
            self.staked[token] = False
            return Event(Kind.UNSTAKE, owner, ZERO_ADDRESS, token)
        (kind,) = self.chance.choices((Kind.TRANSFER, Kind.STAKE, Kind.BURN), (6, 5, 1))
        self.staked[token] = kind is Kind.STAKE
        if kind is not Kind.STAKE:
            self.owner[token] = other if kind is Kind.TRANSFER else None
        return Event(kind, owner, other if kind is Kind.TRANSFER else ZERO_ADDRESS, token)


@dataclass(slots=True)
class World:
    """The chain, what happens on it, and the clock that shows its time."""

    node: SimNode
    clock: mmap.mmap
    events: int  # a block
    crowd: Crowd = field(default_factory=Crowd)
    recent: deque[list[Event]] = field(default_factory=lambda: deque(maxlen=DEEPEST))
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    forks: int = 0

    def mine(self) -> None:
        """One more block; now and then the newest ones come again behind an empty one."""
        events = self.crowd.take(self.events)
        self.node.mine(events)
        self.recent.append(events)
        if self.chance.random() < 1 / FORK_EVERY and len(self.recent) == DEEPEST:
            depth = self.chance.randint(1, DEEPEST)
            branch = [[], *list(self.recent)[-depth:]]
            self.node.reorg(depth, branch)
            self.recent.extend(branch)
            self.forks += 1
        self.show()

    def show(self) -> None:
        """Set the clock to the newest block's time."""
        self.clock[:8] = struct.pack("<q", self.node.head.timestamp)


@dataclass(slots=True)
class Watch:
    """The process under test and its database, seen from outside."""

    process: subprocess.Popen[bytes]
    db: Path
    log: Path
    began: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)
    _reader: sqlite3.Connection | None = None

    @property
    def reader(self) -> sqlite3.Connection:
        """A connection that only reads, each statement by itself."""
        if self._reader is None:
            uri = f"{self.db.absolute().as_uri()}?mode=ro"
            self._reader = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)
        return self._reader

    def meta(self, key: str) -> Any:
        """A value of the meta table; None where there is none yet."""
        if not self.db.exists():
            return None
        try:
            found = self.reader.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        except sqlite3.OperationalError:
            return None
        return json.loads(found[0]) if found else None

    def followed(self, node: SimNode) -> bool:
        """Whether the position is the chain's head; NguError where the process has ended."""
        if self.process.poll() is not None:
            raise NguError(f"soak: ngu run ended with {self.process.returncode}: {_tail(self.log)}")
        position = self.meta("position")
        return position is not None and bool(position["hash"] == node.head.hash.hex())

    def sample(self, node: SimNode) -> Sample:
        """Read everything once, and keep it."""
        proc = Path("/proc") / str(self.process.pid)
        fields = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        counters = self.meta("counters") or {}
        position = self.meta("position") or {"block": -1}
        archive = self.db.with_name(self.db.name + ".archive")
        found = Sample(
            seconds=time.monotonic() - self.began,
            timestamp=node.head.timestamp,
            block=position["block"],
            events=sum(v for k, v in counters.items() if k.isdigit()),
            runs=self._rows("tokens"),
            queued=self._rows("batch_events") + self._rows("staking_events"),
            rss=int(fields["VmRSS"].split()[0]) * 1024,
            handles=len(list((proc / "fd").iterdir())),
            threads=int(fields["Threads"]),
            db=_size(self.db),
            wal=_size(self.db.with_name(self.db.name + "-wal")),
            archive=sum(map(_size, archive.glob("*.npz"))),
            snapshots=sum(map(_size, archive.glob("snapshots/*.npz"))),
        )
        self.samples.append(found)
        return found

    def _rows(self, table: str) -> int:
        return int(self.reader.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def spaces(self) -> list[tuple[str, int, int]]:
        """Table, rows, bytes with indexes, the largest first; and the pages that are free."""
        found = self.reader.execute(
            "SELECT m.tbl_name, sum(s.pgsize) FROM dbstat s JOIN sqlite_master m ON m.name = s.name"
            " GROUP BY m.tbl_name ORDER BY 2 DESC"
        ).fetchall()
        free = self.reader.execute("PRAGMA freelist_count").fetchone()[0]
        size = self.reader.execute("PRAGMA page_size").fetchone()[0]
        return [(t, self._rows(t), int(b)) for t, b in found] + [("(free)", free, free * size)]

    def oldest(self) -> int | None:
        """When the oldest row of the event tables was processed."""
        found = self.reader.execute(
            "SELECT min(at) FROM (SELECT min(processedAt) AS at FROM batch_events"
            " UNION ALL SELECT min(processedAt) FROM staking_events)"
        ).fetchone()[0]
        return None if found is None else int(found)


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8").strip().splitlines()
    return lines[-1] if lines else "no log"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def following(words: list[str], clock: Path, folder: Path) -> Iterator[Watch]:
    """`ngu run` in a process of its own; killed at the end if it is still there."""
    log = folder / "run.log"
    with log.open("wb") as out, ExitStack() as stack:
        process = subprocess.Popen(
            [sys.executable, "-c", START, str(clock), "run", *words, "--json"],
            cwd=ROOT,
            env={k: v for k, v in os.environ.items() if not k.startswith("NGU_")}
            | {"NGU_WEB_PORT": "0"},
            stdout=out,
            stderr=out,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        watch = Watch(process, folder / "ngu.db", log)
        try:
            yield watch
        finally:
            if watch._reader is not None:
                watch._reader.close()


async def live(world: World, watch: Watch, blocks: int, every: float) -> None:
    """Mine so many blocks as fast as they are followed, sampling every few seconds."""
    sampled, target = time.monotonic(), world.node.head.number + blocks
    while world.node.head.number < target:
        world.mine()
        waited = time.monotonic()
        while not watch.followed(world.node):
            if time.monotonic() - waited > PATIENCE:
                raise NguError(f"soak: block {world.node.head.number} was not followed within "
                               f"{PATIENCE:.0f} s: {_tail(watch.log)}")  # fmt: skip
            await asyncio.sleep(0.003)
        if time.monotonic() - sampled >= every:
            sampled = time.monotonic()
            print(_line(watch.sample(world.node)), flush=True)
    print(_line(watch.sample(world.node)), flush=True)


HEAD = ("   wall  chain time    block   events    runs  queued     RSS  fds  thr"
        "       db      wal  archive snapshots")  # fmt: skip


def _line(s: Sample) -> str:
    when = time.strftime("%m-%d %H:%M", time.gmtime(s.timestamp))
    mib = [f"{n / 1048576:7.1f}M" for n in (s.db, s.wal, s.archive, s.snapshots)]
    return (f"{s.seconds:6.0f}s {when}  {s.block:7,} {s.events:8,} {s.runs:7,} {s.queued:7,} "
            f"{s.rss / 1048576:6.1f}M {s.handles:4} {s.threads:4} {' '.join(mib)}")  # fmt: skip


def slope(samples: list[Sample]) -> float:
    """Bytes of memory that a block adds, by least squares."""
    x, y = [s.block for s in samples], [s.rss for s in samples]
    n = len(samples)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    spread = sum((a - mean_x) ** 2 for a in x)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / spread if spread else 0.0


def judged(samples: list[Sample]) -> list[tuple[str, bool]]:
    """What the second half shows of memory, handles and threads, and whether it is well."""
    middle = samples[-1].block // 2
    warm = [s for s in samples if s.block >= middle]
    growth = slope(warm)
    blocks = warm[-1].block - warm[0].block
    handles, threads = ([getattr(s, n) for s in warm] for n in ("handles", "threads"))
    sizes = [s.rss / 1048576 for s in warm]
    bound = f"bound {MEMORY_BOUND:+,}" if blocks >= FEWEST else "too short to judge"
    return [
        (f"memory: {growth:+,.0f} bytes a block over the last {blocks:,} blocks "
         f"({bound}); {min(sizes):.0f} to {max(sizes):.0f} MiB",
         growth <= MEMORY_BOUND or blocks < FEWEST),
        (f"handles: {min(handles)} to {max(handles)} (bound: {HANDLES_BOUND} apart)",
         max(handles) - min(handles) <= HANDLES_BOUND),
        (f"threads: {min(threads)} to {max(threads)} (bound: {THREADS_BOUND} apart)",
         max(threads) - min(threads) <= THREADS_BOUND),
    ]  # fmt: skip


def show_growth(watch: Watch) -> None:
    """Where the bytes are, table by table, and how long they stay."""
    last = watch.samples[-1]
    print(f"\n{'table':15} {'rows':>9} {'bytes':>13} {'a row':>7}  kept")
    for table, rows, size in watch.spaces():
        kept = "used again" if table == "(free)" else LIFETIMES.get(table, "for ever")
        if size > 65_536:
            print(f"{table:15} {rows:9,} {size:13,} {size / max(rows, 1):7,.0f}  {kept}")
    print(f"{'(archive)':15} {last.events:9,} {last.archive:13,} "
          f"{last.archive / max(last.events, 1):7,.0f}  for ever\n"
          f"{'(snapshots)':15} {'':9} {last.snapshots:13,} {'':7}  the latest 32 days; a cache\n",
          flush=True)  # fmt: skip


def retained(watch: Watch, now: int) -> tuple[str, bool]:
    """Whether what expired has gone: rows leave the event tables at the next hourly tidy."""
    oldest, last = watch.oldest(), watch.samples[-1]
    age = 0 if oldest is None else now - oldest
    bound = 7 * DAY + 2 * 3600
    return (f"retention: {last.queued:,} of {last.events:,} events are in the event tables, the "
            f"oldest {age / DAY:.2f} days (bound {bound / DAY:.2f})", age <= bound)  # fmt: skip


async def soak(hours: float, days: float, events: int, every: float, folder: Path) -> int:
    """Run both parts, print what was seen; 0 if all of it is well."""
    node = SimNode(timestamp=int(time.time()), max_results=10_000)
    clock = folder / "clock"
    clock.write_bytes(bytes(8))
    with clock.open("r+b") as file:
        world = World(node, mmap.mmap(file.fileno(), 8), events)
    node.mine([world.crowd.on(token) for token in range(TOKENS)])
    world.show()
    verdicts: list[tuple[str, bool]] = []
    async with serving(node) as served:
        words = ["--rpc", served.url, "--rpc", served.ws_url, "--contract",
                 "0x" + node.contract.hex(), "--finality", "0"]  # fmt: skip
        with following([*words, "--db", str(folder / "ngu.db")], clock, folder) as watch:
            print(HEAD)
            await live(world, watch, int(hours * 3600 / 2), every)
            show_growth(watch)
            if days:
                node.seconds_per_block = 300
                await live(world, watch, int(days * DAY / 300), every)
                show_growth(watch)
                verdicts.append(retained(watch, node.head.timestamp))
            verdicts += judged(watch.samples)
            watch.process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(watch.process.wait, 60)
            verdicts.append((f"ended by SIGTERM with exit code {code}", code == 0))
        verdicts += await asyncio.to_thread(compared, words, folder)
    print(f"{node.head.number:,} blocks, {world.forks} forks")
    for text, well in verdicts:
        print(f"{'ok  ' if well else 'BAD '} {text}")
    return 0 if all(well for _, well in verdicts) else 1


def compared(words: list[str], folder: Path) -> list[tuple[str, bool]]:
    """The database against a fresh sync of the same chain, and against SQLite's own check."""
    lived = run_to_end((*NGU, "fingerprint", "--db", str(folder / "ngu.db"), "--json"), ROOT)
    fresh = run_to_end((*NGU, "sync", *words, "--db", str(folder / "fresh.db"), "--json"), ROOT)
    one, two = lived.answer, fresh.answer
    same = (one["fingerprint"], one["block"]) == (two["fingerprint"], two["block"])
    with closing(sqlite3.connect(folder / "ngu.db")) as db:
        sound = db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return [
        (f"fingerprint at block {one['block']:,} equals a fresh sync's "
         f"({one['fingerprint'][:18]}…)", same),
        ("no event contradicted the record", two["anomalies"] == 0),
        ("SQLite's integrity check", sound),
    ]  # fmt: skip


def main(words: list[str]) -> int:
    """Soak, print; 0 all is well, 1 something is not."""
    parser = argparse.ArgumentParser("python -m bench.soak", description=(__doc__ or "")[:80])
    parser.add_argument("--hours", type=float, default=4.0, help="of chain time, in 2 s blocks")
    parser.add_argument("--days", type=float, default=14.0, help="of chain time, in 300 s blocks")
    parser.add_argument("--events", type=int, default=40, help="of a block")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between samples")
    given = parser.parse_args(words)
    if not Path("/proc/self/fd").is_dir():
        parser.error("the soak reads /proc, which this system does not have")
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
        try:
            return asyncio.run(
                soak(given.hours, given.days, given.events, given.every, Path(folder))
            )
        except NguError as error:
            print(error, file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
