"""Records on a stream: what is written comes back exactly, all else is refused with a reason."""

from __future__ import annotations

import base64
import json
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains import CONTRACT, Chain
from fuzz.anything import EDITS, JSON, TEXTS, assert_one_line, edited, often, written
from histories import histories
from ngu_points.aws.records import LONGEST_RAW, Origin, read, write
from ngu_points.engine.coverage import BATCH, STAKING, STREAMS, Coverage, Delivery, announce
from ngu_points.engine.events import MAX_TOKEN, Events, Kind, Rejected, empty, ids, ids_column
from ngu_points.errors import BadInput
from ngu_points.pipeline.persist import HIGHEST, INDICES, validate

STAKER = b"\x5a" * 20
HERE = Origin("staging", 8453, (CONTRACT, STAKER))
HASHES = st.binary(min_size=32, max_size=32)
NUMBERS = st.integers(0, HIGHEST - 1)
INDEX = st.integers(0, INDICES - 1)


@st.composite
def letters(draw: st.DrawFn, stream: str) -> Rejected:
    """A dead letter with anything that a node may have sent."""
    return Rejected(
        block=draw(NUMBERS),
        log_index=draw(INDEX),
        tx_index=draw(INDEX),
        timestamp=draw(st.integers(-1, HIGHEST - 1)),
        tx_hash=draw(HASHES),
        block_hash=draw(HASHES),
        contract=draw(st.sampled_from(HERE.contracts)),
        stream=stream,
        reason=draw(TEXTS),
        raw=draw(st.binary(max_size=40)),
    )


@st.composite
def coverages(draw: st.DrawFn, stream: str) -> Coverage:
    """A coverage record of any range."""
    first, last = sorted(draw(st.tuples(NUMBERS, NUMBERS)))
    hashes = draw(st.tuples(HASHES, HASHES, HASHES))
    numbers = draw(st.tuples(NUMBERS, NUMBERS, NUMBERS))
    return Coverage(
        stream, numbers[0], first, last, hashes[0], hashes[1], numbers[1], numbers[2], hashes[2]
    )


@st.composite
def deliveries(draw: st.DrawFn) -> list[Delivery]:
    """What a monitor sends for a history, on both streams, and letters and records besides."""
    _, events, until = draw(histories(max_events=15))
    chain = Chain(events, (events[-1].block if events else 0) + 1, until)
    return [
        replace(
            sent,
            rejected=tuple(draw(st.lists(letters(sent.stream), max_size=2))),
            coverage=sent.coverage + tuple(draw(st.lists(coverages(sent.stream), max_size=2))),
        )
        for sent in announce(chain.covered(0, chain.last_block), draw(st.integers(1, 9)))
    ]


def assert_same(one: Events, two: Events) -> None:
    """Every column has the same values; columns of ids are as narrow as they can be."""
    for f in fields(Events):
        got, wanted = getattr(one, f.name), getattr(two, f.name)
        assert got.tolist() == wanted.tolist(), f.name
        assert got.shape == wanted.shape
        if f.name not in ("first", "quantity"):
            assert got.dtype == wanted.dtype
    ends = [int(f) + int(q) for f, q in zip(two.first, two.quantity, strict=True)]
    assert one.first.dtype == ids_column(two.first.tolist(), ends=ends).dtype
    assert one.quantity.dtype == one.first.dtype


@given(deliveries())
def test_what_is_written_is_read_to_the_last_bit(sent: list[Delivery]) -> None:
    """Events with any token id, dead letters and coverage records come back as they were."""
    for delivery in sent:
        records = write(delivery, HERE)
        assert all(r.endswith(b"\n") and r.count(b"\n") == 1 for r in records)
        [got], poison = read(records, delivery.stream, HERE)
        assert not poison
        validate(got)
        assert_same(got.events, delivery.events)
        assert (got.rejected, got.coverage) == (delivery.rejected, delivery.coverage)


