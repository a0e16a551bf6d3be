"""A stream that delivers late, twice, in pieces and in another order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from ngu_points.engine.coverage import Delivery
from ngu_points.engine.events import empty

Ingest = Callable[[list[Delivery]], None]
REMEMBERED = 8


class Stream:
    """`confirmed`: what it has accepted survives a crash and may come days later, as in Firehose.

    Otherwise it is the buffer of one process: what it holds dies with the process, so that it
    hands on all of it at once, though in any order and with what it has handed on before.
    """

    def __init__(self, rng: random.Random, *, confirmed: bool) -> None:
        self.rng = rng
        self.confirmed = confirmed
        self.rough = rng.choice([0.0, 0.3, 0.8])
        self.held: list[Delivery] = []
        self.sent: list[Delivery] = []
        self.tally: Counter[str] = Counter()

    def forget(self) -> None:
        """The chain went back, or the process ended: nothing older is delivered again."""
        if not self.confirmed:
            self.sent.clear()

    def carry(self, ingest: Ingest, deliveries: Sequence[Delivery]) -> None:
        """Hand on what the monitor sent, and what earlier calls held back, in batches."""
        if self.rng.random() >= self.rough:
            self._deliver(ingest, list(deliveries))
            return
        pieces = [piece for delivery in deliveries for piece in self._pieces(delivery)]
        pieces += self._again()
        self.tally["deliveries in another order"] += len(pieces) > 1
        self.rng.shuffle(pieces)
        self._deliver(ingest, *self._batches(self._kept_back(pieces)))

    def drain(self, ingest: Ingest) -> None:
        """Deliver whatever is still held."""
        if self.held:
            held, self.held = self.held, []
            self._deliver(ingest, held)

    def _deliver(self, ingest: Ingest, *batches: list[Delivery]) -> None:
        """What has not been taken by the end is held: it comes again."""
        waiting = list(batches)
        try:
            while waiting:
                ingest(waiting[0])
                self.sent = [*self.sent, *waiting.pop(0)][-REMEMBERED:]
        finally:
            if self.confirmed:
                self.held += [delivery for batch in waiting for delivery in batch]

    def _batches(self, pieces: list[Delivery]) -> list[list[Delivery]]:
        if not self.confirmed:
            return [pieces]
        batches = []
        while pieces:
            size = self.rng.choice([1, 1, 2, 5])
            batches.append(pieces[:size])
            pieces = pieces[size:]
        return batches

    def _again(self) -> list[Delivery]:
        twice = [d for d in self.sent if self.rng.random() < 0.3]
        self.tally["deliveries repeated"] += len(twice)
        return twice

    def _pieces(self, delivery: Delivery) -> list[Delivery]:
        """A delivery whole, or its events and its record apart."""
        if self.rng.random() < 0.5:
            return [delivery]
        self.tally["deliveries in pieces"] += 1
        middle = self.rng.randint(0, len(delivery.events))
        nothing = replace(delivery, events=empty(), rejected=(), coverage=())
        return [
            replace(nothing, events=delivery.events.take(slice(0, middle))),
            replace(nothing, coverage=delivery.coverage),
            replace(
                nothing,
                events=delivery.events.take(slice(middle, None)),
                rejected=delivery.rejected,
            ),
        ]

    def _kept_back(self, pieces: list[Delivery]) -> list[Delivery]:
        """What is delivered now; the rest waits for a later call."""
        if not self.confirmed:
            return pieces
        pieces = self.held + pieces
        self.held = [piece for piece in pieces if self.rng.random() < 0.3]
        self.tally["deliveries late"] += len(self.held)
        waiting = set(map(id, self.held))
        return [piece for piece in pieces if id(piece) not in waiting]
