"""Reading many rows at once gives what reading them one by one gives, whatever the bytes."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nodelogs import (
    APPROVAL,
    CONTRACTS,
    DEPOSITED,
    FIRST_BLOCK,
    LAST_BLOCK,
    MINT,
    MOVE,
    ORDERS,
    STAKE,
    STYLES,
    TOKEN,
    TRANSFER,
    VAULT,
    Answer,
    Log,
    Row,
    Style,
    answers,
    log,
    page,
    place,
    wallet,
    write,
)

from ngu_points.chain.contract import Contract
from ngu_points.chain.decode import Decoded, decode, decode_exactly
from ngu_points.engine.events import Events
from ngu_points.errors import BadInput


def rows(events: Events) -> list[Row]:
    """Events as plain tuples."""
    return [
        (
            int(events.block[at]),
            int(events.log_index[at]),
            int(events.kind[at]),
            "0x" + events.sender[at].tobytes().hex(),
            "0x" + events.recipient[at].tobytes().hex(),
            int(events.first[at]),
            int(events.quantity[at]),
        )
        for at in range(len(events))
    ]


def outcome(raw: bytes, contract: Contract, exactly: bool) -> Decoded | None:
    """What a path finds; None where it refuses the page."""
    read = decode_exactly if exactly else decode
    try:
        return read(raw, contract, FIRST_BLOCK, LAST_BLOCK)
    except BadInput:
        return None


def assert_paths_agree(raw: bytes, contract: Contract) -> Decoded | None:
    """Both paths refuse the page, or both find the same, to the type of each column."""
    fast, exact = outcome(raw, contract, False), outcome(raw, contract, True)
    if fast is None or exact is None:
        assert fast is exact
        return None
    assert fast.rejected == exact.rejected
    for column in fields(Events):
        one, other = getattr(fast.events, column.name), getattr(exact.events, column.name)
        assert one.dtype == other.dtype, column.name
        assert one.shape == other.shape, column.name
        assert np.array_equal(one, other), column.name
    return fast


def regular(contract: str) -> list[Log]:
    """Fifty everyday logs of a contract, alike but for their values."""
    some = {
        "ngu": [
            log(MINT, [wallet(1)], [1, 10]),
            log(MOVE, [wallet(1), wallet(2)], [5, 1]),
            log(STAKE, [wallet(2)], [5]),
        ],
        "ngu with a vault": [
            log(MINT, [wallet(1)], [1, 10]),
            log(STAKE, [wallet(2)], [5]) | {"address": "0x" + VAULT.hex()},
        ],
        "erc721": [
            log(TRANSFER, [wallet(1), wallet(2), 5]),
            log(TRANSFER, [wallet(1), wallet(2)], [5]),
            log(APPROVAL, [wallet(1), wallet(2), 5]),
        ],
        "custom": [
            log(TRANSFER, [wallet(1), wallet(2), 5]),
            log(DEPOSITED, [wallet(2)], [5, 0x40, 0]) | {"address": "0x" + VAULT.hex()},
        ],
    }[contract]
    return [some[at % len(some)] | place(FIRST_BLOCK + at // 20, at % 20) for at in range(50)]


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("node", ORDERS)
def test_everyday_pages_take_the_fast_path(node: str, contract: str) -> None:
    """No everyday log of any node falls back to the exact path, and none is lost."""
    raw = page(regular(contract), ORDERS[node])
    found = assert_paths_agree(raw, CONTRACTS[contract])
    assert found is not None
    assert found.slow_rows == 0
    ours = sum(one["topics"][0] != APPROVAL for one in regular(contract))
    erc20 = sum(one["topics"][0] == TRANSFER and len(one["topics"]) == 3
                for one in regular(contract))  # fmt: skip
    assert len(found.events) == ours - erc20


@given(answers(), STYLES)
@settings(max_examples=300, deadline=None)
def test_both_paths_find_what_was_written(answer: Answer, style: Style) -> None:
    """Whatever the contract, the values and the node's style, both paths find exactly that."""
    raw = write(answer.logs, style)
    found = assert_paths_agree(raw, answer.contract)
    assert found is not None
    assert rows(found.events) == list(answer.events)
    assert [(one.block, one.log_index) for one in found.rejected] == list(answer.rejected)
    for one in found.rejected:
        assert json.loads(one.raw)["logIndex"] == hex(one.log_index)


EXTRAS = st.sampled_from(
    [
        {"logType": None},
        {"transactionLogIndex": "0x1f"},
        {"l1BatchNumber": "0xabc"},
        {"odd": "0x"},
        {"note": 'curly { brackets } and \\ " [ ] , :'},
        {"nested": {"removed": True, "logIndex": "0x9"}},
        {"list": [{"address": "0x"}, None, 1.5]},
        {"removed": None},
        {"blockTimestamp": None},
        {"blockTimestamp": 1_700_000_000},
    ]
)


