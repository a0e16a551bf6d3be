"""The archive in S3: sealed once, whole or not at all, joined while small, never written over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from aws.deployed import Deployed, deployed
from chains import Chain, block_hash
from conformance.test_stores import ALICE, BOB, START, deliveries_of, event
from ngu_points.aws import archive as archives
from ngu_points.aws import health, wiring
from ngu_points.aws.archive import ORPHANS_KEPT, Archive
from ngu_points.aws.store import UNDO_KEPT, Store
from ngu_points.aws.tables import BATCH_EVENTS, CHANGES
from ngu_points.engine.events import Rejected, blobs, ids
from ngu_points.errors import NguError, StoreError
from ngu_points.pipeline.persist import persist
from ngu_points.pipeline.process import process
from ngu_points.pipeline.segments import Segment

NOW = 1_800_000_000
LATER = NOW + UNDO_KEPT + 1
UNTIL = START + 40 * 3600
EVENTS = [event("BatchMint", n, 0, "", (ALICE, BOB)[n % 2], 10 * n, 3) for n in range(1, 31)]
LETTER = Rejected(7, 9, 0, START, b"t" * 32, block_hash(7), b"c" * 20, "batch", "no token", b"{}")
CHAIN = Chain(EVENTS, 40, UNTIL, [LETTER])
CUTS = [0, 5, 12, 20, 31]


@pytest.fixture
def stage(emulator_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """A deployed stage."""
    with deployed(emulator_url, monkeypatch) as made:
        yield made


def filled(stage: Deployed, chain: Chain = CHAIN, cuts: list[int] = CUTS) -> tuple[Store, Archive]:
    """A chain processed range by range."""
    store = stage.store()
    store.lead("test", NOW)
    for delivery in deliveries_of(chain, cuts):
        persist(store, [delivery], NOW)
    while process(store, store.rules, NOW, limit=1):
        pass
    return store, wiring.archive(stage.env, store)


def content(archive: Archive) -> list[tuple[str, bytes]]:
    """Ids and block hashes of all that the archive holds, in order."""
    found: list[tuple[str, bytes]] = []
    for segment in archive.store.segments():
        covered = archive.read(segment.name)
        assert (covered.from_block, covered.to_block) == (segment.from_block, segment.to_block)
        assert len(covered.events) == segment.events
        found += zip(ids(covered.events), blobs(covered.events.block_hash), strict=True)
    return found


def all_of(chain: Chain) -> list[tuple[str, bytes]]:
    events = chain.covered(0, chain.last_block).events
    return list(zip(ids(events), blobs(events.block_hash), strict=True))


@pytest.mark.parametrize("size", [1, 7, 10, 1_000])
def test_what_is_final_is_sealed_whole_in_segments_that_follow_on_each_other(
    stage, monkeypatch, size
) -> None:
    """All events once, dead letters too; each segment begins at the last one's hash."""
    monkeypatch.setattr(archives, "SEGMENT", size)
    store, archive = filled(stage)
    assert archive.seal(NOW) == -1
    store.prune(LATER)
    assert archive.seal(LATER) == 30
    assert content(archive) == all_of(Chain(EVENTS, 30, UNTIL))
    covered = [archive.read(segment.name) for segment in store.segments()]
    assert (covered[0].from_block, covered[-1].to_block) == (0, 30)
    for one, two in pairwise(covered):
        assert two.parent_hash == one.last_hash
    assert [r for one in covered for r in one.rejected] == [LETTER]
    assert archive.holes() == []
    assert (archive.start, archive.archived(), archive.identity().chain_id) == (0, 30, 8453)


def test_a_small_last_segment_grows_and_the_old_object_goes_a_day_later(stage) -> None:
    """However often it is sealed the archive stays few objects; readers are not disturbed."""
    store, archive = filled(stage)
    store.prune(LATER)
    archive.seal(LATER)
    (first,) = store.segments()
    for delivery in deliveries_of(Chain(EVENTS, 60, UNTIL), [0, 41]):
        if delivery.coverage[0].from_block == 41:
            again = replace(delivery.coverage[0], sequence=50)
            persist(store, [replace(delivery, coverage=(again,))], LATER)
    while process(store, store.rules, LATER):
        pass
    store.prune(LATER)
    assert archive.seal(LATER) == 40
    (second,) = store.segments()
    assert (second.from_block, second.to_block, second.events) == (0, 40, len(EVENTS))
    assert archive.names().keys() == {first.name, second.name}
    written = archive.names()[first.name]
    assert archive.sweep(written + ORPHANS_KEPT - 1) == 0
    assert archive.sweep(written + ORPHANS_KEPT + 1) == 1
    assert archive.names().keys() == {second.name}


