"""Columns to rows of DynamoDB and back (pure).

Addresses and hashes are 0x-text in lower case. Token ids are decimal text padded to 78 digits;
amounts that may pass 38 digits are decimal text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from ngu_points.engine.coverage import Coverage
from ngu_points.engine.events import (
    I64,
    TYPES,
    U8,
    ZERO_ADDRESS,
    Events,
    Ints,
    Kind,
    Rejected,
    blobs,
    empty,
    event_id,
    ids,
    ids_column,
)
from ngu_points.engine.feast import FeastDay
from ngu_points.engine.fingerprint import shares_digest
from ngu_points.engine.runs import Runs
from ngu_points.engine.state import Wallets

Row = dict[str, Any]

DIGITS = 78  # of the largest token id
BLOCK_DIGITS = 20
BUCKET_BITS = 20
"""A part of the tokens table holds the runs that end in one stretch of 2**20 ids."""
SMALL = 1 << 16
"""Longer runs lie in a part of their own, so that none reaches far back from its bucket."""
BIG = "big"
_AMOUNTS = ("currentHeld", "currentStaked", "totalStaked", "stakeWeight", "daySeconds")
_TIMES = ("lastStakeAt", "lastUnstakeAt", "streakStart", "streakLast", "lastUpdateAt")
_PIECE = 64 * 5_000
"""Bytes of shares (20 of address, 44 of amount each) in one row of the Feast Pool."""


def padded(token: int) -> str:
    return f"{token:0{DIGITS}d}"


def hexed(value: bytes) -> str:
    return "0x" + value.hex()


def unhexed(text: str) -> bytes:
    return bytes.fromhex(text[2:])


# Events -----------------------------------------------------------------------------------


def event_rows(events: Events, chain_id: int, ttl: int) -> Iterator[Row]:
    """The rows of unprocessed events, in the specification's attributes."""
    for row, name in enumerate(ids(events)):
        kind = int(events.kind[row])
        sender, to = events.sender[row].tobytes(), events.recipient[row].tobytes()
        token = padded(int(events.first[row]))
        if kind >= Kind.STAKE:
            own: Row = {"tokenId": token, "staker": hexed(sender)}
        else:
            own = {
                "startTokenId": token,
                "quantity": str(int(events.quantity[row])),
                "from": None if kind == Kind.MINT else hexed(sender),
                "to": hexed(to),
            }
        yield {
            "id": name,
            "type": TYPES[kind],
            **own,
            "timestamp": int(events.timestamp[row]),
            "blockNumber": int(events.block[row]),
            "transactionHash": hexed(events.tx_hash[row].tobytes()),
            "transactionIndex": int(events.tx_index[row]),
            "logIndex": str(int(events.log_index[row])),
            "processed": False,
            "ttl": ttl,
            "chainId": chain_id,
            "contract": hexed(events.contract[row].tobytes()),
            "blockHash": hexed(events.block_hash[row].tobytes()),
        }


def events_of(rows: Sequence[Mapping[str, Any]]) -> Events:
    """Events in position order from rows of the event tables or of their indexes."""
    if not rows:
        return empty()
    first = [int(r.get("startTokenId") or r["tokenId"]) for r in rows]
    quantity = [int(r.get("quantity", 1)) for r in rows]
    ends = [f + q for f, q in zip(first, quantity, strict=True)]
    nowhere = hexed(ZERO_ADDRESS)

    def numbers(name: str) -> I64:
        return np.array([int(r[name]) for r in rows], np.int64)

    def blob(values: list[str], width: int) -> U8:
        return np.frombuffer(b"".join(map(unhexed, values)), np.uint8).reshape(-1, width).copy()

    return Events(
        kind=np.array([TYPES.index(r["type"]) for r in rows], np.uint8),
        block=numbers("blockNumber"),
        tx_index=numbers("transactionIndex"),
        log_index=numbers("logIndex"),
        timestamp=numbers("timestamp"),
        sender=blob([r.get("staker") or r.get("from") or nowhere for r in rows], 20),
        recipient=blob([r.get("to") or nowhere for r in rows], 20),
        first=ids_column(first, ends=ends),
        quantity=ids_column(quantity, ends=ends),
        contract=blob([r["contract"] for r in rows], 20),
        block_hash=blob([r["blockHash"] for r in rows], 32),
        tx_hash=blob([r["transactionHash"] for r in rows], 32),
    ).sorted()


# Dead letters and coverage ----------------------------------------------------------------


def letter_row(r: Rejected, now: int) -> Row:
    """A dead letter's row; `now` is when it came."""
    return {
        "id": event_id(r.block, r.tx_hash, r.log_index),
        "stream": r.stream,
        "blockNumber": r.block,
        "logIndex": str(r.log_index),
        "transactionIndex": r.tx_index,
        "transactionHash": hexed(r.tx_hash),
        "blockHash": hexed(r.block_hash),
        "contract": hexed(r.contract),
        "timestamp": r.timestamp,
        "reason": r.reason,
        "raw": r.raw,
        "receivedAt": now,
    }


def letter_of(row: Mapping[str, Any]) -> Rejected:
    """A dead letter from its row, or from the index: that knows no reason, time and log."""
    return Rejected(
        row["blockNumber"],
        int(row["logIndex"]),
        row.get("transactionIndex", 0),
        row.get("timestamp", 0),
        unhexed(row["transactionHash"]),
        unhexed(row["blockHash"]),
        unhexed(row["contract"]) if "contract" in row else ZERO_ADDRESS,
        row["stream"],
        row.get("reason", ""),
        row.get("raw", b""),
    )


