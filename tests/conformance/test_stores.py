"""What holds for every store: it keeps exactly what the engine computed, however things arrive."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import oracle
from chains import Chain, block_hash
from conformance.kept import NOW, kept
from embedded.test_store import chain_of, expected, ranges
from engine.test_against_oracle import engine_rules
from histories import histories
from ngu_points.aws.strays import UNANNOUNCED, WAIT
from ngu_points.engine import invariants
from ngu_points.engine.coverage import Delivery, announce
from ngu_points.engine.events import Rejected, ids
from ngu_points.engine.rules import DAY, Rules
from ngu_points.pipeline.persist import persist
from ngu_points.pipeline.process import ingest, process

FEW = 6  # examples: the emulator writes some 500 rows a second
ALICE, BOB, CAROL = ("0x" + two * 20 for two in ("a1", "b2", "c3"))
START = 20_000 * DAY


def event(kind: str, block: int, log: int, sender: str, to: str, first: int, n: int = 1) -> Any:
    return oracle.Event(kind, block, log, START + block * 3600, sender, to, first, n)


def deliveries_of(chain: Chain, cuts: list[int]) -> list[Delivery]:
    """The chain announced in the ranges that begin at `cuts`."""
    edges = [*cuts, chain.last_block + 1]
    found = enumerate(pairwise(edges), 1)
    return [d for n, (a, b) in found for d in announce(chain.covered(a, b - 1), n)]


def finish(store: Any, rules: Rules, limit: int = 50_000) -> None:
    while process(store, rules, NOW, limit=limit):
        pass


@settings(max_examples=FEW)
@given(history=histories(max_events=20), data=st.data())
def test_any_order_twice_and_restarts_leave_the_state_of_one_clean_pass(
    where, client, history, data
) -> None:
    """Late, doubled, shuffled, with another process in between: the engine's own fingerprint."""
    oracle_rules, events, until = history
    rules, chain = engine_rules(oracle_rules), chain_of(events, until)
    deliveries = []
    for sequence, (first, last) in enumerate(ranges(chain, data), 1):
        deliveries += announce(chain.covered(first, last), sequence)
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    shuffled = deliveries + rng.choices(deliveries, k=2)
    rng.shuffle(shuffled)
    with kept(where, client, rules) as place:
        for delivery in shuffled:
            if rng.random() < 0.5:
                persist(place.store, [delivery], NOW)
            else:
                list(ingest(place.store, [delivery], rules, NOW))
            if rng.random() < 0.3:
                place.again()
        finish(place.store, rules, limit=3)
        invariants.check(place.store.state(), rules)
        assert place.store.position().block == chain.last_block
        assert place.store.fingerprint() == expected(rules, events, until, chain.last_block)
        assert place.backlog() == 0
        place.again()
        assert place.store.fingerprint() == expected(rules, events, until, chain.last_block)


@settings(max_examples=FEW)
@given(history=histories(max_events=16), data=st.data())
def test_undo_takes_back_exactly_what_was_done(where, client, history, data) -> None:
    """Back to any block and folded on again: every fingerprint is the one it was before."""
    oracle_rules, events, until = history
    rules, chain = engine_rules(oracle_rules), chain_of(events, until)
    with kept(where, client, rules) as place:
        marks, empty = {}, place.store.fingerprint()
        for sequence, (first, last) in enumerate(ranges(chain, data), 1):
            list(ingest(place.store, announce(chain.covered(first, last), sequence), rules, NOW))
            marks[last] = place.store.fingerprint()
        left = place.undo(data.draw(st.integers(-1, chain.last_block)))
        assert place.store.fingerprint() == marks.get(left, empty)
        place.again()
        finish(place.store, rules)
        assert place.store.fingerprint() == marks[chain.last_block]


def test_a_dead_letter_counts_as_arrived(where, client) -> None:
    """A log that cannot be an event does not hold up the blocks behind it."""
    bad = Rejected(5, 0, 0, 100, b"t" * 32, block_hash(5), b"c" * 20, "batch", "quantity 0", b"{}")
    rules, chain = Rules(), Chain([], 9, 200, [bad])
    batch, staking = announce(chain.covered(0, 9), 1)
    with kept(where, client, rules) as place:
        persist(place.store, [staking], NOW)
        assert process(place.store, rules, NOW) is None
        persist(place.store, [batch], NOW)
        assert process(place.store, rules, NOW) is not None
        assert (place.store.position().block, place.dead_letters()) == (9, 1)


def test_what_contradicts_the_record_is_noted_and_names_the_wallets(where, client) -> None:
    """The chain is right: the event has its effect, a note, and uncertain wallets."""
    events = [event("BatchMint", 1, 0, "", ALICE, 5, 3),
              event("BatchTransfer", 2, 0, BOB, CAROL, 6)]  # fmt: skip
    rules, chain = Rules(), Chain(events, 9, START + 9 * 3600)
    with kept(where, client, rules) as place:
        list(ingest(place.store, announce(chain.covered(0, 9), 1), rules, NOW))
        ((name, block, note),) = place.anomalies()
        assert name.startswith("2-0x")
        assert (block, note) == (2, f"NOT_OWNER token 6 (recorded: owner {ALICE})")
        assert place.uncertain() == {bytes.fromhex(w[2:]) for w in (ALICE, BOB, CAROL)}
        assert place.store.fingerprint() == expected(rules, events, START + 9 * 3600, 9)
        place.undo(-1)
        assert (place.anomalies(), place.uncertain()) == ([], set())


