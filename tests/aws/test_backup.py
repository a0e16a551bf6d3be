"""A backup in S3 is enough to get back what was lost, and changes nothing where nothing was."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aws.backups import CHAIN_ID, ORIGIN, bucket_of, copied, deliveries, story
from chains import CONTRACT
from embedded.test_store import expected
from ngu_points.aws.backup import Limits, Replayed, Saved, first_block, in_doubt, replay
from ngu_points.aws.records import write
from ngu_points.aws.saved import in_folder
from ngu_points.embedded.history import History
from ngu_points.embedded.refill import Database
from ngu_points.embedded.store import Store
from ngu_points.engine.events import Events
from ngu_points.engine.rules import Rules
from ngu_points.errors import UsageError
from ngu_points.pipeline.segments import Identity

NOW = 1_800_000_000
RULES = Rules()
CHAIN = story()


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A copy of the bucket of a deployment that has sent the whole chain."""
    return copied(bucket_of(deliveries(CHAIN)), tmp_path / "copy")


@contextmanager
def database(path: Path) -> Iterator[Database]:
    """A database that begins at block 1."""
    with closing(Store.open(path, RULES, write=True)) as store:
        place = Database(History(store))
        place.begin(Identity(CHAIN_ID, "0x" + CONTRACT.hex(), "ngu"), "digest", 1)
        yield place


def refilled(place: Database, folder: Path) -> dict[str, Any]:
    done = replay(in_folder(folder), place, ORIGIN, NOW)
    return done.shown(place.store.position())


def clean() -> str:
    return expected(RULES, CHAIN.events, CHAIN.last_timestamp, CHAIN.last_block)


def rows_of(store: Store) -> list[Any]:
    """Everything in the database, stamps and settings apart."""
    tables = ("batch_events", "staking_events", "coverage", "dead_letters", "tokens", "points",
              "feast_pool", "gaps", "segments")  # fmt: skip
    return [store.db.execute(f"SELECT * FROM {t} ORDER BY 1, 2").fetchall() for t in tables]


def test_a_database_is_made_from_the_backup_alone(tmp_path: Path, backup: Path) -> None:
    """Nothing but the objects: the fingerprint is the one of a clean pass over the chain."""
    with database(tmp_path / "ngu.db") as place:
        report = refilled(place, backup)
        assert place.store.fingerprint() == clean()
        assert (report["written"], report["processed"]) == (len(CHAIN.events),) * 2
        assert (report["block"], report["incomplete"]) == (CHAIN.last_block, 0)
        assert not in_doubt(report)
        assert place.store.queue.dead_letters() == 0


def test_everything_twice_changes_nothing(tmp_path: Path, backup: Path) -> None:
    """The second replay writes no event and leaves every row as it was, stamps included."""
    with database(tmp_path / "ngu.db") as place:
        refilled(place, backup)
        before = rows_of(place.store)
        report = refilled(place, backup)
        assert rows_of(place.store) == before
        assert (report["written"], report["known"]) == (0, len(CHAIN.events))
        assert not in_doubt(report)


def test_it_goes_on_from_where_it_was_broken_off(tmp_path: Path, backup: Path) -> None:
    """Half of the objects, then all of them: the same as all at once."""
    halves = list(in_folder(backup))[::2]
    with database(tmp_path / "ngu.db") as place:
        report = replay(halves, place, ORIGIN, NOW).shown(place.store.position())
        assert report["incomplete"] > 0
        assert in_doubt(report)
    with database(tmp_path / "ngu.db") as place:
        assert not in_doubt(refilled(place, backup))
        assert place.store.fingerprint() == clean()


def test_events_lost_from_the_tables_come_back(tmp_path: Path, backup: Path) -> None:
    """What was announced and is gone holds up processing until the backup brings it."""
    with database(tmp_path / "ngu.db") as place:
        store = place.store
        for delivery in deliveries(CHAIN):
            store.put([delivery], NOW, processed=False)
        lost = store.db.execute("DELETE FROM batch_events WHERE blockNumber > 20").rowcount
        assert lost > 20
        place.process()
        assert store.position().block == 20
        report = refilled(place, backup)
        assert report["block"] == CHAIN.last_block
        assert store.fingerprint() == clean()


def test_what_is_archived_is_not_written_again(tmp_path: Path, backup: Path) -> None:
    """Rows that have expired stay away: the archive has them."""
    with database(tmp_path / "ngu.db") as place:
        refilled(place, backup)
        place.history.seal(place.store.final, least=1)
        place.store.prune(place.store.final, place.store.archived(), NOW * 2)
        assert not place.store.db.execute("SELECT * FROM batch_events").fetchall()
        report = refilled(place, backup)
        assert (report["written"], report["known"]) == (0, len(CHAIN.events))
        assert not place.store.db.execute("SELECT * FROM batch_events").fetchall()
        assert place.store.fingerprint() == clean()


