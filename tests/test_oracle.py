"""The oracle against numbers worked out by hand, and the histories against what they promise."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings

from histories import CONTRACTS, KINDS, LARGEST_RANGE, WALLETS, RangeWeights, histories
from oracle import DAY, Anomaly, Event, FeastDay, Oracle, Rules, Season, View, divide

A, B, X = WALLETS[:3]
C, D = CONTRACTS
MIDNIGHT = 20_000 * DAY
HOUR = 3600

ALWAYS = Season("always", None, None, held=Fraction(10), staked=Fraction(20))
OPEN = Rules([ALWAYS], staking_contracts={C, D})
CUSTODY = replace(OPEN, custody=True)


def mint(to: str, first: int = 1, quantity: int = 1) -> tuple[str, str, str, int, int]:
    """A BatchMint without its position."""
    return ("BatchMint", "", to, first, quantity)


def burn(sender: str, first: int = 1, quantity: int = 1) -> tuple[str, str, str, int, int]:
    """A BatchBurn without its position."""
    return ("BatchBurn", sender, "", first, quantity)


def move(sender: str, to: str, first: int = 1, quantity: int = 1) -> tuple[str, str, str, int, int]:
    """A BatchTransfer without its position."""
    return ("BatchTransfer", sender, to, first, quantity)


def stake(account: str, token: int = 1) -> tuple[str, str, str, int, int]:
    """A Stake without its position."""
    return ("Stake", account, "", token, 1)


def unstake(account: str, token: int = 1) -> tuple[str, str, str, int, int]:
    """An Unstake without its position."""
    return ("Unstake", account, "", token, 1)


def told(rules: Rules, *story: tuple[int, tuple[str, str, str, int, int]]) -> Oracle:
    """An oracle that saw each event at its seconds after MIDNIGHT, one a block."""
    oracle = Oracle(rules)
    for block, (seconds, (kind, sender, to, first, quantity)) in enumerate(story, start=1):
        oracle.apply(Event(kind, block, 0, MIDNIGHT + seconds, sender, to, first, quantity))
    return oracle


def counted(view: View, wallet: str) -> dict[str, int]:
    """The wallet's counts in the season "always" that are not zero."""
    facts = view.facts["always"].get(wallet)
    return {what: n for what, n in facts.counts.items() if n} if facts else {}


def test_two_days_of_two_wallets_worked_out_by_hand() -> None:
    """Seconds, tiers, weights, awards and feasts of a two-day story give the points on paper."""
    season = replace(ALWAYS, awards={"minted": Fraction(2), "received": Fraction(1, 2)})
    rules = Rules(
        [season],
        weights=RangeWeights(((2, 1, 5),)),
        tiers=[(1, Fraction(3, 2))],
        feast_emission=1000,
        feast_burn=7,
    )
    view = told(
        rules,
        (0, mint(A, 1, 3)),
        (12 * HOUR, stake(A, 1)),
        (24 * HOUR, move(A, B, 2)),
        (36 * HOUR, stake(B, 2)),
        (42 * HOUR, burn(A, 3)),
    ).at(MIDNIGHT + 2 * DAY)

    assert view.owners == {1: A, 2: B}
    assert view.stakers == {1: A, 2: B}
    assert view.owned_since == {1: MIDNIGHT, 2: MIDNIGHT + DAY}
    assert view.staked_since == {1: MIDNIGHT + 12 * HOUR, 2: MIDNIGHT + 36 * HOUR}

    # Day one: only A stakes, 12 h x 1; the pool is the emission.
    # Day two: A 24 h x 1, B 12 h x 5: 2 to 5. The pool is 1000 + 7 for one burned token:
    # 1007 x 2/7 = 287.71.., 1007 x 5/7 = 719.28..; the micro-point left over is A's.
    assert view.feasts == {
        20_000: FeastDay(1000, 0, 1000, 0, 12 * HOUR, {A: 1000}, 0),
        20_001: FeastDay(1007, 0, 1000, 7, 84 * HOUR, {A: 288, B: 719}, 0),
    }

    # A held token 1 for 12 h, token 2 for 24 h x 5, token 3 for 42 h: 174 h.
    # A staked token 1 for 36 h: 24 h before the tier and 12 h in it.
    a, b = view.facts["always"][A], view.facts["always"][B]
    assert (a.held, a.staked, a.awards_micro) == (174 * HOUR, [24 * HOUR, 12 * HOUR], 1288)
    assert counted(view, A) == {"minted": 3, "staked": 1, "sent": 1, "burned": 1}
    # B held token 2 for 12 h x 5, then staked it for 12 h x 5.
    assert (b.held, b.staked, b.awards_micro) == (60 * HOUR, [60 * HOUR, 0], 719)
    assert counted(view, B) == {"received": 1, "staked": 1}

    # A: 7.25 days x 10 + 1 x 20 + 0.5 x 1.5 x 20 + 3 minted x 2 + feasts = 113.5 + feasts
    # B: 2.5 days x 10 + 2.5 x 20 + 1 received x 0.5 + feasts = 75.5 + feasts
    assert view.points == {"always": {A: Fraction("113.501288"), B: Fraction("75.500719")}}


