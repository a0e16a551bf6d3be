"""Columns to SQLite rows and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from ngu_points.embedded.database import sql_int
from ngu_points.engine.events import (
    I64,
    NARROW,
    TYPES,
    U8,
    ZERO_ADDRESS,
    Events,
    Ints,
    Kind,
    blobs,
    empty,
    ids,
    ids_column,
)
from ngu_points.engine.fingerprint import names, words
from ngu_points.engine.numbers import UNKNOWN, Numbers
from ngu_points.engine.runs import NOBODY, Runs
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
    sender: list[bytearray | None] = list(_cells(events.sender))
    for row in np.flatnonzero(events.kind == Kind.MINT).tolist():
        sender[row] = None
    return zip(
        ids(events),
        [TYPES[k] for k in events.kind.tolist()],
        _cells(words(events.first)),
        _ints(events.quantity),
        sender,
        _cells(events.recipient),
        *_common(events),
        *([part] * n for part in (*stamp, chain_id)),
        _cells(events.contract),
        _cells(events.block_hash),
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
        _cells(words(events.first)),
        _cells(events.sender),
        *_common(events),
        *([part] * n for part in (*stamp, chain_id)),
        _cells(events.contract),
        _cells(events.block_hash),
        strict=True,
    )


def _common(events: Events) -> tuple[list[Any], ...]:
    return (
        events.timestamp.tolist(),
        events.block.tolist(),
        _cells(events.tx_hash),
        events.tx_index.tolist(),
        events.log_index.tolist(),
    )


def _cells(rows: U8) -> list[bytearray]:
    """uint8[n, k] as n values to bind: bytes would each be asked for an adapter first, which costs
    more than all the rest of binding; a bytearray is taken as it is."""
    width, data = rows.shape[1], bytearray(rows.tobytes())
    return [data[i : i + width] for i in range(0, len(data), width)]


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
_RUN = np.dtype(
    [
        ("first", "u1", 32),
        ("last", "u1", 32),
        ("owner", "u1", 20),  # zeros for nobody
        ("staker", "u1", 20),
        ("ownedSince", "S20"),  # decimal digits
        ("since", "S20"),
    ]
)
_RUN_PLACE = {
    name: f"{offset + 1}, {kind.itemsize}"
    for name, (kind, offset, *_) in (_RUN.fields or {}).items()
}


def _from_record(name: str) -> str:
    """SQL for a part of record number `row` in the blob ?1."""
    return f"substr(?1, {_RUN.itemsize} * row + {_RUN_PLACE[name]})"


# One statement takes some thousand rows out of a blob: to bind and step every row by itself costs
# three times what SQLite has to do for it.
PUT_RUNS = f"""
    WITH RECURSIVE some(row) AS (SELECT 0 UNION ALL SELECT row + 1 FROM some WHERE row + 1 < ?2)
    REPLACE INTO tokens ({RUN_COLUMNS})
    SELECT {_from_record("first")}, {_from_record("last")},
        nullif({_from_record("owner")}, zeroblob(20)),
        nullif({_from_record("staker")}, zeroblob(20)),
        CAST({_from_record("ownedSince")} AS INTEGER), CAST({_from_record("since")} AS INTEGER)
    FROM some"""
"""Writes rows of `RUN_COLUMNS`; its parameters are `run_records` and how many (at least one)."""


def run_records(runs: Runs, address: U8) -> bytes:
    """Runs as records of `_RUN`, one after the other; owners and stakers are rows of `address`."""
    records = np.zeros(len(runs), _RUN)
    records["first"], records["last"] = words(runs.first), words(runs.end - 1)
    records["owner"], records["staker"] = names(runs.owner, address), names(runs.staker, address)
    records["ownedSince"], records["since"] = runs.owned_since, runs.since
    return records.tobytes()


SELECT_RUNS = """SELECT max(first), count(*),
    CAST(group_concat(first, '') AS BLOB), CAST(group_concat(last, '') AS BLOB),
    CAST(group_concat(owner, '') AS BLOB), group_concat(owner IS NULL, ''),
    CAST(group_concat(staker, '') AS BLOB), group_concat(staker IS NULL, ''),
    group_concat(ownedSince), group_concat(since)
    FROM (SELECT * FROM tokens WHERE first > ? ORDER BY first LIMIT ?)"""
"""Some of the runs in id order: the last key, how many, each column in one piece.

