"""What may be asked: every parameter with its type and its limits, and cursors.

The OpenAPI document is made from these types; what does not fit is a problem that names the
parameter.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta
from msgspec.inspect import IntType

from ngu_points.chain.address import address_of
from ngu_points.engine.events import MAX_TOKEN, TYPES
from ngu_points.engine.rules import Rules
from ngu_points.errors import UsageError
from ngu_points.pipeline.moment import Moment, is_number, moment_of
from ngu_points.web.problems import Problem, unknown, wrong

T = TypeVar("T", bound="Question")

LATEST = 2**53 - 1
WalletName = Annotated[str, Meta(pattern="^0x[0-9a-fA-F]{40}$", examples=["0x" + "a1" * 20])]
TokenName = Annotated[str, Meta(pattern="^([0-9]{1,78}|0x[0-9a-fA-F]{1,64})$", examples=["45"])]


def _moment(takes: str, without: str) -> Meta:
    """A moment as `moment_of` takes it; what it takes in words, and what holds without."""
    return Meta(
        max_length=40,
        pattern="^([0-9]{1,15}|@[0-9]{1,12}|[0-9]{4}-[0-9]{2}-[0-9]{2}.*)$",
        description=f"{takes}; left out: {without}.",
    )


_ANY = "A block (12345), a unix time (@1700000000) or ISO 8601"
_TIME = "A unix time (@1700000000) or ISO 8601"
At = Annotated[str, _moment(_ANY, "now")]
SinceFirst = Annotated[str, _moment(_ANY, "the wallet's first event")]
SinceEver = Annotated[str, _moment(_TIME, "the newest `limit` windows")]
UntilNow = Annotated[str, _moment(_TIME, "now")]
Cursor = Annotated[str, Meta(min_length=1, max_length=200, description="From `next`.")]
SeasonName = Annotated[str, Meta(max_length=64, description="Left out: the current season.")]
Block = Annotated[int, Meta(ge=0, le=LATEST)]
DayName = Annotated[
    str,
    Meta(
        pattern="^(today|[0-9]{1,7}|[0-9]{4}-[0-9]{2}-[0-9]{2})$",
        description="`today`, 2026-01-31, or days since 1970-01-01.",
    ),
]

_ADDRESS = "an address: 0x and 40 hexadecimal digits"
_MOMENT = "a block (12345), a unix time (@1700000000) or a time (2026-01-31T12:00:00Z)"
SHAPES = {
    "wallet": _ADDRESS,
    "around": _ADDRESS,
    "token": "a token id: a decimal number, or 0x and hexadecimal digits",
    "at": _MOMENT,
    "from": _MOMENT,
    "to": _MOMENT,
    "day": "today, a day (2026-01-31) or days since 1970-01-01",
}
"""What a parameter looks like, in words."""
BOUND = re.compile(r"Expected `(?P<of>int|str)`(?: of length)? (?:(?P<most><=)|>=) (?P<number>\d+)")
"""How msgspec words a limit."""


class Question(msgspec.Struct, frozen=True, rename="camel", kw_only=True,
               forbid_unknown_fields=True):  # fmt: skip
    """Parameters of a request, from path and query."""


class Nothing(Question, frozen=True):
    """No parameters."""


class LeaderboardQuestion(Question, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    cursor: Cursor | None = None
    season: SeasonName | None = None
    at: At | None = None
    around: (
        Annotated[WalletName, Meta(description="A wallet: it and those near it in rank.")] | None
    ) = None


class WalletQuestion(Question, frozen=True):
    wallet: WalletName
    season: SeasonName | None = None
    at: At | None = None


class HoldingsQuestion(Question, frozen=True):
    wallet: WalletName
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: Cursor | None = None
    at: At | None = None


class WalletFeastsQuestion(Question, frozen=True):
    wallet: WalletName
    limit: Annotated[int, Meta(ge=1, le=366)] = 30
    cursor: Cursor | None = None


class ExplanationQuestion(Question, frozen=True):
    wallet: WalletName
    season: SeasonName | None = None
    at: At | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: Cursor | None = None


class PointsHistoryQuestion(Question, frozen=True):
    wallet: WalletName
    season: SeasonName | None = None
    points: Annotated[int, Meta(ge=2, le=500, description="How many times.")] = 100
    since: SinceFirst | None = msgspec.field(name="from", default=None)
    until: At | None = msgspec.field(name="to", default=None)


class TokenQuestion(Question, frozen=True):
    token: TokenName
    at: At | None = None


class TokenHistoryQuestion(Question, frozen=True):
    token: TokenName
    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    cursor: Cursor | None = None


class EventsQuestion(Question, frozen=True):
    type: (
        Annotated[
            str,
            Meta(max_length=64, description=f"One or several of {', '.join(TYPES)}, by commas."),
        ]
        | None
    ) = None
    wallet: WalletName | None = None
    token: TokenName | None = None
    from_block: Block | None = None
    to_block: Block | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    cursor: Cursor | None = None


class FeastsQuestion(Question, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=366)] = 30
    cursor: Cursor | None = None


class FeastQuestion(Question, frozen=True):
    day: DayName
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    cursor: Cursor | None = None


class SeriesQuestion(Question, frozen=True):
    window: Literal["live", "5m", "hour", "day"] = "5m"
    since: SinceEver | None = msgspec.field(name="from", default=None)
    until: UntilNow | None = msgspec.field(name="to", default=None)
    limit: Annotated[int, Meta(ge=1, le=1000)] = 288


class ExportQuestion(Question, frozen=True):
    table: Literal["tokens", "points", "events", "feast"]
    format: Literal["csv", "json", "parquet"] = "csv"
    at: At | None = None
    ranges: Annotated[bool, Meta(description="Tokens as ranges, not one by one.")] = False


def asked(kind: type[T], path: Mapping[str, str], query: Iterable[tuple[str, str]]) -> T:
    """A question from a request's path and query; Problem naming the first thing wrong."""
    given: dict[str, Any] = {}
    known = {f.encode_name for f in msgspec.structs.fields(kind)} - path.keys()
    for name, value in query:
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise wrong(name[:64], "there is no such parameter", f"allowed here: {names}")
        if name in given:
            raise wrong(name, "is given twice", "give it once")
        if name in _integers(kind) and not is_number(value):  # msgspec takes 1e3 and -0, too
            raise wrong(name, "it takes a whole number", "write it with the digits 0 to 9")
        if value.casefold() == "null" and name != "season":  # which msgspec takes for none
            raise wrong(name, "is no value", "leave it out")
        given[name] = value
    try:
        return msgspec.convert({**given, **path}, kind, strict=False)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$.")
        name = place.rstrip("`")
        takes = _takes(kind, name, text)
        raise wrong(name or "query", f"it takes {takes}" if takes else text) from error


