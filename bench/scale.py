"""How cost grows: syncs of rising size, what one fold of the archive takes, a vast collection.

Every function here makes its own database from its own node, verifies the answer and gives a row.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import expected, measure
from bench.measure import NGU, Cost
from bench.workloads import CONTRACT, FIRST_BLOCK, Workload, addresses, workload
from ngu_points.errors import NguError

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Synced:
    """A database after a sync, with the node that it came from still there."""

    work: Workload
    url: str
    db: Path
    cost: Cost

    @property
    def words(self) -> tuple[str, ...]:
        """What every command on it is given."""
        return of(self.work, self.db)


def of(work: Workload, db: Path) -> tuple[str, ...]:
    """The options that name a workload's contract and a database."""
    return ("--contract", "0x" + CONTRACT.hex(), "--kind", work.kind, "--db", str(db))


@contextmanager
def synced(kind: str, events: int, folder: Path, *, short_of: int = 0) -> Iterator[Synced]:
    """`ngu sync` of a workload into a new database, `short_of` blocks before its end."""
    work = workload(kind, events)
    with measure.node(kind, events) as url:
        db = folder / f"{kind}-{events}" / "ngu.db"
        words = (*NGU, "sync", *of(work, db), "--rpc", url, "--from-block", str(FIRST_BLOCK),
                 "--to-block", str(work.last_block - short_of), "--json")  # fmt: skip
        yield Synced(work, url, db, measure.run(words, folder))


def verify(done: Synced, folder: Path) -> None:
    """Every owner, staker and token-second of the database is the replay's. NguError otherwise."""
    files = exported(done.work, done.db, folder)
    expected.check(done.work, expected.replay(done.work), *files)


def exported(work: Workload, db: Path, folder: Path) -> tuple[Path, Path]:
    """What `ngu export` writes of a database: token ranges, and points of wallets."""
    tokens, points = folder / "tokens.csv", folder / "points.csv"
    export = (*NGU, "export", *of(work, db), "-o")
    measure.run((*export, str(tokens), "tokens", "--ranges"), folder)
    measure.run((*export, str(points), "points"), folder)
    return tokens, points


def growth(
    sizes: Sequence[int],
    folder: Path,
    last: Callable[[Synced], list[Row]] = lambda _: [],
    short_of: int = 0,
) -> list[Row]:
    """Time per event and peak memory of syncs of rising size; the fold of the largest archive.

    The largest stops `short_of` blocks before its end; `last` brings them in, and measures what
    it will, before the answer is verified.
    """
    startup = measure.run((*NGU, "--version"), folder).seconds
    rows: list[Row] = []
    for events in sizes:
        largest = events == sizes[-1]
        with synced("erc721", events, folder, short_of=short_of if largest else 0) as done:
            rows.append(_sync_row(done, startup, largest=largest))
            if largest:
                rows += last(done)
                rows.append(rebuild(done, folder))
            verify(done, folder)
    each = [row["perEvent"] for row in rows if row["row"] == "size"]
    times = each[-1] / each[0]
    return [*rows, {"row": "growth", "from": sizes[0], "to": sizes[-1], "times": times}]


def _sync_row(done: Synced, startup: float, *, largest: bool) -> Row:
    """The start of the interpreter is not part of the time per event."""
    events, seconds = done.cost.answer["events"], done.cost.seconds
    return {
        "row": "size", "events": events, "wallets": done.work.wallets, "seconds": seconds,
        "rate": events / seconds, "perEvent": (seconds - startup) / events * 1e6,
        "rss": _megabytes(done.cost.rss), "largest": largest,
    }  # fmt: skip


def rebuild(done: Synced, folder: Path) -> Row:
    """`ngu rebuild --dry-run`: the state folded from the archive and compared, nothing kept."""
    cost = measure.run((*NGU, "rebuild", *done.words, "--dry-run", "--json"), folder)
    if not cost.answer["same"]:
        raise NguError("bench: the fold from the archive ends in another fingerprint")
    events = len(done.work)
    return {"row": "rebuild", "events": events, "seconds": cost.seconds,
            "rate": events / cost.seconds, "rss": _megabytes(cost.rss)}  # fmt: skip


def drop(mints: int, folder: Path) -> list[Row]:
    """Tokens minted in ranges of 10,000: what a vast collection costs."""
    with synced("drop", mints, folder) as done:
        _verify_drop(done, folder)
        return [{
            "row": "drop", "events": mints, "tokens": int(done.work.quantity.sum()),
            "seconds": done.cost.seconds, "rss": _megabytes(done.cost.rss),
        }]  # fmt: skip


def sparse(events: int, folder: Path) -> list[Row]:
    """Catching up where few blocks have events: what is asked of the node, method by method."""
    with synced("sparse", events, folder) as done:
        calls = measure.node_cost(done.url)
        verify(done, folder)
    blocks = done.work.last_block - FIRST_BLOCK + 1
    return [{"row": "sparse", "events": events, "blocks": blocks, "seconds": done.cost.seconds,
             "requests": int(calls["requests"]), "logs": int(calls["eth_getLogs"]),
             "headers": int(calls["eth_getBlockByNumber"])}]  # fmt: skip


def _verify_drop(done: Synced, folder: Path) -> None:
    """Owners range by range and seconds wallet by wallet, from the columns of the workload."""
    work = done.work
    tokens, points = exported(work, done.db, folder)
    names = ["0x" + row.tobytes().hex() for row in addresses(work.wallets)]
    with tokens.open(newline="") as file:
        for row in csv.DictReader(file):
            # Neighbours of one owner and one block are one range.
            mints = slice((int(row["start"]) - 1) // int(work.quantity[0]),
                          int(row["end"]) // int(work.quantity[0]))  # fmt: skip
            if {names[wallet] for wallet in work.recipient[mints].tolist()} != {row["owner"]}:
                raise NguError(f"bench: tokens from {row['start']} have another owner")
    held = np.zeros(work.wallets, np.int64)
    np.add.at(held, work.recipient, work.quantity * (work.last_timestamp - work.timestamp))
    with points.open(newline="") as file:
        found = {r["wallet"]: int(r["held_token_seconds"]) for r in csv.DictReader(file)}
    if [found.get(name, 0) for name in names] != held.tolist():
        raise NguError("bench: held token-seconds differ from the columns'")


def _megabytes(size: int | None) -> float | None:
    return None if size is None else size / 1e6