def test_seasons_cut_what_they_count_and_tier_clocks_run_through() -> None:
    """Only time inside a season counts, half-open, while the staking clock runs in the gap too."""
    one = Season("one", MIDNIGHT, MIDNIGHT + 10 * HOUR, Fraction(24), Fraction(24))
    two = Season("two", MIDNIGHT + 20 * HOUR, MIDNIGHT + 60 * HOUR, Fraction(24), Fraction(24))
    view = told(
        Rules([one, two], tiers=[(1, Fraction(2))]),
        (-HOUR, mint(A)),
        (4 * HOUR, stake(A)),
        (10 * HOUR, mint(B, 9)),
    ).at(MIDNIGHT + 100 * HOUR)

    # Season one: held 0 h to 4 h, staked 4 h to 10 h. Its end is no part of it: B minted in none.
    assert view.facts["one"].keys() == {A}
    first = view.facts["one"][A]
    assert (first.held, first.staked) == (4 * HOUR, [6 * HOUR, 0])
    assert first.counts["staked"] == 1
    assert first.counts["minted"] == 0
    # Season two: the clock started at 4 h, so that the tier begins at 28 h.
    second = view.facts["two"][A]
    assert (second.held, second.staked) == (0, [8 * HOUR, 32 * HOUR])
    assert view.facts["two"][B].counts["minted"] == 0
    # 4 + 6 points; 8 + 2 x 32 points; B held for 40 h.
    assert view.points == {
        "one": {A: Fraction(10)},
        "two": {A: Fraction(72), B: Fraction(40)},
    }


def test_a_day_without_stakers_or_outside_seasons_carries_over() -> None:
    """What a feast cannot share is in the next day's pool; burns count on the day they happen."""
    nothing = Fraction(0)
    second = Season("second", MIDNIGHT + 2 * DAY - 1, MIDNIGHT + 2 * DAY, nothing, nothing)
    later = Season("later", MIDNIGHT + 2 * DAY + 1, MIDNIGHT + 3 * DAY - 1, nothing, nothing)
    weights = RangeWeights(((3, 1, 2),))
    view = told(
        Rules([second, later], weights, feast_emission=10, feast_burn=3),
        (HOUR, mint(A, 1, 4)),
        (DAY - 1, burn(A, 1, 2)),
        (DAY, burn(A, 3)),
        (2 * DAY - 10, stake(A, 4)),
    ).at(MIDNIGHT + 3 * DAY)

    # Day one: nobody stakes: 10 + 2 x 3 carry over. Day two: its last second is all of season
    # "second": 16 + 10 + 1 burned of weight 2 x 3 are A's, for ten seconds though only one of
    # them lies in the season. Day three: A stakes all day, but "later" ends a second too early.
    assert view.feasts == {
        20_000: FeastDay(16, 0, 10, 6, 0, {}, 16),
        20_001: FeastDay(32, 16, 10, 6, 10, {A: 32}, 0),
        20_002: FeastDay(10, 0, 10, 0, DAY, {}, 10),
    }
    assert view.facts["second"][A].awards_micro == 32
    assert view.facts["second"][A].staked == [1]
    assert view.facts["later"][A].awards_micro == 0


def test_a_day_is_closed_at_its_end_and_not_a_second_before() -> None:
    """A view one second before midnight has no feast of that day, a view at midnight has it."""
    oracle = told(replace(OPEN, feast_emission=5), (0, mint(A)), (0, stake(A)))
    assert oracle.at(MIDNIGHT + DAY - 1).feasts == {}
    assert oracle.at(MIDNIGHT + DAY).feasts == {20_000: FeastDay(5, 0, 5, 0, DAY, {A: 5}, 0)}


def test_leftovers_of_equal_remainders_go_to_the_lower_address() -> None:
    """Largest remainder first; of equal ones the lower address; shares of nothing are left out."""
    assert divide(5, {B: 1, A: 1}) == {A: 3, B: 2}
    assert divide(2, {X: 7, B: 7, A: 7}) == {A: 1, B: 1}
    # 10 x 1/16 = 0.625, 10 x 15/16 = 9.375: the leftover is B's though A is lower.
    assert divide(10, {A: 15, B: 1}) == {A: 9, B: 1}
    assert divide(0, {A: 15, B: 1}) == {}


