"""What each log means, what is refused and how that is said; the same on both paths."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nodelogs import (
    APPROVAL,
    BURN,
    CONSECUTIVE,
    FIRST_BLOCK,
    LAST_BLOCK,
    MINT,
    MOVE,
    STAKE,
    TOKEN,
    TRANSFER,
    UNSTAKE,
    VAULT,
    Log,
    log,
    page,
    place,
    wallet,
    word,
)

from ngu_points.chain.contract import Contract, EventText, custom, erc721, ngu
from ngu_points.chain.decode import Decoded, decode, decode_exactly
from ngu_points.engine.events import Kind
from ngu_points.errors import BadInput

Read = Callable[[bytes, Contract, int, int], Decoded]
A, B, ZERO = wallet(1), wallet(2), wallet(0)


@pytest.fixture(params=[decode, decode_exactly], ids=["fast", "exact"])
def read(request: pytest.FixtureRequest) -> Read:
    """Each of the two ways to read a page."""
    chosen: Read = request.param
    return chosen


def found(read: Read, contract: Contract, *logs: Log) -> Decoded:
    """What a page of these logs holds; they get places one after the other."""
    placed = [one | place(FIRST_BLOCK, at) for at, one in enumerate(logs)]
    return read(page(placed), contract, FIRST_BLOCK, LAST_BLOCK)


def meanings(decoded: Decoded) -> list[tuple[str, str, str, int, int]]:
    """Kind, from, to, first token and quantity of each event."""
    events = decoded.events
    return [
        (
            Kind(int(events.kind[at])).name,
            "0x" + events.sender[at].tobytes().hex(),
            "0x" + events.recipient[at].tobytes().hex(),
            int(events.first[at]),
            int(events.quantity[at]),
        )
        for at in range(len(events))
    ]


def test_the_five_events_of_ngu(read: Read) -> None:
    """Each event fills the columns as the engine expects them."""
    decoded = found(
        read,
        ngu(TOKEN),
        log(MINT, [A], [1, 10]),
        log(BURN, [A], [3, 2]),
        log(MOVE, [A, B], [5, 3]),
        log(STAKE, [B], [5]),
        log(UNSTAKE, [B], [2**256 - 1]),
    )
    assert meanings(decoded) == [
        ("MINT", ZERO, A, 1, 10),
        ("BURN", A, ZERO, 3, 2),
        ("TRANSFER", A, B, 5, 3),
        ("STAKE", B, ZERO, 5, 1),
        ("UNSTAKE", B, ZERO, 2**256 - 1, 1),
    ]
    assert decoded.rejected == ()


def test_where_an_event_stands_is_kept(read: Read) -> None:
    """Block, transaction, log index, time, hashes and emitter come from the log itself."""
    one = log(MINT, [A], [1, 10]) | place(FIRST_BLOCK + 7, 300)
    events = read(page([one]), ngu(TOKEN), FIRST_BLOCK, LAST_BLOCK).events
    assert (events.block[0], events.log_index[0], events.tx_index[0]) == (1007, 300, 100)
    assert events.timestamp[0] == 1_700_002_014
    assert "0x" + events.block_hash[0].tobytes().hex() == one["blockHash"]
    assert "0x" + events.tx_hash[0].tobytes().hex() == one["transactionHash"]
    assert events.contract[0].tobytes() == TOKEN


def test_zero_addresses_of_a_transfer_make_mints_and_burns(read: Read) -> None:
    """From nowhere is a mint, to nowhere a burn, for one token and for a range."""
    decoded = found(
        read,
        erc721(TOKEN),
        log(TRANSFER, [ZERO, A, 7]),
        log(TRANSFER, [A, ZERO, 7]),
        log(TRANSFER, [A, A, 7]),
        log(CONSECUTIVE, [5, ZERO, B], [9]),
        log(CONSECUTIVE, [5, B, A], [5]),
    )
    assert meanings(decoded) == [
        ("MINT", ZERO, A, 7, 1),
        ("BURN", A, ZERO, 7, 1),
        ("TRANSFER", A, A, 7, 1),
        ("MINT", ZERO, B, 5, 5),
        ("TRANSFER", B, A, 5, 1),
    ]


def test_an_erc20_transfer_is_no_event_and_no_dead_letter(read: Read) -> None:
    """Three topics under Transfer's name are passed over in silence, four are ours."""
    decoded = found(read, erc721(TOKEN), log(TRANSFER, [A, B], [10**18]), log(TRANSFER, [A, B, 1]))
    assert meanings(decoded) == [("TRANSFER", A, B, 1, 1)]
    assert decoded.rejected == ()


