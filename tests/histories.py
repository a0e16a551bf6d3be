"""Random histories of a collection, and random rules to fold them by, for hypothesis.

Most events are what a correct contract would emit; the rest contradict what came before, wholly
or in part. Few tokens and few wallets, so that events meet. While it draws, the generator keeps
an `Oracle` up to date to know which event would be a valid one. Duplicates and disorder are not
its business: every history is in position order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeVar

from hypothesis import strategies as st

from oracle import COUNTS, DAY, Event, Oracle, Rules, Season, Token

T = TypeVar("T")

# The order of addresses decides ties: they differ in the first byte, in the last, in both.
WALLETS = [
    "0x" + digits
    for digits in (
        "00" * 19 + "01",
        "00" * 19 + "02",
        "7f" + "ff" * 19,
        "80" + "00" * 19,
        "ff" * 20,
    )
]
CONTRACTS = ["0x" + "c0" * 20, "0x" + "0c" * 20]
LARGEST_RANGE = 400
END_OF_IDS = 2**256
FIRST_DAY = 19_700

# Where ids stop fitting something: int64 sums, int64, uint64, DynamoDB's 38 digits, int256.
BORDERS = [0, 1000, 2**62, 2**63, 2**64, 10**38, 2**255, END_OF_IDS]

KINDS = ["BatchMint", "BatchBurn", "BatchTransfer", "Stake", "Unstake"]
RATES = [Fraction(1), Fraction(0), Fraction(10), Fraction(1, 3), Fraction(7, 10**6)]
TIERS: list[list[tuple[int, Fraction]]] = [
    [],
    [(1, Fraction(3, 2))],
    [(1, Fraction(3, 2)), (3, Fraction(2))],
    [(2, Fraction(11, 10)), (7, Fraction(4, 3)), (30, Fraction(5))],
    [(30, Fraction(3, 2)), (90, Fraction(2))],
]


@dataclass(frozen=True)
class RangeWeights:
    """Weights by id: `table` holds (first, quantity, weight), ranges do not overlap; default 1."""

    table: tuple[tuple[int, int, int], ...] = ()

    def __call__(self, token: int) -> int:
        """The weight of one token."""
        for first, quantity, weight in self.table:
            if first <= token < first + quantity:
                return weight
        return 1


@st.composite
def histories(draw: st.DrawFn, max_events: int = 40) -> tuple[Rules, list[Event], int]:
    """Rules, at most `max_events` events in position order, and a timestamp at or after them.

    `Rules.weights` is a `RangeWeights`, so that its table can be handed on.
    """
    universe = draw(universes())
    start = draw(st.integers(FIRST_DAY, FIRST_DAY + 2)) * DAY
    start += draw(st.sampled_from([0, DAY // 2, DAY - 1]) | st.integers(0, DAY - 1))
    rules = draw(any_rules(universe, start))
    story = Story(draw, rules, universe, block=draw(st.integers(1, 9)), timestamp=start)
    length = st.integers(0, max_events) | st.integers(max_events // 2, max_events)
    for _ in range(draw(length)):
        advance(story)
        story.pick(ACTIONS)(story)
    return rules, story.events, story.timestamp + time_step(story)


@st.composite
def universes(draw: st.DrawFn) -> list[int]:
    """12 to 30 ids, sorted: one stretch across or beside a border, or two stretches."""
    ids: set[int] = set()
    for _ in range(draw(st.integers(1, 2))):
        size = draw(st.integers(12, 15))
        base = draw(st.sampled_from(BORDERS)) - draw(st.integers(0, size))
        base = min(max(base, 0), END_OF_IDS - size)
        ids.update(range(base, base + size))
    return sorted(ids)


# Rules ------------------------------------------------------------------------------------


@st.composite
def any_rules(draw: st.DrawFn, universe: list[int], start: int) -> Rules:
    """Rules that matter to a history of `universe` that starts at the timestamp `start`."""
    excluded = draw(st.sets(st.sampled_from(WALLETS), max_size=2))
    contracts = draw(st.sets(st.sampled_from(CONTRACTS), max_size=2))
    return Rules(
        seasons=draw(season_plans(start)),
        weights=draw(st.just(RangeWeights()) | range_weights(universe)),
        tiers=draw(st.sampled_from(TIERS)),
        excluded=excluded,
        staking_contracts=contracts,
        custody=draw(st.booleans()),
        feast_emission=draw(st.sampled_from([0, 1, 7, 10**6, 10**9 + 7])),
        feast_burn=draw(st.sampled_from([0, 1, 500_001])),
    )


@st.composite
def range_weights(draw: st.DrawFn, universe: list[int]) -> RangeWeights:
    """One or two weighted ranges with both ends in the universe; the rest weighs 1."""
    ends = st.sampled_from([*universe, universe[-1] + 1])
    cuts = sorted(draw(st.lists(ends, min_size=2, max_size=4, unique=True)))
    weight = st.sampled_from([2, 3, 7, 10**6, 0])
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    return RangeWeights(tuple((first, end - first, draw(weight)) for first, end in pairs))


@st.composite
def season_plans(draw: st.DrawFn, start: int) -> list[Season]:
    """No season, one, or two with a gap or none between them; outer ends may be open."""
    lengths = st.sampled_from([DAY, 3 * DAY]) | st.integers(1, 8 * DAY)
    opening = start - DAY + draw(lengths)
    closing = opening + draw(lengths)
    reopening = closing + draw(st.just(0) | lengths)
    final = reopening + draw(lengths)
    open_start, open_end = draw(st.booleans()), draw(st.booleans())
    first = draw(seasons("first", None if open_start else opening, closing))
    second = draw(seasons("second", reopening, None if open_end else final))
    always = draw(seasons("always", None, None))
    return draw(st.sampled_from([[always], [first], [first, second], [second], []]))


@st.composite
def seasons(draw: st.DrawFn, name: str, start: int | None, end: int | None) -> Season:
    """A season with these borders and any rates."""
    rate = st.sampled_from(RATES)
    awards = draw(st.dictionaries(st.sampled_from(COUNTS), rate, max_size=6))
    return Season(name, start, end, draw(rate), draw(rate), awards)


# The story --------------------------------------------------------------------------------


@dataclass
class Story:
    """A history while it is being drawn: where it stands, and what was told so far."""

    draw: st.DrawFn
    rules: Rules
    universe: list[int]
    block: int
    timestamp: int
    log_index: int = 0
    events: list[Event] = field(default_factory=list)
    long_steps: int = 0
    large_mints: int = 0

    def __post_init__(self) -> None:
        self.so_far = Oracle(self.rules)
        self.contracts = sorted(self.rules.staking_contracts)

    def pick(self, values: Sequence[T]) -> T:
        """One of `values`."""
        return self.draw(st.sampled_from(values))

    def token(self, token_id: int) -> Token:
        """What the record says about a token now."""
        return self.so_far.tokens.get(token_id, Token())

    def tell(self, kind: str, sender: str, recipient: str, first: int, quantity: int) -> None:
        """Add one event at the present position."""
        event = Event(
            kind, self.block, self.log_index, self.timestamp, sender, recipient, first, quantity
        )
        self.so_far.apply(event)
        self.events.append(event)


def advance(story: Story) -> None:
    """Move on to a later position: in the same block, or a new one at the same time or later."""
    same_block = story.pick([True, False])
    if same_block and story.events:
        story.log_index += story.pick([1, 1, 5])
        return
    story.block += story.pick([1, 1, 1000])
    story.log_index = story.pick([0, 1, 30])
    story.timestamp += time_step(story)


def time_step(story: Story) -> int:
    """Seconds to the next moment of interest; now and then days, at most three times weeks."""
    kind = story.pick(["none", "seconds", "hours", "border", "border", "weeks"])
    if kind == "seconds":
        return story.pick([1, 2, 12])
    if kind == "hours":
        return story.draw(st.integers(1, 2 * DAY))
    if kind == "border":
        return story.pick(steps_to_borders(story))
    if kind == "weeks" and story.long_steps < 3:
        story.long_steps += 1
        return story.draw(st.integers(7 * DAY, 31 * DAY))
    return 0


def steps_to_borders(story: Story) -> list[int]:
    """Seconds until a second before, at or after the end of the day, a season's end, a tier."""
    now = story.timestamp
    borders = {(now // DAY + 1) * DAY}
    for season in story.rules.seasons:
        borders |= {border for border in (season.start, season.end) if border is not None}
    clocks = {t.staked_since for t in story.so_far.tokens.values() if t.staked_since is not None}
    for days, _ in story.rules.tiers:
        borders |= {clock + days * DAY for clock in clocks}
    near = [b + offset - now for b in sorted(borders) for offset in (0, -1, 1)]
    return [step for step in near if 0 <= step <= 31 * DAY]


# What may happen --------------------------------------------------------------------------


def run_of(story: Story, matches: Callable[[Token], bool]) -> tuple[int, int] | None:
    """Some ids in a row that match and have one owner; now and then it reaches too far."""
    ids = sorted(story.so_far.tokens.keys() | set(story.universe))
    candidates = [i for i in ids if matches(story.token(i))]
    if not candidates:
        return None
    first = story.pick(candidates)
    owner = story.token(first).owner
    longest = 1
    while first + longest in ids and longest < LARGEST_RANGE:
        following = story.token(first + longest)
        if following.owner != owner or not matches(following):
            break
        longest += 1
    quantity = story.pick([longest, 1, min(2, longest), (longest + 1) // 2])
    return first, reach(first, quantity + story.pick([0] * 7 + [2]))


def reach(first: int, quantity: int) -> int:
    """The quantity, shortened to what a range may hold."""
    return min(quantity, LARGEST_RANGE, END_OF_IDS - first)


def mint(story: Story) -> None:
    """Mint ids that nobody owns, burned ones among them; at most twice a large range."""
    run = run_of(story, lambda t: t.owner is None and t.staker is None)
    if run is None:
        return wild(story)
    first, quantity = run
    if story.large_mints < 2 and story.pick([False] * 7 + [True]):
        story.large_mints += 1
        quantity = reach(first, story.pick([31, 100, LARGEST_RANGE]))
    return story.tell("BatchMint", "", story.pick(WALLETS), first, quantity)


def burn(story: Story) -> None:
    """The owner burns; staked tokens as well, one time in two."""
    staked_too = story.pick([False, True])
    run = run_of(story, lambda t: t.owner is not None and (staked_too or t.staker is None))
    if run is None:
        return mint(story)
    return story.tell("BatchBurn", story.token(run[0]).owner or "", "", *run)


def transfer(story: Story) -> None:
    """A wallet sends to another one, to itself or to a staking contract."""
    staked_too = story.pick([False, False, True])
    run = run_of(
        story,
        lambda t: (
            t.owner is not None
            and t.owner not in story.contracts
            and (staked_too or t.staker is None)
        ),
    )
    if run is None:
        return mint(story)
    owner = story.token(run[0]).owner or ""
    return story.tell("BatchTransfer", owner, story.pick([*WALLETS, owner]), *run)


def deposit(story: Story) -> None:
    """A wallet sends to a staking contract; without custody, before or after it stakes."""
    staked = not story.rules.custody and story.pick([True, False])
    run = run_of(
        story,
        lambda t: (
            t.owner is not None
            and t.owner not in story.contracts
            and t.staker == (t.owner if staked else None)
        ),
    )
    if run is None or not story.contracts:
        return transfer(story)
    owner = story.token(run[0]).owner or ""
    return story.tell("BatchTransfer", owner, story.pick(story.contracts), *run)


def withdraw(story: Story) -> None:
    """A staking contract gives a token back to who staked it, or to another address."""
    run = run_of(story, lambda t: t.owner in story.contracts)
    if run is None:
        return deposit(story)
    token = story.token(run[0])
    back = token.staker or story.pick(WALLETS)
    to = story.pick([back, back, *WALLETS, *story.contracts])
    return story.tell("BatchTransfer", token.owner or "", to, *run)


def stake(story: Story) -> None:
    """The owner stakes a token, now and then again; anyone one that a staking contract owns."""
    again = story.pick([False] * 5 + [True])
    run = run_of(story, lambda t: t.owner is not None and (t.staker is not None) == again)
    if run is None:
        return mint(story)
    owner = story.token(run[0]).owner or ""
    account = story.pick(WALLETS) if owner in story.contracts else owner
    return story.tell("Stake", account, "", run[0], 1)


def unstake(story: Story) -> None:
    """The staker ends it, seldom somebody else."""
    run = run_of(story, lambda t: t.staker is not None)
    if run is None:
        return stake(story)
    staker = story.token(run[0]).staker or ""
    return story.tell("Unstake", story.pick([staker] * 6 + WALLETS[:2]), "", run[0], 1)


def wild(story: Story) -> None:
    """Any event of anybody on any tokens, whatever the record says."""
    kind = story.pick(KINDS)
    anybody = [*WALLETS, *CONTRACTS]
    sender = "" if kind == "BatchMint" else story.pick(anybody)
    recipient = story.pick(anybody) if kind in ("BatchMint", "BatchTransfer") else ""
    first = story.pick(story.universe)
    quantity = 1 if kind in ("Stake", "Unstake") else story.draw(st.integers(1, 9))
    story.tell(kind, sender, recipient, first, reach(first, quantity))


ACTIONS = [mint, stake, transfer, unstake, deposit, withdraw, burn, stake, mint, deposit, wild]
