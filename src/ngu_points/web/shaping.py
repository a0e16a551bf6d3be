"""From the engine's columns and numbers to what answers hold."""

from __future__ import annotations

import datetime as dt
from fractions import Fraction

from ngu_points.engine.events import Events, Kind, ids
from ngu_points.engine.facts import shown
from ngu_points.engine.rules import DAY, MICRO
from ngu_points.web import answers
from ngu_points.web.interfaces import Seen, Source
from ngu_points.web.problems import nothing_yet

EPOCH = dt.date(1970, 1, 1)


def newest(source: Source) -> Seen:
    """The newest state; Problem if there is none yet."""
    seen = source.newest()
    if seen is None:
        raise nothing_yet()
    return seen


def valid_of(seen: Seen) -> answers.Valid:
    """What an answer is valid to."""
    return answers.Valid(
        block=seen.view.state.block,
        block_hash=None if seen.block_hash is None else "0x" + seen.block_hash.hex(),
        timestamp=seen.view.timestamp,
        time=time_text(seen.view.timestamp),
        final=seen.final,
    )


def time_text(timestamp: int) -> str:
    return dt.datetime.fromtimestamp(timestamp, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def date_text(day: int) -> str:
    return (EPOCH + dt.timedelta(days=day)).isoformat()


def today(seen: Seen) -> int:
    return seen.view.timestamp // DAY


def exact_text(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def micro_text(micro: int) -> str:
    return shown(Fraction(micro, MICRO))


def address_text(address: bytes) -> str:
    return "0x" + address.hex()


def season_name(seen: Seen, season: int) -> str | None:
    seasons = seen.view.rules.seasons
    return seasons[season].name if seasons else None


def event_name(events: Events, row: int) -> answers.EventName:
    """An event by name."""
    one = events.take(slice(row, row + 1))
    return answers.EventName(
        id=ids(one)[0],
        type=answers.TYPE_NAMES[int(one.kind[0])],
        block=int(one.block[0]),
        timestamp=int(one.timestamp[0]),
        transaction_hash=address_text(one.tx_hash[0].tobytes()),
    )


def event_answers(events: Events, errors: dict[str, str]) -> list[answers.Event]:
    """Events as they are answered, in the order given."""
    found = []
    for row, name in enumerate(ids(events)):
        kind = Kind(int(events.kind[row]))
        first, quantity = int(events.first[row]), int(events.quantity[row])
        sender = None if kind == Kind.MINT else address_text(events.sender[row].tobytes())
        to = None if kind >= Kind.STAKE else address_text(events.recipient[row].tobytes())
        timestamp = int(events.timestamp[row])
        found.append(
            answers.Event(
                id=name,
                type=answers.TYPE_NAMES[kind],
                block=int(events.block[row]),
                log_index=int(events.log_index[row]),
                transaction_hash=address_text(events.tx_hash[row].tobytes()),
                block_hash=address_text(events.block_hash[row].tobytes()),
                timestamp=timestamp,
                time=time_text(timestamp),
                from_=sender,
                to=to,
                first=str(first),
                last=str(first + quantity - 1),
                quantity=str(quantity),
                error=errors.get(name),
            )
        )
    return found
