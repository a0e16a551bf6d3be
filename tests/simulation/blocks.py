"""A chain that forks: blocks in a tree, what their contract logged, which branch is in force."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from ngu_points.chain.contract import Contract, EventShape, keccak256, ngu
from ngu_points.engine.coverage import BATCH, STAKING
from ngu_points.engine.rules import DAY
from oracle import Event

TOKEN = bytes.fromhex("5fbdb2315678afecb367f032d93f642f64180aa3")
CONTRACT: Contract = ngu(TOKEN)
SHAPES: dict[str, EventShape] = {shape.name: shape for shape in CONTRACT.shapes}
WALLETS = ["0x" + keccak256(bytes([n])).hex()[:40] for n in range(6)]
KINDS = ("BatchMint", "BatchTransfer", "BatchBurn", "Stake", "Unstake")
ODDS = (30, 25, 10, 20, 15)
DEEPEST = 64
FIRST_TIME = 2_000_000_000
"""Later than any file's time, so that nothing in the world looks younger than it is."""


@dataclass(frozen=True)
class Transaction:
    """What one transaction logs, wherever it is mined; quantity 0 makes a dead letter."""

    hash: bytes
    moves: tuple[tuple[str, str, str, int, int], ...]  # kind, sender, recipient, first, quantity


@dataclass(frozen=True)
class Letter:
    """A log that cannot be an event."""

    id: str
    stream: str


@dataclass(eq=False)
class Block:
    """One block of the tree."""

    number: int
    hash: bytes
    parent: Block | None
    timestamp: int
    transactions: tuple[Transaction, ...]
    events: list[Event] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)  # of the events
    letters: list[Letter] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)  # every log as a node writes it
    bloom: int = 0  # 2048 bits

    @property
    def parent_hash(self) -> bytes:
        return self.parent.hash if self.parent else bytes(32)


@dataclass(frozen=True)
class Version:
    """What a node holds to be the chain: blocks by number, and how far it is safe and final."""

    blocks: list[Block]
    safe: int
    final: int

    @property
    def head(self) -> int:
        return len(self.blocks) - 1