SQLite puts the pieces together without a Python object for any cell, and without the GIL.
"""


def runs_of(columns: Sequence[Any], count: int, numbers: Numbers) -> list[Any]:
    """The columns of `Runs` from those of `SELECT_RUNS`; `numbers` tells each address's index."""
    first, last, owner, unowned, staker, unstaked, *times = columns
    ends = _ids(last, count)
    wide = ends.dtype == object or int(ends.max()) + 1 >= NARROW
    ends = ends.astype(object) if wide else ends
    return [
        _ids(first, count).astype(ends.dtype),
        ends + 1,
        _numbered(owner, unowned, count, numbers),
        _numbered(staker, unstaked, count, numbers),
        *(_integers(text, count) for text in times),
    ]


def _ids(piece: bytes, count: int) -> Ints:
    """Token ids from 32 big-endian bytes each."""
    words = np.frombuffer(piece, np.uint8).reshape(count, 32)
    if words[:, :24].any() or (words[:, 24] >= 0x40).any():
        return ids_column([int.from_bytes(word, "big") for word in blobs(words)])
    narrow: Ints = np.ascontiguousarray(words[:, 24:]).view(">i8")[:, 0].astype(np.int64)
    return narrow


def _numbered(piece: bytes | None, missing: str, count: int, numbers: Numbers) -> I64:
    """The number of each wallet, `NOBODY` where it is missing; KeyError for one not known."""
    number = np.full(count, NOBODY, np.int64)
    there = np.frombuffer(missing.encode(), np.uint8) == ord("0")
    address = np.frombuffer(piece or b"", np.uint8).reshape(-1, 20)
    number[there] = numbers.find(address)
    unknown = np.flatnonzero(there & (number == UNKNOWN))
    if len(unknown):
        raise KeyError(f"the wallet of row {unknown[0]}")
    return number


WALLET_COLUMNS = (
    "wallet, facts, currentHeld, currentStaked, totalStaked, stakeWeight, daySeconds,"
    " lastStakeAt, lastUnstakeAt, streakStart, streakLast, lastUpdateAt"
)


def wallet_rows(wallets: Wallets) -> Iterator[Any]:
    """Rows of `WALLET_COLUMNS`."""
    return zip(
        _cells(wallets.address),
        _facts(wallets),
        *(_ints(c) for c in (wallets.held, wallets.staked, wallets.total_staked)),
        *(_ints(c) for c in (wallets.stake_weight, wallets.day_seconds)),
        wallets.last_stake.tolist(),
        wallets.last_unstake.tolist(),
        wallets.streak_start.tolist(),
        wallets.streak_last.tolist(),
        wallets.updated.tolist(),
        strict=True,
    )


def _facts(wallets: Wallets) -> list[str]:
    """The facts of each wallet as JSON: one list a season."""
    if not len(wallets.facts) or not len(wallets):
        return ["[]"] * len(wallets)
    # whole columns to lists, then across them: the lists of a turned array cost six times that
    seasons = (zip(*season.tolist(), strict=True) for season in wallets.facts)
    every = msgspec.json.encode(list(zip(*seasons, strict=True))).decode()
    return [f"[[{row}]]" for row in every[3:-3].split("]],[[")]


SELECT_WALLETS = """SELECT max(wallet), count(*), CAST(group_concat(wallet, '') AS BLOB),
    group_concat(facts), group_concat(currentHeld), group_concat(currentStaked),
    group_concat(totalStaked), group_concat(stakeWeight), group_concat(daySeconds),
    group_concat(lastStakeAt), group_concat(lastUnstakeAt), group_concat(streakStart),
    group_concat(streakLast), group_concat(lastUpdateAt)
    FROM (SELECT * FROM points WHERE wallet > ? ORDER BY wallet LIMIT ?)"""
"""Some of the wallets (see `SELECT_RUNS`)."""


def wallets_of(columns: Sequence[Any], count: int, seasons: int, kinds: int) -> list[Any]:
    """The columns of `Wallets` from those of `SELECT_WALLETS`."""
    address, facts, *numbers = columns
    flat = facts.replace("[", "").replace("]", "") if seasons else ""
    table = _integers(flat, count * seasons * kinds).reshape(count, seasons, kinds)
    return [
        np.frombuffer(address, np.uint8).reshape(count, 20),
        np.moveaxis(table, 0, -1),
        *(_integers(text, count) for text in numbers),
    ]


def _integers(text: str, count: int) -> Ints:
    """So many decimal integers between commas."""
    column: Ints = np.fromstring(text, np.int64, sep=",") if count else np.zeros(0, np.int64)
    if len(column) != count:
        raise ValueError(f"{count} integers were to be there")
    if count and max(int(column.max()), -int(column.min())) >= NARROW:  # wider ones end at 2**63
        column = np.empty(count, object)
        column[:] = [int(value) for value in text.split(",")]
    return column