def one_event(kind: int, first: int, quantity: int = 1, **changes: Any) -> Events:
    """One event, of `CONTRACT`, with some columns changed."""
    has_sender = kind != Kind.MINT
    has_recipient = kind in (Kind.MINT, Kind.TRANSFER)
    values: dict[str, Any] = {
        "kind": kind,
        "block": 18,
        "tx_index": 4,
        "log_index": 7,
        "timestamp": 1_700_000_000,
        "sender": [1] * 20 if has_sender else [0] * 20,
        "recipient": [2] * 20 if has_recipient else [0] * 20,
        "contract": list(CONTRACT),
        "tx_hash": [3] * 32,
        "block_hash": [4] * 32,
    } | changes
    columns = {n: np.array([v], getattr(empty(1), n).dtype) for n, v in values.items()}
    ends = [first + quantity]
    columns |= {"first": ids_column([first], ends=ends),
                "quantity": ids_column([quantity], ends=ends)}  # fmt: skip
    return Events(**columns)


@pytest.mark.parametrize(
    ("first", "quantity"),
    [(0, 1), (2**62 - 1, 1), (2**64, 2**64), (MAX_TOKEN, 1), (0, 2**256)],
)
def test_token_ranges_up_to_the_last_uint256(first: int, quantity: int) -> None:
    """The largest ids and quantities are written as decimal text and come back."""
    events = one_event(Kind.TRANSFER, first, quantity)
    [record] = write(Delivery(BATCH, events, (), ()), HERE)
    shown = json.loads(record)
    assert (shown["startTokenId"], shown["quantity"]) == (str(first), str(quantity))
    [got], poison = read([record], BATCH, HERE)
    assert not poison
    assert_same(got.events, events)


def test_records_have_the_fields_of_the_specification() -> None:
    """A batch event and a staking event carry exactly the names that the specification gives."""
    [burn] = write(Delivery(BATCH, one_event(Kind.BURN, 5, 2), (), ()), HERE)
    [stake] = write(Delivery(STAKING, one_event(Kind.STAKE, 5), (), ()), HERE)
    [mint] = write(Delivery(BATCH, one_event(Kind.MINT, 5), (), ()), HERE)
    place = {
        "version": 1, "stage": "staging", "chainId": 8453, "contract": "0x" + CONTRACT.hex(),
        "id": f"18-0x{'03' * 32}-7", "timestamp": 1_700_000_000, "blockNumber": 18,
        "transactionHash": "0x" + "03" * 32, "transactionIndex": 4, "logIndex": "7",
        "blockHash": "0x" + "04" * 32,
    }  # fmt: skip
    assert json.loads(burn) == place | {
        "kind": "batchEvent", "type": "BatchBurn", "startTokenId": "5", "quantity": "2",
        "from": "0x" + "01" * 20, "to": "0x" + "00" * 20,
    }  # fmt: skip
    assert json.loads(stake) == place | {
        "kind": "stakingEvent", "type": "Stake", "tokenId": "5", "staker": "0x" + "01" * 20,
    }  # fmt: skip
    assert "from" not in json.loads(mint)


LETTER = Rejected(
    18, 7, 4, -1, b"\3" * 32, b"\4" * 32, CONTRACT, BATCH, "quantity is 0", b'{"data": "0x"}'
)
RECORD = Coverage(BATCH, 3, 10, 20, b"\5" * 32, b"\6" * 32, 1_700_000_000, 1, b"\7" * 32)
TRANSFER, MINT, BURN, STAKE, DEAD, COVERED = (
    json.loads(r)
    for stream, events, rejected, coverage in (
        (BATCH, one_event(Kind.TRANSFER, 5, 2), (), ()),
        (BATCH, one_event(Kind.MINT, 5, 2), (), ()),
        (BATCH, one_event(Kind.BURN, 5, 2), (), ()),
        (STAKING, one_event(Kind.STAKE, 5), (), ()),
        (BATCH, empty(), (LETTER,), ()),
        (BATCH, empty(), (), (RECORD,)),
    )
    for r in write(Delivery(stream, events, rejected, coverage), HERE)
)
LONG = 2**256

