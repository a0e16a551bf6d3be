"""What a careless or hostile outside may send, for all tests of this folder; and what it may cause.

Each strategy is small on purpose: a test draws many short examples rather than few long ones.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

LONGEST_LINE = 1_200
"""Characters of an error: long enough for a range, a host and advice, too short for a page."""


def often(times: int) -> settings:
    """More examples than the profile's, for tests whose examples cost next to nothing."""
    return settings(max_examples=times * settings.default.max_examples)


def assert_one_line(text: str) -> None:
    """What a person reads: something, on one line, without what a terminal would act upon."""
    assert text.strip()
    assert all(letter.isprintable() for letter in text), ascii(text)
    assert len(text) <= LONGEST_LINE, f"{len(text)} characters: {text[:200]}"


ODD_TEXTS = st.sampled_from(
    [
        "",
        " ",
        "0",
        "-1",
        "0x",
        "0X1",
        "0x1_0",
        " 0x1",
        "0x1\n",
        "0x\u0661",
        "1e999",
        "\x00",
        "\x1b[31m",
        "a\nb",
        "null",
        "\u2028",
        "\U0001f4a9",
        "../../x",
        "%s%n{0}",
        "9" * 400,
    ]
)
TEXTS = ODD_TEXTS | st.text(max_size=12)
HEX = (
    st.integers(0, 2**300).map(hex)
    | st.binary(max_size=70).map(lambda data: "0x" + data.hex())
    | st.sampled_from([hex(2**bits + step) for bits in (28, 60, 63, 64, 256) for step in (-1, 0)])
)
NUMBERS = (
    st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**400, 0.1, 1e308])
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS | HEX
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
"""Any JSON value."""


def written(value: Any, *, plain: bool = False) -> bytes:
    """A JSON value as text; `plain` writes letters as they are and not as escapes."""
    return json.dumps(value, ensure_ascii=not plain).encode("utf-8", "surrogatepass")


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "repeat", "end"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=3,
)


def edited(raw: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    """Bytes after some edits, each at a part of their length; `end` drops all that follows."""
    for what, where, part in edits:
        at = int(where * len(raw))
        after = {
            "flip": bytes(b ^ (p | 1) for b, p in zip(raw[at:], part, strict=False))
            + raw[at + len(part) :],
            "cut": raw[at + len(part) :],
            "insert": part + raw[at:],
            "repeat": raw[at : at + 8 * len(part)] + raw[at:],
            "end": b"",
        }[what]
        raw = raw[:at] + after
    return raw