def coverage_row(record: Coverage) -> Row:
    return {
        "stream": record.stream,
        "end": f"{record.to_block:0{BLOCK_DIGITS}d}#{record.sequence:0{BLOCK_DIGITS}d}",
        "sequence": record.sequence,
        "fromBlock": record.from_block,
        "toBlock": record.to_block,
        "parentHash": hexed(record.parent_hash),
        "lastHash": hexed(record.last_hash),
        "timestamp": record.timestamp,
        "count": record.count,
        "digest": hexed(record.digest),
    }


def coverage_of(row: Mapping[str, Any]) -> Coverage:
    return Coverage(
        row["stream"],
        row["sequence"],
        row["fromBlock"],
        row["toBlock"],
        unhexed(row["parentHash"]),
        unhexed(row["lastHash"]),
        row["timestamp"],
        row["count"],
        unhexed(row["digest"]),
    )


# Runs -------------------------------------------------------------------------------------


def bucket(token: int) -> str:
    """The part of runs of at most `SMALL` ids whose last one is this."""
    return f"s#{token >> BUCKET_BITS:0{(256 - BUCKET_BITS) // 4}x}"


def run_rows(runs: Runs, address: U8) -> list[Row]:
    names = [*map(hexed, blobs(address)), None]
    rows = []
    for i in range(len(runs)):
        first, last = int(runs.first[i]), int(runs.end[i]) - 1
        rows.append(
            {
                "part": bucket(last) if last - first < SMALL else BIG,
                "last": padded(last),
                "first": padded(first),
                "owner": names[runs.owner[i]],
                "staker": names[runs.staker[i]],
                "ownedSince": int(runs.owned_since[i]),
                "since": int(runs.since[i]),
            }
        )
    return rows


def runs_of(rows: Sequence[Mapping[str, Any]], number: Mapping[str | None, int]) -> Runs:
    """Runs in id order; `number` gives each address its index, None `NOBODY`."""
    rows = sorted(rows, key=lambda row: str(row["last"]))
    first = [int(row["first"]) for row in rows]
    end = [int(row["last"]) + 1 for row in rows]
    return Runs(
        ids_column(first, ends=end),
        ids_column(end, ends=end),
        np.array([number[row.get("owner")] for row in rows], np.int64),
        np.array([number[row.get("staker")] for row in rows], np.int64),
        np.array([row["ownedSince"] for row in rows], np.int64),
        np.array([row["since"] for row in rows], np.int64),
    )


# Wallets ----------------------------------------------------------------------------------


def wallet_rows(wallets: Wallets) -> list[Row]:
    facts = np.moveaxis(wallets.facts, -1, 0).tolist()
    amounts = (wallets.held, wallets.staked, wallets.total_staked, wallets.stake_weight,
               wallets.day_seconds)  # fmt: skip
    times = (wallets.last_stake, wallets.last_unstake, wallets.streak_start, wallets.streak_last,
             wallets.updated)  # fmt: skip
    return [
        {
            "wallet": hexed(address),
            "facts": msgspec.json.encode(facts[i]).decode(),
            **{n: str(int(c[i])) for n, c in zip(_AMOUNTS, amounts, strict=True)},
            **{n: int(c[i]) for n, c in zip(_TIMES, times, strict=True)},
        }
        for i, address in enumerate(blobs(wallets.address))
    ]


def wallets_of(rows: Sequence[Mapping[str, Any]], blank: Wallets) -> Wallets:
    """Wallets from their rows; `blank` gives the shape where there are none."""
    if not rows:
        return blank
    flat = [v for row in rows for season in json.loads(row["facts"]) for v in season]
    shape = (len(rows), *blank.facts.shape[:2])
    address = b"".join(unhexed(row["wallet"]) for row in rows)
    return Wallets(
        np.frombuffer(address, np.uint8).reshape(-1, 20).copy(),
        np.ascontiguousarray(np.moveaxis(_column(flat).reshape(shape), 0, -1)),
        *(_column([int(row[name]) for row in rows]) for name in (*_AMOUNTS, *_TIMES)),
    )


def _column(values: list[int]) -> Ints:
    return ids_column(values) if min(values, default=0) > -(2**62) else np.array(values, object)


# Feast days -------------------------------------------------------------------------------


def day_rows(day: FeastDay, address: U8, block: int) -> list[Row]:
    """A closed day, then its shares in pieces that fit a row; `block` is where it closed."""
    named = zip(blobs(address[day.wallet]), day.share.tolist(), strict=True)
    shares = b"".join(a + int(s).to_bytes(44, "big") for a, s in named if s)
    head: Row = {
        "day": day.day,
        "piece": 0,
        "carryIn": str(day.carry_in),
        "emission": str(day.emission),
        "contribution": str(day.contribution),
        "seconds": str(day.seconds),
        "carryOut": str(day.carry_out),
        "season": day.season,
        "block": block,
        "sharesDigest": shares_digest(day, address),
    }
    pieces = [shares[at : at + _PIECE] for at in range(0, len(shares), _PIECE)]
    rest = [{"day": day.day, "piece": n, "shares": piece} for n, piece in enumerate(pieces, 1)]
    return [head, *rest]


def day_of(row: Mapping[str, Any]) -> tuple[FeastDay, bytes]:
    """A closed day without its shares, and their digest."""
    none: I64 = np.zeros(0, np.int64)
    day = FeastDay(
        row["day"],
        int(row["carryIn"]),
        int(row["emission"]),
        int(row["contribution"]),
        int(row["seconds"]),
        int(row["carryOut"]),
        row.get("season"),
        none,
        none,
    )
    return day, row["sharesDigest"]


def shares_of(data: bytes) -> list[tuple[bytes, int]]:
    """(address, micro-points) each, lower address first."""
    return [
        (data[at : at + 20], int.from_bytes(data[at + 20 : at + 64], "big"))
        for at in range(0, len(data), 64)
    ]
