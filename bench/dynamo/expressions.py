"""The expressions that we send, as functions: conditions, key conditions, updates (pure)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

Item = Mapping[str, Mapping[str, Any]]
Names = Mapping[str, str]
Values = Mapping[str, Mapping[str, Any]]
Check = Callable[[Item, Names, Values], bool]

_WORD = re.compile(r"\s*(\(|\)|,|<>|<=|>=|=|<|>|[#:]?\w+)")
_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def value(typed: Mapping[str, Any]) -> Any:
    """A value that sorts as DynamoDB sorts it."""
    ((kind, content),) = typed.items()
    return int(content) if kind == "N" else content


def words(text: str) -> list[str]:
    """An expression's words and signs."""
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _WORD.match(text, at)
        if match is None:
            raise ValueError(f"an expression that the model does not know: {text[at:]!r}")
        found.append(match[1])
        at = match.end()
    return found


@cache
def condition(text: str) -> Check:
    """A condition or filter as a function of an item, names and values."""
    waiting = words(text)
    check = _either(waiting)
    if waiting:
        raise ValueError(f"an expression that the model does not know: {text!r}")
    return check


def _either(waiting: list[str]) -> Check:
    parts = [_both(waiting)]
    while waiting and waiting[0] == "OR":
        waiting.pop(0)
        parts.append(_both(waiting))
    if len(parts) == 1:
        return parts[0]
    return lambda item, names, values: any(part(item, names, values) for part in parts)


def _both(waiting: list[str]) -> Check:
    parts = [_one(waiting)]
    while waiting and waiting[0] == "AND":
        waiting.pop(0)
        parts.append(_one(waiting))
    if len(parts) == 1:
        return parts[0]
    return lambda item, names, values: all(part(item, names, values) for part in parts)


def _one(waiting: list[str]) -> Check:
    word = waiting.pop(0)
    if word == "(":
        inner = _either(waiting)
        _expect(waiting, ")")
        return inner
    if word in ("attribute_exists", "attribute_not_exists"):
        _expect(waiting, "(")
        name = waiting.pop(0)
        _expect(waiting, ")")
        return _presence(name, there=word == "attribute_exists")
    sign = waiting.pop(0)
    if sign == "BETWEEN":
        low = waiting.pop(0)
        _expect(waiting, "AND")
        high = waiting.pop(0)
        return lambda item, names, values: (
            names[word] in item
            and value(values[low]) <= value(item[names[word]]) <= value(values[high])
        )
    return _comparison(word, sign, waiting.pop(0))


def _presence(name: str, *, there: bool) -> Check:
    def check(item: Item, names: Names, values: Values) -> bool:  # noqa: ARG001 -- a Check
        return (names[name] in item) == there

    return check


def _comparison(name: str, sign: str, given: str) -> Check:
    compared = _COMPARED[sign]

    def check(item: Item, names: Names, values: Values) -> bool:
        held = item.get(names[name])
        if held is None:
            return sign == "<>"
        wanted = values[given]
        if held.keys() != wanted.keys():
            return sign == "<>"
        return compared(value(held), value(wanted))

    return check


def _expect(waiting: list[str], word: str) -> None:
    if waiting.pop(0) != word:
        raise ValueError(f"an expression without its {word!r}")


@dataclass(frozen=True, slots=True)
class KeyRange:
    """A key condition: the partition, and between what its range key lies."""

    hash: Any
    low: Any = None
    high: Any = None
    above: bool = False  # `low` itself is not in it
    below: bool = False  # `high` itself is not in it


def key_range(text: str, values: Values) -> KeyRange:
    """What a KeyConditionExpression asks for; its first comparison is that of the hash key."""
    found = words(text)
    hash_, rest = value(values[found[2]]), found[4:]
    if not rest:
        return KeyRange(hash_)
    if rest[1] == "BETWEEN":
        return KeyRange(hash_, value(values[rest[2]]), value(values[rest[4]]))
    sign, given = rest[1], value(values[rest[2]])
    if sign == "=":
        return KeyRange(hash_, given, given)
    if sign in (">", ">="):
        return KeyRange(hash_, low=given, above=sign == ">")
    return KeyRange(hash_, high=given, below=sign == "<")


@cache
def update(text: str) -> tuple[Sequence[tuple[str, str]], Sequence[str]]:
    """What an UpdateExpression sets, as (name, value), and what it removes."""
    sets, removes, kind = [], [], ""
    waiting = [word for word in words(text) if word != ","]
    while waiting:
        word = waiting.pop(0)
        if word in ("SET", "REMOVE"):
            kind = word
        elif kind == "SET":
            _expect(waiting, "=")
            sets.append((word, waiting.pop(0)))
        elif kind == "REMOVE":
            removes.append(word)
        else:
            raise ValueError(f"an update that the model does not know: {text!r}")
    return tuple(sets), tuple(removes)
