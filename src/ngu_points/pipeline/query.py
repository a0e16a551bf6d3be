"""Answers from a state: points, tokens, the leaderboard, and the state as it was at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from ngu_points.engine import facts
from ngu_points.engine.coverage import Covered
from ngu_points.engine.events import I64, NARROW, Events, Ints, concat, ids
from ngu_points.engine.feast import FeastDay
from ngu_points.engine.hot import Hot
from ngu_points.engine.rules import DAY, Rules
from ngu_points.engine.runs import NOBODY, join
from ngu_points.engine.state import Advanced, State, among
from ngu_points.pipeline.holders import Holders
from ngu_points.pipeline.process import explain

EVENTS_MAX = 50_000
STEP_MAX = 200_000
"""Events of a step at most, where many runs make it larger than `EVENTS_MAX`."""


@dataclass(frozen=True, eq=False)
class View:
    """A state looked at from a time at or after its last event, under some rates.

    What is asked is worked out then: ask before a state that changes in place (`Hot`) does.
    """

    state: State
    rules: Rules
    timestamp: int
    known: Mapping[bytes, int] | None = None  # the rows of wallets, perhaps of later ones too
    holders: Holders | None = None  # which runs are whose; without it they are looked through

    @classmethod
    def of(cls, state: State, rules: Rules, timestamp: int | None = None) -> View:
        """`timestamp` defaults to that of the state's last covered block."""
        return cls(state, rules, state.timestamp if timestamp is None else timestamp)

    @cached_property
    def facts(self) -> Ints:
        """Everybody's facts [seasons, facts, wallets], open runs included."""
        wallets = self.state.wallets
        earns = ~among(wallets.address, self.rules.earns_nothing)
        return facts.at_time(wallets.facts, self.state.runs, self.rules, earns, self.timestamp)

    @cached_property
    def tokens(self) -> tuple[int, int]:
        """How many tokens are held, and how many staked."""
        wallets = self.state.wallets
        return facts.total(wallets.held), facts.total(wallets.staked)

    def facts_of(self, row: int) -> Ints:
        """One wallet's facts [seasons, facts], from its own runs alone."""
        if "facts" in vars(self):
            return self.facts[..., row]
        wallets, runs = self.state.wallets, self.state.runs.take(self.runs_of(row))
        runs = runs.take(runs.earner == row)
        staker = np.where(runs.staker == row, 0, NOBODY)
        alone = replace(runs, owner=np.zeros(len(runs), np.int64), staker=staker)
        earns = np.array([wallets.address[row].tobytes() not in self.rules.earns_nothing])
        some = wallets.facts[..., [row]]
        return facts.at_time(some, alone, self.rules, earns, self.timestamp)[..., 0]

    def runs_of(self, row: int) -> I64:
        """Rows of the runs that a wallet owns or stakes, in id order."""
        runs = self.state.runs
        if self.holders is not None:
            return self.holders.rows(runs, row)
        return np.flatnonzero((runs.owner == row) | (runs.staker == row))

    @property
    def season(self) -> int:
        return self.rules.current_season(self.timestamp)

    def points(self, season: int | None = None) -> tuple[Ints, int]:
        """Numerators of every wallet's points and their denominator; all seasons by default."""
        every = list(range(len(self.rules.seasons)))
        return facts.points(self.facts, self.rules, every if season is None else [season])

    def row(self, wallet: bytes) -> int | None:
        """The wallet's row, None if nothing ever happened to it."""
        if self.known is not None:
            row = self.known.get(wallet)
            return row if row is not None and row < len(self.state.wallets) else None
        hits = np.flatnonzero(among(self.state.wallets.address, frozenset({wallet})))
        return int(hits[0]) if len(hits) else None


@dataclass(frozen=True, slots=True, eq=False)
class Refolded:
    """What a history comes to when it is folded once more.

    Wallets of the feast days are numbers in `hot`. `notes` are the contradicted events: block,
    id, error note; `uncertain` the wallets concerned, each with the last such block.
    """

    hot: Hot
    days: list[FeastDay] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)  # the block at which each day closed
    notes: list[tuple[int, str, str]] = field(default_factory=list)
    uncertain: dict[bytes, int] = field(default_factory=dict)


