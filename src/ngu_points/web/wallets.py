"""Answers about one wallet: points, holdings, feasts, the explanation, points over time."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from ngu_points.engine import facts
from ngu_points.engine.facts import shown
from ngu_points.engine.rules import DAY
from ngu_points.engine.runs import NOBODY
from ngu_points.pipeline import explain
from ngu_points.pipeline.board import rank_of
from ngu_points.pipeline.explain import OPEN, Explained, Stretches
from ngu_points.web import answers, questions
from ngu_points.web.interfaces import Day, Seen, Source
from ngu_points.web.problems import Problem, unknown
from ngu_points.web.questions import LATEST, cursor_of, moment_asked, parts_of, season_of, wallet_of
from ngu_points.web.shaping import (
    address_text,
    date_text,
    event_name,
    exact_text,
    micro_text,
    newest,
    season_name,
    valid_of,
)


def wallet(source: Source, asked: questions.WalletQuestion) -> answers.Wallet:
    """A wallet's points, and the facts they come from."""
    who = wallet_of(asked.wallet)
    seen = source.seen(moment_asked(asked.at), wallet=who, token=None)
    view = seen.view
    season = season_of(asked.season, source.rules, view.season)
    board, row, doubt = source.board(seen, season), view.row(who), source.doubt(who)
    points = Fraction(0) if row is None else board.points(row)
    return answers.Wallet(
        valid=valid_of(seen),
        wallet=address_text(who),
        known=row is not None,
        earns=who not in source.rules.earns_nothing,
        season=season_name(seen, season),
        rank=None if row is None else rank_of(board, row),
        points=shown(points),
        exact=exact_text(points),
        total_points=shown(Fraction(0) if row is None else board.total(row)),
        daily_points=_daily(seen, row, points, season),
        per_day=shown(_per_day(seen, row, season)),
        uncertain=doubt.uncertain,
        retractions=[answers.Retracted(**_without_wallet(r)) for r in doubt.retractions],
        **_record(seen, row, season),
    )


def _without_wallet(retraction: Any) -> dict[str, Any]:
    return {name: value for name, value in retraction.items() if name != "wallet"}


def _record(seen: Seen, row: int | None, season: int) -> dict[str, Any]:
    """What is stored of a wallet."""
    if row is None:
        return {"current_held": "0", "current_staked": "0", "total_staked": "0",
                "last_stake_at": None, "last_unstake_at": None, "staking_streak": 0,
                "last_update_at": None, "facts": {}}  # fmt: skip
    view = seen.view
    mine = view.state.wallets.take([row])
    stored: Any = view.facts_of(row)[season] if view.rules.seasons else []
    return {
        "current_held": str(mine.held[0]),
        "current_staked": str(mine.staked[0]),
        "total_staked": str(mine.total_staked[0]),
        "last_stake_at": int(mine.last_stake[0]) or None,
        "last_unstake_at": int(mine.last_unstake[0]) or None,
        "staking_streak": int(mine.streak(view.timestamp)[0]),
        "last_update_at": int(mine.updated[0]) or None,
        "facts": {
            name: str(value) for name, value in zip(facts.names(view.rules), stored, strict=False)
        },
    }


def _daily(seen: Seen, row: int | None, points: Fraction, season: int) -> str | None:
    """Points since 00:00 UTC; None where what was had then is not at hand."""
    if row is None:
        return shown(Fraction(0))
    if seen.midnight is None or season != seen.view.season:
        return None
    numerators, denominator = seen.midnight
    before = Fraction(int(numerators[row]), denominator) if row < len(numerators) else Fraction(0)
    return shown(max(points - before, Fraction(0)))


def _per_day(seen: Seen, row: int | None, season: int) -> Fraction:
    """What the open runs earn now in a day."""
    view = seen.view
    rules = view.rules
    if row is None or not rules.seasons or not rules.seasons[season].contains(view.timestamp):
        return Fraction(0)
    if view.state.wallets.address[row].tobytes() in rules.earns_nothing:
        return Fraction(0)
    rates = facts.coefficients(rules.seasons[season], rules)
    runs = view.state.runs.take(view.runs_of(row))
    runs = runs.take(runs.earner == row)
    weight = rules.weights.of(runs.first, runs.end)
    staked = runs.staker != NOBODY
    age = view.timestamp - runs.since
    tier = np.searchsorted(np.array(rules.tier_starts), age, side="right") - 1
    rate = facts.total(weight[~staked]) * rates[facts.HELD]
    for number in range(len(rules.tier_starts)):
        rate += facts.total(weight[staked & (tier == number)]) * rates[facts.STAKED + number]
    return rate * DAY


