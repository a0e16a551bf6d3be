"""The DynamoDB store is stopped, slowed, shown old indexes and overtaken: the state stays right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from aws.dynamo.faults import Dead
from chains import Chain
from conformance.kept import NOW, InCloud, dynamo_for, kept
from conformance.test_stores import ALICE, BOB, CAROL, START, deliveries_of, event, finish
from embedded.test_store import expected
from ngu_points.aws import changes, dynamo, items, lease
from ngu_points.aws.dynamo import key_of
from ngu_points.aws.lease import SECONDS
from ngu_points.aws.store import UNDO_KEPT, Store
from ngu_points.aws.strays import UNANNOUNCED, WAIT
from ngu_points.aws.tables import (
    BATCH_EVENTS,
    CHANGES,
    DEAD_LETTERS,
    POINTS,
    STAKING_EVENTS,
    TOKENS,
)
from ngu_points.engine.coverage import announce
from ngu_points.engine.events import Events
from ngu_points.engine.rules import DAY, Rules
from ngu_points.errors import StoreError, TransientError
from ngu_points.pipeline.persist import persist
from ngu_points.pipeline.process import process

RULES = Rules(feast_emission=1_000_003)
EVENTS = [
    event("BatchMint", 1, 0, "", ALICE, 1, 9),
    event("Stake", 2, 0, ALICE, "", 2),
    event("BatchTransfer", 26, 0, ALICE, BOB, 4, 3),
    event("BatchTransfer", 27, 0, CAROL, BOB, 9, 1),
    event("Unstake", 28, 0, ALICE, "", 2),
    event("BatchBurn", 29, 0, BOB, "", 5, 1),
]
UNTIL = START + 30 * 3600
CHAIN = Chain(EVENTS, 30, UNTIL)
MARK = expected(RULES, EVENTS, UNTIL, 30)
TWO_STEPS = deliveries_of(CHAIN, [0, 26])


@pytest.fixture
def place(emulator: Any) -> Iterator[InCloud]:
    """Empty tables on the emulator."""
    with kept("dynamodb", emulator, RULES) as made:
        yield made


def crashing(place: InCloud, after: int, work: Any) -> bool:
    """Do some work with a process that ends after so many calls; whether it ended early."""
    place.client.dies_at = place.client.calls + after
    try:
        with suppress(Dead):
            work()
            return False
        return True
    finally:
        place.client.dies_at = None


def deliver(place: InCloud, deliveries: Any = TWO_STEPS) -> None:
    for delivery in deliveries:
        persist(place.store, [delivery], NOW)


def everything(place: InCloud) -> None:
    deliver(place)
    finish(place.store, RULES, limit=1)


@pytest.mark.parametrize("start", range(5))
def test_a_process_that_ends_at_any_call_is_followed_by_one_that_goes_on(place, start) -> None:
    """Whichever call is the last one, the next process ends in the same fingerprint."""
    after, crashes = 3 + start, 0
    while crashing(place, after, lambda: (place.again(), everything(place))):
        crashes += 1
        after += 5
    assert crashes > 10
    assert place.store.fingerprint() == MARK
    assert place.backlog() == 0


@pytest.mark.parametrize("marked", range(4))
def test_events_whose_marking_was_cut_short_are_marked_by_the_next_process(place, marked) -> None:
    """The position has moved and no delivery comes again: still each event gets its seven days."""
    deliver(place)
    marks = 0

    def ends(name: str, request: dict[str, Any]) -> None:
        nonlocal marks
        marks += name == "update_item" and ":processed" in request["ExpressionAttributeValues"]
        if marks > marked:
            raise Dead

    place.client.before = ends
    with suppress(Dead):
        process(place.store, RULES, NOW)
    place.client.before = None
    assert place.backlog() == len(EVENTS) - marked
    place.again()
    assert (place.backlog(), place.store.fingerprint()) == (0, MARK)


def test_an_undo_that_ends_at_any_call_is_finished(emulator) -> None:
    """A step is taken back whole by whoever comes next, and folded again to the same mark."""
    with kept("dynamodb", emulator, RULES) as place:
        everything(place)
        after, crashes = 1, 0
        while crashing(place, after, lambda: place.store.undo(10, NOW)):
            crashes += 1
            after += 3
            place.again()
            assert place.store.position().block in (-1, 25, 30)
            finish(place.store, RULES, limit=1)
            assert place.store.fingerprint() == MARK
        assert crashes > 5


def test_throttling_conflicts_and_half_answers_change_nothing(place) -> None:
    """Every refused call is tried again until it is done, and nothing is done twice."""
    place.client.throttles = place.client.conflicts = 0.3
    place.client.leaves = 1.0
    everything(place)
    place.client.throttles = place.client.conflicts = place.client.leaves = 0.0
    assert place.store.fingerprint() == MARK


def test_keys_that_a_batch_did_not_get_to_are_asked_for_again(place) -> None:
    """All rows that exist come back, each once, however little a call returns."""
    everything(place)
    wanted = [{"wallet": row["wallet"]} for row in rows(place, POINTS)]
    place.client.leaves = 1.0
    found = [row["wallet"] for row in place.dynamo.get_many(POINTS, wanted)]
    assert sorted(found) == sorted([ALICE, BOB, CAROL])


def test_a_table_that_is_throttled_for_good_says_so_in_one_line(place) -> None:
    """Retries end; the error names the table and what to do."""
    place.client.throttles = 1.0
    with pytest.raises(TransientError, match=r"DynamoDB throttles .*meta.* try again later"):
        place.store.position()


def test_an_index_that_lags_holds_processing_up_and_nothing_more(place) -> None:
    """Not all announced events are seen yet: no step; later all of them are."""
    place.client.behind = 2
    deliver(place)
    for _ in range(40):
        process(place.store, RULES, NOW, limit=1)
    assert place.store.fingerprint() == MARK


def test_a_writer_whose_lease_another_took_changes_nothing(place) -> None:
    """It stops at its first write of state, whatever it was about to write."""
    deliver(place)
    old = place.store
    assert process(old, RULES, NOW, limit=1) is not None
    place.again()
    mark = place.store.fingerprint()
    with pytest.raises(StoreError, match="lost the right to write"):
        process(old, RULES, NOW, limit=1)
    assert place.store.fingerprint() == mark
    finish(place.store, RULES)
    with pytest.raises(StoreError, match="lost the right to write"):
        old.undo(-1, NOW)
    assert place.store.fingerprint() == MARK


@pytest.mark.parametrize("call", range(2, 30, 3))
def test_a_writer_that_wakes_in_the_middle_of_its_step_finds_the_door_shut(place, call) -> None:
    """While it slept another one finished the step and went further: its rows stay theirs."""
    deliver(place)
    old = Store(place.dynamo, RULES)
    old.lead("first", NOW)
    writes = 0

    def overtaken(name: str, request: dict[str, Any]) -> None:
        nonlocal writes
        writes += name in ("put_item", "update_item", "transact_write_items")
        if writes == call:
            place.client.before = None
            place.again()
            everything(place)
            place.store.undo(10, NOW)
            finish(place.store, RULES)

    place.client.before = overtaken
    with suppress(StoreError):
        finish(old, RULES, limit=1)
    place.client.before = None
    place.again()
    assert place.store.fingerprint() == MARK
    assert place.backlog() == 0


def overtake(place: InCloud, when: Any, work: Any) -> None:
    """Before the first call that fits, another process takes over and does its work."""

    def hook(name: str, request: dict[str, Any]) -> None:
        if when(name, request):
            place.client.before = None
            place.again()
            work()

    place.client.before = hook


def test_a_row_that_is_no_more_is_not_brought_back_by_a_writer_who_slept(place) -> None:
    """What a newer writer removed stays removed, although there is no row left to compare with."""
    events = [event("BatchMint", 1, 0, "", ALICE, 50), event("BatchBurn", 6, 0, ALICE, "", 50)]
    until = START + 9 * 3600
    deliver(place, deliveries_of(Chain(events, 9, until), [0, 5]))
    old = place.store
    tokens = place.dynamo.names[TOKENS]
    overtake(
        place,
        lambda name, request: name == "put_item" and request["TableName"] == tokens,
        lambda: finish(place.store, RULES),
    )
    with pytest.raises(StoreError, match="lost the right to write"):
        process(old, RULES, NOW, limit=1)
    assert place.store.fingerprint() == expected(RULES, events, until, 9)
    assert len(place.store.state().runs) == 0


def test_a_step_that_was_cut_otherwise_meanwhile_is_never_written_down(place) -> None:
    """The writer who slept just before its change record leaves nothing behind."""
    deliver(place)
    old = place.store
    overtake(
        place,
        lambda name, request: name == "transact_write_items",
        lambda: finish(place.store, RULES),
    )
    with pytest.raises(StoreError, match="lost the right to write"):
        process(old, RULES, NOW, limit=1)
    assert [h.to_block for h in changes.heads(place.dynamo, -1)] == [30]
    place.again()
    assert place.store.fingerprint() == MARK


def test_a_long_step_keeps_its_lease(place, monkeypatch) -> None:
    """While it is written row by row the lease is renewed: nobody takes it for dead."""
    deliver(place)
    monkeypatch.setattr(dynamo, "AT_ONCE", 2)
    clock = [0.0]
    monkeypatch.setattr(lease.time, "monotonic", lambda: clock[0])
    place.again()
    others: list[str] = []

    def slowly(name: str, request: dict[str, Any]) -> None:
        clock[0] += 20 if name in ("put_item", "update_item") else 0
        if clock[0] > 2 * SECONDS and not others:
            others.append(name)
            other = Store(dynamo_for(place.client.real, place.service), RULES)
            with pytest.raises(TransientError, match="written by first"):
                other.lead("second", NOW + int(clock[0]))

    place.client.before = slowly
    assert process(place.store, RULES, NOW) is not None
    place.client.before = None
    assert others
    assert place.store.fingerprint() == MARK


def test_the_lease_is_one_processs_at_a_time(place) -> None:
    """Another gets it when it is given up or has run out, not before."""
    other = Store(place.dynamo, RULES)
    with pytest.raises(TransientError, match="written by first"):
        other.lead("second", NOW + SECONDS - 1)
    other.lead("second", NOW + SECONDS)
    other.release()
    Store(place.dynamo, RULES).lead("third", NOW + SECONDS)
    with pytest.raises(StoreError, match="only their writer"):
        other.settle(NOW)


def rows(place: InCloud, table: str) -> list[dict[str, Any]]:
    return list(place.dynamo.scan(table))


def test_a_redelivery_resets_nothing(place) -> None:
    """Rows of processed events stay as they are, with their seven days."""
    everything(place)
    before = rows(place, BATCH_EVENTS), rows(place, STAKING_EVENTS)
    assert all(row["processed"] and row["ttl"] == NOW + 7 * DAY for t in before for row in t)
    deliver(place)
    assert place.backlog() == 0
    finish(place.store, RULES)
    assert (rows(place, BATCH_EVENTS), rows(place, STAKING_EVENTS)) == before
    assert place.store.fingerprint() == MARK


class Holds:
    """An archive that has everything."""

    def holds(self, found: Events) -> Any:
        return np.ones(len(found), np.bool_)


@pytest.mark.parametrize("archive", [None, Holds()])
def test_what_comes_too_late_to_go_back_is_put_aside_unless_the_archive_has_it(
    place, archive
) -> None:
    """Weeks later: known events are marked; others, after a while, are dead letters and a gap."""
    everything(place)
    later = NOW + UNDO_KEPT + 1
    place.store = Store(place.dynamo, RULES, archive)
    place.store.lead("first", later)
    stray = Chain([event("BatchTransfer", 3, 0, ALICE, BOB, 8)], 30, UNTIL)
    batch, _ = announce(stray.covered(3, 3), 9)
    persist(place.store, [replace(batch, coverage=())], later)
    assert process(place.store, RULES, later) is None
    assert place.backlog() == (0 if archive else 1)
    assert process(place.store, RULES, later + WAIT + 1) is None
    assert (place.store.fingerprint(), place.backlog()) == (MARK, 0)
    letters = [row["reason"] for row in rows(place, DEAD_LETTERS)]
    gaps = place.store.gaps()
    if archive:
        assert (letters, gaps) == ([], [])
    else:
        assert "`ngu replay 3 3` asks the chain" in letters[0]
        assert gaps[0].place == ("batch", 3, 3, UNANNOUNCED)
    assert place.store.prune(later) == 1


@pytest.mark.parametrize("crash", [False, True])
def test_an_event_that_came_while_its_blocks_were_folded_is_seen_afterwards(place, crash) -> None:
    """Put before the position moved and after the index was read: it is found, by whoever is next.

    Nothing announces it, so that it holds nothing up and is put aside in the end.
    """
    deliver(place)
    stray = Chain([event("BatchTransfer", 3, 0, ALICE, BOB, 8)], 30, UNTIL)
    batch, _ = announce(stray.covered(3, 3), 9)
    apply = place.store.apply

    def late(change: Any, now: int) -> None:
        persist(Store(place.dynamo, RULES), [replace(batch, coverage=())], NOW)
        apply(change, now)

    place.store.apply = late
    assert process(place.store, RULES, NOW, limit=1) is not None
    place.store.apply = apply
    if crash:
        place.again()
    finish(place.store, RULES)
    assert (place.store.fingerprint(), place.backlog()) == (MARK, 1)
    process(place.store, RULES, NOW + WAIT + 1)
    assert (place.store.fingerprint(), place.backlog(), place.dead_letters()) == (MARK, 0, 1)
    assert [gap.place[:3] for gap in place.store.gaps()] == [("batch", 3, 3)]


def test_a_late_event_that_a_record_announces_takes_the_state_back(place) -> None:
    """The event first, its record later: only then the state goes back, and right to its place."""
    late = event("BatchTransfer", 3, 0, ALICE, BOB, 8)
    events = sorted([*EVENTS, late], key=lambda e: (e.block, e.log_index))
    chain = Chain(events, 30, UNTIL)
    everything(place)
    batch, staking = announce(chain.covered(0, 25), 9)
    only = replace(batch, events=batch.events.take(batch.events.block == 3), coverage=())
    persist(place.store, [only], NOW)
    assert process(place.store, RULES, NOW) is None
    assert place.store.fingerprint() == MARK
    persist(place.store, [replace(batch, events=batch.events.take([])), staking], NOW)
    finish(place.store, RULES)
    assert place.store.fingerprint() == expected(RULES, events, UNTIL, 30)
    assert (place.backlog(), place.store.gaps()) == (0, [])


def test_a_replacement_that_came_while_its_blocks_were_folded_is_late(place) -> None:
    """Marking sees that another event has taken the place, also where the process then ends."""
    deliver(place)
    batch, _ = announce(Chain(EVENTS, 30, UNTIL).covered(1, 1), 9)
    other = replace(batch.events, block_hash=np.full((1, 32), 7, np.uint8))
    apply = place.store.apply

    def replaced(change: Any, now: int) -> None:
        persist(Store(place.dynamo, RULES), [replace(batch, events=other, coverage=())], NOW)
        apply(change, now)

    place.store.apply = replaced
    assert process(place.store, RULES, NOW, limit=1) is not None
    place.again()
    assert process(place.store, RULES, NOW) is None
    assert place.store.position().block == -1


def test_what_has_been_seen_to_arrive_is_folded_whatever_the_index_shows_next(place) -> None:
    """An index may go back in time between two reads: the second one is not needed."""
    deliver(place)
    pending = place.store.pending

    def later(through: int) -> Any:
        place.client.behind = 99
        return pending(through)

    place.store.pending = later
    step = process(place.store, RULES, NOW)
    assert step is not None
    assert len(step.events) == len(EVENTS)
    assert place.store.fingerprint() == MARK


def test_after_a_long_rest_it_goes_on(place) -> None:
    """Nothing came for months and what the last step has written down has expired: it was done
    with then, so the next process leads, and folds what comes."""
    deliver(place, TWO_STEPS[:2])
    finish(place.store, RULES)
    for row in list(place.dynamo.scan(CHANGES)):
        if "ttl" in row:
            place.dynamo.delete(CHANGES, key_of(CHANGES, row))
    place.again(NOW + changes.IMAGE_KEPT + 1)
    deliver(place, TWO_STEPS[2:])
    finish(place.store, RULES)
    assert place.store.fingerprint() == MARK


def test_who_wakes_late_forgets_no_step_of_another(place) -> None:
    """A record that a later writer put in the place of the one that was to go stays."""
    everything(place)
    head = changes.heads(place.dynamo, -1)[-1]
    place.again(NOW + 2 * SECONDS)
    step = changes.step_at(place.dynamo, head)
    newer = changes.record(place.dynamo, place.store.lease, step)
    changes.drop(place.dynamo, head)
    assert changes.heads(place.dynamo, -1)[-1] == newer
    assert changes.step_at(place.dynamo, newer) == step


def test_a_large_step_is_written_down_in_pieces(place, monkeypatch) -> None:
    """Redo and undo put the pieces together; a missing one is named."""
    monkeypatch.setattr(changes, "CHUNK", 300)
    everything(place)
    place.store.undo(10, NOW)
    finish(place.store, RULES)
    assert place.store.fingerprint() == MARK
    head = changes.heads(place.dynamo, 10)[0]
    assert head.pieces > 2
    place.dynamo.delete(changes.CHANGES, {"kind": "image", "at": changes._piece(head, 1)})
    with pytest.raises(StoreError, match="change record of block 30 is damaged or gone"):
        place.store.undo(10, NOW)


def test_a_reader_gets_no_state_from_the_middle_of_a_step(place) -> None:
    """It starts over until nothing is under way, then says what to do."""
    deliver(place)
    reader = Store(dynamo_for(place.client, place.service), RULES)
    assert crashing(place, 35, lambda: process(place.store, RULES, NOW))
    with pytest.raises(TransientError, match="change faster than they can be read"):
        reader.fingerprint()
    place.again()
    finish(place.store, RULES)
    assert reader.fingerprint() == MARK


# What it costs ----------------------------------------------------------------------------


def units(place: InCloud, table: str) -> tuple[float, float]:
    """Write units so far of a table itself and of its indexes."""
    name = place.dynamo.names[table]
    used = {index: n for (t, index), n in place.client.units.items() if t == name}
    return used.pop("", 0), sum(used.values())


def test_events_cost_three_and_four_write_units_over_their_lives(place) -> None:
    """Put, its indexes and the mark: no index entry is written twice."""
    events = [event("BatchMint", 1, 0, "", ALICE, 10**30, 400)]
    events += [event("Stake", 2, n, ALICE, "", 10**30 + n) for n in range(20)]
    events += [event("BatchTransfer", 3, n, ALICE, BOB, 10**30 + 100 + n) for n in range(20)]
    deliver(place, deliveries_of(Chain(events, 9, START + 9 * 3600), [0]))
    finish(place.store, RULES)
    assert place.backlog() == 0
    assert sum(units(place, BATCH_EVENTS)) == 3 * 21
    assert sum(units(place, STAKING_EVENTS)) == 4 * 20


def test_a_row_of_state_costs_one_write_unit_a_step(place) -> None:
    """However many events of a step touch a run or a wallet, it is written once."""
    deliver(place)
    finish(place.store, RULES)
    assert process(place.store, RULES, NOW) is None
    table, index = units(place, TOKENS)
    living = [row for row in rows(place, TOKENS) if "gone" not in row]
    assert table == len(living)
    assert index == len(living)
    assert units(place, POINTS)[0] == len(rows(place, POINTS))


def test_a_mint_of_ten_thousand_costs_what_a_mint_of_one_costs(emulator) -> None:
    """In every table, to the unit."""
    costs = []
    for quantity in (1, 10_000):
        chain = Chain([event("BatchMint", 1, 0, "", ALICE, 5, quantity)], 9, START + 9 * 3600)
        with kept("dynamodb", emulator, RULES) as place:
            place.client.units.clear()
            deliver(place, deliveries_of(chain, [0]))
            finish(place.store, RULES)
            short = {full: name for name, full in place.dynamo.names.items()}
            costs.append({(short[t], i): n for (t, i), n in place.client.units.items()})
    assert costs[0] == costs[1]
    assert costs[0][TOKENS, ""] == 1


def test_a_wallets_tokens_are_found_by_their_owner(place) -> None:
    """Ranges in id order; what it gave away or burned is not among them."""
    everything(place)
    assert place.store.holdings(bytes.fromhex(ALICE[2:])) == [(1, 2), (2, 3), (3, 4), (7, 9)]
    assert place.store.holdings(bytes.fromhex(BOB[2:])) == [(4, 5), (6, 7), (9, 10)]


def test_a_transfer_reads_the_runs_around_it_and_not_the_collection(place) -> None:
    """No scan; a page or two of runs, however many there are."""
    events = [event("BatchMint", 1, n, "", (ALICE, BOB)[n % 2], n * 3, 2) for n in range(150)]
    until = START + 9 * 3600
    deliver(place, deliveries_of(Chain(events, 3, until), [0]))
    finish(place.store, RULES)
    asked: list[str] = []
    place.client.before = lambda name, request: asked.append(
        name if request.get("TableName") == place.dynamo.names[TOKENS] else ""
    )
    origin = np.array([90]), np.array([91])
    part = place.store.load(*origin, np.zeros((0, 20), np.uint8), START + 3 * 3600)
    assert [name for name in asked if name] == ["query", "query"]
    assert part.state.runs.first.tolist() == [90]


def test_shares_that_fill_more_than_a_row_lie_in_pieces(place, monkeypatch) -> None:
    """They are put together again in order, and go with their day."""
    monkeypatch.setattr(items, "_PIECE", 64)
    stakes = [event("BatchMint", 1, n, "", w, n, 1) for n, w in enumerate((ALICE, BOB, CAROL))]
    stakes += [event("Stake", 2, n, w, "", n) for n, w in enumerate((ALICE, BOB, CAROL))]
    deliver(place, deliveries_of(Chain(stakes, 30, UNTIL), [0]))
    finish(place.store, RULES)
    shares = place.store.feast_shares(20_000)
    assert [a for a, _ in shares] == [bytes.fromhex(w[2:]) for w in (ALICE, BOB, CAROL)]
    assert sum(s for _, s in shares) == 1_000_003
    place.undo(0)
    assert place.store.feast_shares(20_000) == []