def refold(
    rules: Rules,
    history: Iterable[Covered],
    start: State | Hot,
    until: tuple[int, int] | None = None,
) -> Refolded:
    """Fold a history again from a state, up to the last block within `until` (block, seconds).

    A state that is `Hot` already is changed in place.
    """
    again = Refolded(start if isinstance(start, Hot) else Hot(start, rules))
    hot = again.hot
    for parts, block, timestamp in _steps(_within(history, until), hot):
        moves = join(*(hot.moves(events) for events in parts))
        after = hot.advance(moves, block, timestamp)
        again.days.extend(after.days)
        again.closed.extend([block] * len(after.days))
        _note(again, after, parts)
    return again


def _note(again: Refolded, after: Advanced, parts: Sequence[Events]) -> None:
    if not len(after.anomalies.event):
        return
    events = concat(parts)
    notes, concerned = explain(after.anomalies, events, after.state.wallets.address)
    rows = sorted(notes)
    blocks = events.block[rows].tolist()
    named = zip(blocks, ids(events.take(rows)), (notes[row] for row in rows), strict=True)
    again.notes.extend(named)
    again.uncertain.update(dict.fromkeys(concerned, max(blocks)))


def _within(history: Iterable[Covered], until: tuple[int, int] | None) -> Iterator[Covered]:
    """A history up to the last block within `until` (block, seconds)."""
    for covered in history:
        if until is not None and (covered.to_block > until[0] or covered.timestamp > until[1]):
            yield _part(covered, *until)
            return
        yield covered


def _part(covered: Covered, block: int, timestamp: int) -> Covered:
    """The events of a range up to a block and a time.

    Asked for by time alone, the last block with an event is the last that is known to be in it.
    """
    events = covered.events
    events = events.take((events.timestamp <= timestamp) & (events.block <= block))
    if block > covered.to_block:
        block = int(events.block[-1]) if len(events) else covered.from_block - 1
    return replace(covered, events=events, to_block=block, timestamp=timestamp)