# Holdings ---------------------------------------------------------------------------------


def holdings(source: Source, asked: questions.HoldingsQuestion) -> answers.Holdings:
    """What a wallet owns or stakes, as ranges."""
    who = wallet_of(asked.wallet)
    seen = source.seen(moment_asked(asked.at), wallet=who, token=None)
    row, runs = seen.view.row(who), seen.view.state.runs
    mine = np.zeros(0, np.int64) if row is None else seen.view.runs_of(row)
    start = 0
    if asked.cursor is not None:
        after = int(parts_of(asked.cursor, str)[0]) if _is_id(asked.cursor) else 0
        start = int(np.searchsorted(runs.first[mine].astype(object), after))
    page = mine[start : start + asked.limit]
    more = start + asked.limit < len(mine)
    names = seen.view.state.wallets.address

    def name(wallet: int) -> str | None:
        return None if wallet == NOBODY else address_text(names[wallet].tobytes())

    return answers.Holdings(
        valid=valid_of(seen),
        wallet=address_text(who),
        total=len(mine),
        next=cursor_of(str(runs.first[mine[start + asked.limit]])) if more else None,
        ranges=[
            answers.Range(
                first=str(runs.first[i]),
                last=str(runs.end[i] - 1),
                quantity=str(runs.end[i] - runs.first[i]),
                owner=name(int(runs.owner[i])),
                staker=name(int(runs.staker[i])),
                owned_since=int(runs.owned_since[i]) or None,
                since=int(runs.since[i]),
                staked=bool(runs.staker[i] != NOBODY),
            )
            for i in page.tolist()
        ],
    )


def _is_id(cursor: str) -> bool:
    (text,) = parts_of(cursor, str)
    if not text.isascii() or not text.isdecimal() or len(text) > 78:
        raise questions.no_cursor()
    return True


# Feasts -----------------------------------------------------------------------------------


def wallet_feasts(source: Source, asked: questions.WalletFeastsQuestion) -> answers.WalletFeasts:
    """A wallet's shares of the feasts that were held."""
    who, seen = wallet_of(asked.wallet), newest(source)
    before = LATEST if asked.cursor is None else int(parts_of(asked.cursor, int)[0])
    shares = source.shares_of(who, before, asked.limit + 1)
    row = seen.view.row(who)
    given = 0
    if row is not None:
        given = sum(int(season[facts.FEAST]) for season in seen.view.facts_of(row))
    more = len(shares) > asked.limit
    page = shares[: asked.limit]
    return answers.WalletFeasts(
        valid=valid_of(seen),
        wallet=address_text(who),
        next=cursor_of(page[-1][0].feast.day) if more else None,
        total_micro=str(given),
        feasts=[_share(day, micro) for day, micro in page],
    )


def _share(day: Day, micro: int) -> answers.WalletFeast:
    return answers.WalletFeast(
        day=day.feast.day,
        date=date_text(day.feast.day),
        share_micro=str(micro),
        share=micro_text(micro),
        pool_micro=str(day.feast.pool),
    )


# Why --------------------------------------------------------------------------------------


def _story(source: Source, seen: Seen, who: bytes) -> Explained:
    events = source.concerning(who, seen)
    return explain.explained(source.rules, events, who, seen.view.timestamp)


def explanation(source: Source, asked: questions.ExplanationQuestion) -> answers.Explanation:
    """Facts × rates, line by line, and the intervals behind them with their events."""
    who, rules = wallet_of(asked.wallet), source.rules
    seen = source.seen(moment_asked(asked.at), wallet=who, token=None)
    view = seen.view
    season = season_of(asked.season, rules, view.season)
    row, board = view.row(who), source.board(seen, season)
    nothing = facts.no_facts(rules, 1)[..., 0]
    stored = nothing if row is None else view.facts_of(row)
    story = _story(source, seen, who)
    start = 0 if asked.cursor is None else int(parts_of(asked.cursor, int)[0])
    page = story.stretches.take(slice(start, start + asked.limit))
    end = start + len(page)
    points = Fraction(0) if row is None else board.points(row)
    mine = stored[season] if rules.seasons else []
    return answers.Explanation(
        valid=valid_of(seen),
        wallet=address_text(who),
        season=season_name(seen, season),
        points=shown(points),
        exact=exact_text(points),
        lines=[_line(term) for term in explain.terms(rules, season, mine)],
        agrees=explain.agrees(story, rules, stored),
        total=len(story.stretches),
        next=cursor_of(end) if end < len(story.stretches) else None,
        intervals=_intervals(source, story, page, season),
    )