@given(answers(6), STYLES, st.lists(st.none() | EXTRAS, min_size=6, max_size=6))
@settings(max_examples=200, deadline=None)
def test_further_keys_change_nothing(
    answer: Answer, style: Style, extras: list[dict[str, object] | None]
) -> None:
    """Keys that we do not know, null or nested, do not disturb what is read beside them."""
    logs = [one | (extra or {}) for one, extra in zip(answer.logs, extras, strict=False)]
    raw = write(logs, style)
    found = assert_paths_agree(raw, answer.contract)
    times: dict[str, set[object]] = {}
    for one in logs:
        times.setdefault(one["blockNumber"], set()).add(one["blockTimestamp"])
    timed = "blockTimestamp" in style.order
    if timed and any(len(of_block) > 1 for of_block in times.values()):
        assert found is None
        return
    assert found is not None
    assert rows(found.events) == list(answer.events)


ODD = [
    (b'"removed":', b'"address":"0x00","removed":', "a key that comes twice"),
    (b'"logIndex"', b'"log\\u0049ndex"', "a key with an escape"),
    (b'"blockHash":"0x', b'"blockHash":"\\u0030x', "a value with an escape"),
    (b'"data"', b'"removed":true,"data"', "a removed that is overruled"),
    (b'"removed":false', b'"removed":null', "a removed that is null"),
    (b'"removed":false', b'"removed":"0x0"', "a removed that is hex"),
    (b'"data":', b'"data":null,"data":', "a null that is overruled"),
    (b'"removed"', b'"blockTimestamp":null,"removed"', "a time taken back"),
    (b'"blockTimestamp":', b'"blockTimestamp":false,"x":', "a time that is false"),
    (b"5fbdb2", b"5FbDb2", "a checksummed address"),
    (b'"0x3e8"', b'"0x00000000000000000003E8"', "a padded quantity"),
    (b"},{", b"}\n,\t{", "white space between rows"),
    (b"},{", b"} {", "no comma between rows"),
    (b"},{", b"}]{", "a bracket between rows"),
    (b"},{", b"},,{", "two commas between rows"),
    (b"},{", b"},null,{", "a null between rows"),
    (b"}]", b"},]", "a comma after the last row"),
    (b"}]", b"}]]", "a bracket too many"),
    (b"}]", b"}", "no closing bracket"),
    (b"}]", b"}],", "a comma after the array"),
    (b"[{", b"[,{", "a comma before the first row"),
    (b"[{", b"\xa0[{", "white space that is not JSON's"),
    (b"[{", b"\xef\xbb\xbf[{", "a byte order mark"),
    (b"0xe7f1", b"0xe7f2", "another address"),
    (b'"0x3e8"', b'"0x3e8 "', "a space in a quantity"),
    (b'"0x3e8"', b'"0x3_e8"', "an underscore in a quantity"),
    (b'"0x3e8"', b'"0X3e8"', "a capital X"),
    (b'"0x3e8"', b'"1000"', "a decimal quantity"),
    (b'"0x3e8"', b"1000", "a number for a quantity"),
    (b'"0x3e8"', b'"0x"', "a quantity without digits"),
    (b'"0x3e8"', b"null", "a pending log"),
    (b'"topics":[', b'"topics":[null,', "a topic that is null"),
    (b'"topics":[', b'"topics":["0x01",', "a short topic"),
    (b'"topics":[', b'"topics":[' + 4 * (b'"0x' + 32 * b"00" + b'",'), "too many topics"),
    (b'"data":"0x', b'"data":"0x0', "an odd number of digits"),
    (b'"data":"0x', b'"data":"', "data without 0x"),
]


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize(("old", "new", "what"), ODD, ids=[row[2] for row in ODD])
def test_odd_pages_mean_the_same_to_both_paths(
    contract: str, old: bytes, new: bytes, what: str
) -> None:
    """An oddity in one row or in every row is understood or refused by both paths alike."""
    raw = page(regular(contract))
    everywhere = raw.replace(old, new)
    assert everywhere != raw or old not in raw
    assert_paths_agree(everywhere, CONTRACTS[contract])
    assert_paths_agree(raw.replace(old, new, 1), CONTRACTS[contract])
    head, _, tail = raw.rpartition(old)
    assert_paths_agree(head + new + tail, CONTRACTS[contract])


LETTERS = st.sampled_from([bytes([letter]) for letter in b'0159afAFxX{}[]",:\\ \n_-tn\x00\xc3'])
PARTS = st.sampled_from([b"},{", b'"', b"null", b"true", b"0x", b"[]", b'"removed":true,', b"{}"])
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "flip", "cut", "insert", "repeat"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(1, 70),
        LETTERS | PARTS,
    ),
    min_size=1,
    max_size=3,
)


