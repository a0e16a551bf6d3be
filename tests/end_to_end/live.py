"""A real chain under traffic that reorganises when told, and the program that follows it."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from bench.kills import covered

from cli.program import COMMAND, KEPT, ngu
from cli.truth import asked
from ngu_points.demo.anvil import Anvil, find_anvil
from ngu_points.demo.blocks import Log
from ngu_points.demo.contract import event_of
from ngu_points.demo.fetch import Reason
from ngu_points.demo.holdings import Holdings
from ngu_points.demo.traffic import Action, Traffic, call_of

PATIENCE = 30.0
SECONDS_PER_BLOCK = 3600
"""A day is 24 blocks, so that a deep reorg takes back feasts too."""
GAS = 2_000_000
GAS_PRICE = 1_000_000
PER_BLOCK = 3

Transaction = dict[str, str]
Branch = Literal["empty", "other", "same"]
"""What a new branch holds: nothing, other transactions, or the lost ones, each a block later."""


class Mainnetlike(Anvil):
    """An anvil that calls final what lies 64 blocks back, as Ethereum does (ours says 8)."""

    def _flags(self) -> list[str]:
        flags = super()._flags()
        flags[flags.index("--slots-in-an-epoch") + 1] = "32"
        return flags


@contextlib.contextmanager
def real_chain() -> Iterator[Anvil]:
    """A fresh node that mines when told; skips the test, with the reason, where there is none."""
    binary = find_anvil(fetch=True)
    if isinstance(binary, Reason):
        pytest.skip(binary)
    # The chain's days end about now, which is when the program keeps snapshots of them.
    begins = int(time.time()) - 2 * 86_400
    with Mainnetlike(binary, timestamp=begins, seconds_per_block=SECONDS_PER_BLOCK) as anvil:
        yield anvil


@dataclass
class Chain:
    """An NGU on a real node, and traffic that stays valid whatever the node takes back."""

    node: Anvil
    contract: str
    chance: random.Random
    wallets: tuple[bytes, ...] = ()
    nonces: dict[bytes, int] = field(default_factory=dict)
    mined: dict[int, list[Transaction]] = field(default_factory=dict)
    traffic: Traffic = field(init=False)

    def __post_init__(self) -> None:
        self.wallets = tuple(bytes.fromhex(a[2:]) for a in asked(self.url, "eth_accounts"))
        self._resume(self.height)

    @property
    def url(self) -> str:
        return self.node.url

    @property
    def height(self) -> int:
        return int(asked(self.url, "eth_blockNumber"), 16)

    def block(self, which: int | str) -> dict[str, Any]:
        """The header of a block, by number or tag."""
        name = hex(which) if isinstance(which, int) else which
        found = asked(self.url, "eth_getBlockByNumber", name, False)
        assert isinstance(found, dict), which
        return found

    def final(self) -> int:
        """What the node calls final now."""
        return int(self.block("finalized")["number"], 16)

    def grow(self, blocks: int) -> None:
        """Mine so many blocks with traffic, as fast as may be."""
        for _ in range(blocks):
            sent = self._signed(self.traffic.take(PER_BLOCK))
            for transaction in sent:
                asked(self.url, "eth_sendTransaction", transaction)
            asked(self.url, "evm_mine")
            self.mined[self.height] = sent

    def reorg(self, depth: int, branch: Branch) -> None:
        """Replace the newest blocks by as many others."""
        common = self.height - depth
        lost = [self.mined.pop(n, []) for n in range(common + 1, common + depth + 1)]
        placed: list[tuple[Transaction, int]] = []
        if branch == "other":
            self._resume(common)
            sent = self._signed(self.traffic.take(depth + 1))
            at = sorted(self.chance.randrange(depth) for _ in sent)
            placed = list(zip(sent, at, strict=True))
        elif branch == "same":
            placed = [(t, min(i + 1, depth - 1)) for i, sent in enumerate(lost) for t in sent]
        asked(self.url, "anvil_reorg", depth, placed)
        for transaction, at_block in placed:
            self.mined.setdefault(common + 1 + at_block, []).append(transaction)
        assert self.height == common + depth
        self._resume(self.height)

    def rollback(self, depth: int) -> None:
        """Drop the newest blocks, as a node does that forgets; the chain is shorter then."""
        asked(self.url, "anvil_rollback", depth)
        self.mined = {n: sent for n, sent in self.mined.items() if n <= self.height}
        self._resume(self.height)

    def logs(self, last: int) -> list[dict[str, Any]]:
        """The contract's logs up to a block."""
        where = {"address": self.contract, "fromBlock": "0x0", "toBlock": hex(last)}
        found: list[dict[str, Any]] = asked(self.url, "eth_getLogs", where)
        return found

    def check_traffic(self) -> None:
        """Every transaction of the newest blocks did what it was meant to."""
        for number in sorted(self.mined)[-70:]:
            receipts = asked(self.url, "eth_getBlockReceipts", hex(number))
            assert [r["status"] for r in receipts] == ["0x1"] * len(self.mined[number]), number

    def _resume(self, block: int) -> None:
        """Go on from the contract as it is at a block."""
        held = Holdings()
        held.play(filter(None, map(event_of, map(_log, self.logs(block)))))
        self.traffic = Traffic(self.chance.getrandbits(32), self.wallets, held)
        for wallet in self.wallets:
            count = asked(self.url, "eth_getTransactionCount", "0x" + wallet.hex(), hex(block))
            self.nonces[wallet] = int(count, 16)

    def _signed(self, actions: Sequence[Action]) -> list[Transaction]:
        """As transactions; the earlier is the dearer, which is how a block orders them."""
        sent = []
        for place, action in enumerate(actions):
            nonce = self.nonces[action.sender]
            self.nonces[action.sender] = nonce + 1
            sent.append(
                {
                    "from": "0x" + action.sender.hex(),
                    "to": self.contract,
                    "data": call_of(action),
                    "nonce": hex(nonce),
                    "gas": hex(GAS),
                    "gasPrice": hex(GAS_PRICE - place),
                }
            )
        return sent


