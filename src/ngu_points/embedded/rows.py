"""Columns to SQLite rows and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from ngu_points.embedded.database import sql_int
from ngu_points.engine.events import (
    I64,
    NARROW,
    TYPES,
    ZERO_ADDRESS,
    Events,
    Ints,
    Kind,
    blobs,
    empty,
    ids,
    ids_column,
)
from ngu_points.engine.fingerprint import words
from ngu_points.engine.numbers import UNKNOWN, Numbers
from ngu_points.engine.runs import NOBODY, Runs, no_runs
from ngu_points.engine.state import Wallets

BATCH_COLUMNS = (
    'id, type, startTokenId, quantity, "from", "to", timestamp, blockNumber, transactionHash,'
    " transactionIndex, logIndex, processed, processedAt, ttl, chainId, contract, blockHash"
)
STAKING_COLUMNS = (
    "id, type, tokenId, staker, timestamp, blockNumber, transactionHash,"
    " transactionIndex, logIndex, processed, processedAt, ttl, chainId, contract, blockHash"
)


def batch_rows(events: Events, chain_id: int, stamp: tuple[int, int | None, int]) -> Iterator[Any]:
    """Rows of `BATCH_COLUMNS`; `stamp` is (processed, processedAt, ttl)."""
    n = len(events)
    sender: list[bytes | None] = list(blobs(events.sender))
    for row in np.flatnonzero(events.kind == Kind.MINT).tolist():
        sender[row] = None
    return zip(
        ids(events),
        [TYPES[k] for k in events.kind.tolist()],
        blobs(words(events.first)),
        _ints(events.quantity),
        sender,
        blobs(events.recipient),
        *_common(events),
        *([part] * n for part in (*stamp, chain_id)),
        blobs(events.contract),
        blobs(events.block_hash),
        strict=True,
    )


def staking_rows(
    events: Events, chain_id: int, stamp: tuple[int, int | None, int]
) -> Iterator[Any]:
    """Rows of `STAKING_COLUMNS`."""
    n = len(events)
    return zip(
        ids(events),
        [TYPES[k] for k in events.kind.tolist()],
        blobs(words(events.first)),
        blobs(events.sender),
        *_common(events),
        *([part] * n for part in (*stamp, chain_id)),
        blobs(events.contract),
        blobs(events.block_hash),
        strict=True,
    )


def _common(events: Events) -> tuple[list[Any], ...]:
    return (
        events.timestamp.tolist(),
        events.block.tolist(),
        blobs(events.tx_hash),
        events.tx_index.tolist(),
        events.log_index.tolist(),
    )


def _ints(column: Ints) -> list[Any]:
    return [sql_int(v) for v in column] if column.dtype == object else column.tolist()


SELECT_BATCH = (
    'type, startTokenId, quantity, "from", "to", timestamp, blockNumber, transactionHash,'
    " transactionIndex, logIndex, contract, blockHash"
)
SELECT_STAKING = (
    "type, tokenId, 1, staker, NULL, timestamp, blockNumber, transactionHash,"
    " transactionIndex, logIndex, contract, blockHash"
)


def events_of(rows: Sequence[Sequence[Any]]) -> Events:
    """Events from rows of `SELECT_BATCH` or `SELECT_STAKING`."""
    if not rows:
        return empty()
    kinds, first, quantity, sender, recipient, time, block, tx, tx_index, log_index, at, hash_ = (
        zip(*rows, strict=True)
    )
    firsts = [int.from_bytes(f, "big") for f in first]
    quantities = [int(q) for q in quantity]
    ends = [f + q for f, q in zip(firsts, quantities, strict=True)]
    return Events(
        kind=np.array([TYPES.index(k) for k in kinds], np.uint8),
        block=np.array(block, np.int64),
        tx_index=np.array(tx_index, np.int64),
        log_index=np.array(log_index, np.int64),
        timestamp=np.array(time, np.int64),
        sender=_bytes([s or ZERO_ADDRESS for s in sender], 20),
        recipient=_bytes([r or ZERO_ADDRESS for r in recipient], 20),
        first=ids_column(firsts, ends=ends),
        quantity=ids_column(quantities, ends=ends),
        contract=_bytes(at, 20),
        block_hash=_bytes(hash_, 32),
        tx_hash=_bytes(tx, 32),
    )


def _bytes(values: Sequence[bytes], width: int) -> Any:
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, width).copy()


RUN_COLUMNS = "first, last, owner, staker, ownedSince, since"


def run_rows(runs: Runs, address: Any) -> Iterator[Any]:
    """Rows of `RUN_COLUMNS`."""
    return zip(
        blobs(words(runs.first)),
        blobs(words(runs.end - 1)),
        _names(runs.owner, address),
        _names(runs.staker, address),
        runs.owned_since.tolist(),
        runs.since.tolist(),
        strict=True,
    )


def _names(wallet: I64, address: Any) -> list[bytes | None]:
    """The address of each wallet, None for `NOBODY`."""
    names: list[bytes | None] = [None] * len(wallet)
    known = np.flatnonzero(wallet != NOBODY)
    for row, name in zip(known.tolist(), blobs(address[wallet[known]]), strict=True):
        names[row] = name
    return names


def runs_of(rows: Sequence[Sequence[Any]], numbers: Numbers) -> Runs:
    """Runs from rows of `RUN_COLUMNS`; `numbers` gives each address its index."""
    if not rows:
        return no_runs()
    first, last, owner, staker, owned_since, since = zip(*rows, strict=True)
    ends = _ids(last)
    wide = ends.dtype == object or (len(ends) and int(ends.max()) + 1 >= NARROW)
    ends = ends.astype(object) if wide else ends
    return Runs(
        _ids(first).astype(ends.dtype),
        ends + 1,
        _numbered(owner, numbers),
        _numbered(staker, numbers),
        np.array(owned_since, np.int64),
        np.array(since, np.int64),
    )


def _ids(column: Sequence[bytes]) -> Ints:
    """Token ids from 32 big-endian bytes each."""
    words = _bytes(column, 32)
    if words[:, :24].any() or (words[:, 24] >= 0x40).any():
        return ids_column([int.from_bytes(word, "big") for word in column])
    narrow: Ints = np.ascontiguousarray(words[:, 24:]).view(">i8")[:, 0].astype(np.int64)
    return narrow


def _numbered(column: Sequence[bytes | None], numbers: Numbers) -> I64:
    """The number of each wallet, `NOBODY` for None; KeyError for one that is not known."""
    number = numbers.find(_bytes([name or ZERO_ADDRESS for name in column], 20))
    nobody = np.array([name is None for name in column], np.bool_)
    unknown = np.flatnonzero((number == UNKNOWN) & ~nobody)
    if len(unknown):
        raise KeyError(column[int(unknown[0])])
    number[nobody] = NOBODY
    return number


WALLET_COLUMNS = (
    "wallet, facts, currentHeld, currentStaked, totalStaked, stakeWeight, daySeconds,"
    " lastStakeAt, lastUnstakeAt, streakStart, streakLast, lastUpdateAt"
)


def wallet_rows(wallets: Wallets) -> Iterator[Any]:
    """Rows of `WALLET_COLUMNS`."""
    facts = np.moveaxis(wallets.facts, -1, 0).tolist()
    return zip(
        blobs(wallets.address),
        [msgspec.json.encode(row).decode() for row in facts],
        *(_ints(c) for c in (wallets.held, wallets.staked, wallets.total_staked)),
        *(_ints(c) for c in (wallets.stake_weight, wallets.day_seconds)),
        wallets.last_stake.tolist(),
        wallets.last_unstake.tolist(),
        wallets.streak_start.tolist(),
        wallets.streak_last.tolist(),
        wallets.updated.tolist(),
        strict=True,
    )


def wallets_of(rows: Sequence[Sequence[Any]], blank: Wallets) -> Wallets:
    """Wallets from rows of `WALLET_COLUMNS`; `blank` gives the shape where there are none."""
    if not rows:
        return blank
    columns = list(zip(*rows, strict=True))
    facts = json.loads(f"[{','.join(columns[1])}]")
    flat = [v for row in facts for season in row for v in season]
    shape = (len(rows), *blank.facts.shape[:2])
    numbers = [_column(column) for column in columns[2:]]
    return Wallets(
        _bytes(columns[0], 20),
        np.ascontiguousarray(np.moveaxis(_column(flat).reshape(shape), 0, -1)),
        *numbers,
    )


def _column(values: Sequence[Any]) -> Ints:
    """Integers, some of them perhaps as decimal text."""
    try:
        column: Ints = np.array(values, np.int64)
    except (OverflowError, ValueError):
        column = np.empty(len(values), object)
        column[:] = [int(v) for v in values]
    if len(column) and max(int(column.max()), -int(column.min())) >= NARROW:
        return column.astype(object)
    return column