def test_logs_that_are_not_configured_are_passed_over(read: Read) -> None:
    """Another event of our contract, one without topics, a Stake from the wrong contract."""
    decoded = found(
        read,
        ngu(TOKEN, [VAULT]),
        log(APPROVAL, [A, B, 1]),
        log(APPROVAL, []) | {"topics": [], "data": "0x0102"},
        log(STAKE, [A], [1]),
        log(STAKE, [A], [2]) | {"address": "0x" + VAULT.hex()},
    )
    assert meanings(decoded) == [("STAKE", A, ZERO, 2, 1)]
    assert decoded.rejected == ()


DIRTY = "0x" + "00" * 11 + "01" + A[2:]
OLD_TRANSFER = log(TRANSFER, [], [1, 2, 3])
IMPOSSIBLE: list[tuple[Contract, Log, str, str]] = [
    (ngu(TOKEN), log(MINT, [A], [1]), "batch", "BatchMint: data has 32 bytes instead of 64"),
    (ngu(TOKEN), log(MINT, [A], [1, 2, 3]), "batch", "data has 96 bytes instead of 64"),
    (ngu(TOKEN), log(STAKE, [A]), "staking", "Stake: data has 0 bytes instead of 32"),
    (ngu(TOKEN), log(MINT, [A, B], [1, 2]), "batch", "the number of topics is 3, not 2"),
    (ngu(TOKEN), log(MINT, [A], [1, 0]), "batch", "quantity is 0"),
    (
        ngu(TOKEN),
        log(MINT, [A], [2**256 - 1, 2]),
        "batch",
        f"2 tokens from {2**256 - 1} on end past",
    ),
    (ngu(TOKEN), log(MINT, [A], [2**255, 2**255 + 1]), "batch", "end past 2**256 - 1"),
    (ngu(TOKEN), log(MINT, [DIRTY], [1, 1]), "batch", "does not fit in 160 bits"),
    (ngu(TOKEN), log(MINT, [ZERO], [1, 1]), "batch", "every address is zero"),
    (ngu(TOKEN), log(BURN, [ZERO], [1, 1]), "batch", "every address is zero"),
    (ngu(TOKEN), log(MOVE, [ZERO, ZERO], [1, 1]), "batch", "every address is zero"),
    (ngu(TOKEN), log(UNSTAKE, [ZERO], [1]), "staking", "Unstake: every address is zero"),
    (erc721(TOKEN), log(TRANSFER, [ZERO, ZERO, 1]), "batch", "every address is zero"),
    (erc721(TOKEN), log(CONSECUTIVE, [9, A, B], [8]), "batch", "the last token 8 comes before"),
    (erc721(TOKEN), OLD_TRANSFER, "batch", "Transfer: the number of topics is 1, not 4"),
]


@pytest.mark.parametrize(("contract", "one", "stream", "reason"), IMPOSSIBLE)
def test_an_impossible_event_becomes_a_dead_letter(
    read: Read, contract: Contract, one: Log, stream: str, reason: str
) -> None:
    """It is kept whole, with its place, stream and reason, and the next log is read as ever."""
    good = log(MINT, [A], [1, 1]) if contract.kind == "ngu" else log(TRANSFER, [A, B, 1])
    decoded = found(read, contract, one, good)
    assert len(decoded.events) == 1
    (letter,) = decoded.rejected
    assert letter.stream == stream
    assert reason in letter.reason
    assert (letter.block, letter.log_index, letter.tx_index) == (FIRST_BLOCK, 0, 0)
    assert letter.timestamp == 1_700_002_000
    assert letter.contract == TOKEN
    placed = one | place(FIRST_BLOCK, 0)
    assert json.loads(letter.raw) == placed
    assert "0x" + letter.block_hash.hex() == placed["blockHash"]
    assert "0x" + letter.tx_hash.hex() == placed["transactionHash"]


def test_the_largest_range_is_still_an_event(read: Read) -> None:
    """All 2**256 - 1 ids from 1 on, and the last id alone, are exact."""
    decoded = found(
        read, ngu(TOKEN), log(MINT, [A], [1, 2**256 - 1]), log(BURN, [A], [2**256 - 1, 1])
    )
    assert [row[3:] for row in meanings(decoded)] == [(1, 2**256 - 1), (2**256 - 1, 1)]
    assert decoded.events.first.dtype == decoded.events.quantity.dtype == object