def _takes(kind: type[Question], name: str, text: str) -> str | None:
    """What a parameter takes, in words, where msgspec complains of its value."""
    if "matching regex" in text:
        return SHAPES.get(name)
    if text.startswith("Invalid enum value"):
        *some, last = get_args(get_type_hints(kind)[name])
        return f"{', '.join(some)} or {last}"
    if bound := BOUND.fullmatch(text):
        number = f"at {'most' if bound['most'] else 'least'} {bound['number']}"
        return f"a number of {number}" if bound["of"] == "int" else f"{number} characters"
    return None


@cache
def _integers(kind: type[Question]) -> frozenset[str]:
    """The parameters of a question that are integers."""
    return frozenset(
        field.encode_name
        for field in msgspec.inspect.type_info(kind).fields  # type: ignore[attr-defined]
        if any(isinstance(t, IntType) for t in getattr(field.type, "types", (field.type,)))
    )


# What the texts stand for ----------------------------------------------------------------


def wallet_of(text: str, name: str = "wallet") -> bytes:
    try:
        return address_of(text, name)
    except UsageError as error:
        raise wrong(name, str(error).removeprefix(f"{name}: ")) from error


def token_of(text: str) -> int:
    value = int(text, 0) if text.startswith("0x") else int(text)
    if value > MAX_TOKEN:
        raise wrong("token", "is above 2^256-1", "give a token id from 0 to 2^256-1")
    return value


def moment_asked(text: str | None, name: str = "at") -> Moment | None:
    if text is None:
        return None
    try:
        return moment_of(text.replace(" ", "+"), name)  # a + in a query means a space
    except (UsageError, OverflowError) as error:
        raise wrong(name, str(error).removeprefix(f"{name}: ")) from error


def season_of(name: str | None, rules: Rules, current: int) -> int:
    """The index of a season by name."""
    if name is None:
        return current
    names = [season.name for season in rules.seasons]
    if name not in names:
        raise unknown("season", "there is no such season", f"there is {', '.join(names) or 'none'}")
    return names.index(name)


def types_of(text: str | None) -> tuple[int, ...]:
    """Kinds of events from names divided by commas."""
    if text is None:
        return ()
    for name in text.split(","):
        if name not in TYPES:
            raise wrong("type", f"{name!r} is no event", f"there is {', '.join(TYPES)}")
    return tuple(TYPES.index(name) for name in text.split(","))


# Cursors: where the next page begins, as text that nobody needs to read ---------------------


def cursor_of(*parts: str | int) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(parts)).decode().rstrip("=")


def parts_of(cursor: str, *kinds: type) -> tuple[Any, ...]:
    """What `cursor_of` was given; Problem if it was not from here."""
    try:
        data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        parts: tuple[Any, ...] = msgspec.json.decode(data, type=tuple[kinds])  # type: ignore[valid-type]
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise no_cursor() from error
    if any(isinstance(part, int) and not -1 <= part <= LATEST for part in parts):
        raise no_cursor()
    return parts


def no_cursor() -> Problem:
    """A cursor that `cursor_of` has not made."""
    return wrong("cursor", "is none of ours", "leave it out to begin at the first page")


def day_of(text: str) -> int | None:
    """Days since 1970-01-01; None for today."""
    if text == "today":
        return None
    if is_number(text):
        return int(text)
    moment = moment_asked(text, "day")
    assert moment is not None
    return (moment.timestamp or 0) // 86_400
