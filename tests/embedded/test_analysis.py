"""The copy for analysis answers SQL as the oracle would, whenever and however often it is made."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracle
from chains import Chain
from embedded.test_store import NOW, chain_of, new_store
from engine.test_against_oracle import engine_rules
from histories import histories
from ngu_points.embedded import analysis, datasets
from ngu_points.embedded.analysis import write_analysis
from ngu_points.embedded.history import History
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import Head, announce
from ngu_points.engine.rules import Rules, Weights
from ngu_points.errors import StoreError, UsageError
from ngu_points.pipeline.process import ingest

DAY = oracle.DAY
ALICE, BOB = "0x" + "aa" * 20, "0x" + "bb" * 20


@contextmanager
def stored(rules: Rules) -> Iterator[tuple[Store, History, Path]]:
    """A new store in a folder of its own, and its history."""
    with tempfile.TemporaryDirectory() as name, closing(new_store(Path(name), rules)) as store:
        yield store, History(store), Path(name)


def feed(store: Store, history: History, chain: Chain, first: int, last: int) -> None:
    """Process and archive some blocks, all of them final."""
    if first > last:
        return
    store.note_head(Head(last, last, last))
    for step in ingest(store, announce(chain.covered(first, last), first + 1), store.rules, NOW):
        history.add(step.events)
    history.seal(last, least=4)


def asked(folder: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB with the copy's views."""
    db = duckdb.connect()
    db.execute(f"SET file_search_path = '{folder}'")
    db.execute((folder / "duckdb.sql").read_text())
    return db