@pytest.mark.parametrize(
    ("first", "quantity", "dtype"),
    [
        (2**62 - 2, 1, np.int64),
        (2**62 - 1, 1, object),
        (0, 2**62 - 1, np.int64),
        (0, 2**62, object),
        (2**63, 1, object),
        (2**64 - 1, 1, object),
    ],
)
def test_columns_are_narrow_while_every_end_is(
    read: Read, first: int, quantity: int, dtype: type
) -> None:
    """Ids are int64 as long as no range ends at 2**62 or past it, then Python integers."""
    events = found(read, ngu(TOKEN), log(MINT, [A], [first, quantity])).events
    assert (events.first.dtype, events.quantity.dtype) == (dtype, dtype)
    assert (int(events.first[0]), int(events.quantity[0])) == (first, quantity)


@pytest.mark.parametrize("bits", [8, 32, 56, 64, 72, 160, 248])
def test_a_narrow_integer_type_bounds_its_field(read: Read, bits: int) -> None:
    """The largest value of the declared type is an event, one more is a dead letter."""
    text = EventText("burn", f"Gone(address indexed who, uint{bits} id)",
                     {"from": "who", "tokenId": "id"})  # fmt: skip
    contract = custom(TOKEN, {"gone": text})
    gone = "0x" + contract.topics[0].hex()
    decoded = found(read, contract, log(gone, [A], [2**bits - 1]), log(gone, [A], [2**bits]))
    assert [row[3] for row in meanings(decoded)] == [2**bits - 1]
    assert [letter.log_index for letter in decoded.rejected] == [1]


def test_events_come_in_position_order(read: Read) -> None:
    """By block, then by log index as a number, whatever the order of the answer."""
    places = [(1003, 2), (1001, 10), (1003, 1), (1001, 9), (1002, 0)]
    logs = [log(MINT, [A], [at, 1]) | place(*where) for at, where in enumerate(places)]
    logs.append(log(MINT, [A], [0, 0]) | place(1001, 0))
    logs.insert(0, log(MINT, [A], [0, 0]) | place(1002, 1))
    decoded = read(page(logs), ngu(TOKEN), FIRST_BLOCK, LAST_BLOCK)
    events = decoded.events
    assert list(zip(events.block, events.log_index, strict=True)) == sorted(places)
    assert [letter.block for letter in decoded.rejected] == [1001, 1002]


def test_an_exact_repeat_counts_once(read: Read) -> None:
    """The same log twice in one answer is one event, also with its keys in another order."""
    one = log(MINT, [A], [1, 10])
    logs = [one, one, dict(reversed(one.items()))]
    raw = json.dumps(logs).encode()
    assert len(read(raw, ngu(TOKEN), FIRST_BLOCK, LAST_BLOCK).events) == 1


def test_an_empty_answer_holds_nothing(read: Read) -> None:
    """No logs, no events, no complaint."""
    for raw in (b"[]", b" [ \n] "):
        decoded = read(raw, ngu(TOKEN), 5, 5)
        assert (len(decoded.events), decoded.rejected, decoded.slow_rows) == (0, (), 0)
        assert decoded.events.sender.shape == (0, 20)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("0x65", 101), ("0x0", 0), (101, 101), (None, -1), ("0x000065", 101)],
)
def test_the_time_is_the_logs_own_or_none(read: Read, written: Any, meant: int) -> None:
    """blockTimestamp as hex or as a number; without one it is -1 and never a guess."""
    one = log(MINT, [A], [1, 1]) | {"blockTimestamp": written}
    assert read(page([one]), ngu(TOKEN), 0, 2000).events.timestamp.tolist() == [meant]
    del one["blockTimestamp"]
    assert read(page([one]), ngu(TOKEN), 0, 2000).events.timestamp.tolist() == [-1]


