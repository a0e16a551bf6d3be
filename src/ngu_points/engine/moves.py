"""Events in terms of wallets, as the fold takes them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from ngu_points.engine.events import I64, U8, Bool, Events, Indexed, Kind
from ngu_points.engine.numbers import distinct
from ngu_points.engine.runs import NOBODY, Moves


def indexed(events: Events) -> Indexed:
    """The events with a table of exactly the addresses that they name."""
    parts = [len(events), 2 * len(events)]
    if isinstance(events, Indexed):
        every = np.concatenate([events.sender_at, events.recipient_at, events.contract_at])
        table, at = _used(events.table, every)
        sender, recipient, contract = np.split(at, parts)
    else:
        logged, which = _contracts(events.contract)
        table, at = distinct(np.concatenate([events.sender, events.recipient, logged]))
        sender, recipient, known = np.split(at, parts)
        contract = known[which]
    held = {f.name: getattr(events, f.name) for f in fields(Events)}
    at = np.stack([sender, recipient, contract]).astype(np.uint32)
    return Indexed(**held, table=table, sender_at=at[0], recipient_at=at[1], contract_at=at[2])


def _contracts(contract: U8) -> tuple[U8, I64]:
    """The distinct contracts, nearly always one, and which of them each event is of."""
    if len(contract) and (contract == contract[0]).all():
        return contract[:1], np.zeros(len(contract), np.int64)
    return distinct(contract)


def _used(table: U8, at: Any) -> tuple[U8, I64]:
    """The rows of a table that are pointed at, and where each index then points."""
    used = np.zeros(len(table), np.bool_)
    used[at] = True
    lane = np.cumsum(used) - 1
    return table.take(np.flatnonzero(used), axis=0), lane[at]


def named(events: Events) -> tuple[U8, I64]:
    """The m distinct wallets that events name, uint8[m, 20], and which of them gives or takes.

    The indices are those of all who give, then of all who receive.
    """
    gives, takes = _parties(events)
    if not isinstance(events, Indexed):
        return distinct(np.concatenate([events.sender[gives], events.recipient[takes]]))
    index = np.concatenate([events.sender_at[gives], events.recipient_at[takes]])
    return _used(events.table, index)


def moves_with(events: Events, numbers: I64) -> Moves:
    """The events in terms of wallets; `numbers` are those of the indices of `named`.

    Senders of mints and recipients of burns, stakes and unstakes are `NOBODY`.
    """
    gives, takes = _parties(events)
    sender, recipient = np.full((2, len(events)), NOBODY, np.int64)
    givers = int(gives.sum())
    sender[gives], recipient[takes] = numbers[:givers], numbers[givers:]
    end = events.first + events.quantity
    return Moves(events.kind, events.first, end, sender, recipient, events.timestamp)


def _parties(events: Events) -> tuple[Bool, Bool]:
    """Which events have somebody who gives or stakes, and which somebody who receives."""
    takes: Bool = (events.kind == Kind.MINT) | (events.kind == Kind.TRANSFER)
    return events.kind != Kind.MINT, takes