def test_the_excluded_earn_nothing_and_leave_the_feast_to_others() -> None:
    """An excluded wallet owns and stakes but has no facts, and its seconds are not in the total."""
    rules = replace(OPEN, excluded={X}, feast_emission=9)
    view = told(
        rules, (0, mint(X, 1)), (0, mint(A, 2)), (0, stake(X, 1)), (0, stake(A, 2)), (0, mint(C, 3))
    ).at(MIDNIGHT + DAY)
    assert view.owners == {1: X, 2: A, 3: C}
    assert view.stakers == {1: X, 2: A}
    assert view.facts["always"].keys() == {A}
    assert view.feasts[20_000] == FeastDay(9, 0, 9, 0, DAY, {A: 9}, 0)


def test_custody_stakes_on_the_way_in_and_ends_on_the_way_out() -> None:
    """Under custody the depositor earns as staker until the contract sends the token to anybody."""
    oracle = told(
        CUSTODY,
        (0, mint(A)),
        (2 * HOUR, move(A, C)),
        (5 * HOUR, move(C, B)),
        (6 * HOUR, move(B, D)),
    )
    view = oracle.at(MIDNIGHT + 10 * HOUR)
    assert oracle.anomalies == []
    assert (view.owners, view.stakers) == ({1: D}, {1: B})
    facts = view.facts["always"]
    assert (facts[A].held, facts[A].staked) == (2 * HOUR, [3 * HOUR])
    assert (facts[B].held, facts[B].staked) == (1 * HOUR, [4 * HOUR])
    assert counted(view, A) == {"minted": 1, "sent": 1, "staked": 1, "unstaked": 1}
    assert counted(view, B) == {"received": 1, "sent": 1, "staked": 1}
    assert facts.keys() == {A, B}


def test_a_range_that_contradicts_in_part_names_the_tokens_concerned() -> None:
    """One anomaly an event, with the codes of all its tokens and only the tokens that have one."""
    oracle = told(OPEN, (0, mint(A, 1, 4)), (1, move(A, B, 2)), (2, burn(A, 4)), (3, burn(A, 1, 5)))
    assert oracle.anomalies == [Anomaly(4, 0, {"NOT_OWNER", "NOT_EXISTING"}, [2, 4, 5])]
    assert oracle.codes[4, 0] == {2: {"NOT_OWNER"}, 4: {"NOT_EXISTING"}, 5: {"NOT_EXISTING"}}
    assert oracle.at(MIDNIGHT + 3).owners == {}


STAKED = [mint(A), stake(A)]
IN_CONTRACT = [mint(A), stake(A), move(A, C)]