def _line(term: explain.Term) -> answers.Line:
    return answers.Line(
        fact=term.fact,
        text=term.text,
        amount=str(term.amount),
        unit=term.unit,
        rate=exact_text(term.rate),
        rate_text=term.rate_text,
        points=shown(term.points),
        exact=exact_text(term.points),
    )


def _intervals(
    source: Source, story: Explained, page: Stretches, season: int
) -> list[answers.Interval]:
    rules = source.rules
    worth = explain.seconds(story, rules, page)
    weight = rules.weights.of(page.first, page.end)
    rates = facts.coefficients(rules.seasons[season], rules) if rules.seasons else []
    found = []
    for row in range(len(page)):
        mine = [int(v) for v in worth[season, :, row]] if rules.seasons else []
        points = sum((a * r for a, r in zip(mine, rates, strict=True)), Fraction(0))
        began, parts = explain.opener(story, page, row)
        closer, staked = int(page.closer[row]), bool(page.staked[row])
        found.append(
            answers.Interval(
                first=str(page.first[row]),
                last=str(page.end[row] - 1),
                quantity=str(page.end[row] - page.first[row]),
                weight=str(weight[row]),
                how="staked" if staked else "held",
                since=int(page.since[row]),
                until=None if closer == OPEN else int(page.until[row]),
                seconds=str(sum(mine)),
                points=shown(points),
                exact=exact_text(points),
                tiers=_tiers(source, mine) if staked else [],
                opened=None if began is None else event_name(story.events, began),
                opened_by=parts,
                closed=None if closer == OPEN else event_name(story.events, closer),
            )
        )
    return found


def _tiers(source: Source, mine: list[int]) -> list[answers.TierSeconds]:
    multipliers = [Fraction(1), *(tier.multiplier for tier in source.rules.tiers)]
    return [
        answers.TierSeconds(tier=tier, multiplier=exact_text(multiplier), seconds=str(amount))
        for tier, (multiplier, amount) in enumerate(
            zip(multipliers, mine[facts.STAKED :], strict=False)
        )
        if amount
    ]


def points_history(source: Source, asked: questions.PointsHistoryQuestion) -> answers.PointsHistory:
    """A wallet's points at times that lie evenly between two moments."""
    who, rules = wallet_of(asked.wallet), source.rules
    seen = _seen(source, asked.until, "to", who)
    season = season_of(asked.season, rules, seen.view.season)
    story = _story(source, seen, who)
    end = seen.view.timestamp
    start = int(story.events.timestamp[0]) if len(story.events) else end
    if asked.since is not None:
        start = _since(source, asked.since)
    start = min(start, end)
    steps = asked.points - 1
    times = sorted({start + (end - start) * step // steps for step in range(steps + 1)})
    shares = [
        (day.feast.day, micro)
        for day, micro in source.shares_of(who, LATEST, LATEST)
        if day.feast.season == season
    ]
    return answers.PointsHistory(
        valid=valid_of(seen),
        wallet=address_text(who),
        season=season_name(seen, season),
        series=[
            answers.PointsAt(
                timestamp=then.timestamp, points=shown(then.points), held=str(then.held),
                staked=str(then.staked),
            )
            for then in explain.over_time(story, rules, season, shares, times)
        ],
    )  # fmt: skip


def _since(source: Source, text: str) -> int:
    moment = moment_asked(text, "from")
    assert moment is not None
    if moment.timestamp is not None:
        return moment.timestamp
    return _seen(source, text, "from", None).view.timestamp


def _seen(source: Source, text: str | None, name: str, who: bytes | None) -> Seen:
    """The state at a moment whose parameter is not called `at`."""
    try:
        return source.seen(moment_asked(text, name), wallet=who, token=None)
    except Problem as problem:
        found = problem.details
        if found.parameter != "at":
            raise
        raise unknown(name, found.detail.removeprefix("at: "), found.hint) from problem
