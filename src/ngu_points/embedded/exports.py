"""Tables as files: CSV, JSON, Parquet, in bounded memory."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np

from ngu_points.embedded.datasets import arrow
from ngu_points.embedded.history import History
from ngu_points.embedded.store import Store
from ngu_points.engine import facts
from ngu_points.engine.events import TYPES, Kind, blobs, ids
from ngu_points.engine.rules import DAY
from ngu_points.engine.runs import NOBODY
from ngu_points.errors import NguError, UsageError
from ngu_points.pipeline.query import View

FORMATS = ("csv", "json", "parquet")
TABLES = ("tokens", "points", "events", "feast")
MEDIA = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}
CHUNK = 50_000
PART, PART_BYTES = 2_000, 1 << 18
"""Rows and bytes that are sent at once."""
TOKENS_MAX = 1_000_000_000
"""Rows of one token each that a file may have; a single event can mint 2^256 of them."""
NUMBERS = frozenset(
    ("block", "timestamp", "transaction_index", "log_index", "day", "owned_since", "staked_since")
)
"""Columns that are numbers in JSON and Parquet; what may need more than 53 bits is text there."""
Row = tuple[Any, ...]


def export_to(
    path: Path | None,
    table: str,
    kind: str,
    view: View,
    store: Store,
    history: History,
    *,
    ranges: bool = False,
) -> int:
    """Write a table; the number of rows. A file appears complete or not at all."""
    if kind == "parquet" and path is None:
        raise UsageError("parquet needs -o FILE")
    header, rows = _table(table, view, store, history, ranges)
    if path is None:
        return _write_text(sys.stdout, kind, header, rows)
    if not path.name:
        raise UsageError(f"-o {str(path)!r} names no file")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if kind == "parquet":
            count = _write_parquet(temporary, header, rows)
        else:
            with temporary.open("w", newline="", encoding="utf-8") as file:
                count = _write_text(file, kind, header, rows)
        temporary.replace(path)
    except OSError as error:
        raise NguError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _table(
    table: str, view: View, store: Store, history: History, ranges: bool
) -> tuple[tuple[str, ...], Iterator[Row]]:
    if table == "tokens" and ranges:
        return ("start", "end", "owner", "staker", "owned_since", "staked_since"), _runs(view)
    if table == "tokens":
        tokens = facts.total(view.state.runs.end - view.state.runs.first)
        if tokens > TOKENS_MAX:
            raise UsageError(f"{tokens} tokens are too many for one row each: use --ranges")
        return ("token_id", "owner", "staker", "owned_since", "staked_since"), _tokens(view)
    if table == "points":
        return _points_header(view), _points(view)
    if table == "feast":
        feast = ("day", "carry_in_micro", "emission_micro", "contribution_micro", "pool_micro",
                  "staked_token_seconds", "carry_out_micro", "wallet", "share_micro")  # fmt: skip
        return feast, _feast(view, store)
    header = ("id", "type", "block", "timestamp", "transaction_hash", "transaction_index",
              "log_index", "from", "to", "start_token_id", "quantity", "contract",
              "block_hash")  # fmt: skip
    return header, _events(view, history)


def _runs(view: View) -> Iterator[Row]:
    runs = view.state.runs
    names: list[str | None] = ["0x" + a.hex() for a in blobs(view.state.wallets.address)]
    names.append(None)
    for i in range(len(runs)):
        staked = runs.staker[i] != NOBODY
        yield (
            int(runs.first[i]),
            int(runs.end[i]) - 1,
            names[runs.owner[i]],
            names[runs.staker[i]],
            int(runs.owned_since[i]) or None,
            int(runs.since[i]) if staked else None,
        )


def _tokens(view: View) -> Iterator[Row]:
    for first, last, *rest in _runs(view):
        for token in range(first, last + 1):
            yield (token, *rest)


def _points_header(view: View) -> tuple[str, ...]:
    counts = tuple(facts.COUNT)
    tiers = tuple(f"staked_seconds_tier_{i}" for i in range(len(view.rules.tier_starts)))
    return ("wallet", "points", "held_token_seconds", "staked_token_seconds", *counts,
            "feast_micro", *tiers, "total_points", "current_held", "current_staked")  # fmt: skip


def _points(view: View) -> Iterator[Row]:
    """Wallets with any fact, by address; facts are the current season's."""
    if not view.rules.seasons:
        return
    season, wallets = view.season, view.state.wallets
    numerators, denominator = view.points(season)
    totals, total_denominator = view.points()
    for row in np.lexsort(wallets.address.T[::-1]).tolist():
        mine = [int(v) for v in view.facts[season, :, row]]
        if not any(mine) and not totals[row]:
            continue
        held, counts, feast = mine[facts.HELD], mine[1 : facts.FEAST], mine[facts.FEAST]
        tiers = mine[facts.STAKED :]
        yield (
            "0x" + wallets.address[row].tobytes().hex(),
            facts.shown(Fraction(int(numerators[row]), denominator)),
            held,
            sum(tiers),
            *counts,
            feast,
            *tiers,
            facts.shown(Fraction(int(totals[row]), total_denominator)),
            int(wallets.held[row]),
            int(wallets.staked[row]),
        )


