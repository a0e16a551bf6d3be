"""What happens to the chain, the nodes and the clocks while the program runs."""

from __future__ import annotations

import random

from ngu_points.embedded.queue import KEEP
from ngu_points.engine.rules import DAY
from simulation.blocks import DEEPEST, FIRST_TIME, Chain
from simulation.knobs import Report
from simulation.nodes import Network


class Weather:
    """One `tick` is one thing that happens. `offset` is where the wall clock stands."""

    def __init__(
        self, rng: random.Random, chain: Chain, network: Network, report: Report, begin: int
    ) -> None:
        self.rng = rng
        self.chain = chain
        self.network = network
        self.report = report
        self.begin = begin  # the first block that is read
        self.offset = float(FIRST_TIME)
        self.forky = rng.choice([0.1, 0.4, 0.7])

    def tick(self) -> None:
        chance = self.rng.random()
        if chance < self.forky:
            self._fork()
        else:
            self.chain.mine(self.rng.choice([1, 1, 2, 5]))
        if self.rng.random() < 0.5:
            self.chain.finalise()
        if self.rng.random() < 0.6:
            self.network.weather()
        if self.rng.random() < 0.12:
            self.offset += self.rng.choice([3600, DAY, KEEP + DAY, -3600])
            self.report.faults["jumps of the wall clock"] += 1

    def _fork(self) -> None:
        if self.rng.random() < 0.2:
            depth, kind = self.chain.flip(), "flip-flops"
        else:
            depth = self.chain.fork(self.rng.choice([1, 1, 2, 3, 5, 8, 20, 40, DEEPEST]))
            kind = "forks deeper than 20" if depth > 20 else "forks"
        if depth:
            self.report.faults[kind] += 1
            if self.chain.now.head - depth < self.begin:
                self.report.faults["forks below the first block read"] += 1
        if self.rng.random() < 0.8:
            self.chain.mine(self.rng.choice([1, 2]))
