"""The fingerprint: SHA-256 over the state in canonical bytes. docs/fingerprint.md defines them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from ngu_points.engine import facts
from ngu_points.engine.events import I64, U8, Ints
from ngu_points.engine.feast import FeastDay
from ngu_points.engine.numbers import by_address
from ngu_points.engine.rules import Rules
from ngu_points.engine.runs import NOBODY, Runs
from ngu_points.engine.state import State, among

VERSION = b"ngu-points fingerprint 1\n"
ESCAPE = b"\xff" * 8
PIECE = 20_000
"""Rows that are bytes at once."""


def fingerprint(
    state: State, days: Sequence[tuple[FeastDay, bytes]], rules: Rules, chain_id: int
) -> str:
    """64 hex digits. `days` are all closed feast days with `shares_digest` of each, in order."""
    sha = hashlib.sha256(VERSION)
    sha.update(u64(chain_id) + u64(state.block % 2**64) + u64(state.timestamp))
    sha.update(u64(len(state.runs)))
    for rows in _pieces(len(state.runs)):
        sha.update(_runs(state.runs.take(rows), state.wallets.address))
    earns = ~among(state.wallets.address, rules.earns_nothing)
    ordered = by_address(state.wallets.address)
    earned = facts.earned(state.runs, rules, earns, state.timestamp)
    for season, stored, more in zip(rules.seasons, state.wallets.facts, earned, strict=True):
        has = np.zeros(len(ordered), np.bool_)
        for column in (*stored, *more):
            has |= column != 0
        some = ordered[has[ordered]]
        sha.update(_text(season.name) + u64(len(some)))
        for rows in _pieces(len(some)):
            piece = some[rows]
            now = stored[:, piece] + more[:, piece]  # both below 2**62, or Python integers
            sha.update(_table(state.wallets.address[piece], now))
    sha.update(u64(len(days)))
    for day, shares in days:
        sha.update(u64(day.day))
        for amount in (day.carry_in, day.emission, day.contribution, day.seconds, day.carry_out):
            sha.update(integer(amount))
        sha.update(shares)
    return sha.hexdigest()


def shares_digest(day: FeastDay, address: U8) -> bytes:
    """SHA-256 over (address, share) of a feast day, lower address first."""
    some = np.flatnonzero(day.share)
    rows = _table(address[day.wallet[some]], day.share[some][np.newaxis])
    return hashlib.sha256(rows).digest()


def _pieces(count: int) -> Iterator[slice]:
    """All rows, so many at a time that their bytes take little room."""
    return (slice(low, low + PIECE) for low in range(0, count, PIECE))


def u64(value: int) -> bytes:
    return value.to_bytes(8, "big")


def integer(value: int) -> bytes:
    """A non-negative integer: 8 bytes, or eight 0xff, its length in 8 bytes, its bytes."""
    if value < 2**63:
        return u64(value)
    size = (value.bit_length() + 7) // 8
    return ESCAPE + u64(size) + value.to_bytes(size, "big")


def _text(text: str) -> bytes:
    data = text.encode()
    return u64(len(data)) + data


def _runs(runs: Runs, address: U8) -> bytes:
    ids = [words(runs.first), words(runs.end - 1)]
    wallets = [names(runs.owner, address), names(runs.staker, address)]
    times = [_u64s(runs.owned_since), _u64s(runs.since)]
    return np.concatenate([*ids, *wallets, *times], axis=1).tobytes()


def words(ids: Ints) -> U8:
    """Token ids as 32 big-endian bytes each, shape [n, 32]."""
    if ids.dtype == object:
        packed = b"".join(int(i).to_bytes(32, "big") for i in ids)
        return np.frombuffer(packed, np.uint8).reshape(-1, 32)
    out = np.zeros((len(ids), 32), np.uint8)
    out[:, 24:] = _u64s(ids)
    return out


def _u64s(column: I64) -> U8:
    return column.astype(">i8").view(np.uint8).reshape(-1, 8)


def names(wallet: I64, address: U8) -> U8:
    """The address of each wallet, uint8[n, 20]; zeros for nobody."""
    if not len(address):
        return np.zeros((len(wallet), 20), np.uint8)
    found = address[wallet]
    found[wallet == NOBODY] = 0
    return found


def _table(address: U8, columns: Ints) -> bytes:
    """Rows of an address and its integers; `columns` has shape [integers, rows]."""
    if columns.dtype != object:
        cells = [_u64s(column) for column in columns]
        return np.concatenate([address, *cells], axis=1).tobytes()
    return b"".join(
        address[row].tobytes() + b"".join(integer(int(v)) for v in columns[:, row])
        for row in range(len(address))
    )