# Rules, what came before, the event, then: codes, owner and staker afterwards.
ROWS = [
    pytest.param(OPEN, [], mint(A), set(), A, "", id="mint"),
    pytest.param(OPEN, [mint(A)], mint(B), {"EXISTS"}, B, "", id="mint-of-owned"),
    pytest.param(OPEN, [stake(A)], mint(B), {"EXISTS"}, B, "", id="mint-of-staked-only"),
    pytest.param(OPEN, [mint(A), burn(A)], mint(B), set(), B, "", id="mint-again"),
    pytest.param(OPEN, STAKED, burn(A), set(), "", "", id="burn-staked"),
    pytest.param(OPEN, STAKED, burn(B), {"NOT_OWNER"}, "", "", id="burn-by-other"),
    pytest.param(OPEN, [stake(A)], burn(A), {"NOT_EXISTING"}, "", "", id="burn-of-none"),
    pytest.param(OPEN, [mint(A)], move(A, B), set(), B, "", id="move"),
    pytest.param(OPEN, [], move(A, B), {"NOT_EXISTING"}, B, "", id="move-of-none"),
    pytest.param(OPEN, [mint(X)], move(A, B), {"NOT_OWNER"}, B, "", id="move-of-other"),
    pytest.param(OPEN, STAKED, move(A, A), set(), A, "A", id="self-move-staked"),
    pytest.param(
        OPEN, STAKED, move(B, B), {"NOT_OWNER", "WAS_STAKED"}, B, "", id="self-move-of-other"
    ),
    pytest.param(OPEN, STAKED, move(A, B), {"WAS_STAKED"}, B, "", id="move-staked"),
    pytest.param(CUSTODY, STAKED, move(A, B), {"WAS_STAKED"}, B, "", id="custody-move-staked"),
    pytest.param(CUSTODY, [mint(A)], move(A, C), set(), C, "A", id="custody-in"),
    pytest.param(CUSTODY, STAKED, move(A, C), {"WAS_STAKED"}, C, "A", id="custody-in-staked"),
    pytest.param(
        CUSTODY, [mint(A), move(A, C)], move(C, D), set(), D, "", id="custody-between-contracts"
    ),
    pytest.param(CUSTODY, [mint(A), move(A, C)], move(C, C), set(), C, "A", id="custody-self"),
    pytest.param(CUSTODY, [mint(C)], move(C, B), set(), B, "", id="custody-out-unstaked"),
    pytest.param(OPEN, [mint(A)], move(A, C), set(), C, "", id="in-unstaked"),
    pytest.param(OPEN, STAKED, move(A, C), set(), C, "A", id="in-staked"),
    pytest.param(OPEN, IN_CONTRACT, move(C, A), set(), A, "A", id="out-to-staker"),
    pytest.param(OPEN, IN_CONTRACT, move(C, B), set(), B, "", id="out-to-other"),
    pytest.param(
        OPEN,
        [*STAKED, mint(B)],
        move(B, C),
        set(),
        C,
        "",
        id="in-after-second-mint",
    ),
    pytest.param(
        OPEN,
        [mint(B), stake(A)],
        move(B, C),
        {"WAS_STAKED"},
        C,
        "",
        id="in-staked-by-other",
    ),
    pytest.param(OPEN, [mint(C)], stake(A), set(), C, "A", id="stake-in-contract"),
    pytest.param(OPEN, [mint(B)], stake(A), {"NOT_OWNER"}, B, "A", id="stake-by-other"),
    pytest.param(OPEN, [], stake(A), {"NOT_EXISTING"}, "", "A", id="stake-of-none"),
    pytest.param(OPEN, STAKED, stake(A), {"ALREADY_STAKED"}, A, "A", id="stake-again"),
    pytest.param(OPEN, STAKED, unstake(A), set(), A, "", id="unstake"),
    pytest.param(OPEN, STAKED, unstake(B), {"NOT_STAKER"}, A, "", id="unstake-by-other"),
    pytest.param(OPEN, [], unstake(A), {"NOT_STAKED"}, "", "", id="unstake-of-none"),
]


@pytest.mark.parametrize(("rules", "before", "event", "codes", "owner", "staker"), ROWS)
def test_each_row_of_the_event_table(
    rules: Rules,
    before: list[tuple[str, str, str, int, int]],
    event: tuple[str, str, str, int, int],
    codes: set[str],
    owner: str,
    staker: str,
) -> None:
    """After the event the token has the owner, the staker and the codes that the rules give it."""
    oracle = told(rules, *enumerate([*before, event]))
    view = oracle.at(oracle.now)
    position = (len(before) + 1, 0)
    assert oracle.codes.get(position, {}).get(1, set()) == codes
    assert view.owners == ({1: owner} if owner else {})
    assert view.stakers == ({1: A} if staker else {})


def test_a_self_transfer_keeps_both_clocks_and_a_second_stake_restarts_one() -> None:
    """owned_since survives staking and self-transfers; staked_since is that of the latest stake."""
    oracle = told(OPEN, (0, mint(A)), (5, stake(A)), (7, move(A, A)))
    view = oracle.at(MIDNIGHT + 9)
    assert (view.owned_since, view.staked_since) == ({1: MIDNIGHT}, {1: MIDNIGHT + 5})
    assert counted(view, A) == {"minted": 1, "staked": 1}
    oracle.apply(Event("Stake", 9, 0, MIDNIGHT + 8, A, "", 1, 1))
    view = oracle.at(MIDNIGHT + 9)
    assert (view.owned_since, view.staked_since) == ({1: MIDNIGHT}, {1: MIDNIGHT + 8})
    assert view.facts["always"][A].staked == [4]


def test_an_implicit_unstake_counts_for_nobody() -> None:
    """Selling a staked token is a transfer in the counts, and no unstake."""
    view = told(OPEN, (0, mint(A)), (1, stake(A)), (2, move(A, B))).at(MIDNIGHT + 2)
    assert counted(view, A) == {"minted": 1, "staked": 1, "sent": 1}
    assert counted(view, B) == {"received": 1}


