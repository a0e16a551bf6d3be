"""Several nodes of one chain: which of them lag, hang on to a fork, fail and lie, and when."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from simulation.blocks import Chain, Version

CHAIN_ID = 31_337
METHODS = ("eth_blockNumber", "eth_getBlockByNumber", "eth_getBlockByNumber batch", "eth_getLogs")
CREATED = 2
"""The block that created the contract, on every branch."""


@dataclass
class Node:
    """One endpoint: how many versions of the chain it is behind, in all or in one method."""

    behind: int = 0
    flapping: bool = False  # several machines behind one address, of which some lag
    stale: dict[str, int] = field(default_factory=dict)  # method -> index of a version
    failing: float = 0.0  # the share of requests that fail
    lying: float = 0.0  # the share of answers that are wrong
    widest: int | None = None  # blocks of one eth_getLogs
    most: int | None = None  # logs in one answer
    outspoken: bool = True  # whether it says how much would have been allowed


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
        self.nodes = [self._node() for _ in range(rng.choice([1, 2, 2, 3]))]
        self.urls = [f"http://node{at}/key" for at in range(len(self.nodes))]
        if rng.random() < 0.35:
            self.urls.append("ws://node0/key")
        self.tagged = rng.random() < 0.8
        self.receipts = rng.random() < 0.8  # whether eth_getBlockReceipts is known
        self.span = rng.choice([1, 3, 7, 20, 2000])
        self.slow = rng.choice([0.05, 0.3, 1.0, 2.0])
        self.calm = False
        for _ in self.nodes:
            self.weather()

    def _node(self) -> Node:
        """What a provider's limits are stays the same."""
        return Node(
            widest=self.rng.choice([None, None, 1, 5, 20]),
            most=self.rng.choice([None, None, 8, 30]),
            outspoken=self.rng.random() < 0.7,
        )

    def at(self, url: str) -> Node:
        """The node that answers at an address."""
        return self.nodes[self.urls.index(url)]

    def weather(self) -> None:
        """Some node may become better or worse."""
        node = self.rng.choice(self.nodes)
        node.behind = self.rng.choice([0, 0, 0, 1, 2, 5])
        node.flapping = self.rng.random() < 0.3
        node.failing = self.rng.choice([0, 0, 0, 0.2, 0.7])
        node.lying = self.rng.choice([0, 0.2, 0.5])
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
        if self.calm:
            return versions[-1]
        behind, what = node.behind, "heads that lag"
        if node.flapping and behind:
            behind, what = self.rng.choice([0, behind]), "heads that go back and forth"
        place = max(0, len(versions) - 1 - behind)
        if method in node.stale:
            place, what = min(node.stale[method], len(versions) - 1), f"stale for {method} only"
        if place == len(versions) - 1 or not self.believable(versions[place]):
            return versions[-1]
        self.tally[what] += 1
        return versions[place]

    def lies(self, node: Node) -> bool:
        return not self.calm and self.rng.random() < node.lying