def test_sealing_goes_on_where_the_last_time_ended(stage, monkeypatch) -> None:
    """A run takes some segments; the next ones take the rest."""
    monkeypatch.setattr(archives, "SEGMENT", 1)
    store, archive = filled(stage)
    store.prune(LATER)
    assert archive.seal(LATER, most=1) == 4
    assert archive.seal(LATER, most=2) == 19
    assert archive.seal(LATER) == 30
    assert content(archive) == all_of(Chain(EVENTS, 30, UNTIL))


def test_an_object_without_a_row_changes_nothing(stage, monkeypatch) -> None:
    """The process ended between the two: the next one uses the object that is there."""
    store, archive = filled(stage)
    store.prune(LATER)

    def ends(segment: Segment, now: int) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(store, "sealed", ends)
        with pytest.raises(RuntimeError):
            archive.seal(LATER)
    assert (len(archive.names()), store.segments()) == (1, [])
    assert archive.seal(LATER) == 30
    assert len(archive.names()) == 1
    assert content(archive) == all_of(Chain(EVENTS, 30, UNTIL))


def test_an_object_is_never_written_over(stage) -> None:
    """Other content of the same blocks is the next revision; the same content is the same."""
    _, archive = filled(stage)
    covered = CHAIN.covered(0, 4)
    name = archive.write(covered)
    assert archive.write(covered) == name
    other = replace(covered, events=covered.events.take([0]))
    second = archive.write(other)
    assert second != name
    assert len(archive.read(name).events) == 4
    assert len(archive.read(second).events) == 1


def test_nothing_is_sealed_of_a_range_whose_events_are_gone(stage) -> None:
    """Rows that expired too early are asked of the chain, not left out in silence."""
    store, archive = filled(stage)
    store.prune(LATER)
    gone = ids(CHAIN.covered(12, 12).events)[0]
    store.dynamo.delete(BATCH_EVENTS, {"id": gone})
    with pytest.raises(StoreError, match=r"blocks 12\.\.19 .* `ngu replay 12 19 --store dynamodb`"):
        archive.seal(LATER)
    assert store.segments() == []


def test_a_missing_or_damaged_object_is_named_with_what_to_do(stage) -> None:
    """By its place in the bucket; the hole is in the gap check's list."""
    store, archive = filled(stage)
    store.prune(LATER)
    archive.seal(LATER)
    (segment,) = store.segments()
    s3, key = stage.clients["s3"], f"segments/{segment.name}"
    data = archive.data(segment.name)
    place = {"Bucket": archive.bucket, "Key": key}
    s3.put_object(**place, Body=data[:-40] + bytes(40))
    fresh = wiring.archive(stage.env, store)
    with pytest.raises(NguError, match=f"s3://{archive.bucket}/{key}"):
        fresh.read(segment.name)
    s3.delete_object(**place)
    with pytest.raises(StoreError, match=f"s3://{archive.bucket}/{key} is not there"):
        fresh.data(segment.name)
    assert fresh.holes() == [(0, 30, "no file")]


def test_a_damaged_last_segment_holds_up_nothing(stage) -> None:
    """What comes after it is sealed by itself."""
    store, archive = filled(stage)
    store.dynamo.put(CHANGES, {"kind": "segment", "at": f"{0:020d}", "fromBlock": 0, "toBlock": 4,
                               "events": 4, "name": "000000000000-000000000004.npz"})  # fmt: skip
    store.prune(LATER)
    assert archive.seal(LATER) == 30
    assert [(s.from_block, s.to_block) for s in store.segments()] == [(0, 4), (5, 30)]


