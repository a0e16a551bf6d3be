"""Answers about feasts: the open day, those that were held, their shares."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from ngu_points.engine.rules import DAY
from ngu_points.pipeline.feast_today import OpenFeast, open_feast
from ngu_points.pipeline.query import View
from ngu_points.web import answers, questions
from ngu_points.web.interfaces import Day, Seen, Source
from ngu_points.web.problems import Problem
from ngu_points.web.questions import LATEST, cursor_of, day_of, parts_of
from ngu_points.web.shaping import address_text, date_text, micro_text, newest, valid_of


def feasts(source: Source, asked: questions.FeastsQuestion) -> answers.Feasts:
    """The open feast, and those that were held."""
    seen = newest(source)
    before = LATEST if asked.cursor is None else int(parts_of(asked.cursor, int)[0])
    days = source.days(before, asked.limit + 1)
    more = len(days) > asked.limit
    page = days[: asked.limit]
    today = _today(seen.view)
    return answers.Feasts(
        valid=valid_of(seen),
        next=cursor_of(page[-1].feast.day) if more else None,
        open=None if today is None else _open(seen, today),
        feasts=[_closed(source, day) for day in page],
    )


def feast(source: Source, asked: questions.FeastQuestion) -> answers.Feast:
    """One day's feast and its shares, the largest first."""
    seen, number = newest(source), day_of(asked.day)
    start = 0 if asked.cursor is None else int(parts_of(asked.cursor, int)[0])
    today = _today(seen.view)
    shares: list[tuple[bytes, int, int | None]]
    if today is not None and number in (None, today.day):
        shares = [*today.shares]
        day: Any = _open(seen, today)
    else:
        found = [] if number is None else source.days(number + 1, 1)
        if not found or found[0].feast.day != number:
            raise Problem(
                404, "not-found", f"day {asked.day} has no feast",
                parameter="day", hint="/api/feasts lists the days",
            )  # fmt: skip
        day = _closed(source, found[0])
        shares = [(wallet, micro, None) for wallet, micro in source.shares(number)]
    end = min(start + asked.limit, len(shares))
    return answers.Feast(
        valid=valid_of(seen),
        open=isinstance(day, answers.OpenDay),
        feast=msgspec.to_builtins(day),
        total=len(shares),
        next=cursor_of(end) if end < len(shares) else None,
        shares=[
            answers.Share(
                rank=rank, wallet=address_text(wallet), share_micro=str(micro),
                share=micro_text(micro), seconds=None if seconds is None else str(seconds),
            )
            for rank, (wallet, micro, seconds) in enumerate(shares[start:end], start + 1)
        ],
    )  # fmt: skip


@lru_cache(maxsize=1)
def _today(view: View) -> OpenFeast | None:
    """The open feast of the newest state, which many ask for."""
    return open_feast(view)


def _open(seen: Seen, today: OpenFeast) -> answers.OpenDay:
    return answers.OpenDay(
        day=today.day,
        date=date_text(today.day),
        closes_at=(today.day + 1) * DAY,
        pool_micro=str(today.pool),
        pool=micro_text(today.pool),
        carry_micro=str(seen.view.state.carry),
        emission_micro=str(seen.view.rules.feast_emission),
        contribution_micro=str(seen.view.state.contribution),
        staked_tokens=str(today.staked_tokens),
        stakers=len(today.shares),
    )


def _closed(source: Source, day: Day) -> answers.ClosedDay:
    held = day.feast
    seasons = source.rules.seasons
    named = held.season is not None and held.season < len(seasons)
    return answers.ClosedDay(
        day=held.day,
        date=date_text(held.day),
        pool_micro=str(held.pool),
        pool=micro_text(held.pool),
        carry_in_micro=str(held.carry_in),
        emission_micro=str(held.emission),
        contribution_micro=str(held.contribution),
        carry_out_micro=str(held.carry_out),
        staked_seconds=str(held.seconds),
        season=seasons[held.season].name if named and held.season is not None else None,
        block=day.block,
        published=day.published,
        sharers=day.sharers,
        corrected=day.corrected,
    )
