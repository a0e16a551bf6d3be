"""Our record held against the contract's answers: what to ask, what differs, since when (pure).

Tokens are asked for as spans [first, end) of ids, so that a range of any size costs nothing until
it is asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ngu_points.engine.events import MAX_TOKEN, NARROW, U8, Bool, Events, blobs, ids_column
from ngu_points.engine.facts import total
from ngu_points.engine.rules import Rules
from ngu_points.engine.runs import NOBODY, Runs, Staking, fold, no_runs
from ngu_points.engine.state import State, among
from ngu_points.pipeline.process import moves_of

Span = tuple[int, int]
"""The token ids [first, end)."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who owns and who stakes a token; None for nobody."""

    owner: bytes | None = None
    staker: bytes | None = None


@dataclass(frozen=True, slots=True)
class Views:
    """What the contract can be asked for; what it cannot is never counted as equal."""

    owners: bool
    stakers: bool

    def differ(self, ours: Holder, chain: Holder) -> bool:
        """Whether the two contradict each other in what can be asked."""
        return (self.owners and ours.owner != chain.owner) or (
            self.stakers and ours.staker != chain.staker
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """A token of which the contract says something else than our record."""

    token: int
    ours: Holder
    chain: Holder


@dataclass(frozen=True, slots=True)
class Contradicted:
    """An event that contradicted our record: its tokens, and the wallets that it concerns."""

    span: Span
    wallets: frozenset[bytes]


# What to ask -----------------------------------------------------------------------------


def sampled(runs: Runs, numbers: Iterator[int], count: int) -> list[Span]:
    """`count` different living tokens, chosen by `numbers`; all of them where there are fewer."""
    ends = np.cumsum((runs.end - runs.first).astype(object)) if len(runs) else np.zeros(0, object)
    living = int(ends[-1]) if len(runs) else 0
    if count >= living:
        return living_spans(runs)
    chosen = []
    for rank in sorted(_distinct(numbers, count, living)):
        row = int(np.searchsorted(ends, rank, side="right"))
        token = int(runs.end[row]) - (int(ends[row]) - rank)
        chosen.append((token, token + 1))
    return chosen


def absent(runs: Runs, numbers: Iterator[int], count: int) -> list[Span]:
    """At most `count` ids that do not exist by our record: burned, or beside what was minted."""
    if not len(runs):
        return [(1, 2)]
    opens = np.ones(len(runs), np.bool_)
    opens[1:] = runs.first[1:] != runs.end[:-1]
    closes = np.append(opens[1:], True)
    below, above = runs.first[opens] - 1, runs.end[closes]
    found = sorted({*below[below >= 0].tolist(), *above[above <= MAX_TOKEN].tolist()})
    if count < len(found):
        found = [found[place] for place in sorted(_distinct(numbers, count, len(found)))]
    return [(token, token + 1) for token in found]


def _distinct(numbers: Iterator[int], count: int, below: int) -> set[int]:
    """`count` different numbers from 0 to `below`, each set of them as likely as any other."""
    chosen: set[int] = set()
    for limit in range(below - count, below):
        number = next(numbers) % (limit + 1)
        chosen.add(limit if number in chosen else number)
    return chosen


def living_spans(runs: Runs) -> list[Span]:
    """All tokens of the runs."""
    return merged(zip(runs.first.tolist(), runs.end.tolist(), strict=True))


def doubtful(
    state: State, wallets: Iterable[bytes], contradicted: Sequence[Contradicted]
) -> dict[bytes, list[Span]]:
    """For each uncertain wallet the tokens that must agree before it is certain again.

    They are all that it owns or stakes, and those of the contradicted events that concern it.
    """
    found: dict[bytes, list[Span]] = {wallet: [] for wallet in wallets}
    for event in contradicted:
        for wallet in event.wallets & found.keys():
            found[wallet].append(event.span)
    address = blobs(state.wallets.address)
    concerned = [row for row, wallet in enumerate(address) if wallet in found]
    for party in (state.runs.owner, state.runs.staker):
        rows = np.flatnonzero(np.isin(party, concerned))
        runs = state.runs.take(rows)
        columns = (party[rows].tolist(), runs.first.tolist(), runs.end.tolist())
        for wallet, first, end in zip(*columns, strict=True):
            found[address[wallet]].append((first, end))
    return {wallet: merged(spans) for wallet, spans in found.items()}


def affordable(wanted: Iterable[list[Span]], limit: int) -> list[Span]:
    """The spans of as many of the lists as fit into `limit` tokens, small lists first."""
    chosen: list[Span] = []
    for spans in sorted(wanted, key=size):
        limit -= size(spans)
        if limit < 0:
            break
        chosen += spans
    return chosen


def size(spans: Iterable[Span]) -> int:
    """How many tokens there are in spans that do not overlap."""
    return sum(end - first for first, end in spans)


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same tokens in order, each once."""
    found: list[Span] = []
    for first, end in sorted(spans):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((first, end))
    return found


def without(spans: Sequence[Span], holes: Sequence[Span]) -> list[Span]:
    """The tokens of `spans` that are in none of the `holes`; both merged."""
    left: list[Span] = []
    ends = [end for _, end in holes]
    for first, end in spans:
        for low, high in holes[bisect_right(ends, first) :]:
            if low >= end:
                break
            if first < low:
                left.append((first, low))
            first = high
        if first < end:
            left.append((first, end))
    return left


# What differs ----------------------------------------------------------------------------


def holders(state: State, tokens: Sequence[int]) -> list[Holder]:
    """Who owns and stakes these tokens by our record."""
    runs, address = state.runs, state.wallets.address
    wide = runs.end.dtype == object
    asked = ids_column([token if wide else min(token, NARROW - 1) for token in tokens])
    found = []
    rows = np.searchsorted(runs.end, asked, side="right")
    for token, row in zip(tokens, rows.tolist(), strict=True):
        if row == len(runs) or not runs.first[row] <= token < runs.end[row]:
            found.append(Holder())
            continue
        owner, staker = int(runs.owner[row]), int(runs.staker[row])
        found.append(Holder(_name(address, owner), _name(address, staker)))
    return found


def _name(address: U8, wallet: int) -> bytes | None:
    return None if wallet == NOBODY else address[wallet].tobytes()


def supply(state: State) -> int:
    """How many tokens have an owner."""
    owned = state.runs.take(state.runs.owner != NOBODY)
    return total(owned.end - owned.first)


def settled(
    doubts: Mapping[bytes, list[Span]], asked: Sequence[Span], differences: Sequence[Difference]
) -> list[bytes]:
    """The wallets all of whose tokens in doubt were asked for and agree, and that no difference
    names; `asked` is merged."""
    named: set[bytes | None] = set()
    for found in differences:
        named |= {found.ours.owner, found.ours.staker, found.chain.owner, found.chain.staker}
    wrong = merged((found.token, found.token + 1) for found in differences)
    return [
        wallet
        for wallet, spans in doubts.items()
        if wallet not in named and not without(spans, asked) and without(spans, wrong) == spans
    ]


# Since when ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """A bisection: our record agreed at block `low`, as far as is known, and differs at `high`.

    `events` are all that touch the token, as if it were alone.
    """

    token: int
    events: Events
    low: int
    high: int

    @property
    def middle(self) -> int:
        """The block to look at next."""
        return (self.low + self.high) // 2

    @property
    def done(self) -> bool:
        """Whether nothing is left between the two ends."""
        return self.high - self.low <= 1

    def narrowed(self, block: int, *, differs: bool) -> Search:
        """After a look at `block`."""
        return replace(self, high=block) if differs else replace(self, low=block)

    def holder(self, rules: Rules, block: int) -> Holder:
        """Who our events say owns and stakes the token at the end of a block."""
        return _after(self.events.take(self.events.block <= block), rules)


def touching(events: Events, tokens: Sequence[int]) -> Events:
    """The events that touch one of a few tokens."""
    rows: Bool = np.zeros(len(events), np.bool_)
    for token in tokens:
        rows |= _touch(events, token)
    return events.take(rows)


def alone(events: Events, token: int) -> Events:
    """The events that touch a token, cut down to it."""
    mine = events.take(_touch(events, token))
    one = ids_column([1] * len(mine), ends=[token + 1])
    return replace(mine, first=ids_column([token] * len(mine), ends=[token + 1]), quantity=one)


def _touch(events: Events, token: int) -> Bool:
    if token >= NARROW and events.first.dtype != object:
        return np.zeros(len(events), np.bool_)
    inside: Bool = (events.first <= token) & (events.first + events.quantity > token)
    return inside.astype(np.bool_)


def _after(events: Events, rules: Rules) -> Holder:
    address, moves = moves_of(events)
    staking = Staking(among(address, rules.staking_contracts), rules.custody)
    runs = fold(no_runs(), moves, staking).runs
    if not len(runs):
        return Holder()
    return Holder(_name(address, int(runs.owner[0])), _name(address, int(runs.staker[0])))
