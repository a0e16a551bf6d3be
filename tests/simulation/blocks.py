"""A chain that forks: blocks in a tree, what their contract logged, which branch is in force."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import msgspec

from ngu_points.chain.contract import keccak256
from ngu_points.engine.coverage import BATCH, STAKING
from ngu_points.engine.rules import DAY
from oracle import Event
from simulation.sealing import ADDRESS, Log, Sealed, look_alike, move_log, noise, ours, seal

WALLETS = ["0x" + keccak256(bytes([n])).hex()[:40] for n in range(6)]
KINDS = ("BatchMint", "BatchTransfer", "BatchBurn", "Stake", "Unstake")
ODDS = (30, 25, 10, 20, 15)
DEEPEST = 64
FIRST_TIME = 2_000_000_000
"""Later than any file's time, so that nothing in the world looks younger than it is."""


Move = tuple[str, str, str, int, int]
"""Kind, sender, recipient, first id, quantity."""


@dataclass(frozen=True)
class Transaction:
    """What one transaction logs, wherever it is mined; quantity 0 makes a dead letter."""

    hash: bytes
    moves: tuple[Move, ...]


@dataclass(frozen=True)
class Letter:
    """A log that cannot be an event."""

    id: str
    stream: str


@dataclass(eq=False)
class Block:
    """One block of the tree."""

    number: int
    parent: Block | None
    timestamp: int
    transactions: tuple[Transaction, ...]
    sealed: Sealed
    events: list[Event] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)  # of the events
    letters: list[Letter] = field(default_factory=list)

    @property
    def hash(self) -> bytes:
        return self.sealed.hash

    @cached_property
    def raw(self) -> list[bytes]:
        """Our contract's logs as a node writes them."""
        return ours(self.sealed.receipts)

    @cached_property
    def header(self) -> bytes:
        """The header as a node writes it."""
        return msgspec.json.encode(self.sealed.header)


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

    def _move(self) -> Move:
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
        place = {
            "number": hex(number),
            "parentHash": "0x" + (parent.hash if parent else bytes(32)).hex(),
            "timestamp": hex(timestamp),
            "stateRoot": "0x" + self.rng.randbytes(32).hex(),
        }
        mined = [(t.hash, [log for move in t.moves for log in self._logs(move)])
                 for t in transactions]  # fmt: skip
        if ahead := self.rng.choice([0, 0, 1, 7]) if mined else 0:
            mined.insert(0, (self.rng.randbytes(32), [noise()] * ahead))
        if self.rng.random() < 0.1:
            mined.append((self.rng.randbytes(32), [look_alike()]))
        sealed = seal(place, mined, timed=self.timed)
        block = Block(number, parent, timestamp, transactions, sealed)
        if transactions:
            _tell(block, mined)
        self.by_hash[block.hash] = block
        return block

    def _logs(self, move: Move) -> list[Log]:
        """A move's log, and what others log in the same transaction."""
        kind, sender, recipient, first, quantity = move
        words = [first] if "take" in kind else [first, quantity]
        others = self.rng.choice([0, 0, 0, 2])
        return [move_log(kind, (sender, recipient), words), *[noise()] * others]


def _tell(block: Block, mined: Sequence[tuple[bytes, Sequence[Log]]]) -> None:
    """Note at which places of the block the moves came to stand."""
    moves = [(t, move) for t in block.transactions for move in t.moves]
    logs = [log for _, part in mined for log in part]
    places = [at for at, log in enumerate(logs) if log["address"] == ADDRESS]
    for log_index, (transaction, move) in zip(places, moves, strict=True):
        kind, *_, quantity = move
        id_ = f"{block.number}-0x{transaction.hash.hex()}-{log_index}"
        if quantity:
            block.events.append(Event(kind, block.number, log_index, block.timestamp, *move[1:]))
            block.ids.append(id_)
        else:
            block.letters.append(Letter(id_, STAKING if "take" in kind else BATCH))


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