def test_the_oracle_refuses_disorder() -> None:
    """An event out of order is an error of the test that sends it, not something to be folded."""
    oracle = told(OPEN, (0, mint(A)))
    with pytest.raises(AssertionError, match="position order"):
        oracle.apply(Event("BatchMint", 1, 0, MIDNIGHT, "", A, 2, 1))
    with pytest.raises(AssertionError, match="time does not go back"):
        oracle.apply(Event("BatchMint", 2, 0, MIDNIGHT - 1, "", A, 2, 1))


# The histories ----------------------------------------------------------------------------


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories())
def test_histories_are_well_formed_and_their_feasts_add_up(
    history: tuple[Rules, list[Event], int],
) -> None:
    """Ids fit 256 bits, order and time never go back, and no micro-point of a feast is lost."""
    rules, events, final = history
    oracle = Oracle(rules)
    for event in events:
        assert event.kind in KINDS
        assert 1 <= event.quantity <= LARGEST_RANGE
        assert 0 <= event.first <= event.first + event.quantity - 1 < 2**256
        assert event.quantity == 1 or event.kind not in ("Stake", "Unstake")
        oracle.apply(event)
    carry = 0
    for day in oracle.at(final).feasts.values():
        assert day.carry_in == carry
        assert day.pool == day.carry_in + day.emission + day.contribution
        assert day.pool == sum(day.shares.values()) + day.carry_out
        carry = day.carry_out


def seen_in(rules: Rules, events: list[Event], final: int) -> set[str]:
    """The names of the uncommon things that happen in a history."""
    oracle = Oracle(rules)
    seen: set[str] = set()
    gone: set[int] = set()
    per_block: set[tuple[int, int]] = set()
    for event in events:
        token = oracle.tokens.get(event.first)
        owned = token is not None and token.owner is not None
        staked = token is not None and token.staker is not None
        if owned and event.sender == event.recipient:
            seen.add("self-transfer")
        if event.kind == "BatchBurn" and staked:
            seen.add("burn of a staked token")
        if event.kind == "BatchTransfer" and rules.custody and staked:
            seen.add("custody out" if event.sender in rules.staking_contracts else "")
        if event.kind == "BatchTransfer" and rules.custody and owned:
            seen.add("custody in" if event.recipient in rules.staking_contracts else "")
        if event.kind == "BatchMint" and event.first in gone:
            seen.add("mint after a burn")
        if event.kind == "BatchBurn":
            gone.add(event.first)
        if (event.block, event.first) in per_block:
            seen.add("a token twice in a block")
        per_block.add((event.block, event.first))
        oracle.apply(event)
        end = event.first + event.quantity
        seen |= {f"across {b}" for b in (2**62, 2**63, 2**64) if event.first < b < end}
        seen |= {"id 0"} if event.first == 0 else set()
        seen |= {"the last id"} if end == 2**256 else set()
        seen |= {"a large range"} if event.quantity > 100 else set()
        concerned = oracle.codes.get((event.block, event.log_index), {})
        seen |= set().union(*concerned.values())
        seen |= {"contradiction in part"} if 0 < len(concerned) < event.quantity else set()
    seen |= seen_at_the_end(oracle.at(final), rules)
    return seen - {""}


def seen_at_the_end(view: View, rules: Rules) -> set[str]:
    """The uncommon things that only the final view tells."""
    seen = {f"{len(rules.seasons)} seasons"}
    for facts in (f for wallets in view.facts.values() for f in wallets.values()):
        seen |= {f"tier {i}" for i, seconds in enumerate(facts.staked) if seconds}
    for day in view.feasts.values():
        seen |= {"a feast for several"} if len(day.shares) > 1 else set()
        seen |= {"a day outside the seasons"} if day.total_seconds and not day.shares else set()
        seen |= {"a carry"} if day.carry_in else set()
    return seen


PROMISED = {
    *("self-transfer", "burn of a staked token", "custody out", "custody in"),
    *("mint after a burn", "a token twice in a block", "contradiction in part", "a large range"),
    *("EXISTS", "NOT_OWNER", "NOT_EXISTING", "WAS_STAKED"),
    *("ALREADY_STAKED", "NOT_STAKED", "NOT_STAKER"),
    *(f"across {border}" for border in (2**62, 2**63, 2**64)),
    *("id 0", "the last id", "tier 0", "tier 1", "tier 2"),
    *("0 seasons", "1 seasons", "2 seasons"),
    *("a feast for several", "a day outside the seasons", "a carry"),
}


def test_histories_contain_what_they_promise() -> None:
    """Three hundred histories show every row of the table, every code and every border of ids."""
    seen: set[str] = set()

    @settings(
        max_examples=300,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(histories())
    def look(history: tuple[Rules, list[Event], int]) -> None:
        seen.update(seen_in(*history))

    look()
    assert PROMISED - seen == set()