BAD: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "another stage": (TRANSFER, {"stage": "prod"}, "stage 'prod'"),
    "another chain": (TRANSFER, {"chainId": 1}, "chain 1,"),
    "another contract": (TRANSFER, {"contract": "0x" + "cd" * 20}, "0xcdcd"),
    "coverage of a staking contract": (COVERED, {"contract": "0x" + STAKER.hex()}, "0x5a5a"),
    "another stage of coverage": (COVERED, {"stage": "prod"}, "stage 'prod'"),
    "coverage of the other stream": (COVERED, {"stream": "staking"}, "belongs to the staking"),
    "a letter of the other stream": (DEAD, {"stream": "staking"}, "belongs to the staking"),
    "a stream that is none": (DEAD, {"stream": "x"}, "$.stream"),
    "a kind that is none": (TRANSFER, {"kind": "event"}, "'event'"),
    "a later version": (TRANSFER, {"version": 2}, "2"),
    "a version that is true": (TRANSFER, {"version": True}, "version"),
    "a type that is none": (TRANSFER, {"type": "Stake"}, "'Stake'"),
    "a field too many": (TRANSFER, {"processed": True}, "processed"),
    "a field of another kind": (STAKE, {"quantity": "1"}, "quantity"),
    "upper-case hex": (TRANSFER, {"to": "0x" + "AB" * 20}, "$.to"),
    "short hex": (TRANSFER, {"blockHash": "0x12"}, "blockHash"),
    "hex with a line behind it": (TRANSFER, {"to": "0x" + "ab" * 20 + "\n"}, "$.to"),
    "an id as a number": (TRANSFER, {"startTokenId": 5}, "startTokenId"),
    "an id with a zero before it": (TRANSFER, {"startTokenId": "05"}, "startTokenId"),
    "an id below zero": (TRANSFER, {"startTokenId": "-5"}, "startTokenId"),
    "an id past uint256": (STAKE, {"tokenId": str(LONG)}, "uint256"),
    "a range past uint256": (TRANSFER, {"startTokenId": str(LONG - 1)}, "token range"),
    "no tokens": (TRANSFER, {"quantity": "0"}, "token range"),
    "a float for a block": (TRANSFER, {"blockNumber": 18.0}, "blockNumber"),
    "a block past the limit": (TRANSFER, {"blockNumber": HIGHEST}, "blockNumber"),
    "a negative time": (TRANSFER, {"timestamp": -1}, "timestamp"),
    "a log index as a number": (TRANSFER, {"logIndex": 7}, "logIndex"),
    "a log index past the limit": (TRANSFER, {"logIndex": str(INDICES)}, "logIndex"),
    "a transaction index past the limit": (TRANSFER, {"transactionIndex": INDICES}, "Index"),
    "an id of another position": (TRANSFER, {"logIndex": "8"}, "position"),
    "a letter's id of another position": (DEAD, {"blockNumber": 19}, "position"),
    "a letter's raw log that is no base64": (DEAD, {"raw": "%"}, "base64"),
    "a mint from somebody": (MINT, {"from": "0x" + "01" * 20}, "BatchMint"),
    "a burn to somebody": (BURN, {"to": "0x" + "01" * 20}, "BatchBurn"),
    "a range that is reversed": (COVERED, {"fromBlock": 21}, "reversed"),
    "a count past the limit": (COVERED, {"count": HIGHEST}, "count"),
    "half a digest": (COVERED, {"digest": "0x12"}, "digest"),
}


