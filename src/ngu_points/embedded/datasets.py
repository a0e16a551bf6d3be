"""The tables of the copy for analysis: their columns, and Parquet files of them.

A uint256 is decimal text; the column of the same name with `_n` has it as a bigint, empty where it
does not fit. Times are UTC timestamps, days text like 2026-01-31. Rows go into row groups of one
size, so that the same rows are the same bytes however they came.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ngu_points.embedded.archive import sync_folder
from ngu_points.engine.events import U8, Ints, blobs
from ngu_points.errors import NguError, UsageError

ROW_GROUP = 100_000
LATEST = 253_402_300_799
"""The last second of the year 9999: later times, and those that never come, are shown as it."""
TEXT, BIGINT, BOOLEAN, TIME = "string", "bigint", "boolean", "timestamp"
"""Types of columns, as Athena calls them."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table by name. `daily` ones have a folder for each day, in the column `day`."""

    name: str
    columns: tuple[tuple[str, str], ...]
    daily: bool = True


def _wide(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple(part for name in names for part in ((name, TEXT), (f"{name}_n", BIGINT)))


_HOLDING = (
    *_wide("first_token_id", "last_token_id", "quantity", "weight"),
    ("owner", TEXT),
    ("staker", TEXT),
    ("earns", BOOLEAN),
    ("owned_since", TIME),
    ("staked_since", TIME),
    ("since", TIME),
)
EVENTS = Dataset(
    "events",
    (
        ("id", TEXT),
        ("type", TEXT),
        ("block", BIGINT),
        ("block_time", TIME),
        ("transaction_hash", TEXT),
        ("transaction_index", BIGINT),
        ("log_index", BIGINT),
        ("from_address", TEXT),
        ("to_address", TEXT),
        *_wide("first_token_id", "quantity"),
        ("contract", TEXT),
        ("block_hash", TEXT),
    ),
)
ENDED = Dataset("holdings_ended", (*_HOLDING, ("until", TIME)))
OPEN = Dataset("holdings_open", (*_HOLDING, ("through", TEXT)), daily=False)
COUNTS = Dataset(
    "counts", (("wallet", TEXT), ("season", TEXT), ("what", TEXT), *_wide("amount"))
)  # fmt: skip
FEASTS = Dataset(
    "feasts",
    (
        *_wide("carry_in_micro", "emission_micro", "contribution_micro", "pool_micro",
               "staked_token_seconds", "carry_out_micro"),
        ("season", TEXT),
        ("wallet", TEXT),
        *_wide("share_micro"),
    ),
)  # fmt: skip
DAYS = Dataset(
    "days", (("day", TEXT), ("begins", TIME), ("ends", TIME), ("events", BIGINT)), daily=False
)
RATES = Dataset(
    "rates",
    (
        ("season", TEXT),
        ("season_begins", TIME),
        ("season_ends", TIME),
        ("what", TEXT),
        ("tier_begins", BIGINT),
        ("tier_ends", BIGINT),
        ("numerator", TEXT),
        ("per_micro", TEXT),
    ),
    daily=False,
)
DATASETS = (EVENTS, ENDED, OPEN, COUNTS, FEASTS, DAYS, RATES)


def arrow() -> Any:
    """pyarrow; UsageError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(
            "format: parquet needs pyarrow, which is not here: take csv or json, or install it"
            " (`pip install 'ngu-points[parquet]'`)"
        ) from error
    return pyarrow


class Rows:
    """A Parquet file being written, in row groups of `ROW_GROUP`."""

    def __init__(self, dataset: Dataset, writer: Any, schema: Any) -> None:
        self.dataset = dataset
        self.count = 0
        self._writer = writer
        self._schema = schema
        self._waiting: list[Any] = []

    def add(self, columns: Mapping[str, Any]) -> None:
        """Rows by column: sequences of one length, None where there is nothing."""
        table = arrow().table([columns[f.name] for f in self._schema], schema=self._schema)
        self.count += table.num_rows
        self._waiting.append(table)
        if sum(t.num_rows for t in self._waiting) >= ROW_GROUP:
            self._write(last=False)

    def _write(self, *, last: bool) -> None:
        if not self._waiting:
            return
        table = arrow().concat_tables(self._waiting)
        full = table.num_rows if last else table.num_rows // ROW_GROUP * ROW_GROUP
        if full:
            self._writer.write_table(table.slice(0, full), row_group_size=ROW_GROUP)
        self._waiting = [table.slice(full)]

    def finish(self) -> None:
        """Write what waits."""
        self._write(last=True)


@contextmanager
def writing(dataset: Dataset, path: Path) -> Iterator[Rows]:
    """A new Parquet file, on the disk when it is left; NguError where that cannot be."""
    pa = arrow()
    types = {TEXT: pa.string(), BIGINT: pa.int64(), BOOLEAN: pa.bool_(), TIME: pa.timestamp("ms")}
    schema = pa.schema([(name, types[kind]) for name, kind in dataset.columns])
    try:
        with path.open("wb") as file:
            with pa.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
                rows = Rows(dataset, writer, schema)
                yield rows
                rows.finish()
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise NguError(f"{path} cannot be written: {error.strerror}") from error


def put(temporary: Path, place: Path) -> None:
    """Move a written file to its place, where it appears whole."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(place)
        sync_folder(place.parent)
    except OSError as error:
        raise NguError(f"{place} cannot be written: {error.strerror}") from error


def sha256(path: Path) -> str:
    """64 hex digits over a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Columns ------------------------------------------------------------------------------------


def wide(name: str, values: Ints | Sequence[int | None]) -> dict[str, list[Any]]:
    """A uint256 column as text, and as a bigint where it fits."""
    numbers = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return {
        name: [None if n is None else str(n) for n in numbers],
        f"{name}_n": [None if n is None or n >= 2**63 else n for n in numbers],
    }


def hexed(rows: U8) -> list[str]:
    """uint8[n, k] as 0x texts."""
    return ["0x" + row.hex() for row in blobs(rows)]


def times(seconds: Any) -> Any:
    """Unix seconds as milliseconds, which is how timestamps are kept."""
    return np.minimum(np.asarray(seconds, np.int64), LATEST) * 1000


def day_text(day: int) -> str:
    """A day as 2026-01-31."""
    return str(np.datetime64(day, "D"))