def day_files(folder: Path) -> dict[str, str]:
    """Every file of a day with a digest of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*/day=*/*.parquet"))
    }


def at(seconds: int) -> datetime:
    return datetime(1970, 1, 1) + timedelta(seconds=seconds)  # noqa: DTZ001 -- as Parquet has it


def held(db: duckdb.DuckDBPyConnection, moment: int) -> dict[int, tuple]:
    """What the documented WHERE finds, token by token."""
    rows = db.execute(
        "SELECT first_token_id, last_token_id, owner, staker, owned_since, staked_since"
        " FROM holdings WHERE since <= $1 AND (until IS NULL OR until > $1)",
        [at(moment)],
    ).fetchall()
    found: dict[int, tuple] = {}
    for first, last, *rest in rows:
        for token in range(int(first), int(last) + 1):
            assert token not in found
            found[token] = tuple(rest)
    return found


@settings(max_examples=settings().max_examples // 3)
@given(history=histories(), data=st.data())
def test_sql_over_the_copy_says_what_the_oracle_says(history, data) -> None:
    """Holders at any moment, points of every day and feasts are the oracle's, to the last unit."""
    oracle_rules, events, until = history
    chain, half = chain_of(events, until), data.draw(st.integers(-1, 40))
    half = min(half, chain.last_block)
    with patch("os.fsync"), stored(engine_rules(oracle_rules)) as (store, archive, folder):
        feed(store, archive, chain, 0, half)
        if half >= 0:
            write_analysis(archive, folder / "copy")
        feed(store, archive, chain, half + 1, chain.last_block)
        told = write_analysis(archive, folder / "copy")
        whole = write_analysis(archive, folder / "whole")
        assert day_files(folder / "copy") == day_files(folder / "whole")
        assert told["state"] == whole["state"]
        finished = range(events[0].timestamp // DAY if events else 0, until // DAY)
        assert told["days"] == (len(finished) if events else 0)
        if not told["days"]:
            return
        with closing(asked(folder / "copy")) as db:
            inside = [e for e in events if e.timestamp < finished.stop * DAY]
            assert [r[0] for r in db.execute("SELECT count(*) FROM events").fetchall()] == [
                len(inside)
            ]
            compare_holders(db, oracle_rules, inside, finished.stop * DAY - 1)
            some = data.draw(st.lists(st.sampled_from(finished), min_size=1, max_size=5))
            compare_days(db, oracle_rules, inside, {finished[0], finished[-1], *some})


def compare_holders(db, rules: oracle.Rules, events: list[oracle.Event], last: int) -> None:
    """At each event's time, and at the end of the copy, the tokens are the oracle's."""
    truth, left = oracle.Oracle(rules), list(events)
    for moment in sorted({e.timestamp for e in events} | {last}):
        while left and left[0].timestamp <= moment:
            truth.apply(left.pop(0))
        assert held(db, moment) == {
            token: (t.owner, t.staker, _time(t.owned_since), _time(t.staked_since))
            for token, t in truth.tokens.items()
        }


def _time(seconds: int | None) -> datetime | None:
    return None if seconds is None else at(seconds)


def compare_days(db, rules: oracle.Rules, events: list[oracle.Event], days: set[int]) -> None:
    """What each wallet gains on some days, and what their feasts give."""
    for day in days:
        before, _ = totals(rules, events, day * DAY)
        after, view = totals(rules, events, (day + 1) * DAY)
        gained = {w: points - before.get(w, 0) for w, points in after.items()}
        text = at(day * DAY).date().isoformat()
        rows = db.execute("SELECT wallet, micro_points FROM daily_points WHERE day = $1", [text])
        expected = {w: int(p * oracle.MICRO) for w, p in gained.items() if p}
        assert dict(rows.fetchall()) == expected
        rows = db.execute(
            "SELECT wallet, share_micro, pool_micro, carry_out_micro FROM feasts WHERE day = $1",
            [text],
        ).fetchall()
        feast = view.feasts[day]
        assert {w: int(s) for w, s, _, _ in rows if w} == feast.shares
        assert {(int(p), int(c)) for _, _, p, c in rows} == {(feast.pool, feast.carry_out)}


def totals(
    rules: oracle.Rules, events: list[oracle.Event], end: int
) -> tuple[dict[str, Fraction], oracle.View]:
    """Everybody's points of all seasons at a midnight, by the events before it."""
    truth = oracle.Oracle(rules)
    for event in events:
        if event.timestamp < end:
            truth.apply(event)
    view, total = truth.at(end), dict[str, Fraction]()
    for by_wallet in view.points.values():
        for wallet, points in by_wallet.items():
            total[wallet] = total.get(wallet, Fraction(0)) + points
    return total, view


def story(rules: Rules | None = None, days: int = 6) -> tuple[Rules, Chain]:
    """Some days in which Alice has ten tokens, stakes one and gives one to Bob."""
    start, mint = 20_000 * DAY, oracle.Event
    events = [mint("BatchMint", 1, 0, start + 60, "", ALICE, 1, 10)]
    events += [
        oracle.Event("Stake", 5, 0, start + DAY + 60, ALICE, "", 3, 1),
        oracle.Event("BatchTransfer", 6, 0, start + 3 * DAY, ALICE, BOB, 9, 1),
        oracle.Event("BatchTransfer", 7, 0, start + 4 * DAY + 1, ALICE, BOB, 10, 1),
    ]
    return rules or Rules(), Chain(events, 20, start + days * DAY)


def test_only_new_days_are_written(tmp_path: Path) -> None:
    """A finished day's files keep their bytes and their dates; a second run has nothing to do."""
    rules, chain = story()
    with stored(rules) as (store, history, _):
        feed(store, history, chain, 0, 6)
        assert write_analysis(history, tmp_path / "copy")["newDays"] == 3
        before = {p: p.stat().st_mtime_ns for p in (tmp_path / "copy").glob("*/day=*/*")}
        feed(store, history, chain, 7, 20)
        seen: list[str] = []
        told = write_analysis(history, tmp_path / "copy", seen=seen.append)
        assert (told["newDays"], told["days"], told["through"]) == (3, 6, "2024-10-09")
        assert seen == ["2024-10-07", "2024-10-08", "2024-10-09"]
        assert all(path.stat().st_mtime_ns == time for path, time in before.items())
        assert write_analysis(history, tmp_path / "copy")["newDays"] == 0
        assert len(list((tmp_path / "copy/holdings_open").glob("*"))) == 2


def test_counts_are_what_a_day_added(tmp_path: Path) -> None:
    """Each wallet's mints, transfers and stakes stand on the day on which they happened."""
    rules, chain = story()
    with stored(rules) as (store, history, _):
        feed(store, history, chain, 0, 20)
        write_analysis(history, tmp_path)
    with closing(asked(tmp_path)) as db:
        rows = db.execute("SELECT day, wallet, what, amount_n FROM counts ORDER BY ALL").fetchall()
    assert rows == [
        ("2024-10-04", ALICE, "minted", 10),
        ("2024-10-05", ALICE, "staked", 1),
        ("2024-10-07", ALICE, "sent", 1),
        ("2024-10-07", BOB, "received", 1),
        ("2024-10-08", ALICE, "sent", 1),
        ("2024-10-08", BOB, "received", 1),
    ]


def test_a_day_that_is_not_final_is_not_copied(tmp_path: Path) -> None:
    """What a fork may still take back stays out."""
    rules, chain = story()
    with stored(rules) as (store, history, _):
        feed(store, history, chain, 0, 20)
        store.note_head(Head(20, 5, 5))
        assert write_analysis(history, tmp_path / "copy")["through"] == "2024-10-04"


@pytest.mark.parametrize("survives", range(0, 21, 2))
def test_a_crash_at_any_write_leaves_a_copy_that_goes_on(tmp_path: Path, survives: int) -> None:
    """Whichever file was not put, readers see a whole copy, and the next run completes it."""
    rules, chain = story()
    with stored(rules) as (store, history, _):
        feed(store, history, chain, 0, 6)
        write_analysis(history, tmp_path / "copy")
        feed(store, history, chain, 7, 20)
        left = [survives]

        def put(temporary: Path, place: Path) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            moved(temporary, place)

        moved = datasets.put
        with patch.object(datasets, "put", put):
            try:
                write_analysis(history, tmp_path / "copy")
            except KeyboardInterrupt:
                left[0] = -1
        with closing(asked(tmp_path / "copy")) as db:
            through = db.execute("SELECT max(day) FROM days").fetchone()
            assert through in (("2024-10-06",), ("2024-10-09",))
            owned = db.execute(
                "SELECT sum(quantity_n) FROM holdings WHERE since <= TIMESTAMP '2024-10-06 12:00'"
                " AND (until IS NULL OR until > TIMESTAMP '2024-10-06 12:00')"
            ).fetchone()
            assert owned == (10,)
        write_analysis(history, tmp_path / "copy")
        write_analysis(history, tmp_path / "whole")
        assert day_files(tmp_path / "copy") == day_files(tmp_path / "whole")
        assert not list((tmp_path / "copy").glob(".*"))


def test_the_manifest_has_position_fingerprint_and_hashes(tmp_path: Path) -> None:
    """It says what the copy was made of, and the SHA-256 of every file of a day."""
    rules, chain = story()
    with stored(rules) as (store, history, _):
        feed(store, history, chain, 0, 20)
        write_analysis(history, tmp_path)
        manifest = json.loads((tmp_path / "manifest.json").read_text())
        assert manifest["madeOf"]["block"] == 20
        assert manifest["madeOf"]["fingerprint"] == store.fingerprint()
        named = {n: f["sha256"] for d in manifest["days"].values() for n, f in d["files"].items()}
        assert named == day_files(tmp_path)


def test_a_copy_of_something_else_is_refused(tmp_path: Path) -> None:
    """Other rules, a repaired record, a file that is gone: one line, and nothing is written."""
    rules, chain = story()
    with stored(rules) as (store, history, _):
        feed(store, history, chain, 0, 20)
        write_analysis(history, tmp_path)
    with stored(Rules(weights=Weights(default=2))) as (store, history, _):
        feed(store, history, chain, 0, 20)
        with pytest.raises(StoreError, match=r"made by other rules .* write into a new folder"):
            write_analysis(history, tmp_path)
    chain.events[2] = oracle.Event(
        "BatchTransfer", 6, 0, chain.events[2].timestamp, ALICE, BOB, 1, 1
    )
    with stored(rules) as (store, history, _):
        feed(store, history, chain, 0, 20)
        with pytest.raises(StoreError, match=r"up to 2024-10-09 has been repaired"):
            write_analysis(history, tmp_path)
        (tmp_path / "counts/day=2024-10-05/counts.parquet").unlink()
        with pytest.raises(StoreError, match=r"2024-10-05/counts.parquet is missing or cut off"):
            write_analysis(history, tmp_path)
        (tmp_path / "manifest.json").write_text("[]")
        with pytest.raises(StoreError, match=r"is no manifest that was written here"):
            write_analysis(history, tmp_path)


def test_rows_are_streamed_in_groups_of_one_size(tmp_path: Path) -> None:
    """However many rows a day has, no more than a group and a chunk of them wait in memory."""
    pq = datasets.arrow().parquet
    rules, chain = story()
    with (
        patch.object(datasets, "ROW_GROUP", 2),
        patch.object(analysis, "EVENTS_MAX", 3),
        stored(rules) as (store, history, _),
    ):
        chain.events[0:1] = [
            oracle.Event("BatchMint", 1, n, 20_000 * DAY + 60, "", ALICE, 1 + n, 1)
            for n in range(10)
        ]
        feed(store, history, chain, 0, 20)
        write_analysis(history, tmp_path)
    found = pq.ParquetFile(tmp_path / "events/day=2024-10-04/events.parquet")
    sizes = [found.metadata.row_group(n).num_rows for n in range(found.num_row_groups)]
    assert sizes == [2, 2, 2, 2, 2]


@pytest.mark.parametrize("location", ["bucket/x", "s3://", "s3://b/'; DROP", "https://b/x"])
def test_only_a_place_on_s3_is_written_into_statements(tmp_path: Path, location: str) -> None:
    """--location is checked before anything is written."""
    rules, chain = story()
    with stored(rules) as (store, history, _):
        feed(store, history, chain, 0, 20)
        with pytest.raises(UsageError, match=r"give a place on S3"):
            write_analysis(history, tmp_path / "copy", location)
        assert not (tmp_path / "copy").exists()