WRONG: list[tuple[Log, str]] = [
    ({"address": "0x" + VAULT.hex()}, f"address 0x{VAULT.hex()} was not asked for"),
    ({"address": "0x5fbd"}, "address has 2 bytes, not 20"),
    ({"address": None}, "field address: Expected str, got null"),
    ({"blockNumber": "0x3e7"}, "blockNumber is 999, blocks 1000 to 1299 were asked for"),
    ({"blockNumber": "0x514"}, "blockNumber is 1300, blocks 1000 to 1299 were asked for"),
    ({"blockNumber": None}, "field blockNumber: Expected str, got null"),
    ({"blockNumber": 1000}, "field blockNumber: Expected str, got int"),
    ({"blockNumber": "1000"}, "blockNumber is not a hex quantity: '1000'"),
    ({"blockNumber": "0x"}, "blockNumber is not a hex quantity"),
    ({"blockNumber": "0x" + "f" * 64}, "blockNumber is out of range"),
    ({"logIndex": "0x10000000"}, "logIndex is out of range"),
    ({"logIndex": "-0x1"}, "logIndex is not a hex quantity"),
    ({"transactionIndex": "0x10000000"}, "transactionIndex is out of range"),
    ({"blockTimestamp": "soon"}, "blockTimestamp is not a hex quantity: 'soon'"),
    ({"blockTimestamp": -1}, "blockTimestamp is out of range: -1"),
    ({"blockTimestamp": 2**60}, "blockTimestamp is out of range"),
    ({"blockTimestamp": True}, "field blockTimestamp: Expected"),
    ({"blockTimestamp": "0x1"}, "blockTimestamp is not that of log 0"),
    ({"blockHash": "0x" + "ab" * 31}, "blockHash has 31 bytes, not 32"),
    ({"blockHash": "0x" + "ab" * 32}, "blockHash is not that of log 0"),
    ({"transactionHash": "0x" + "ag" * 32}, "transactionHash is not 0x and hex digits: '0xagag"),
    ({"transactionHash": "ab" * 33}, "transactionHash is not 0x and hex digits"),
    ({"topics": [MINT, "0x01"]}, "topics has 1 bytes, not 32"),
    ({"topics": [MINT] * 5}, "topics: 5 of them, a log has at most 4"),
    ({"topics": MINT}, "field topics: Expected array, got str"),
    ({"topics": [None]}, "field topics.*: Expected str, got null"),
    ({"data": "0x123"}, "data is not 0x and hex digits"),
    ({"data": ""}, "data is not 0x and hex digits"),
    ({"data": "0x" + "é" * 64}, "data is not 0x and hex digits"),
    ({"data": "0x " + word(1)}, "data is not 0x and hex digits"),
    ({"removed": True}, "removed is true"),
    ({"removed": "false"}, "field removed: Expected bool"),
    ({"logIndex": "0x0"}, "logIndex is that of log 0, which differs"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_a_wrong_log_is_named_with_its_field(read: Read, change: Log, said: str) -> None:
    """One wrong field in the second of three logs: which log, which field, what to do."""
    logs = [log(MINT, [A], [at, 1]) | place(FIRST_BLOCK, at) for at in range(3)]
    logs[1] |= change
    with pytest.raises(BadInput, match=said) as caught:
        read(page(logs), ngu(TOKEN), FIRST_BLOCK, LAST_BLOCK)
    message = str(caught.value)
    assert message.startswith("log 1 of the eth_getLogs answer")
    assert message.endswith("try another --rpc")
    assert len(message) < 300


@pytest.mark.parametrize("key", sorted(set(log(MINT, [])) - {"blockTimestamp", "removed"}))
def test_a_missing_field_is_named(read: Read, key: str) -> None:
    """Every field but the time and `removed` has to be there."""
    logs = [log(MINT, [A], [at, 1]) | place(FIRST_BLOCK, at) for at in range(2)]
    del logs[1][key]
    with pytest.raises(BadInput, match=f"log 1 .*missing required field {key}"):
        read(page(logs), ngu(TOKEN), FIRST_BLOCK, LAST_BLOCK)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is not JSON"),
        (b"<html>", "is not JSON"),
        (b"null", "no array of logs: Expected array, got null"),
        (b"{}", "no array of logs: Expected array, got object"),
        (b'"[]"', "no array of logs"),
        (b"[1]", "log 0 of the eth_getLogs answer: Expected object, got int"),
        (b"[{}]", "log 0 .*missing required field address"),
        (b"[{},null]", "log 0"),
        (b"[][]", "is not JSON"),
        (b"[" * 9_999, "log 0"),
        (b'[{"x":' + b"[" * 9_999, "is not JSON"),
        (b'[{"address":"\xff"}]', "is not JSON"),
        (page([log(MINT, [A], [1, 1])])[:-1], "is not JSON"),
        (page([log(MINT, [A], [1, 1])])[:300], "is not JSON"),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else "",
)
def test_what_is_no_array_of_logs_is_said_to_be_none(read: Read, raw: bytes, said: str) -> None:
    """Half an answer, HTML, another type, absurd nesting: one line each."""
    with pytest.raises(BadInput, match=said) as caught:
        read(raw, ngu(TOKEN), FIRST_BLOCK, LAST_BLOCK)
    assert str(caught.value).isprintable()


def test_a_wrong_log_of_a_foreign_event_is_wrong_too(read: Read) -> None:
    """An answer with a malformed field is not believed, whichever event the field belongs to."""
    foreign = log(APPROVAL, [A, B, 1]) | place(FIRST_BLOCK, 1) | {"blockHash": "0x" + "00" * 32}
    with pytest.raises(BadInput, match=r"log 1 .*block 1000, log index 1.*blockHash"):
        read(page([log(MINT, [A], [1, 1]), foreign]), ngu(TOKEN), FIRST_BLOCK, LAST_BLOCK)
