"""Clear a backlog: larger steps than usual, in order, and looked at while they go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from ngu_points.engine.rules import Rules
from ngu_points.errors import StoreError
from ngu_points.pipeline.interfaces import Position, Store
from ngu_points.pipeline.process import Step, process


class Limits(Protocol):
    """What bounds processing, and how far a drain may raise it."""

    def raised(self) -> AbstractContextManager[int]:
        """Raise the limits within; gives the events that a step may take. Always put back."""
        ...


def drain(store: Store, rules: Rules, limits: Limits, now: int) -> Iterator[Step]:
    """Process all that is covered, in steps as large as the raised limits allow.

    Raises StoreError should a step not follow on the one before: nothing more is processed then.
    """
    with limits.raised() as events:
        before = store.position()
        while step := process(store, rules, now, events):
            _follows(before, step)
            before = step.position
            yield step


def _follows(before: Position, step: Step) -> None:
    """Events are in position order, all of them behind the position before."""
    block, log = step.events.block, step.events.log_index
    rising = (block[1:] > block[:-1]) | ((block[1:] == block[:-1]) & (log[1:] > log[:-1]))
    inside = not len(block) or before.block < int(block[0]) <= int(block[-1]) <= step.position.block
    if not (rising.all() and inside and step.position.block > before.block):
        raise StoreError(
            f"the step behind block {before.block} is out of order: run `ngu rebuild`, "
            "and report it"
        )