def _steps(history: Iterable[Covered], hot: Hot) -> Iterator[tuple[list[Events], int, int]]:
    """The events of a step each, and the block and time that it reaches.

    A step costs what it touches and a pass over all runs: it is larger where those are many.
    """
    parts: list[Events] = []
    for covered in history:
        events, to_block, until = covered.events, covered.to_block, covered.timestamp
        for low in range(0, max(len(events), 1), EVENTS_MAX):
            part = events.take(slice(low, low + EVENTS_MAX))
            parts.append(part)
            whole = low + EVENTS_MAX >= len(events)
            block = to_block if whole else int(part.block[-1])
            timestamp = until if whole else int(part.timestamp[-1])
            enough = min(max(len(hot.state.runs) // 3, EVENTS_MAX), STEP_MAX)
            if sum(map(len, parts)) >= enough:
                yield parts, block, timestamp
                parts = []
    if parts:
        yield parts, block, timestamp


def wallet_record(view: View, wallet: bytes, midnight: View | None = None) -> dict[str, Any]:
    """The points record of a wallet. `midnight` is the view at 00:00 UTC, for dailyPoints."""
    row, season = view.row(wallet), view.season
    wallets = view.state.wallets
    record: dict[str, Any] = {"wallet": "0x" + wallet.hex()}
    record["points"] = facts.shown(points_of(view, wallet, season))
    record["totalPoints"] = facts.shown(points_of(view, wallet))
    if midnight is not None:
        gained = points_of(view, wallet, season) - points_of(midnight, wallet, season)
        record["dailyPoints"] = facts.shown(max(gained, Fraction(0)))
    if row is None:
        return record | {"known": False}
    record |= {
        "known": True,
        "currentHeld": int(wallets.held[row]),
        "currentStaked": int(wallets.staked[row]),
        "totalStaked": int(wallets.total_staked[row]),
        "lastStakeAt": int(wallets.last_stake[row]) or None,
        "lastUnstakeAt": int(wallets.last_unstake[row]) or None,
        "stakingStreak": int(wallets.take([row]).streak(view.timestamp)[0]),
        "lastUpdateAt": int(wallets.updated[row]),
    }
    if view.rules.seasons:
        names = facts.names(view.rules)
        record["season"] = view.rules.seasons[season].name
        mine = view.facts_of(row)[season].tolist()
        record["facts"] = {name: int(fact) for name, fact in zip(names, mine, strict=True)}
    return record


def points_of(view: View, wallet: bytes, season: int | None = None) -> Fraction:
    """A wallet's exact points in one season, or in all."""
    row = view.row(wallet)
    if row is None or not view.rules.seasons:
        return Fraction(0)
    seasons = range(len(view.rules.seasons)) if season is None else [season]
    numerators, denominator = facts.points(
        view.facts_of(row)[..., np.newaxis], view.rules, list(seasons)
    )
    return Fraction(int(numerators[0]), denominator)


def runs_of_wallet(view: View, wallet: bytes) -> list[dict[str, Any]]:
    """The token runs that a wallet owns or stakes."""
    row, runs = view.row(wallet), view.state.runs
    if row is None:
        return []
    return [
        {
            "first": str(runs.first[i]),
            "last": str(runs.end[i] - 1),
            "staked": bool(runs.staker[i] != NOBODY),
            "since": int(runs.since[i]),
        }
        for i in view.runs_of(row).tolist()
    ]


def leaderboard(view: View, limit: int, season: int | None = None) -> list[dict[str, Any]]:
    """The wallets with most points of the (current) season, best first; ties by address."""
    if not view.rules.seasons:
        return []
    season = view.season if season is None else season
    numerators, denominator = view.points(season)
    totals, total_denominator = view.points()
    order = facts.rank(numerators, view.state.wallets.address)
    wallets = view.state.wallets
    return [
        {
            "rank": rank,
            "wallet": "0x" + wallets.address[row].tobytes().hex(),
            "points": facts.shown(Fraction(int(numerators[row]), denominator)),
            "totalPoints": facts.shown(Fraction(int(totals[row]), total_denominator)),
            "held": int(wallets.held[row]),
            "staked": int(wallets.staked[row]),
        }
        for rank, row in enumerate(_earning(order, numerators)[:limit].tolist(), 1)
    ]


def _earning(order: I64, numerators: Ints) -> I64:
    return order[numerators[order] > 0]


def token(view: View, token_id: int) -> dict[str, Any] | None:
    """Who owns and who stakes a token, and since when; None if it does not exist."""
    runs = view.state.runs
    if runs.end.dtype != object and token_id >= NARROW:
        return None
    at = int(np.searchsorted(runs.end, token_id, side="right"))
    if at == len(runs) or runs.first[at] > token_id:
        return None
    names = view.state.wallets.address

    def name(wallet: int) -> str | None:
        return None if wallet == NOBODY else "0x" + names[wallet].tobytes().hex()

    staked = runs.staker[at] != NOBODY
    return {
        "tokenId": str(token_id),
        "owner": name(int(runs.owner[at])),
        "staker": name(int(runs.staker[at])),
        "ownedSince": int(runs.owned_since[at]) or None,
        "stakedSince": int(runs.since[at]) if staked else None,
        "run": [str(runs.first[at]), str(runs.end[at] - 1)],
    }


def feast_today(view: View) -> dict[str, Any] | None:
    """The open feast: its pool so far, and who has which part of the staked seconds."""
    state = view.state
    if state.day is None:
        return None
    pool = state.carry + view.rules.feast_emission + state.contribution
    held, staked = view.tokens
    return {
        "day": state.day,
        "closesAt": (state.day + 1) * DAY,
        "poolMicro": str(pool),
        "carryMicro": str(state.carry),
        "contributionMicro": str(state.contribution),
        "stakedTokens": staked,
        "tokens": staked + held,
    }
