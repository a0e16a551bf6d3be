"""Answers about tokens and events."""

from __future__ import annotations

import numpy as np

from ngu_points.engine.events import NARROW, Ints
from ngu_points.pipeline import query
from ngu_points.web import answers, questions
from ngu_points.web.interfaces import Found, Looked, Source
from ngu_points.web.problems import wrong
from ngu_points.web.questions import (
    LATEST,
    cursor_of,
    moment_asked,
    parts_of,
    token_of,
    types_of,
    wallet_of,
)
from ngu_points.web.shaping import event_answers, newest, valid_of


def token(source: Source, asked: questions.TokenQuestion) -> answers.Token:
    """Who owns and who stakes a token, and since when."""
    number = token_of(asked.token)
    seen = source.seen(moment_asked(asked.at), wallet=None, token=number)
    found = query.token(seen.view, number)
    weight = str(_weight(source, number))
    if found is None:
        return answers.Token(
            valid=valid_of(seen), token_id=str(number), exists=False, weight=weight
        )
    first, last = found["run"]
    return answers.Token(
        valid=valid_of(seen),
        token_id=str(number),
        exists=True,
        owner=found["owner"],
        staker=found["staker"],
        owned_since=found["ownedSince"],
        staked_since=found["stakedSince"],
        earner=found["staker"] or found["owner"],
        weight=weight,
        range=answers.IdRange(first=first, last=last),
    )


def _weight(source: Source, number: int) -> int:
    wide = number >= NARROW
    first: Ints = np.array([number], object if wide else np.int64)
    return int(source.rules.weights.of(first, first + 1)[0])


def token_history(source: Source, asked: questions.TokenHistoryQuestion) -> answers.Events:
    """The events on a token, the latest first."""
    looked = Looked(asked.limit, _before(asked.cursor), token=token_of(asked.token))
    return _answer(source, looked)


def events(source: Source, asked: questions.EventsQuestion) -> answers.Events:
    """Events by type, wallet, token and blocks, the latest first."""
    low, high = asked.from_block or 0, LATEST if asked.to_block is None else asked.to_block
    if low > high:
        raise wrong("fromBlock", "lies after toBlock", "give the lower block first")
    looked = Looked(
        asked.limit,
        _before(asked.cursor),
        types_of(asked.type),
        None if asked.wallet is None else wallet_of(asked.wallet),
        None if asked.token is None else token_of(asked.token),
        low,
        high,
    )
    return _answer(source, looked)


def _before(cursor: str | None) -> tuple[int, int]:
    if cursor is None:
        return LATEST, 0
    block, log_index = parts_of(cursor, int, int)
    return int(block), int(log_index)


def _answer(source: Source, looked: Looked) -> answers.Events:
    seen = newest(source)
    found: Found = source.events(looked)
    scanned = found.scanned
    return answers.Events(
        valid=valid_of(seen),
        next=None if scanned is None else cursor_of(*scanned),
        scanned_from=found.block,
        events=event_answers(found.events, dict(found.errors)),
    )