def test_ids_of_any_width_are_found_again(where, client) -> None:
    """Runs across the borders of buckets, over more of them than are looked at, up to 2**256-1."""
    top = 2**256
    events = [
        event("BatchMint", 1, 0, "", ALICE, 0, 3),
        event("BatchMint", 1, 1, "", ALICE, 2**20 - 2, 4),
        event("BatchMint", 1, 2, "", ALICE, 10**38 - 70_000, 140_000),
        event("BatchMint", 1, 3, "", BOB, 10**38 + 70_000, 65_536),
        event("BatchMint", 1, 4, "", BOB, 10**38 + 70_000 + 65_536, 5),
        event("BatchMint", 1, 5, "", CAROL, 2**200, 2**199),
        event("BatchMint", 1, 6, "", CAROL, top - 2, 2),
        event("BatchTransfer", 3, 0, ALICE, BOB, 2**20 - 1, 2),
        event("BatchTransfer", 3, 1, ALICE, CAROL, 10**38, 1),
        event("BatchTransfer", 4, 0, BOB, ALICE, 10**38 + 70_000, 65_540),
        event("BatchTransfer", 5, 0, CAROL, BOB, 2**200 + 2**198, 2**197),
        event("Stake", 6, 0, CAROL, "", top - 1),
        event("BatchBurn", 7, 0, CAROL, "", top - 2, 1),
        event("BatchTransfer", 8, 0, CAROL, CAROL, 2**200 + 5, 1),
    ]
    rules, chain, until = Rules(), Chain(events, 9, START + 9 * 3600), START + 9 * 3600
    with kept(where, client, rules) as place:
        for delivery in deliveries_of(chain, [0, 3, 4, 5, 6, 7, 8]):
            persist(place.store, [delivery], NOW)
        finish(place.store, rules, limit=1)
        assert place.store.fingerprint() == expected(rules, events, until, 9)


def test_neighbours_become_one_run_wherever_they_lie(where, client) -> None:
    """To the left, to the right, across a bucket's border, beside a long run; each in a step."""
    border, far = 2**21, 2**30
    ranges_ = [(13, 3), (10, 3), (16, 3), (border - 3, 3), (border, 3), (far, 70_000),
               (far + 70_000, 2), (far - 2, 2), (2 * border - 2, 4)]  # fmt: skip
    events = [
        oracle.Event("BatchMint", block, 0, START, "", ALICE, first, n)
        for block, (first, n) in enumerate(ranges_, 1)
    ]
    events.append(oracle.Event("BatchTransfer", 20, 0, START, ALICE, BOB, 2 * border - 2, 1))
    rules, chain = Rules(), Chain(events, 21, START)
    with kept(where, client, rules) as place:
        for delivery in deliveries_of(chain, [0, *range(2, 10), 20]):
            persist(place.store, [delivery], NOW)
        finish(place.store, rules, limit=1)
        runs = place.store.state().runs
        assert list(zip(runs.first.tolist(), runs.end.tolist(), strict=True)) == [
            (10, 19),
            (border - 3, border + 3),
            (2 * border - 2, 2 * border - 1),
            (2 * border - 1, 2 * border + 2),
            (far - 2, far + 70_002),
        ]
        assert place.store.fingerprint() == expected(rules, events, START, 21)


def test_feast_days_close_once_and_keep_their_shares(where, client) -> None:
    """Days and shares are those of one pass, also after they were taken back."""
    rules = Rules(feast_emission=1_000_003)
    events = [event("BatchMint", 1, 0, "", ALICE, 1, 9), event("BatchMint", 1, 1, "", BOB, 20, 9)]
    events += [event("Stake", 2, n, ALICE, "", 1 + n) for n in range(2)]
    events += [event("Stake", 3, 0, BOB, "", 21), event("Unstake", 30, 0, BOB, "", 21)]
    until = START + 80 * 3600
    chain = Chain(events, 80, until)
    with kept(where, client, rules) as place:
        for delivery in deliveries_of(chain, [0, 2, 25, 31, 60]):
            persist(place.store, [delivery], NOW)
        finish(place.store, rules, limit=1)
        days, shares = place.days(), place.shares(20_000)
        assert [day.day for day, _ in days] == [20_000, 20_001, 20_002]
        assert [a for a, _ in shares] == [bytes.fromhex(w[2:]) for w in (ALICE, BOB)]
        assert sum(s for _, s in shares) == 1_000_003
        assert place.store.fingerprint() == expected(rules, events, until, 80)
        place.undo(20)
        assert place.days() == []
        finish(place.store, rules)
        assert [d for _, d in place.days()] == [d for _, d in days]
        assert place.store.fingerprint() == expected(rules, events, until, 80)


