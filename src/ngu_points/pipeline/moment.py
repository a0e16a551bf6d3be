"""Moments as people write them: a block, a unix time, a time."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from dataclasses import dataclass

from ngu_points.errors import UsageError

LAST_SECOND = 253_402_300_799  # of the year 9999
LONGEST = 64  # characters of a number


@dataclass(frozen=True, slots=True)
class Moment:
    """A block, or a time in seconds; one of both."""

    block: int | None = None
    timestamp: int | None = None


def moment_of(text: str, key: str) -> Moment:
    """`12345` a block, `@1700000000` a unix time, anything else ISO 8601."""
    if is_number(text) and len(text) < LONGEST:
        return Moment(block=int(text))
    if text.startswith("@") and is_number(text[1:]) and len(text) < LONGEST:
        if int(text[1:]) <= LAST_SECOND:
            return Moment(timestamp=int(text[1:]))
    elif not is_number(text):
        with suppress(UsageError, OverflowError):
            timestamp = seconds_of(text, key)
            if 0 <= timestamp <= LAST_SECOND:
                return Moment(timestamp=timestamp)
    raise UsageError(
        f"{key}: {text!r} is no moment: it takes a block (12345), a unix time (@1700000000) "
        "or a time (2026-01-31T12:00:00Z)"
    )


def seconds_of(value: str | int, key: str) -> int:
    """A unix time or an ISO 8601 time (UTC unless it says otherwise) as integer seconds."""
    if isinstance(value, int) or (is_number(value) and len(value) < LONGEST):
        if not 0 <= int(value) <= LAST_SECOND:
            raise UsageError(f"{key}: {value} lies outside the years 1970 to 9999")
        return int(value)
    try:
        time = dt.datetime.fromisoformat(value)
    except ValueError:
        raise UsageError(
            f"{key}: {value!r} is not a time: it takes 2026-01-01T00:00:00Z or unix seconds"
        ) from None
    return int((time if time.tzinfo else time.replace(tzinfo=dt.UTC)).timestamp())


def is_number(text: str) -> bool:
    """Whether a text is nothing but the digits 0 to 9."""
    return text.isascii() and text.isdecimal()
