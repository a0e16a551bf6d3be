"""Whatever a stream delivers is stored as it came, or refused in one line with nothing stored."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains import Chain
from fuzz.anything import TEXTS, assert_one_line, often
from histories import histories
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import STREAMS, Coverage, Delivery, announce, digest
from ngu_points.engine.events import Events, Rejected, concat, empty, ids
from ngu_points.engine.rules import Rules
from ngu_points.errors import BadInput
from ngu_points.pipeline.persist import persist
from ngu_points.pipeline.process import process
from ngu_points.pipeline.segments import Identity

UNCHECKED = "persist.validate does not look at kinds, letters and coverage records yet"
NOW = 1_800_000_000
TABLES = ("meta", "batch_events", "staking_events", "coverage", "dead_letters", "tokens", "points")
SMALL = st.integers(0, 9)
ODD = st.sampled_from([-1, 2**31, 2**53, 2**62, 2**63 - 1, -(2**63)])
WIDE = ODD | st.sampled_from([2**63, 2**64, 2**255, 2**256 - 1, 2**256, -(2**255)])
LENGTHS = st.sampled_from([32] * 6 + [0, 20, 31, 33])


@contextmanager
def new_store() -> Iterator[Store]:
    """A store in a file, with something in it."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "ngu.db", Rules(), write=True)
        with closing(store):
            store.identify(Identity(1, "0xab", "ngu"))
            yield store


def contents(store: Store) -> dict[str, list[Any]]:
    """Every row of the tables that a delivery can reach."""
    return {t: store.db.execute(f"SELECT * FROM {t} ORDER BY 1, 2").fetchall() for t in TABLES}


def blob(length: int, fill: int) -> bytes:
    return bytes([fill]) * length


@st.composite
def some_events(draw: st.DrawFn, tame: bool) -> Events:
    """Columns of one length; tame ones hold what a chain can hold, others nearly anything."""
    n = draw(st.integers(0, 4))
    rare = SMALL if tame else SMALL | SMALL | SMALL | ODD

    def column(values: st.SearchStrategy[int], dtype: Any = np.int64) -> Any:
        return np.array([draw(values) for _ in range(n)], dtype)

    def table(width: int) -> Any:
        return np.array([[draw(SMALL)] * width for _ in range(n)], np.uint8).reshape(n, width)

    wide = SMALL if tame else SMALL | SMALL | WIDE
    first, quantity = ([draw(wide) for _ in range(n)] for _ in range(2))
    dtype = object if any(abs(v) >= 2**61 for v in first + quantity) else np.int64
    kinds = st.integers(0, 4) if tame else st.integers(0, 4) | st.sampled_from([5, 255])
    return Events(
        kind=column(kinds, np.uint8),
        block=column(rare),
        tx_index=column(rare),
        log_index=column(rare),
        timestamp=column(rare),
        sender=table(20),
        recipient=table(20),
        first=np.array(first, dtype),
        quantity=np.array(quantity, dtype),
        contract=table(20),
        block_hash=table(32),
        tx_hash=table(32),
    )


@st.composite
def letters(draw: st.DrawFn, streams: st.SearchStrategy[str]) -> Rejected:
    """A dead letter whose every field may be off."""
    number = SMALL | SMALL | WIDE
    return Rejected(
        draw(number), draw(number), draw(number), draw(number), blob(draw(LENGTHS), 1),
        blob(draw(LENGTHS), 2), blob(20, 3), draw(streams), draw(TEXTS), b"{}",
    )  # fmt: skip


@st.composite
def records(draw: st.DrawFn, streams: st.SearchStrategy[str]) -> Coverage:
    """A coverage record whose every field may be off."""
    number = SMALL | SMALL | SMALL | WIDE
    return Coverage(
        draw(streams), draw(number), draw(number), draw(number), blob(draw(LENGTHS), 4),
        blob(draw(LENGTHS), 5), draw(number), draw(number), blob(draw(LENGTHS), 6),
    )  # fmt: skip


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    """What might come on a stream, from nearly right to absurd."""
    stream = draw(st.sampled_from(STREAMS) | st.sampled_from(["", "Batch", "x"]))
    streams = st.just(stream) | st.just(stream) | st.sampled_from([*STREAMS, "x"])
    events = draw(some_events(draw(st.booleans())))
    if draw(st.booleans()):  # else next to none would be of the stream that they came on
        kinds = [3, 4] if stream == "staking" else [0, 1, 2]
        events = replace(events, kind=np.array([draw(st.sampled_from(kinds)) for _ in events.kind],
                                               np.uint8))  # fmt: skip
    return Delivery(
        stream,
        events,
        tuple(draw(st.lists(letters(streams), max_size=2))),
        tuple(draw(st.lists(records(streams), max_size=2))),
    )


def persisted(store: Store, sent: list[Delivery]) -> bool:
    """Whether deliveries were accepted; nothing of refused ones may be left."""
    before = contents(store)
    try:
        persist(store, sent, NOW)
    except BadInput as error:
        assert_one_line(str(error))
        assert not store.db.in_transaction
        assert contents(store) == before
        return False
    return True