def damaged(raw: bytes, edits: list[tuple[str, float, int, bytes]]) -> bytes:
    """The page after some edits, each at a part of its length."""
    for what, where, size, part in edits:
        at = int(where * len(raw))
        after = {
            "flip": part + raw[at + len(part) :],
            "cut": raw[at + size :],
            "insert": part + raw[at:],
            "repeat": raw[at : at + size] + raw[at:],
        }[what]
        raw = raw[:at] + after
    return raw


@given(answers(), STYLES, EDITS)
@settings(max_examples=500, deadline=None)
def test_damaged_pages_mean_the_same_to_both_paths(
    answer: Answer, style: Style, edits: list[tuple[str, float, int, bytes]]
) -> None:
    """Bytes flipped, cut, inserted or repeated: the same result, or both refuse, never a crash."""
    raw = write(answer.logs, style)
    assert_paths_agree(damaged(raw, edits), answer.contract)


@given(st.sampled_from(sorted(CONTRACTS)), EDITS)
@settings(max_examples=500, deadline=None)
def test_damage_among_rows_that_are_alike_is_seen(
    contract: str, edits: list[tuple[str, float, int, bytes]]
) -> None:
    """One damaged row among many that fit a template is not read through the template."""
    assert_paths_agree(damaged(page(regular(contract)), edits), CONTRACTS[contract])


@given(st.binary(max_size=40) | st.text(alphabet='[]{}",:0x', max_size=30).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_noise_is_refused(raw: bytes) -> None:
    """Bytes that are no array of logs are refused by both paths, except an empty array."""
    found = assert_paths_agree(raw, CONTRACTS["ngu"])
    assert found is None or json.loads(raw) == []


def test_every_single_digit_matters() -> None:
    """Changing any byte of a row, but those of an optional key, changes what is found."""
    logs = [log(MOVE, [wallet(1), wallet(2)], [5, 3]) | place(FIRST_BLOCK + at, 0)
            for at in range(4)]  # fmt: skip
    raw = page(logs)
    contract = CONTRACTS["ngu"]
    whole = decode(raw, contract, FIRST_BLOCK, LAST_BLOCK)
    start = raw.index(b'{"', raw.index(b"},{"))
    silent = []
    for at in range(start, raw.index(b"},{", start)):
        other = b"8" if raw[at : at + 1] != b"8" else b"9"
        found = outcome(raw[:at] + other + raw[at + 1 :], contract, False)
        if found is not None and found.rejected == whole.rejected:
            same = all(
                np.array_equal(getattr(found.events, f.name), getattr(whole.events, f.name))
                for f in fields(Events)
            )
            silent.extend([at] * same)
    key = raw.index(b"removed", start)
    assert silent == list(range(key, key + len("removed")))


def test_rows_that_fit_no_template_do_not_slow_the_page_without_end() -> None:
    """Hundreds of rows of different shapes are all read, by whichever path."""
    logs = [
        log(MINT, [wallet(at + 1)], [2**200 + at, 1 + at]) | place(FIRST_BLOCK, at)
        for at in range(300)
    ]
    for at, one in enumerate(logs):
        one["note"] = "0x" + "0" * at
    found = assert_paths_agree(page(logs), CONTRACTS["ngu"])
    assert found is not None
    assert [row[5] for row in rows(found.events)] == [2**200 + at for at in range(300)]
    assert found.events.first.dtype == object


def test_one_wide_id_widens_the_column() -> None:
    """One id past 2**62, one dead letter: exact integers, the rest of the page still fast."""
    logs = regular("ngu")
    logs[20] = log(MOVE, [wallet(1), wallet(2)], [5, 0]) | place(FIRST_BLOCK + 1, 0)
    logs[10] = log(MINT, [wallet(1)], [2**256 - 1, 1]) | place(FIRST_BLOCK, 10)
    found = assert_paths_agree(page(logs), CONTRACTS["ngu"])
    assert found is not None
    assert found.slow_rows == 2
    assert len(found.rejected) == 1
    assert found.events.first.dtype == object
    assert all(type(value) is int for value in found.events.first.tolist())
    assert rows(found.events)[10][5] == 2**256 - 1


def test_token_contract_is_named_in_every_event() -> None:
    """Each event carries the address that emitted it, also where two contracts take part."""
    found = assert_paths_agree(page(regular("ngu with a vault")), CONTRACTS["ngu with a vault"])
    assert found is not None
    emitted = [one.tobytes() for one in found.events.contract]
    assert emitted == [TOKEN, VAULT] * 25