def _log(shown: dict[str, Any]) -> Log:
    topics = tuple(bytes.fromhex(topic[2:]) for topic in shown["topics"])
    address, data = (bytes.fromhex(shown[name][2:]) for name in ("address", "data"))
    return Log(address, topics, data)


@dataclass
class Following:
    """A running `ngu run`, its database and what it has logged."""

    process: subprocess.Popen[bytes]
    chain: Chain
    db: Path
    log: Path

    def wait(self) -> int:
        """Until the newest block of the chain is the last covered one; its number."""
        newest = self.chain.block("latest")
        number = int(newest["number"], 16)
        self._until(lambda: covered(self.db), (number, newest["hash"]))
        return number

    def see(self) -> None:
        """Until it knows how high the chain is, whether or not it holds its blocks."""
        height = self.chain.height
        self._until(lambda: ngu("status", "--db", self.db, "--json").json["head"], height)

    def _until(self, look: Callable[[], object], wanted: object) -> None:
        deadline = time.monotonic() + PATIENCE
        while (found := look()) != wanted:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, f"{found} instead of {wanted}: {self.said()}"
            time.sleep(0.01)

    def step(self, blocks: int) -> int:
        """Grow the chain block by block, each waited for; its height then."""
        self.wait()
        for _ in range(blocks):
            self.chain.grow(1)
            self.wait()
        return self.chain.height

    def stop(self) -> None:
        """End it as a person would, so that it archives what is final."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, self.said()

    def said(self) -> str:
        """The last lines that it has logged."""
        return "\n".join(self.log.read_text(encoding="utf-8").splitlines()[-12:])

    def forks(self) -> int:
        """How many forks it has logged."""
        return self.log.read_text(encoding="utf-8").count("fork: the chain has another block")


@contextlib.contextmanager
def following(chain: Chain, db: Path, *, socket: bool = False) -> Iterator[Following]:
    """`ngu run` as a program of its own, ended at once when the context ends."""
    listen = ["--rpc", chain.node.ws_url] if socket else []
    words = [*COMMAND, "run", *place(chain, db), *listen, "--finality", "0"]
    log = db.with_suffix(".log")
    with log.open("ab") as lines:
        process = subprocess.Popen(
            words,
            env={**KEPT, "NGU_CHAIN_POLL_INTERVAL": "0.02"},
            stdout=subprocess.DEVNULL,
            stderr=lines,
        )
        try:
            yield Following(process, chain, db, log)
        finally:
            process.kill()
            process.wait()


def place(chain: Chain, db: Path) -> list[str]:
    """The options that say what to read and where to keep it."""
    return ["--rpc", chain.url, "--contract", chain.contract, "--db", str(db)]


def compare(followed: Following, fresh: Path) -> dict[str, Any]:
    """What was followed equals a fresh sync to the same block, now and in the past."""
    chain, block = followed.chain, followed.wait()
    # The node forgets old states, so the block of the contract cannot always be looked for.
    words = ("--finality", 0, "--from-block", 1, "--to-block", block, "--json")
    synced = ngu("sync", *place(chain, fresh), *words)
    assert synced.code == 0, synced.err
    mine = ngu("fingerprint", "--db", followed.db, "--json").json
    assert (mine["block"], mine["fingerprint"]) == (block, synced.json["fingerprint"]), (
        followed.said()
    )
    status = ngu("status", "--db", followed.db, "--json")
    assert status.code == 0, status.json["alarms"]
    assert status.json["events"] == synced.json["events"] == len(chain.logs(block))
    past = f"@{synced.json['timestamp'] - 40 * SECONDS_PER_BLOCK}"
    boards = [
        ngu("leaderboard", "--at", past, "--db", db, "--json").json["leaderboard"]
        for db in (followed.db, fresh)
    ]
    assert boards[0] == boards[1], past
    return synced.json
