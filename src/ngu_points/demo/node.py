"""A simulated chain with an NGU contract: mine, roll back, reorganise (pure; `server` serves it).

What holds a block is a list that is only ever replaced or appended to, so a chain may be changed
in one thread while it is served in another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ngu_points.demo.blocks import Block, Log, child, genesis, logs_of
from ngu_points.demo.contract import Event, event_of, log_of
from ngu_points.demo.holdings import Holdings

CONTRACT = bytes.fromhex("6e6775" * 6 + "0001")
"""Where a simulated chain has its NGU contract, unless told otherwise."""

_SAFE_BEHIND = 4
_FINAL_BEHIND = 8


@dataclass(frozen=True, slots=True)
class Change:
    """Blocks that left the chain, highest first, and blocks that joined it, lowest first."""

    removed: tuple[Block, ...]
    added: tuple[Block, ...]


Watcher = Callable[[Change], None]


@dataclass(slots=True, eq=False)
class SimNode:
    """A simulated chain, beginning with an empty genesis block at `timestamp`.

    `contract` has code from block 1 on. `max_results` (logs) and `max_span` (blocks) are the
    limits of eth_getLogs; None means no limit.
    """

    timestamp: int = 1_700_000_000
    seconds_per_block: int = 2
    chain_id: int = 31337
    contract: bytes = CONTRACT
    max_results: int | None = None
    max_span: int | None = None
    blocks: list[Block] = field(init=False)
    by_hash: dict[bytes, Block] = field(init=False)
    deployed: dict[bytes, int] = field(init=False)
    """The first block in which an address has code."""
    _final: int | None = None
    _branch: int = 0
    _watchers: tuple[Watcher, ...] = ()
    _known: tuple[Block, Holdings] | None = None

    def __post_init__(self) -> None:
        first = genesis(self.timestamp)
        self.blocks = [first]
        self.by_hash = {first.hash: first}
        self.deployed = {self.contract: 1}

    @property
    def head(self) -> Block:
        """The newest block."""
        return self.blocks[-1]

    @property
    def finalized(self) -> int:
        """The newest final block: 8 below the head, unless `set_finalized` says otherwise."""
        return max(0, self.head.number - _FINAL_BEHIND) if self._final is None else self._final

    @property
    def safe(self) -> int:
        """The newest safe block: 4 below the head, never below the final one."""
        return max(self.finalized, self.head.number - _SAFE_BEHIND)

    def set_finalized(self, number: int) -> None:
        """Hold finality at a block until told otherwise."""
        self._final = number

    def block(self, number: int) -> Block | None:
        """The block at a height; None above the head."""
        blocks = self.blocks
        return blocks[number] if 0 <= number < len(blocks) else None

    def mine(self, events: Sequence[Event | Log] = (), timestamp: int | None = None) -> Block:
        """Append a block in which each event (or raw log) is a transaction of its own."""
        return self.mine_transactions([[event] for event in events], timestamp)

    def mine_transactions(
        self, transactions: Sequence[Sequence[Event | Log]], timestamp: int | None = None
    ) -> Block:
        """Append a block of transactions; an event is one of our contract's.

        `timestamp` is `seconds_per_block` after the parent's if not given.
        """
        if timestamp is None:
            timestamp = self.head.timestamp + self.seconds_per_block
        logs = [[self._log(item) for item in transaction] for transaction in transactions]
        block = child(self.head, logs, timestamp, self._branch)
        self.append(block)
        return block

    def append(self, block: Block) -> None:
        """Append a child of the head. Raises ValueError if the block is not one."""
        if block.header.parent_hash != self.head.hash:
            raise ValueError(f"block {block.number} is no child of the head, {self.head.number}")
        self._append(block)
        self._tell(Change((), (block,)))

    def rollback(self, depth: int) -> None:
        """Drop the newest blocks; nobody is told, as anvil does it."""
        self._drop(depth)

    def reorg(
        self, depth: int, branch: Sequence[Sequence[Event | Log]] | None = None
    ) -> list[Block]:
        """Replace the newest `depth` blocks by a branch: one sequence of events a block.

        Without a branch there come as many empty blocks. Listeners are told once, at the end.
        """
        removed = self._drop(depth)
        fork = len(self.blocks)
        self._branch += 1
        for events in [[]] * depth if branch is None else branch:
            logs = [[self._log(event)] for event in events]
            timestamp = self.head.timestamp + self.seconds_per_block
            self._append(child(self.head, logs, timestamp, self._branch))
        added = tuple(self.blocks[fork:])
        self._tell(Change(removed, added))
        return list(added)

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher` after each change, in the thread that made it; returns how to stop."""
        self._watchers = (*self._watchers, watcher)

        def stop() -> None:
            self._watchers = tuple(other for other in self._watchers if other is not watcher)

        return stop

    def holdings(self, number: int | None = None) -> Holdings:
        """What the contract's views say at a block, the head by default. Do not change it."""
        blocks = self.blocks
        target = len(blocks) - 1 if number is None else number
        state, at = Holdings(), 0
        if self._known is not None:
            block, held = self._known
            if block.number <= target and blocks[block.number] is block:
                state, at = held, block.number
        if at < target:
            state = state.copy()
            for block in blocks[at + 1 : target + 1]:
                state.play(self._events(block))
            self._known = (blocks[target], state)
        return state

    def _events(self, block: Block) -> list[Event]:
        if not any(key.address == self.contract for key in block.keys):
            return []
        ours = (event_of(log) for log in logs_of(block) if log.address == self.contract)
        return [event for event in ours if event is not None]

    def _log(self, item: Event | Log) -> Log:
        return log_of(item, self.contract) if isinstance(item, Event) else item

    def _append(self, block: Block) -> None:
        self.by_hash[block.hash] = block
        self.blocks.append(block)

    def _drop(self, depth: int) -> tuple[Block, ...]:
        if not 0 <= depth < len(self.blocks):
            raise ValueError(f"cannot drop {depth} of {len(self.blocks)} blocks")
        keep = len(self.blocks) - depth
        removed = tuple(reversed(self.blocks[keep:]))
        self.blocks = self.blocks[:keep]
        for block in removed:
            self.by_hash.pop(block.hash, None)
        return removed

    def _tell(self, change: Change) -> None:
        for watcher in self._watchers:
            watcher(change)