@pytest.mark.parametrize(("record", "change", "why"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_named_and_spoils_nothing(
    record: dict[str, Any], change: dict[str, Any], why: str
) -> None:
    """A bad record is poison with a reason that names it; the good ones beside it are read."""
    stream = STAKING if record is STAKE else BATCH
    good, bad = json.dumps(record).encode(), json.dumps(record | change).encode()
    [alone], _ = read([good, good], stream, HERE)
    [got], [poison] = read([good, bad, good], stream, HERE)
    assert_same(got.events, alone.events)
    assert (got.rejected, got.coverage) == (alone.rejected, alone.coverage)
    assert poison.raw == bad
    assert_one_line(poison.reason)
    assert why in poison.reason


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xff\xfe", b"null", b"[]", b"{}", b"{" * 100_000, b"[" * 100_000, b'"\xff"', b"1e999",
     json.dumps(TRANSFER).encode() * 2, b'{"kind":"batchEvent","x":' + b"[" * 100_000],
    ids=range(11),
)  # fmt: skip
def test_what_is_no_json_is_poison(raw: bytes) -> None:
    """Bytes of any kind give a reason, never an exception."""
    nothing, [poison] = read([raw], BATCH, HERE)
    assert not nothing
    assert poison.raw == raw
    assert_one_line(poison.reason)


@pytest.mark.parametrize("missing", sorted(set(TRANSFER) | set(COVERED) | set(DEAD) | set(STAKE)))
def test_every_field_is_needed(missing: str) -> None:
    """A record without one of its fields is poison."""
    for record, stream in ((TRANSFER, BATCH), (STAKE, STAKING), (DEAD, BATCH), (COVERED, BATCH)):
        if missing in record:
            part = {name: value for name, value in record.items() if name != missing}
            nothing, poison = read([json.dumps(part).encode()], stream, HERE)
            assert not nothing
            assert len(poison) == 1


def shown(raw: bytes) -> dict[str, Any]:
    """A record's fields; base64 can be written in more than one way."""
    record: dict[str, Any] = json.loads(raw)
    return record | ({"raw": base64.b64decode(record["raw"])} if "raw" in record else {})


@often(6)
@given(
    st.sampled_from([TRANSFER, MINT, BURN, STAKE, DEAD, COVERED]),
    st.sampled_from(STREAMS),
    st.data(),
)
def test_any_record_is_read_right_or_is_poison(
    record: dict[str, Any], stream: str, data: st.DataObject
) -> None:
    """Whatever fields hold, what is read may be stored, and is written again as it came."""
    changes = data.draw(st.dictionaries(st.sampled_from(sorted(record)), JSON, max_size=2))
    raw = written(record | changes)
    if data.draw(st.booleans()):
        raw = edited(raw, data.draw(EDITS))
    got, poison = read([raw], stream, HERE)
    assert len(got) + len(poison) == 1
    for delivery in got:
        validate(delivery)
        assert shown(write(delivery, HERE)[0]) == shown(raw)
    for one in poison:
        assert_one_line(one.reason)


def test_nothing_is_read_from_nothing() -> None:
    """No record gives no delivery."""
    assert read([], BATCH, HERE) == ([], [])


def test_a_long_log_is_left_out_of_its_letter_and_that_is_said() -> None:
    """A dead letter always fits a record; one with too long a log counts as arrived without it."""
    long = replace(LETTER, raw=b"x" * (LONGEST_RAW + 1), reason="quantity is 0" + "!" * 10)
    short = replace(LETTER, raw=b"x" * LONGEST_RAW)
    records = write(Delivery(BATCH, empty(), (long, short), ()), HERE)
    assert max(map(len, records)) < 1_024_000
    [got], poison = read(records, BATCH, HERE)
    assert not poison
    assert got.rejected[1] == short
    assert got.rejected[0].raw == b""
    assert f"{LONGEST_RAW + 1:,} bytes" in got.rejected[0].reason
    assert ids(one_event(Kind.MINT, 1))[0] in records[0].decode()


def test_nothing_is_written_that_no_reader_takes() -> None:
    """A delivery of other contracts, or one that no monitor sends, is refused."""
    other = one_event(Kind.MINT, 1, contract=[9] * 20)
    with pytest.raises(BadInput, match="0x0909"):
        write(Delivery(BATCH, other, (), ()), HERE)
    letter = replace(LETTER, contract=b"\x09" * 20)
    with pytest.raises(BadInput, match="0x0909"):
        write(Delivery(BATCH, empty(), (letter,), ()), HERE)
    with pytest.raises(BadInput, match="belongs to the other"):
        write(Delivery(STAKING, one_event(Kind.MINT, 1), (), ()), HERE)
