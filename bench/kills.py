"""`python -m bench.kills --times 200`: kill -9 `ngu run` under load, again and again, and count.

A simulated chain grows and forks without a pause. The program follows it, is killed at a random
moment of a printed seed, and is started again at once; it never gets to close anything. Then a
last `ngu sync` must end as a fresh one does, with every event of the chain once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import Request, urlopen

from bench.measure import NGU, ROOT, run
from ngu_points.demo.contract import Event
from ngu_points.demo.node import SimNode
from ngu_points.demo.server import serving
from ngu_points.demo.traffic import wallets
from ngu_points.embedded.archive import read_segment
from ngu_points.engine.events import ZERO_ADDRESS, Kind
from ngu_points.errors import NguError

TOKENS = 3_000
PER_BLOCK = 60
BACKLOG = 400
"""Blocks that are there before the first start."""
BLOCK_EVERY = 0.02  # seconds of the wall clock
SECONDS_PER_BLOCK = 600
FORK_AFTER = 15
"""Blocks, about, from one fork of the chain to the next."""
DEEPEST = 6
EARLY = 0.2
"""The part of the kills that falls anywhere in the first moments of the program."""
PATIENCE = 60.0
AIMED = 4_000
"""Looks for a file of the archive that is being written, before it is killed anyhow."""
PAGE = 250  # blocks of one question for logs


@dataclass(slots=True)
class Load:
    """A chain, and histories for it that never contradict themselves."""

    node: SimNode
    chance: random.Random
    forks: int = 0
    owner: list[bytes] = field(default_factory=list)
    staked: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.owner, self.staked = [ZERO_ADDRESS] * TOKENS, [False] * TOKENS

    def events(self) -> list[Event]:
        """The events of the next block."""
        return [self._event(self.chance.randrange(TOKENS)) for _ in range(PER_BLOCK)]

    def _event(self, token: int) -> Event:
        owner, wallet = self.owner[token], self.chance.choice(WALLETS)
        if owner == ZERO_ADDRESS:
            self.owner[token] = wallet
            return Event(Kind.MINT, ZERO_ADDRESS, wallet, token)
        if self.staked[token]:
            self.staked[token] = False
            return Event(Kind.UNSTAKE, owner, ZERO_ADDRESS, token)
        draw = self.chance.random()
        if draw < 0.4:
            self.staked[token] = True
            return Event(Kind.STAKE, owner, ZERO_ADDRESS, token)
        self.owner[token] = ZERO_ADDRESS if draw < 0.5 else wallet
        return Event(Kind.BURN if draw < 0.5 else Kind.TRANSFER, owner, self.owner[token], token)

    async def until(self, stop: asyncio.Event) -> None:
        """Grow and fork the chain."""
        while not stop.is_set():
            for _ in range(self.chance.randint(1, 2 * FORK_AFTER)):
                await self._grow(1)
            kept = self.owner.copy(), self.staked.copy()
            depth = self.chance.randint(1, DEEPEST)
            await self._grow(depth)
            self.owner, self.staked = kept
            longer = self.chance.randint(0, 1)
            self.node.reorg(depth, [self.events() for _ in range(depth + longer)])
            self.forks += 1

    async def _grow(self, blocks: int) -> None:
        for _ in range(blocks):
            self.node.mine(self.events())
            await asyncio.sleep(BLOCK_EVERY)


WALLETS = wallets(20)


@dataclass(frozen=True, slots=True)
class Kill:
    """Where the program was when it was killed."""

    phase: str  # "starting", "behind" or "at the head"
    block: int  # the last covered one
    head: int
    gained: int  # blocks since it was started
    writing: bool  # it was in a transaction
    leftovers: bool  # a file of the archive was half written, or not yet noted


def covered(db: Path) -> tuple[int, str]:
    """The last covered block and its 0x-hash, (-1, "0x") before there is one; leaves no trace."""
    try:
        with closing(sqlite3.connect(f"{db.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            found = opened.execute("SELECT value FROM meta WHERE key = 'position'").fetchone()
    except sqlite3.OperationalError:  # not made yet, or busy for a moment
        return -1, "0x"
    at: dict[str, Any] = json.loads(found[0]) if found else {"block": -1, "hash": ""}
    return int(at["block"]), "0x" + at["hash"]


def in_transaction(pid: int, db: Path) -> bool:
    """Whether a process holds the write lock of a database, as Linux tells (byte 120, WAL mode)."""
    index, table = db.with_name(db.name + "-shm"), Path("/proc/locks")
    if not index.exists() or not table.exists():
        return False
    mine = f":{index.stat().st_ino} 120 120"
    lines = table.read_text(encoding="ascii").splitlines()
    return any(f" WRITE {pid} " in line and line.endswith(mine) for line in lines)


class Victim:
    """The program over one database, started and killed as often as one likes."""

    def __init__(self, folder: Path, node: SimNode, urls: Sequence[str], seed: int) -> None:
        self.folder, self.node, self.urls = folder, node, urls
        self.db, self.log = folder / "killed.db", folder / "killed.log"
        self.archive = folder / "killed.db.archive"
        self.chance = random.Random(seed)
        self.kills: list[Kill] = []
        self.leftovers: set[Path] = set()
        self.due = False  # whether the next start finds all of its jobs due

    def words(self, command: str, db: Path) -> tuple[str, ...]:
        rpc = [word for url in self.urls for word in ("--rpc", url)]
        contract = "0x" + self.node.contract.hex()
        return (*NGU, command, *rpc, "--contract", contract, "--db", str(db), "--finality", "0")

    async def kill(self) -> None:
        """Start it, and kill it at a random moment. NguError where it ends by itself."""
        before, _ = covered(self.db)
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *self.words("run", self.db), cwd=self.folder,
                env=_environment(), stdout=asyncio.subprocess.DEVNULL, stderr=log,
            )  # fmt: skip
        writing, head = False, self.node.head.number
        try:
            await self._moment(process, before)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGSTOP)  # so that it can be seen where it was
                writing, head = in_transaction(process.pid, self.db), self.node.head.number
                process.kill()
            code = await process.wait()
        if code != -9:
            raise NguError(f"kill {len(self.kills) + 1}: it had ended with {code}: {self.said()}")
        self.kills.append(self._found(before, head, writing))

    async def _moment(self, process: asyncio.subprocess.Process, before: int) -> None:
        aimed, self.due = self.due, False
        if aimed:
            await self._archiving()
            return
        if self.chance.random() < EARLY:
            await asyncio.sleep(self.chance.uniform(0.0, 0.8))
            return
        deadline = time.monotonic() + PATIENCE
        while covered(self.db)[0] == before and process.returncode is None:
            if time.monotonic() > deadline:
                raise NguError(f"it stays at block {before}: {self.said()}")
            await asyncio.sleep(0.01)
        # Rather soon than late: then it catches up, archives and ranks.
        await asyncio.sleep(0.8 * self.chance.random() ** 3)
        if self.chance.random() < 0.3:
            self.due = _an_hour_passes(self.db)
            await asyncio.sleep(self.chance.uniform(0.0, 0.05))

    async def _archiving(self) -> None:
        """Until it writes a file of the archive, which is too short a moment to meet by chance."""
        for _ in range(AIMED):
            if self._unfinished() - self.leftovers:
                return
            await asyncio.sleep(0.0005)

    def _found(self, before: int, head: int, writing: bool) -> Kill:
        block, _ = covered(self.db)
        phase = "starting" if block == before else "behind" if block < head - 2 else "at the head"
        known, self.leftovers = self.leftovers, self._leftovers()
        return Kill(phase, block, head, block - before, writing, bool(self.leftovers - known))

    def _leftovers(self) -> set[Path]:
        """Files that the archive does not know, but for those that larger ones replaced."""
        names, archived = _segments(self.db)
        segments = [p for p in self.archive.glob("[0-9]*.npz") if p.name not in names]
        unknown = {p for p in segments if int(p.stem.partition("-")[2]) > archived}
        return unknown | self._unfinished()

    def _unfinished(self) -> set[Path]:
        return set(self.archive.rglob(".*"))

    def undone(self) -> int:
        """How many forks it has gone back for."""
        return self.log.read_text(encoding="utf-8").count("fork: the chain has another block")

    def said(self) -> str:
        """The last line that it logged."""
        return self.log.read_text(encoding="utf-8").strip().rpartition("\n")[2]


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NGU_")}
    return kept | {"PYTHONPATH": str(ROOT), "NGU_CHAIN_POLL_INTERVAL": "0.02", "NGU_WEB_PORT": "0"}


def _an_hour_passes(db: Path) -> bool:
    """Every job is due at the next start: the archive is written, old rows are dropped."""
    with contextlib.suppress(sqlite3.OperationalError), closing(sqlite3.connect(db)) as opened:
        opened.execute("UPDATE jobs SET lastRun = 0")
        opened.commit()
        return True
    return False


def _segments(db: Path) -> tuple[set[str], int]:
    """The names of the archive's files as the database has them, and the last block in them."""
    try:
        with closing(sqlite3.connect(f"{db.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            found = opened.execute("SELECT name, toBlock FROM segments").fetchall()
    except sqlite3.OperationalError:
        return set(), -1
    return {name for name, _ in found}, max((end for _, end in found), default=-1)


async def killed(times: int, seed: int, folder: Path) -> dict[str, Any]:
    """Kill the program so often under load, then let it end; what was found, all of it right.

    NguError names the first thing that is not as in a fresh sync of the same chain.
    """
    # Its days end about now, which is when the program keeps snapshots of them.
    began = int(time.time()) - BACKLOG * SECONDS_PER_BLOCK
    node = SimNode(timestamp=began, seconds_per_block=SECONDS_PER_BLOCK)
    load, stop = Load(node, random.Random(seed)), asyncio.Event()
    node.mine()
    for _ in range(BACKLOG):
        node.mine(load.events())
    started = time.monotonic()
    async with serving(node) as where:
        victim = Victim(folder, node, [where.url, where.ws_url], seed)
        growing = asyncio.create_task(load.until(stop))
        try:
            for _ in range(times):
                await victim.kill()
        finally:
            stop.set()
            await growing
        seconds = time.monotonic() - started
        state = await asyncio.to_thread(_ended, victim)
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "kills": kinds(victim.kills),
        "forks": load.forks,
        "undone": victim.undone(),
        "blocks": node.head.number,
        **state,
    }


def kinds(kills: Sequence[Kill]) -> dict[str, int]:
    """How many kills fell where; medians of how far behind it was and how far it had come."""
    counts = Counter(kill.phase for kill in kills)
    return {
        "all": len(kills),
        **dict(sorted(counts.items())),
        "in a transaction": sum(kill.writing for kill in kills),
        "in the archive": sum(kill.leftovers for kill in kills),
        "places": len({kill.block for kill in kills}),
        "blocks behind": int(median(kill.head - kill.block for kill in kills)),
        "blocks a run": int(median(kill.gained for kill in kills)),
    }


def _ended(victim: Victim) -> dict[str, Any]:
    """The last sync, and everything that must be so after it."""
    same("the integrity check", _integrity(victim.db), "ok")
    last = run((*victim.words("sync", victim.db), "--json"), victim.folder).answer
    fresh_db = victim.folder / "fresh.db"
    fresh = run((*victim.words("sync", fresh_db), "--json"), victim.folder).answer
    for name in fresh.keys() - {"eventsNow", "seconds"}:
        same(f"{name} of the last sync", last[name], fresh[name])
    same("the integrity check in the end", _integrity(victim.db), "ok")
    of = ("--db", str(victim.db), "--json")
    status = run((*NGU, "status", *of), victim.folder).answer
    same("the gaps", run((*NGU, "gaps", *of), victim.folder).answer["gaps"], [])
    same("the alarms", status["alarms"], [])
    logs = logged(victim)
    same("the events in tables and archive", held(victim.db, victim.archive), logs)
    rebuilt = run((*NGU, "rebuild", *of), victim.folder).answer
    same("the rebuilt fingerprint", rebuilt["fingerprint"], fresh["fingerprint"])
    return {
        "events": len(logs),
        "archived": status["archivedThrough"],
        "fingerprint": last["fingerprint"],
    }


def same(what: str, found: object, wanted: object) -> None:
    """NguError where a thing is not what it must be."""
    if found != wanted:
        shown, right = str(found)[:100], str(wanted)[:100]
        raise NguError(f"after the kills, {what}: {shown} instead of {right}")


def _integrity(db: Path) -> str:
    with closing(sqlite3.connect(f"{db.absolute().as_uri()}?mode=ro", uri=True)) as opened:
        return "; ".join(row[0] for row in opened.execute("PRAGMA integrity_check"))


def held(db: Path, archive: Path) -> list[str]:
    """The ids of all events that the archive has, and the tables beyond it, sorted."""
    names, archived = _segments(db)
    found = []
    for name in names:
        e = read_segment(archive / name).events
        named = zip(e.block.tolist(), e.tx_hash, e.log_index.tolist(), strict=True)
        found += [f"{block}-0x{tx.tobytes().hex()}-{index}" for block, tx, index in named]
    with closing(sqlite3.connect(db)) as opened:
        for table in ("batch_events", "staking_events"):
            rows = opened.execute(f"SELECT id FROM {table} WHERE blockNumber > ?", (archived,))
            found += [id_ for (id_,) in rows]
    return sorted(found)


def logged(victim: Victim) -> list[str]:
    """The ids of all logs that the node has for the contract, sorted."""
    found = []
    for first in range(0, victim.node.head.number + 1, PAGE):
        last = min(first + PAGE - 1, victim.node.head.number)
        where = {"address": "0x" + victim.node.contract.hex(), "fromBlock": hex(first),
                 "toBlock": hex(last)}  # fmt: skip
        call = {"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [where]}
        body = json.dumps(call).encode()
        request = Request(victim.urls[0], body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as response:
            for log in json.load(response)["result"]:
                block, index = int(log["blockNumber"], 16), int(log["logIndex"], 16)
                found.append(f"{block}-{log['transactionHash']}-{index}")
    return sorted(found)


def main(words: list[str]) -> int:
    """Kill, check, print; 0 if nothing was lost, 1 if something was."""
    parser = argparse.ArgumentParser("python -m bench.kills", description=__doc__)
    parser.add_argument("--times", type=int, default=200, help="how often it is killed")
    parser.add_argument("--seed", type=int, default=None, help="of the random moments")
    given = parser.parse_args(words)
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    # On the disk of the checkout, as in the other measurements.
    with tempfile.TemporaryDirectory(dir=results, prefix="kills-") as name:
        try:
            print(json.dumps(asyncio.run(killed(given.times, seed, Path(name))), indent=1))
        except NguError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
