"""Several nodes that fail, lag, go back and lie, behind an object with the methods of `Rpc`."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from ngu_points.chain.rpc import Filter, Header, LogPage
from ngu_points.errors import BadInput, TransientError
from simulation.blocks import Block, Chain, Version, page
from simulation.machine import Machine

CHAIN_ID = 31_337
TRIES = 4
METHODS = ("eth_blockNumber", "eth_getBlockByNumber", "eth_getBlockByNumber batch", "eth_getLogs")
CREATED = 2
"""The block that created the contract, on every branch."""


@dataclass
class Node:
    """One endpoint: how many versions of the chain it is behind, in all or in one method."""

    behind: int = 0
    stale: dict[str, int] = field(default_factory=dict)  # method -> index of a version
    failing: float = 0.0  # the share of requests that fail
    lying: float = 0.0  # the share of answers that are wrong
    avoid_until: float = 0.0


class Network:
    """The nodes of one chain. While `calm` they are honest, up to date and quick."""

    def __init__(
        self, rng: random.Random, chain: Chain, *, omissions: bool, dead_branches: bool
    ) -> None:
        self.rng = rng
        self.chain = chain
        self.omissions = omissions
        self.dead_branches = dead_branches
        self.tally: Counter[str] = Counter()
        self.nodes = [Node() for _ in range(rng.choice([1, 2, 2, 3]))]
        self.tagged = rng.random() < 0.8
        self.span = rng.choice([1, 3, 7, 20, 2000])
        self.slow = rng.choice([0.05, 0.3, 1.0, 2.0])
        self.calm = False
        for _ in self.nodes:
            self.weather()

    def weather(self) -> None:
        """Some node may become better or worse."""
        node = self.rng.choice(self.nodes)
        node.behind = self.rng.choice([0, 0, 0, 1, 2, 5])
        node.failing = self.rng.choice([0, 0, 0, 0.2, 0.7])
        node.lying = self.rng.choice([0, 0.1, 0.4])
        node.stale = {}
        if self.rng.random() < 0.35:
            node.stale[self.rng.choice(METHODS)] = self.another_fork()

    def another_fork(self) -> int:
        """The index of a version that lost, if a recent one did; of any recent one otherwise."""
        versions = self.chain.versions
        recent = range(max(0, len(versions) - 12), len(versions))
        lost = [
            index
            for index in recent
            for at in [min(versions[index].head, versions[-1].head)]
            if versions[index].blocks[at] is not versions[-1].blocks[at]
        ]
        return self.rng.choice(lost or recent)

    def believable(self, version: Version) -> bool:
        """Whether a node may hold this: it contradicts nothing that any node calls final."""
        at = min(version.head, self.chain.floor)
        return self.dead_branches or version.blocks[at] is self.chain.now.blocks[at]

    def view(self, node: Node, method: str) -> Version:
        """What a node takes for the chain as it answers."""
        versions = self.chain.versions
        place, what = max(0, len(versions) - 1 - node.behind), "node behind"
        if method in node.stale:
            place, what = min(node.stale[method], len(versions) - 1), f"stale for {method} only"
        if self.calm or place == len(versions) - 1:
            return versions[-1]
        if not self.believable(versions[place]):
            return versions[-1]
        self.tally[what] += 1
        return versions[place]

    def lies(self, node: Node) -> bool:
        return not self.calm and self.rng.random() < node.lying


class SimRpc:
    """The methods of `chain.rpc.Rpc`, answered by the network; every call may be the last."""

    def __init__(self, network: Network, machine: Machine) -> None:
        self.network = network
        self.machine = machine
        self.rng = network.rng
        self._last = network.nodes[0]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    @property
    def span(self) -> int:
        return self.network.span

    @property
    def host(self) -> str:
        return "sim"

    async def chain_id(self) -> int:
        await self._ask("eth_chainId")
        return CHAIN_ID

    async def block_number(self) -> int:
        return (await self._ask("eth_blockNumber"))[1].head

    async def code(self, address: bytes, block: int | str = "latest") -> bytes:
        def has(view: Version) -> bool:
            return block == "latest" or int(block) <= view.head

        _, view = await self._ask("eth_getCode", has)
        at = view.head if block == "latest" else int(block)
        return b"\x60" if at >= CREATED else b""

    async def call(self, to: bytes, data: bytes, block: int | str) -> bytes:
        raise BadInput("eth_call: the simulated contract has no views")

    async def header(self, block: int | str) -> Header | None:
        if block in ("safe", "finalized") and not self.network.tagged:
            raise BadInput(f"the node knows no {block!r} block")
        _, view = await self._ask("eth_getBlockByNumber")
        tags = {"latest": view.head, "safe": view.safe, "finalized": view.final}
        number = tags[block] if isinstance(block, str) else block
        return header_of(view.blocks[number]) if 0 <= number <= view.head else None

    async def headers(self, numbers: Sequence[int]) -> list[Header]:
        method = "eth_getBlockByNumber batch"
        node, view = await self._ask(method, lambda v: v.head >= max(numbers, default=0))
        found = [view.blocks[n] for n in numbers]
        if found and self.network.lies(node):
            self._tear(found)
        return [header_of(block) for block in found]

    def _tear(self, found: list[Block]) -> None:
        """One header of a batch comes from another fork."""
        versions = self.network.chain.versions
        other = self.rng.choice(versions[-8:])
        at = self.rng.randrange(len(found))
        number = found[at].number
        if number <= other.head and self.network.believable(other):
            self.network.tally["one header of a batch from another fork"] += (
                found[at] is not other.blocks[number]
            )
            found[at] = other.blocks[number]

    async def logs(self, filter: Filter, from_block: int, to_block: int) -> LogPage:
        end = min(to_block, from_block + self.span - 1)
        if self.rng.random() < 0.1:
            end = self.rng.randint(from_block, end)
        part = self.network.omissions and not self.network.calm
        node, view = await self._ask("eth_getLogs", lambda v: part or v.head >= end)
        if view.head < end:
            self.network.tally["logs of a part of the range (omission)"] += 1
        asked = view.blocks[from_block : end + 1]
        raw = page(asked)
        if asked and self.network.lies(node):
            raw = self._lie(asked, raw)
        return LogPage(from_block, end, b"[" + b",".join(raw) + b"]")

    async def logs_in(self, filter: Filter, block_hash: bytes) -> bytes:
        node, view = await self._ask("eth_getLogs")
        block = self.network.chain.by_hash[block_hash]
        if block.number > view.head or view.blocks[block.number] is not block:
            raise BadInput(f"sim: the node does not have block {block.number} of this hash")
        if self.network.omissions and self.network.lies(node):
            self.network.tally["no logs for a block hash (omission)"] += 1
            return b"[]"
        return b"[" + b",".join(block.raw) + b"]"

    def _lie(self, asked: list[Block], raw: list[bytes]) -> list[bytes]:
        kinds = ["swapped logs", "a log repeated", "a log from beyond the range"]
        kinds += ["logs of another fork"] * 2
        if self.network.omissions:
            kinds += ["logs left out (omission)", "no logs of the newest block (omission)"]
        kind = self.rng.choice(kinds)
        if raw:
            self.network.tally[kind] += 1
        if kind == "swapped logs":
            return self.rng.sample(raw, len(raw))
        if kind == "a log repeated":
            return raw + raw[-1:]
        if kind == "a log from beyond the range":
            before = page([b for b in asked[:1] if b.parent for b in [b.parent]])
            return before[-1:] + raw
        if kind == "logs of another fork":
            versions = self.network.chain.versions
            other = versions[self.network.another_fork()]
            if other.head >= asked[-1].number and self.network.believable(other):
                return page(other.blocks[asked[0].number : asked[-1].number + 1])
            return raw
        if kind == "logs left out (omission)":
            return [log for log in raw if self.rng.random() < 0.8]
        return page(asked[:-1])

    async def heads(self, poll_interval: float = 1.0) -> AsyncIterator[None]:
        while True:
            yield
            silent = not self.network.calm and self.rng.random() < 0.05
            await asyncio.sleep(30.0 if silent else poll_interval)

    def distrust(self, reason: str) -> None:
        self.network.tally["answers distrusted by the reader"] += 1
        self._last.avoid_until = asyncio.get_running_loop().time() + 60

    async def _ask(
        self, method: str, can: Callable[[Version], bool] = lambda _: True
    ) -> tuple[Node, Version]:
        """A node that answers, and its view at that moment; TransientError after some tries."""
        network = self.network
        for attempt in range(TRIES):
            node = self._choose()
            self.machine.io("rpc")
            await asyncio.sleep(self.rng.random() * network.slow)
            self.machine.io("rpc")
            if network.calm or self.rng.random() >= node.failing:
                view = network.view(node, method)
                if can(view):
                    self._last = node
                    return node, view
            else:
                network.tally["requests that failed"] += 1
                if self.rng.random() < 0.1:
                    await asyncio.sleep(30)
            node.avoid_until = asyncio.get_running_loop().time() + 2 * attempt
        raise TransientError(f"sim: {method}: no answer after {TRIES} tries; try again later")

    def _choose(self) -> Node:
        now = asyncio.get_running_loop().time()
        ready = [node for node in self.network.nodes if node.avoid_until <= now]
        if ready:
            return ready[0] if self.rng.random() < 0.6 else self.rng.choice(ready)
        return min(self.network.nodes, key=lambda node: node.avoid_until)


def header_of(block: Block) -> Header:
    bloom = block.bloom.to_bytes(256, "big")
    return Header(block.number, block.hash, block.parent_hash, block.timestamp, bloom)


def constructor(network: Network, machine: Machine) -> Callable[..., SimRpc]:
    """What takes the place of the class `Rpc`."""

    def make(*_: Any, **__: Any) -> SimRpc:
        return SimRpc(network, machine)

    return make
