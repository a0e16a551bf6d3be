"""Whatever a node calls logs is decoded soundly or refused in one line, the same on both paths."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chain.nodelogs import (
    ANVIL,
    CONTRACTS,
    FIRST_BLOCK,
    LAST_BLOCK,
    MINT,
    ORDERS,
    TRANSFER,
    answers,
    log,
    place,
    wallet,
)
from fuzz.anything import HEX, JSON, assert_one_line, often, written
from ngu_points.chain.contract import Contract
from ngu_points.chain.decode import Decoded, decode, decode_exactly
from ngu_points.engine.events import MAX_TOKEN, NARROW, Events
from ngu_points.errors import BadInput

FIELDS = st.sampled_from([*ANVIL.split(), "logType", "", "removed "])
WORDS = (st.integers(0, 5) | st.integers(2**256 - 3, 2**256 - 1) | st.integers(0, 2**256 - 1)).map(
    lambda value: f"0x{value:064x}"
)
DEEP = [b"[" * 200_000, b'[{"address":' * 50_000, b'[{"topics":' + b"[" * 100_000]


def outcome(raw: bytes, contract: Contract, *, exactly: bool) -> Decoded | None:
    """What one path makes of a page; None where it refuses it, in one line."""
    read = decode_exactly if exactly else decode
    try:
        return read(raw, contract, FIRST_BLOCK, LAST_BLOCK)
    except BadInput as error:
        assert_one_line(str(error))
        return None


def assert_sound(raw: bytes, contract: Contract) -> Decoded | None:
    """Both paths say the same, and what they say can be folded."""
    fast, exact = (outcome(raw, contract, exactly=exactly) for exactly in (False, True))
    if fast is None or exact is None:
        assert fast is exact, raw
        return None
    assert fast.rejected == exact.rejected
    for column in fields(Events):
        one, other = (getattr(found.events, column.name) for found in (fast, exact))
        assert (one.dtype, one.shape) == (other.dtype, other.shape), column.name
        assert np.array_equal(one, other), column.name
    assert_foldable(fast, contract)
    return fast


def assert_foldable(found: Decoded, contract: Contract) -> None:
    """Positions ascend within what was asked for, ids exist, widths are right."""
    events = found.events
    positions = list(zip(events.block.tolist(), events.log_index.tolist(), strict=True))
    letters = [(r.block, r.log_index) for r in found.rejected]
    assert positions == sorted(set(positions))
    assert letters == sorted(set(letters))
    assert not set(positions) & set(letters)
    assert all(FIRST_BLOCK <= block <= LAST_BLOCK for block, _ in positions + letters)
    firsts, quantities = events.first.tolist(), events.quantity.tolist()
    ends = [first + quantity for first, quantity in zip(firsts, quantities, strict=True)]
    assert all(first >= 0 for first in firsts)
    assert all(quantity >= 1 for quantity in quantities)
    assert all(end <= MAX_TOKEN + 1 for end in ends)
    narrow = all(end < NARROW for end in ends)
    assert events.first.dtype == events.quantity.dtype == (np.int64 if narrow else object)
    assert set(events.kind.tolist()) <= set(range(5))
    assert {one.tobytes() for one in events.contract} <= set(contract.addresses)
    assert all(isinstance(json.loads(letter.raw), dict) for letter in found.rejected)


@st.composite
def changed_pages(draw: st.DrawFn) -> tuple[Contract, bytes]:
    """A page of real logs of which some fields, logs or both have been tampered with."""
    answer = draw(answers(5))
    logs: list[Any] = [dict(one) for one in answer.logs] or [log(MINT, [wallet(1)], [1, 1])]
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(logs) - 1))
        change = draw(
            st.sampled_from(["set", "set", "set", "topic", "drop", "twice", "swap", "any"])
        )
        one = dict(logs[at]) if isinstance(logs[at], dict) else {}
        if change == "set":
            logs[at] = one | {draw(FIELDS): draw(HEX | JSON)}
        elif change == "topic" and isinstance(one.get("topics"), list):
            topics = [*one["topics"], draw(HEX | JSON)]
            logs[at] = one | {"topics": draw(st.permutations(topics))[: draw(st.integers(0, 6))]}
        elif change == "drop":
            one.pop(draw(FIELDS), None)
            logs[at] = one
        elif change == "twice":
            logs.insert(draw(st.integers(0, len(logs))), one)
        elif change == "swap":
            other = draw(st.integers(0, len(logs) - 1))
            logs[at], logs[other] = logs[other], logs[at]
        else:
            logs[at] = draw(JSON)
    return answer.contract, written(logs, plain=draw(st.booleans()))


@often(6)
@given(changed_pages())
def test_tampered_pages_are_read_soundly_or_refused(page: tuple[Contract, bytes]) -> None:
    """Fields replaced, dropped or doubled, logs repeated or swapped: sound events, or one line."""
    contract, raw = page
    assert_sound(raw, contract)


@often(4)
@given(st.sampled_from(sorted(CONTRACTS)), JSON, st.booleans())
def test_any_json_is_no_page_of_events(kind: str, value: Any, plain: bool) -> None:
    """JSON that is no array of logs is refused; nothing in it becomes an event."""
    found = assert_sound(written(value, plain=plain), CONTRACTS[kind])
    assert found is None or (value == [] and len(found.events) == 0)


@often(4)
@given(
    st.sampled_from(sorted(CONTRACTS)),
    st.sampled_from([MINT, TRANSFER]),
    st.lists(WORDS | WORDS | WORDS | HEX, max_size=4),
    st.lists(WORDS, max_size=4).map(lambda words: bytes.fromhex("".join(w[2:] for w in words)))
    | st.binary(max_size=130),
    st.just({}) | st.dictionaries(st.sampled_from(ANVIL.split()), HEX, max_size=2),
    st.sampled_from(sorted(ORDERS)),
)
def test_logs_with_any_words_are_events_or_dead_letters(
    kind: str, first: str, topics: list[str], data: bytes, other: dict[str, str], node: str
) -> None:
    """A log of a configured event with any further topics and data never vanishes silently."""
    one = log(first, []) | place(FIRST_BLOCK, 3) | {"data": "0x" + data.hex()}
    one["topics"] = [first, *topics]
    one |= {name: value for name, value in other.items() if name != "topics"}
    contract = CONTRACTS[kind]
    shown = {key: one[key] for key in ORDERS[node].split()}
    found = assert_sound(written([shown]), contract)
    if found is None:
        return
    shape = contract.layouts().get((bytes.fromhex(one["address"][2:]), bytes.fromhex(first[2:])))
    ours = shape is not None and len(one["topics"]) != shape.foreign_topics
    assert len(found.events) + len(found.rejected) == int(ours)


def test_deep_answers_are_refused_without_harm() -> None:
    """Brackets without end fill no stack."""
    for raw in DEEP:
        assert assert_sound(raw, CONTRACTS["ngu"]) is None