def test_what_the_archive_does_not_know_is_named_and_not_written(
    tmp_path: Path, backup: Path
) -> None:
    """An event of an archived block that it does not have is for the chain to decide."""
    other = story()
    other.events = [e for e in other.events if e.block != 11]
    with database(tmp_path / "ngu.db") as place:
        refilled(place, copied(bucket_of(deliveries(other)), tmp_path / "other"))
        place.history.seal(place.store.final, least=1)
        before = place.store.fingerprint()
        report = refilled(place, backup)
        assert report["unknownBlocks"] == [11]
        assert in_doubt(report)
        assert place.store.fingerprint() == before


def test_what_was_taken_out_stays_out(tmp_path: Path, backup: Path) -> None:
    """A block that is complete as it was announced last takes nothing of an earlier sending."""
    other = story()
    other.events = [e for e in other.events if e.block != 11]
    with database(tmp_path / "ngu.db") as place:
        later = deliveries(other, sequence=1_000)
        place.store.put(later, NOW, processed=False)
        place.process()
        before = place.store.fingerprint()
        report = refilled(place, backup)
        assert place.store.fingerprint() == before
        assert (place.store.queue.dead_letters(), place.store.queue.backlog()) == (0, 0)
        assert not in_doubt(report)


def test_what_could_not_be_delivered_comes_back_too(tmp_path: Path) -> None:
    """The error output alone, with Firehose's own lines around the records."""
    bucket = bucket_of(deliveries(CHAIN), fails=True)
    assert {key.partition("/")[0] for key in bucket.objects} == {"failed"}
    with database(tmp_path / "ngu.db") as place:
        report = refilled(place, copied(bucket, tmp_path / "copy"))
        assert place.store.fingerprint() == clean()
        assert not in_doubt(report)


def test_a_backup_that_is_not_compressed_is_read(tmp_path: Path) -> None:
    """Whether an object is gzip is seen from its first bytes."""
    folder = copied(bucket_of(deliveries(CHAIN), gzipped=False), tmp_path / "copy")
    with database(tmp_path / "ngu.db") as place:
        refilled(place, folder)
        assert place.store.fingerprint() == clean()


def flipped(data: bytes) -> bytes:
    return data[:200] + bytes([data[200] ^ 1]) + data[201:]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda data: data[:-5], "end-of-stream"),
        (lambda data: data[: len(data) // 2], "end-of-stream"),
        (flipped, ""),
        (lambda data: data[:1], "cut off"),
        (lambda data: b"", "cut off"),
        (lambda data: gzip.decompress(data)[:-20], "cut off"),
        (lambda data: data + b"more", ""),
    ],
)
def test_a_damaged_object_is_named_and_the_others_go_on(
    tmp_path: Path, backup: Path, spoil: Callable[[bytes], bytes], why: str
) -> None:
    """Nothing of it is used, not even what comes before the damage; whole again, all is well."""
    path = Path(sorted(in_folder(backup), key=lambda s: s.name)[3].name)
    good = path.read_bytes()
    path.write_bytes(spoil(good))
    with database(tmp_path / "ngu.db") as place:
        report = refilled(place, backup)
        (line,) = report["damaged"]
        assert line.startswith(str(path))
        assert why in line
        assert in_doubt(report)
        assert report["written"] < len(CHAIN.events)
        assert report["objects"] == len(list(in_folder(backup)))
        path.write_bytes(good)
        assert not in_doubt(refilled(place, backup))
        assert place.store.fingerprint() == clean()


def test_records_of_another_stage_go_to_the_quarantine(tmp_path: Path, backup: Path) -> None:
    """They are put aside with the reason, once, and the others of the object count."""
    path = Path(next(in_folder(backup)).name)
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    strange = [lines[0].replace(b'"staging"', b'"prod"'), b"nonsense\n", b"{}\n", b"\n"]
    path.write_bytes(gzip.compress(b"".join([*strange, *lines])))
    with database(tmp_path / "ngu.db") as place:
        for _ in range(2):
            report = refilled(place, backup)
            assert report["poison"] == 3
            assert in_doubt(report)
        kept = [json.loads(p.read_text()) for p in (place.history.folder / "quarantine").iterdir()]
        assert sum("it is of stage 'prod'" in one["reason"] for one in kept) == 1
        assert sorted(base64.b64decode(one["raw"]) for one in kept) == sorted(strange[:3])
        assert place.store.fingerprint() == clean()


def saved(name: str, content: bytes | Path, *, failed: bool = False) -> Saved:
    opener = content.open if isinstance(content, Path) else None
    return Saved(name, "batch", failed, lambda: opener("rb") if opener else io.BytesIO(content))


