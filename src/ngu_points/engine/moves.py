"""Events in terms of wallets, as the fold takes them."""

from __future__ import annotations

import numpy as np

from ngu_points.engine.events import I64, U8, Bool, Events, Indexed, Kind
from ngu_points.engine.numbers import distinct
from ngu_points.engine.runs import NOBODY, Moves


def named(events: Events) -> tuple[U8, I64]:
    """The m distinct wallets that events name, uint8[m, 20], and which of them gives or takes.

    The indices are those of all who give, then of all who receive.
    """
    gives, takes = _parties(events)
    if not isinstance(events, Indexed):
        return distinct(np.concatenate([events.sender[gives], events.recipient[takes]]))
    index = np.concatenate([events.sender_at[gives], events.recipient_at[takes]])
    used = np.zeros(len(events.table), np.bool_)
    used[index] = True
    lane = np.cumsum(used) - 1
    return events.table.take(np.flatnonzero(used), axis=0), lane[index]


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
