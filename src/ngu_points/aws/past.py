"""The state of a short while ago: the steps since then are taken back in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ngu_points.aws import changes, items, state
from ngu_points.aws.changes import Step
from ngu_points.aws.dynamo import Dynamo, key_of
from ngu_points.aws.events import TABLE
from ngu_points.aws.items import Row
from ngu_points.aws.state import Everything
from ngu_points.aws.tables import POINTS, TOKENS
from ngu_points.engine.coverage import STREAMS, Covered
from ngu_points.engine.events import Events
from ngu_points.engine.rules import Rules
from ngu_points.engine.state import State, no_state
from ngu_points.pipeline.query import View, refold

LATEST = 2**62
Position = Mapping[str, Any]


def view_at(
    dynamo: Dynamo, rules: Rules, now: tuple[Position, Everything], timestamp: int
) -> View | None:
    """The state as it was at a time; `now` is a later position and all rows of the state at it.

    None where the change records, or the events of the step that reaches over that time, do not
    lead back so far.
    """
    at: Position | None = now[0]
    assert at is not None, "there is a position"
    rows = now[1]
    kept = {_name(TOKENS, row): row for row in rows.runs}
    kept |= {_name(POINTS, row): row for row in rows.wallets}
    step: Step | None = None
    for head in reversed(changes.heads(dynamo, -1)):
        if at is None or at["timestamp"] <= timestamp:
            break
        if head.to_block != at["block"]:
            return None
        step = changes.step_at(dynamo, head)
        _take_back(kept, step)
        at = step.before
    if at is not None and at["timestamp"] > timestamp:
        return None
    start = no_state(rules) if at is None else _whole(rules, at, kept)
    if step is None:
        return View.of(start, rules, timestamp)
    events = _events(dynamo, step)
    if len(events) < len(step.marks):
        return None
    end = (bytes.fromhex(step.after["hash"]), step.after["timestamp"])
    covered = Covered(step.from_block, step.to_block, b"", *end, events)
    again = refold(rules, [covered], start, (LATEST, timestamp))
    return View.of(again.hot.state, rules, timestamp)


def _take_back(kept: dict[tuple[Any, ...], Row], step: Step) -> None:
    for write in step.writes:
        if write.table in (TOKENS, POINTS):
            name = _name(write.table, write.after or write.before or {})
            kept.pop(name, None)
            if write.before is not None:
                kept[name] = write.before


def _whole(rules: Rules, at: Position, kept: Mapping[tuple[Any, ...], Row]) -> State:
    runs = [row for name, row in kept.items() if name[0] == TOKENS]
    wallets = [row for name, row in kept.items() if name[0] == POINTS]
    return state.whole(rules, at, Everything(runs, wallets, []))


def _events(dynamo: Dynamo, step: Step) -> Events:
    """The events that a step has folded, as far as their rows are still there."""
    rows: list[Row] = []
    for stream in STREAMS:
        known = {m.id: items.hexed(m.block_hash) for m in step.marks if m.stream == stream}
        found = dynamo.get_many(TABLE[stream], [{"id": name} for name in known])
        rows += [row for row in found if row["blockHash"] == known[row["id"]]]
    return items.events_of(rows)


def _name(table: str, row: Row) -> tuple[Any, ...]:
    return (table, *key_of(table, row).values())