def assert_stored(store: Store, sent: list[Delivery]) -> None:
    """What is in the tables is what was sent, to the last bit, and on the stream it came on."""
    for one in (*(r for d in sent for r in d.rejected), *(c for d in sent for c in d.coverage)):
        assert one.stream in STREAMS
    for stream in STREAMS:
        events = concat([d.events for d in sent if d.stream == stream])
        wanted = {name: row for row, name in enumerate(ids(events))}
        stored = store.queue.events(stream, "1 = 1", ())
        assert sorted(ids(stored)) == sorted(wanted)
        rows = events.take([wanted[name] for name in ids(stored)])
        for f in fields(Events):
            one, two = getattr(stored, f.name).tolist(), getattr(rows, f.name).tolist()
            assert one == two, f.name


@often(6)
@given(st.lists(deliveries(), min_size=1, max_size=2))
def test_any_delivery_is_stored_whole_or_not_at_all(sent: list[Delivery]) -> None:
    """Impossible events, letters and records are refused and leave no trace; others come back."""
    with new_store() as store:
        persist(store, announce(Chain([], 3, 100).covered(0, 3), 1), NOW)
        if persisted(store, sent):
            events = concat([d.events for d in sent])
            if len(set(ids(events))) == len(events):
                assert_stored(store, sent)
            while process(store, Rules(), NOW):  # what was accepted can be folded
                pass


def one_event(**changes: Any) -> Events:
    """A transfer of token 0, with some columns changed."""
    fitting = empty(1)
    some = {"kind": 2, "quantity": 1, "sender": [1] * 20, "recipient": [2] * 20} | changes
    columns = {
        name: np.array([value], object if isinstance(value, int) and abs(value) >= 2**63
                       else getattr(fitting, name).dtype)
        for name, value in some.items()
    }  # fmt: skip
    return replace(fitting, **columns)


LETTER = Rejected(1, 0, 0, 1, b"t" * 32, b"h" * 32, b"c" * 20, "batch", "quantity 0", b"{}")
RECORD = Coverage("batch", 1, 0, 5, bytes(32), bytes(32), 9, 0, digest(empty(), ()))
NOBODY = [0] * 20
IMPOSSIBLE = {
    "a kind that is none": Delivery("staking", one_event(kind=5, recipient=NOBODY), (), ()),
    "a stake of five": Delivery("staking", one_event(kind=3, quantity=5, recipient=NOBODY), (), ()),
    "a stake with a recipient": Delivery("staking", one_event(kind=3), (), ()),
    "a mint with a sender": Delivery("batch", one_event(kind=0), (), ()),
    "a token below zero": Delivery("batch", one_event(first=-1), (), ()),
    "a token far below zero": Delivery("batch", one_event(first=-(2**255)), (), ()),
    "a transaction index below zero": Delivery("batch", one_event(tx_index=-1), (), ()),
    "a log index past 32 bits": Delivery("batch", one_event(log_index=2**32), (), ()),
    "a letter of no stream": Delivery("batch", empty(), (replace(LETTER, stream="x"),), ()),
    "a letter below block 0": Delivery("batch", empty(), (replace(LETTER, block=-1),), ()),
    "a letter past 63 bits": Delivery("batch", empty(), (replace(LETTER, block=2**63),), ()),
    "a letter with half a hash": Delivery("batch", empty(), (replace(LETTER, tx_hash=b"t"),), ()),
    "a record of no stream": Delivery("batch", empty(), (), (replace(RECORD, stream="x"),)),
    "a record of the other stream": Delivery(
        "batch", empty(), (), (replace(RECORD, stream="staking"),)
    ),
    "a record that is reversed": Delivery("batch", empty(), (), (replace(RECORD, from_block=6),)),
    "a record from below block 0": Delivery(
        "batch", empty(), (), (replace(RECORD, from_block=-1),)
    ),
    "a record of less than nothing": Delivery("batch", empty(), (), (replace(RECORD, count=-1),)),
    "a record past 63 bits": Delivery("batch", empty(), (), (replace(RECORD, sequence=2**64),)),
    "a record with half a hash": Delivery("batch", empty(), (), (replace(RECORD, last_hash=b"h"),)),
}


@pytest.mark.parametrize("sent", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_no_monitor_sends_is_refused(sent: Delivery) -> None:
    """Each is refused by name; stored, it would come back as something else or not at all."""
    with new_store() as store:
        assert not persisted(store, [sent])


@given(histories(max_events=12), st.data())
def test_one_bad_event_spoils_its_delivery_only(history: Any, data: st.DataObject) -> None:
    """After a refused delivery the right one is taken, and folds as if nothing had been."""
    _, events, until = history
    chain = Chain(events, (events[-1].block if events else 0) + 1, until)
    sent = announce(chain.covered(0, chain.last_block), 1)
    if not events:
        return
    column = data.draw(st.sampled_from(["block", "log_index", "timestamp", "quantity"]))
    at = next(i for i, d in enumerate(sent) if len(d.events))
    values = getattr(sent[at].events, column).copy()
    values[data.draw(st.integers(0, len(values) - 1))] = -1 if column != "quantity" else 0
    spoiled = replace(sent[at], events=replace(sent[at].events, **{column: values}))
    with new_store() as store, new_store() as other:
        assert not persisted(store, [*sent[:at], spoiled, *sent[at + 1 :]])
        for one in (store, other):
            assert persisted(one, list(sent))
            while process(one, Rules(), NOW):
                pass
        assert store.position() == other.position()
        assert store.fingerprint() == other.fingerprint()