class Chain:
    """Mines, forks and finalises; every version it ever was in is kept."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.by_hash: dict[bytes, Block] = {}
        self.timed = rng.random() < 0.7  # whether logs carry blockTimestamp
        self.lag = rng.choice([1, 2, 4, 8, 16, 40, 64, 90])  # blocks until a block is final
        self.busy = rng.choice([0.3, 0.6, 1.2])  # transactions a block
        self.base = rng.choice([0, 0, 0, 2**255])
        self.minted = 0
        self.forks = 0
        self.deepest_head = 0
        genesis = self._block(None, FIRST_TIME + rng.randrange(DAY), ())
        self.versions = [Version([genesis], 0, 0)]

    @property
    def now(self) -> Version:
        return self.versions[-1]

    @property
    def floor(self) -> int:
        """The highest block that no fork may replace any more."""
        return max(self.now.final, self.deepest_head - DEEPEST, 0)

    def mine(self, count: int) -> None:
        """Add blocks to the branch in force."""
        blocks = list(self.now.blocks)
        for _ in range(count):
            number = min(self.rng.choice([0, 0, 1, 1, 2, 4]), int(self.rng.expovariate(1) * 3))
            fresh = [self._transaction() for _ in range(number if self._active() else 0)]
            blocks.append(self._block(blocks[-1], self._later(blocks[-1]), tuple(fresh)))
        self._becomes(blocks)

    def fork(self, depth: int) -> int:
        """Replace the newest blocks by others; the depth it came to, 0 if none was possible.

        Most of the transactions are mined again, in other blocks and in another order.
        """
        old = self.now.blocks
        common = max(self.now.head - depth, self.floor)
        depth = self.now.head - common
        if depth < 1:
            return 0
        pool = [t for block in old[common + 1 :] for t in block.transactions]
        pool = [t for t in pool if self.rng.random() < 0.7]
        self.rng.shuffle(pool)
        blocks = old[: common + 1]
        shorter = self.rng.random() < 0.15
        length = max(0, depth + (self.rng.randint(-depth, -1) if shorter else self.rng.choice(
            [0, 1, 1, 2, 5])))  # fmt: skip
        for left in range(length, 0, -1):
            share = len(pool) if left == 1 else round(len(pool) / left)
            mined, pool = pool[:share], pool[share:]
            if self._active() and self.rng.random() < 0.3:
                mined.append(self._transaction())
            blocks.append(self._block(blocks[-1], self._later(blocks[-1]), tuple(mined)))
        self.forks += 1
        self._becomes(blocks)
        return depth

    def flip(self) -> int:
        """Go back to a branch that lost; how deep that cut, 0 if there is none to go back to."""
        old = self.now.blocks
        for version in reversed(self.versions[:-1]):
            at = min(version.head, self.now.head)
            if version.blocks[at] is not old[at] and version.blocks[self.floor :][:1] == [
                old[self.floor]
            ]:
                blocks = list(version.blocks)
                common = next(n for n in range(at, -1, -1) if blocks[n] is old[n])
                self.forks += 1
                self._becomes(blocks)
                return self.now.head - common if self.now.head > common else 1
        return 0

    def finalise(self) -> None:
        """Let finality follow the head."""
        version = self.now
        final = max(version.final, min(version.head, self.deepest_head - self.lag))
        safe = max(final, version.safe, version.head - self.lag // 2)
        self.versions.append(replace(version, final=final, safe=min(safe, version.head)))

    def _becomes(self, blocks: list[Block]) -> None:
        self.deepest_head = max(self.deepest_head, len(blocks) - 1)
        safe = min(self.now.safe, len(blocks) - 1) if hasattr(self, "versions") else 0
        self.versions.append(Version(blocks, max(safe, self.now.final), self.now.final))

    def _active(self) -> bool:
        return self.rng.random() < self.busy

    def _later(self, parent: Block) -> int:
        """The next block's time: usually soon, now and then at once or days later."""
        chance = self.rng.random()
        if chance < 0.25:
            return parent.timestamp
        if chance < 0.93:
            return parent.timestamp + self.rng.choice([1, 2, 2, 2, 12])
        if chance < 0.97:
            return parent.timestamp + self.rng.randrange(3600, DAY)
        return (parent.timestamp // DAY + self.rng.randint(1, 4)) * DAY + self.rng.choice(
            [-1, 0, 1]
        )

    def _transaction(self) -> Transaction:
        moves = tuple(self._move() for _ in range(self.rng.choice([1, 1, 1, 2, 3])))
        return Transaction(self.rng.randbytes(32), moves)

    def _move(self) -> tuple[str, str, str, int, int]:
        """Plausible in itself; whether it is true of the record depends on what came before."""
        kind = self.rng.choices(KINDS, ODDS)[0]
        a, b = self.rng.choice(WALLETS), self.rng.choice(WALLETS)
        if kind == "BatchMint":
            first, quantity = self.minted, self.rng.choice([1, 1, 2, 5, 9, 40])
            self.minted += quantity
            if self.rng.random() < 0.1:
                first = self.rng.randrange(first + 1)
            return kind, "", a, self.base + first, quantity
        first = self.base + self.rng.randrange(max(self.minted, 1))
        quantity = self.rng.choice([1, 1, 2, 4, 8])
        if self.rng.random() < 0.02:
            quantity = 0
        if kind == "BatchTransfer":
            return kind, a, b, first, quantity
        return kind, a, "", first, quantity if kind == "BatchBurn" else 1

    def _block(
        self, parent: Block | None, timestamp: int, transactions: tuple[Transaction, ...]
    ) -> Block:
        number = parent.number + 1 if parent else 0
        block = Block(number, self.rng.randbytes(32), parent, timestamp, transactions)
        log_index = self.rng.choice([0, 0, 1, 7])
        for tx_index, transaction in enumerate(transactions):
            for move in transaction.moves:
                self._log(block, transaction, (tx_index, log_index), move)
                log_index += self.rng.choice([1, 1, 1, 3])
        if self.rng.random() < 0.1:
            block.bloom |= OURS  # somebody else's logs set the same bits
        self.by_hash[block.hash] = block
        return block

    def _log(
        self,
        block: Block,
        transaction: Transaction,
        place: tuple[int, int],
        move: tuple[str, str, str, int, int],
    ) -> None:
        kind, sender, recipient, first, quantity = move
        tx_index, log_index = place
        id_ = f"{block.number}-0x{transaction.hash.hex()}-{log_index}"
        if quantity:
            block.events.append(Event(kind, block.number, log_index, block.timestamp, *move[1:]))
            block.ids.append(id_)
        else:
            block.letters.append(Letter(id_, STAKING if "take" in kind else BATCH))
        words = [first] if "take" in kind else [first, quantity]
        log: dict[str, Any] = {
            "address": "0x" + TOKEN.hex(),
            "topics": ["0x" + SHAPES[kind].topic0.hex()]
            + ["0x" + "00" * 12 + a[2:] for a in (sender, recipient) if a],
            "data": "0x" + "".join(f"{word:064x}" for word in words),
            "blockHash": "0x" + block.hash.hex(),
            "blockNumber": hex(block.number),
            "blockTimestamp": hex(block.timestamp),
            "transactionHash": "0x" + transaction.hash.hex(),
            "transactionIndex": hex(tx_index),
            "logIndex": hex(log_index),
            "removed": False,
        }
        for item in (log["address"], *log["topics"]):
            block.bloom |= bits(item)
        if not self.timed:
            del log["blockTimestamp"]
        block.raw.append(json.dumps(log, separators=(",", ":")).encode())


@cache
def bits(item: str) -> int:
    """The bits that an address or a topic sets in a logs bloom (Ethereum yellow paper, M3:2048)."""
    digest = keccak256(bytes.fromhex(item[2:]))
    return sum({1 << (int.from_bytes(digest[i : i + 2], "big") & 2047) for i in (0, 2, 4)})


OURS = bits("0x" + TOKEN.hex()) | bits("0x" + CONTRACT.topics[0].hex())


def page(blocks: Sequence[Block]) -> list[bytes]:
    """All logs of some blocks, in order."""
    return [raw for block in blocks for raw in block.raw]


def branch(tip: Block, first: int) -> list[Block]:
    """The blocks from number `first` up to a block, along its own branch."""
    found = []
    block: Block | None = tip
    while block is not None and block.number >= first:
        found.append(block)
        block = block.parent
    return found[::-1]
