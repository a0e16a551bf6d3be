"""What `ngu verify` asks for and concludes, held against sets of single tokens and the oracle."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import oracle
from chains import columns
from histories import histories
from ngu_points.engine.events import MAX_TOKEN, ids_column
from ngu_points.engine.rules import Rules, Season
from ngu_points.engine.runs import Runs
from ngu_points.engine.state import State, no_wallets
from ngu_points.pipeline import verify
from ngu_points.pipeline.verify import Contradicted, Difference, Holder, Search, Span, Views

ALICE, BOB, CAROL = bytes([0xA1] * 20), bytes([0xB0] * 20), bytes([0xCA] * 20)
NAMES = [ALICE, BOB, CAROL]
RULES = Rules(seasons=(Season("1"),))
BOTH = Views(owners=True, stakers=True)

small_spans = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 8)).map(lambda s: (s[0], s[0] + s[1])), max_size=8
)


def tokens_of(spans: Sequence[Span]) -> list[int]:
    return [token for first, end in spans for token in range(first, end)]


def state_of(*runs: tuple[int, int, int, int]) -> State:
    """A state of runs (first, end, owner, staker); wallets are places in NAMES, -1 for nobody."""
    first, end, owner, staker = zip(*runs, strict=True)
    zero = np.zeros(len(runs), np.int64)
    address = np.frombuffer(b"".join(NAMES), np.uint8).reshape(-1, 20)
    return State(
        Runs(ids_column(first, ends=end), ids_column(end, ends=end), np.array(owner, np.int64),
             np.array(staker, np.int64), zero, zero),
        no_wallets(RULES, address),
    )  # fmt: skip


SOME = state_of((1, 11, 0, -1), (11, 12, 0, 0), (20, 30, 1, -1), (40, 41, 2, 1))
WIDE = state_of((5, 6, 0, -1), (2**255, 2**255 + 10**9, 1, -1), (MAX_TOKEN, 2**256, 2, 2))
EVERY = [*range(1, 12), *range(20, 30), 40]


@given(small_spans, small_spans)
def test_spans_are_sets_of_tokens(one: list[Span], two: list[Span]) -> None:
    """Joining spans and taking some out of others give the tokens that sets would, each once."""
    joined = verify.merged(one)
    assert tokens_of(joined) == sorted(set(tokens_of(one)))
    left = verify.without(joined, verify.merged(two))
    assert tokens_of(left) == sorted(set(tokens_of(one)) - set(tokens_of(two)))
    assert verify.size(joined) == len(set(tokens_of(one)))


@given(st.integers(0, 25), st.integers(0, 2**64))
def test_a_sample_is_of_different_living_tokens(count: int, seed: int) -> None:
    """Exactly as many as asked for, all alive, none twice, the same ones for the same numbers."""

    def drawn() -> list[Span]:
        numbers = (seed * 0x9E3779B97F4A7C15 % (n + 7919) + n for n in itertools.count(1))
        return verify.sampled(SOME.runs, numbers, count)

    found = tokens_of(drawn())
    assert len(set(found)) == len(found) == min(count, len(EVERY))
    assert set(found) <= set(EVERY)
    assert tokens_of(drawn()) == found


def test_every_living_token_can_be_drawn() -> None:
    """Of ids past 64 bits, too, first and last tokens of all runs come up."""
    drawn = {
        tokens_of(verify.sampled(WIDE.runs, iter([number]), 1))[0]
        for number in (0, 1, 10**9, 10**9 + 1)
    }
    assert drawn == {5, 2**255, 2**255 + 10**9 - 1, MAX_TOKEN}


def test_ids_that_should_not_exist_lie_beside_the_living() -> None:
    """Both ends of each hole are asked for, ids below 0 and past 2**256 - 1 never."""
    found = tokens_of(verify.absent(SOME.runs, itertools.count(), 100))
    assert found == [0, 12, 19, 30, 39, 41]
    few = tokens_of(verify.absent(SOME.runs, itertools.count(5), 3))
    assert len(few) == 3
    assert set(few) < set(found)
    wide = tokens_of(verify.absent(WIDE.runs, itertools.count(), 100))
    assert wide == [4, 6, 2**255 - 1, 2**255 + 10**9, MAX_TOKEN - 1]


@pytest.mark.parametrize("state", [SOME, WIDE])
def test_holders_of_single_tokens(state: State) -> None:
    """Each id gets the owner and staker of the run that has it, others nobody."""
    runs = state.runs
    borders = {0, 12, 2**62, 2**64, MAX_TOKEN}
    for first, end in zip(runs.first.tolist(), runs.end.tolist(), strict=True):
        borders |= {max(first - 1, 0), first, end - 1, min(end, MAX_TOKEN)}
    asked = sorted(borders)
    for token, holder in zip(asked, verify.holders(state, asked), strict=True):
        mine = [
            (owner, staker)
            for first, end, owner, staker in zip(
                runs.first.tolist(), runs.end.tolist(), runs.owner, runs.staker, strict=True
            )
            if first <= token < end
        ]
        owner, staker = mine[0] if mine else (-1, -1)
        assert holder == Holder(
            NAMES[owner] if owner >= 0 else None, NAMES[staker] if staker >= 0 else None
        ), token


def test_what_must_agree_before_a_wallet_is_certain() -> None:
    """All that a wallet owns or stakes, and the tokens of contradicted events that concern it."""
    events = [Contradicted((50, 52), frozenset({BOB, CAROL})), Contradicted((60, 61), frozenset())]
    doubts = verify.doubtful(SOME, [ALICE, BOB], events)
    assert doubts == {ALICE: [(1, 12)], BOB: [(20, 30), (40, 41), (50, 52)]}
    assert verify.affordable(doubts.values(), 11) == [(1, 12)]
    assert verify.affordable(doubts.values(), 10) == []
    unknown = bytes(19) + b"\1"
    assert verify.doubtful(SOME, [unknown], []) == {unknown: []}


def test_wallets_are_settled_only_by_answers() -> None:
    """A wallet stays uncertain if a token was not asked for, differs, or is its by the chain."""
    doubts = verify.doubtful(SOME, NAMES, [Contradicted((50, 52), frozenset({BOB}))])
    everything: list[Span] = [(0, 100)]
    assert verify.settled(doubts, everything, []) == NAMES
    assert verify.settled(doubts, [(0, 51)], []) == [ALICE, CAROL]
    other = Difference(51, Holder(), Holder(bytes(20)))
    assert verify.settled(doubts, everything, [other]) == [ALICE, CAROL]
    claims = Difference(70, Holder(), Holder(ALICE))
    assert verify.settled(doubts, everything, [claims]) == [BOB, CAROL]
    loses = Difference(40, Holder(CAROL, BOB), Holder(CAROL))
    assert verify.settled(doubts, everything, [loses]) == [ALICE]


def test_only_what_can_be_asked_is_compared() -> None:
    """Without a view of stakers another staker is no difference; another owner still is."""
    ours, staked = Holder(ALICE), Holder(ALICE, ALICE)
    assert BOTH.differ(ours, staked)
    assert not Views(owners=True, stakers=False).differ(ours, staked)
    assert Views(owners=True, stakers=False).differ(ours, Holder(BOB))
    assert not Views(owners=False, stakers=True).differ(ours, Holder(BOB))


def test_supply_counts_owned_tokens() -> None:
    """A token that is staked without an owner is none of the supply."""
    assert verify.supply(SOME) == len(EVERY)
    assert verify.supply(state_of((1, 3, 0, -1), (3, 9, -1, 1))) == 2
    assert verify.supply(WIDE) == 10**9 + 2


@given(histories(), st.data())
def test_our_history_of_one_token_is_the_oracles(
    story: tuple[oracle.Rules, list[oracle.Event], int], data: st.DataObject
) -> None:
    """At every block, the events cut down to a token give its owner and staker."""
    rules, events, _ = story
    assume(events)
    known = sorted({t for e in events for t in (e.first, e.first + e.quantity - 1)})
    token = data.draw(st.sampled_from(known))
    mine = verify.alone(verify.touching(columns(events), [token]), token)
    search = Search(token, mine, 0, events[-1].block)
    ours = Rules(
        seasons=RULES.seasons,
        staking_contracts=frozenset(bytes.fromhex(a[2:]) for a in rules.staking_contracts),
        custody=rules.custody,
    )
    truth = oracle.Oracle(rules)
    for event, following in zip(events, [*events[1:], None], strict=True):
        truth.apply(event)
        if following is None or following.block > event.block:
            held = truth.tokens.get(token)
            expected = Holder() if held is None else Holder(named(held.owner), named(held.staker))
            assert search.holder(ours, event.block) == expected


def named(address: str | None) -> bytes | None:
    return bytes.fromhex(address[2:]) if address else None


@given(st.integers(-1, 10**6), st.integers(1, 10**6), st.data())
def test_a_search_ends_at_the_first_block_that_differs(
    start: int, length: int, data: st.DataObject
) -> None:
    """However the ends lie, bisection finds the block from which on there is a difference."""
    end = start + length
    first = data.draw(st.integers(start + 1, end))
    search, looks = Search(1, columns([]), start, end), 0
    while not search.done:
        assert start < search.middle < end
        search = search.narrowed(search.middle, differs=search.middle >= first)
        looks += 1
    assert search.high == first
    assert looks <= length.bit_length()