def test_known_events_are_known_by_id_and_block(stage) -> None:
    """An event of another branch, or one that was left out, is not known."""
    store, archive = filled(stage)
    store.prune(LATER)
    archive.seal(LATER)
    mine = CHAIN.covered(0, 30).events
    assert archive.holds(mine).all()
    other = replace(mine, block_hash=np.full_like(mine.block_hash, 7))
    assert not archive.holds(other).any()
    beyond = Chain([event("BatchMint", 35, 0, "", ALICE, 900, 1)], 40, UNTIL).covered(31, 40)
    assert not archive.holds(beyond.events).any()


def test_a_redelivery_of_what_expired_is_settled_by_the_archive(stage) -> None:
    """Its rows are gone from the tables: it had its effect, and is only marked."""
    store, archive = filled(stage)
    store.prune(LATER)
    archive.seal(LATER)
    mark = store.fingerprint()
    for row in stage.rows(BATCH_EVENTS):
        store.dynamo.delete(BATCH_EVENTS, {"id": row["id"]})
    later = stage.store()
    later.lead("test", LATER)
    for delivery in deliveries_of(CHAIN, CUTS)[:2]:
        persist(later, [delivery], LATER)
    assert process(later, later.rules, LATER) is None
    assert later.fingerprint() == mark
    assert all(row["processed"] for row in stage.rows(BATCH_EVENTS))
    assert later.gaps() == []


def test_what_has_expired_and_is_still_there_changes_nothing(stage) -> None:
    """No figure, no gap, no state is another, a redelivery has no effect; and where sealing was
    late, the archive takes what is left, whole, instead of giving it up."""
    store, archive = filled(stage)

    def seen() -> tuple[Any, ...]:
        missing = (health.uncovered(store, LATER), health.outstanding(store, LATER))
        return health.look(store, LATER), missing, store.fingerprint()

    before = seen()
    for row in stage.rows(BATCH_EVENTS):
        store.dynamo.put(BATCH_EVENTS, row | {"ttl": NOW - 1})
    assert seen() == before
    for delivery in deliveries_of(CHAIN, CUTS):
        persist(store, [delivery], LATER)
    assert process(store, store.rules, LATER) is None
    assert seen() == before
    store.prune(LATER)
    assert archive.seal(LATER) == 30
    assert content(archive) == all_of(Chain(EVENTS, 30, UNTIL))


def test_segments_that_a_longer_one_replaced_are_not_seen(stage) -> None:
    """A crash may leave the row of a shorter one behind: it lies within and does not count."""
    store, _ = filled(stage)
    for first, last in ((0, 4), (5, 9), (10, 20)):
        store.sealed(Segment(first, last, 1, f"{first}-{last}"), NOW)
    names = [s.name for s in store.segments()]
    assert names == ["0-4", "5-9", "10-20"]
    kept = store.dynamo.get(CHANGES, {"kind": "segment", "at": f"{5:020d}"})
    store.sealed(Segment(0, 9, 2, "0-9"), NOW)
    assert [s.name for s in store.segments()] == ["0-9"]
    assert kept is not None
    store.dynamo.put(CHANGES, kept)
    assert [s.name for s in store.segments()] == ["0-9"]


def test_ranges_that_were_announced_again_are_sealed_as_they_were_last(stage) -> None:
    """An end inside a later range is none; the parent hash is that of the newest record."""
    store = stage.store()
    store.lead("test", NOW)
    chain = Chain(EVENTS, 40, UNTIL)
    first, second = deliveries_of(chain, [0, 10, 20]), deliveries_of(chain, [0, 5, 30])
    for delivery in first:
        persist(store, [delivery], NOW)
    for delivery in second:
        (record,) = delivery.coverage
        persist(store, [replace(delivery, coverage=(replace(record, sequence=9),))], NOW)
    assert [store.end_at(b).to_block for b in (9, 19, 29, 35, 40)] == [4, 4, 29, 29, 40]
    assert store.end_at(3) is None
    assert store.parent_of(5) == block_hash(4)
    assert store.parent_of(6) == bytes(32)


def test_what_is_in_the_tables_can_be_read_by_blocks(stage) -> None:
    """Events in order of both streams, dead letters with their logs."""
    store, _ = filled(stage)
    assert ids(store.recent(3, 12)) == ids(CHAIN.covered(3, 12).events)
    assert store.letters(0, 40) == (LETTER,)
    assert store.letters(8, 40) == ()