def test_an_event_that_surfaces_below_the_position_takes_the_state_back(where, client) -> None:
    """Announced by a later record, the late event is folded in its place."""
    early = [event("BatchMint", 1, 0, "", ALICE, 1, 9), event("BatchTransfer", 6, 0, BOB, CAROL, 2)]
    late = event("BatchTransfer", 4, 0, ALICE, BOB, 2)
    rules, until = Rules(), START + 9 * 3600
    whole = Chain([early[0], late, early[1]], 9, until)
    with kept(where, client, rules) as place:
        for delivery in deliveries_of(Chain(early, 9, until), [0, 3, 6]):
            persist(place.store, [delivery], NOW)
        finish(place.store, rules, limit=1)
        assert len(place.anomalies()) == 1
        persist(place.store, announce(whole.covered(3, 5), 7), NOW)
        place.again()
        finish(place.store, rules)
        assert place.store.fingerprint() == expected(rules, whole.events, until, 9)
        assert (place.backlog(), place.anomalies()) == (0, [])


def test_the_same_id_of_another_block_takes_the_events_place(where, client) -> None:
    """A replacement counts once a superseding record announces it; before, it holds blocks up."""
    events = [event("BatchMint", 1, 0, "", ALICE, 1, 9)]
    rules, until = Rules(), START + 9 * 3600
    batch, staking = announce(Chain(events, 9, until).covered(0, 9), 1)
    hashes = batch.events.block_hash.copy()
    hashes[:] = 7
    other = replace(batch.events, block_hash=hashes)
    covered = replace(Chain(events, 9, until).covered(0, 9), events=other)
    again = announce(covered, 2)
    with kept(where, client, rules) as place:
        persist(place.store, [batch, staking], NOW)
        persist(place.store, [replace(again[0], coverage=())], NOW)
        assert process(place.store, rules, NOW) is None
        persist(place.store, again, NOW)
        finish(place.store, rules)
        assert place.store.fingerprint() == expected(rules, events, until, 9)
        assert place.backlog() == 0


def test_an_event_that_nothing_announces_is_put_aside_with_a_gap(where, client) -> None:
    """Below the position it has no effect, becomes a dead letter, and a gap asks the chain."""
    events = [event("BatchMint", 1, 0, "", ALICE, 1, 9)]
    rules, until = Rules(), START + 9 * 3600
    batch, staking = announce(Chain(events, 9, until).covered(0, 9), 1)
    stray = Chain([event("BatchTransfer", 4, 0, ALICE, BOB, 2)], 9, until)
    (late, _) = announce(stray.covered(0, 9), 2)
    with kept(where, client, rules) as place:
        persist(place.store, [batch, staking], NOW)
        finish(place.store, rules)
        persist(place.store, [replace(late, coverage=())], NOW)
        assert process(place.store, rules, NOW + WAIT + 1) is None
        assert place.store.fingerprint() == expected(rules, events, until, 9)
        assert (place.backlog(), place.dead_letters()) == (0, 1)
        ((stream, first, last, why),) = place.gaps()
        assert (stream, first, last) == ("batch", 4, 4)
        assert why == UNANNOUNCED
        assert place.past.letters(0, 9) == ()
        place.undo(-1)
        finish(place.store, rules)
        assert place.store.fingerprint() == expected(rules, events, until, 9)


def test_an_archive_is_made_of_what_was_announced_last(where, client) -> None:
    """Events and dead letters of blocks, ends of ranges that no later range runs over, parents."""
    bad = Rejected(5, 3, 0, START, b"t" * 32, block_hash(5), b"c" * 20, "batch", "no", b"{}")
    events = [event("BatchMint", n, 0, "", ALICE, 10 * n, 2) for n in range(1, 20)]
    events += [event("Stake", 4, 1, ALICE, "", 10)]
    chain = Chain(
        sorted(events, key=lambda e: (e.block, e.log_index)), 19, START + 19 * 3600, [bad]
    )
    rules = Rules()
    with kept(where, client, rules) as place:
        for delivery in deliveries_of(chain, [0, 5, 10]):
            persist(place.store, [delivery], NOW)
        for delivery in announce(chain.covered(3, 12), 9):
            persist(place.store, [delivery], NOW)
        finish(place.store, rules)
        past = place.past
        found, wanted = past.recent(3, 6), chain.covered(3, 6).events
        assert ids(found) == ids(wanted)
        assert found.block_hash.tolist() == wanted.block_hash.tolist()
        assert past.letters(5, 5) == (bad,)
        assert (past.letters(0, 4), past.letters(6, 19)) == ((), ())
        ends = [past.end_at(block) for block in (2, 9, 12, 18, 19)]
        assert [end and end.to_block for end in ends] == [None, None, 12, 12, 19]
        parents = [past.parent_of(block) for block in (0, 3, 4, 10)]
        assert parents == [block_hash(-1), block_hash(2), bytes(32), block_hash(9)]