class Nowhere:
    """A place that keeps nothing but what was put aside."""

    def __init__(self) -> None:
        self.aside: list[bytes] = []
        self.most = 0

    def archived(self) -> int:
        return 10**9  # so that nothing is written

    def holds(self, found: Events) -> Any:
        self.most = max(self.most, len(found))
        return np.ones(len(found), np.bool_)

    def quarantine(self, poison: Any, stream: str) -> None:
        self.aside += [one.raw for one in poison]

    def process(self) -> int:
        return 0

    store: Any = None


@pytest.fixture
def nowhere(tmp_path: Path) -> Iterator[Nowhere]:
    with closing(Store.open(tmp_path / "nowhere.db", RULES, write=True)) as store:
        place = Nowhere()
        place.store = store
        yield place


def test_a_large_object_is_never_held_whole(tmp_path: Path, nowhere: Nowhere) -> None:
    """200 MB of records in one object pass through a few MB of memory, in batches."""
    lines = b"".join(
        line for d in deliveries(CHAIN) if d.stream == "batch" for line in write(d, ORIGIN)
    )
    path, times = tmp_path / "large.gz", 200_000_000 // len(lines) + 1
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(times):
            file.write(lines)
    limits = Limits(records=2_000, size=1 << 20)
    one = Limits(records=2_000, size=1 << 20, unpacked=len(lines) * times - 1)
    done = replay([saved("large.gz", path)], nowhere, ORIGIN, NOW, one)
    assert "larger than" in done.damaged[0]
    assert done.records == 0
    tracemalloc.start()
    try:
        done = read_some(path, nowhere, limits)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert done.records == 20_000
    assert nowhere.most <= 2_000
    assert peak < 32 << 20


class Enough(Exception):  # noqa: N818 -- the way out of a replay
    """It has been seen."""


def read_some(path: Path, place: Nowhere, limits: Limits) -> Replayed:
    """The first 20,000 records of an object: reading all of it under tracemalloc takes minutes."""

    done = Replayed()
    original = place.quarantine

    def stopping(poison: Any, stream: str) -> None:
        original(poison, stream)
        done.records += limits.records
        if done.records >= 20_000:
            raise Enough

    place.quarantine = stopping  # type: ignore[method-assign]
    with pytest.raises(Enough):
        replay([saved("large.gz", path)], place, ORIGIN, NOW, limits)
    return done


def test_a_line_without_end_is_no_record_and_costs_no_memory(nowhere: Nowhere) -> None:
    """Its beginning goes to the quarantine, and the line after it is read."""
    good = write(deliveries(CHAIN)[0], ORIGIN)[-1]
    done = replay(
        [saved("x", b"[" + b"1," * 5_000 + b"1]\n" + good)],
        nowhere,
        ORIGIN,
        NOW,
        Limits(line=1_000),
    )
    assert (done.records, done.poison) == (2, 1)
    assert [len(raw) for raw in nowhere.aside] == [1_000]


def test_lines_of_the_error_output_without_a_record_are_put_aside(nowhere: Nowhere) -> None:
    """They are kept as they are."""
    odd = [
        b'{"errorCode":"x"}\n',
        b'{"rawData":"%%"}\n',
        b'{"rawData":""}\n',
        b'{"rawData":"e30="}\n',
    ]
    done = replay([saved("x", b"".join(odd), failed=True)], nowhere, ORIGIN, NOW)
    assert done.poison == 4
    assert nowhere.aside == [*odd[:3], b"{}"]


def test_hours_choose_objects(tmp_path: Path) -> None:
    """Objects of other hours than those asked for are left alone."""
    folder = copied(bucket_of(deliveries(CHAIN), apart=1_800), tmp_path / "copy")
    every = [one.name for one in in_folder(folder)]
    hours = sorted({"/".join(name.split("/")[-5:-1]) for name in every})
    some = [one.name for one in in_folder(folder, hours[1], hours[2])]
    assert some == [name for name in every if hours[1] in name or hours[2] in name]
    assert 0 < len(some) < len(every)


def test_the_streams_are_read_side_by_side(backup: Path) -> None:
    """Objects come in the order of time, so that what is written is soon complete."""
    streams = [one.stream for one in in_folder(backup)]
    changes = sum(a != b for a, b in pairwise(streams))
    assert changes > len(streams) // 2


def test_the_first_block_is_the_one_that_the_backup_begins_with(backup: Path) -> None:
    """So that a database can be made without knowing when the contract was created."""
    assert first_block(in_folder(backup), ORIGIN) == 1
    assert first_block([], ORIGIN) is None


def test_a_folder_that_holds_no_backup_is_named(tmp_path: Path) -> None:
    """One line says what it should be."""
    with pytest.raises(UsageError, match="holds no backup"):
        list(in_folder(tmp_path))