def _feast(view: View, store: Store) -> Iterator[Row]:
    """One row a share; a day without shares has one row without a wallet."""
    for day, _ in store.feasts.days():
        if (day.day + 1) * DAY > view.timestamp:
            return
        head = (day.day, day.carry_in, day.emission, day.contribution, day.pool, day.seconds,
                day.carry_out)  # fmt: skip
        shares = store.feasts.shares(day.day)
        for wallet, share in shares:
            yield (*head, "0x" + wallet.hex(), share)
        if not shares:
            yield (*head, None, None)


def _events(view: View, history: History) -> Iterator[Row]:
    """Every event up to the view's time, in position order."""
    for covered in history.covered():
        events = covered.events
        inside = (events.timestamp <= view.timestamp) & (events.block <= view.state.block)
        events = events.take(inside)
        names = ids(events)
        for i in range(len(events)):
            kind = Kind(int(events.kind[i]))
            mint, single = kind == Kind.MINT, kind >= Kind.STAKE
            yield (
                names[i],
                TYPES[kind],
                int(events.block[i]),
                int(events.timestamp[i]),
                "0x" + events.tx_hash[i].tobytes().hex(),
                int(events.tx_index[i]),
                int(events.log_index[i]),
                None if mint else "0x" + events.sender[i].tobytes().hex(),
                None if single else "0x" + events.recipient[i].tobytes().hex(),
                int(events.first[i]),
                int(events.quantity[i]),
                "0x" + events.contract[i].tobytes().hex(),
                "0x" + events.block_hash[i].tobytes().hex(),
            )
        if not inside.all():
            return


def streamed(
    table: str, kind: str, view: View, history: History, *, ranges: bool = False
) -> Iterator[bytes]:
    """A table part by part, in constant memory; UsageError if it cannot be had so."""
    header, rows = _table(table, view, history.store, history, ranges)
    if kind == "parquet":
        arrow()  # or say so now: once the answer has begun it is too late
    yield b""  # what can be wrong has been found by now
    if kind == "parquet":
        yield from _parquet_parts(header, rows)
        return
    file = StringIO()
    for part in _texts(file, kind, header, rows):
        yield part.encode()


def _texts(
    file: StringIO, kind: str, header: tuple[str, ...], rows: Iterator[Row]
) -> Iterator[str]:
    """Text in pieces of some thousand rows."""
    first = True
    while True:
        chunk = list(islice(rows, PART))
        _write_text(file, kind, header, iter(chunk), first=first, last=len(chunk) < PART)
        yield file.getvalue()
        file.seek(0)
        file.truncate()
        first = False
        if len(chunk) < PART:
            return


def _parquet_parts(header: tuple[str, ...], rows: Iterator[Row]) -> Iterator[bytes]:
    with tempfile.TemporaryFile() as file:
        _write_parquet(file, header, rows)
        file.seek(0)
        while part := file.read(PART_BYTES):
            yield part


def _write_text(
    file: TextIO,
    kind: str,
    header: tuple[str, ...],
    rows: Iterator[Row],
    *,
    first: bool = True,
    last: bool = True,
) -> int:
    """Rows as text; `first` and `last` say whether the text begins and ends here."""
    count = 0
    if kind == "csv":
        writer = csv.writer(file, lineterminator="\n")
        if first:
            writer.writerow(header)
        for count, row in enumerate(rows, 1):  # noqa: B007
            writer.writerow(row)
        return count
    if first:
        file.write("[")
    for count, row in enumerate(rows, 1):
        file.write("\n" if first and count == 1 else ",\n")
        named = zip(header, row, strict=True)
        file.write(json.dumps({name: _plain(name, value) for name, value in named}))
    if last:
        file.write("\n]\n")
    return count


def _plain(name: str, value: Any) -> Any:
    """A value of a column that is a number always or never, however large its values are."""
    return value if value is None or name in NUMBERS else str(value)


def _write_parquet(path: Path | IO[bytes], header: tuple[str, ...], rows: Iterator[Row]) -> int:
    pa = arrow()
    schema = pa.schema([(n, pa.int64() if n in NUMBERS else pa.string()) for n in header])
    count = 0
    with _parquet_file(path, schema, pa.parquet) as file:
        while chunk := list(islice(rows, CHUNK)):
            count += len(chunk)
            columns = [
                [_plain(name, value) for value in column]
                for name, column in zip(header, zip(*chunk, strict=True), strict=True)
            ]
            file.write_table(pa.table(columns, schema=schema))
    return count


@contextmanager
def _parquet_file(path: Path | IO[bytes], schema: Any, parquet: Any) -> Iterator[Any]:
    with parquet.ParquetWriter(path, schema) as file:
        yield file
