"""Read at once the rows of a page of logs that look alike (pure).

One row is taken as a template: a strict grammar finds its fields. Every other row that equals it
byte for byte, except for hex digits inside those fields, has the same fields at the same places;
NumPy compares them all and unhexlify reads the digits. Whatever equals no template is handed back
as text. So nothing is assumed about how a node writes its logs, and nothing goes unchecked: the
rows, put together again, are the page.
"""

import re
from binascii import unhexlify
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ngu_points.chain.contract import MAX_TOPICS, EventShape, Field
from ngu_points.engine.events import I64, NARROW, U8, Bool, Events, Kind, nobody

_SPACE = b" \t\n\r"
_MEMBER = re.compile(
    rb'[ \t\n\r]*"(\w+)"[ \t\n\r]*:[ \t\n\r]*'
    rb'(?:"0x([0-9a-fA-F]*)"'
    rb'|(\[[ \t\n\r]*(?:"0x[0-9a-fA-F]{64}"(?:[ \t\n\r]*,[ \t\n\r]*"0x[0-9a-fA-F]{64}")*)?'
    rb"[ \t\n\r]*\])"
    rb"|(true|false|null))[ \t\n\r]*([,}])"
)
_TOPIC = re.compile(rb"[0-9a-fA-F]{64}")
_IS_HEX = np.zeros(256, np.bool_)
_IS_HEX[list(b"0123456789abcdefABCDEF")] = True

_ROW = np.dtype(
    [
        ("block", ">i8"),
        ("log_index", ">i8"),
        ("tx_index", ">i8"),
        ("timestamp", ">i8"),
        ("first", ">i8"),
        ("second", ">i8"),  # quantity or last token
        ("sender", "u1", 20),
        ("recipient", "u1", 20),
        ("tx_hash", "u1", 32),
        ("block_hash", "u1", 32),
    ]
)
_PLACE = {
    name: (2 * place, 2 * kind.itemsize) for name, (kind, place, *_) in (_ROW.fields or {}).items()
}
"""Where a field's digits stand in the hex text of a row, and how many there can be."""

# Longer quantities are left to the exact path; these cannot overflow a column.
_QUANTITIES = {
    b"blockNumber": ("block", 15),
    b"logIndex": ("log_index", 7),
    b"transactionIndex": ("tx_index", 7),
    b"blockTimestamp": ("timestamp", 15),
}
_HASHES = {b"transactionHash": "tx_hash", b"blockHash": "block_hash"}
_KNOWN = {b"address", b"data", *_QUANTITIES, *_HASHES}
_REQUIRED = _KNOWN - {b"blockTimestamp"}

_TRIES = 16
"""Rows of one length compared to templates, as a multiple of their number, until they are odd."""
_TEMPLATES = 1_000
"""Templates of one page."""

Words = npt.NDArray[np.uint64]
Layouts = Mapping[tuple[bytes, bytes], EventShape]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """Where n >= 1 logs are, and what they say of their block; shapes [n] and [n, 32]."""

    block: I64
    log_index: I64
    timestamp: I64
    block_hash: U8

    def joined(self, other: "Positions") -> "Positions":
        """These, then the others."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Positions(*(np.concatenate(pair) for pair in pairs))

    def agree(self, from_block: int, to_block: int) -> bool:
        """Whether all blocks are in range, no position comes twice and no block has two faces."""
        order = np.lexsort((self.log_index, self.block))
        block, log_index = self.block[order], self.log_index[order]
        timestamp = self.timestamp[order]
        block_hash = np.ascontiguousarray(self.block_hash[order]).view(np.uint64)
        same = block[1:] == block[:-1]
        repeated = same & (log_index[1:] == log_index[:-1])
        other_time = same & (timestamp[1:] != timestamp[:-1])
        other_hash = same & (block_hash[1:] != block_hash[:-1]).any(axis=1)
        inside = from_block <= block[0] and block[-1] <= to_block
        return bool(inside and not (repeated | other_time | other_hash).any())


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """What was read of a page: events, the positions of all logs read, and the rest as text.

    `odd` holds (place in the answer, text of the log) of the logs that were not read.
    """

    events: Events
    positions: Positions
    odd: tuple[tuple[int, bytes], ...]


def scan(raw: bytes, layouts: Layouts) -> Scan | None:
    """Read a JSON array of logs; None where the page as a whole must be read another way.

    Every log returned is well formed and from an address of `layouts`; blocks, repeats and
    agreement between logs are not looked at. Never raises, whatever `raw` holds.
    """
    page = _cut(raw)
    if page is None:
        return None
    try:
        classes, odd = _classes(page, layouts)
        return _result(page, classes, odd)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, eq=False)
class _Page:
    """The rows of an answer: an object, what follows it, and the comma before the next."""

    text: bytes  # some bytes longer than the last row
    starts: I64
    lengths: I64

    def row(self, at: int) -> bytes:
        return self.text[self.starts[at] : self.starts[at] + self.lengths[at]]

    def log(self, at: int) -> bytes:
        """The row without its comma; ValueError where it has none, so that the page is no JSON."""
        row = self.row(at).rstrip(_SPACE)
        if not row.endswith(b","):
            raise ValueError("rows without a comma between them")
        return row[:-1].rstrip(_SPACE)


@dataclass(frozen=True, slots=True, eq=False)
class _Template:
    """A row whose fields were found. Columns are places in the row."""

    text: Words
    fixed: Words  # ones where another row must be equal
    copies: tuple[tuple[int, int, int], ...]  # place in the hex text of _ROW, column, width
    checks: tuple[Span, ...]  # columns of hex digits that no field needs
    timed: bool  # it has a blockTimestamp
    address: bytes
    shape: EventShape | None  # None: no event of ours


@dataclass(frozen=True, slots=True, eq=False)
class _Class:
    """Rows that equal one template: their places in the answer, and what they hold."""

    template: _Template
    places: I64
    records: bytes  # as in _ROW, one a place


def _cut(raw: bytes) -> _Page | None:
    text = raw.strip(_SPACE)
    starts = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("{"))
    if not len(starts) or text[:1] != b"[" or text[-1:] != b"]":
        return None
    if text[1 : starts[0]].strip(_SPACE):
        return None
    # With the closing bracket made a comma, the last row ends as all the others do.
    page = b"".join((memoryview(text)[:-1], b",", bytes(8)))
    return _Page(page, starts, np.diff(starts, append=len(text)))


def _classes(page: _Page, layouts: Layouts) -> tuple[list[_Class], list[int]]:
    """The rows sorted by the template that they equal, and the places of those that equal none.

    Raises ValueError where a field is not all hex digits.
    """
    classes: list[_Class] = []
    odd: list[int] = []
    templates = _TEMPLATES
    for places in _by_length(page.lengths):
        rows = _gather(page, places)
        tries = _TRIES * len(places)
        while len(places) and tries > 0 and templates > 0:
            tries -= len(places)
            templates -= 1
            template = _template(page.row(places[0]), layouts)
            same = np.zeros(len(places), np.bool_) if template is None else _equal(rows, template)
            if template is not None and same.any():
                records = _records(rows if same.all() else rows[same], template)
                classes.append(_Class(template, places[same], records))
            if not same[0]:
                odd.append(int(places[0]))
                same[0] = True
            places, rows = places[~same], rows[~same]
        odd.extend(places.tolist())
    return classes, odd


def _by_length(lengths: I64) -> list[I64]:
    order = np.argsort(lengths, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)


def _gather(page: _Page, places: I64) -> U8:
    """Rows of one length, side by side, widened to whole words by what follows them."""
    width = _whole_words(int(page.lengths[places[0]]))
    count = len(page.text) - width + 1
    windows = np.ndarray((count,), np.dtype((np.void, width)), page.text, strides=(1,))
    return windows[page.starts[places]].view(np.uint8).reshape(len(places), width)


def _whole_words(length: int) -> int:
    return -(-length // 8) * 8


def _equal(rows: U8, template: _Template) -> Bool:
    differing = rows.view(np.uint64) ^ template.text
    differing &= template.fixed
    equal: Bool = np.bitwise_or.reduce(differing, axis=1) == 0
    return equal


@dataclass(frozen=True, slots=True)
class _Members:
    """The members of a row by their key: hex digits and topics by column, literals as written."""

    hex: dict[bytes, Span]
    topics: tuple[Span, ...]
    literals: dict[bytes, bytes]


def _members(row: bytes) -> _Members | None:
    """Take a row apart by a grammar narrower than JSON; None where it does not fit."""
    found = _Members({}, (), {})
    topics: tuple[Span, ...] | None = None
    keys: set[bytes] = set()
    at, closing = 1, b","
    while closing == b",":
        match = _MEMBER.match(row, at)
        if match is None or match[1] in keys:
            return None
        keys.add(match[1])
        if match[2] is not None:
            found.hex[match[1]] = match.span(2)
        elif match[4] is not None:
            found.literals[match[1]] = match[4]
        elif match[1] == b"topics":
            topics = tuple(topic.span() for topic in _TOPIC.finditer(row, *match.span(3)))
        else:
            return None
        at, closing = match.end(), match[5]
    if topics is None or row[at:].strip(_SPACE) != b",":
        return None
    return _Members(found.hex, topics, found.literals)


def _well_formed(members: _Members) -> bool:
    width = {key: end - start for key, (start, end) in members.hex.items()}
    return (
        width.keys() >= _REQUIRED
        and width[b"address"] == 40
        and width[b"data"] % 2 == 0
        and all(width[key] == 64 for key in _HASHES)
        and all(1 <= width.get(key, 1) <= most for key, (_, most) in _QUANTITIES.items())
        and len(members.topics) <= MAX_TOPICS
        and members.literals.get(b"removed", b"false") in (b"false", b"null")
        and members.literals.get(b"blockTimestamp", b"null") == b"null"
        and b"removed" not in members.hex
    )


def _template(row: bytes, layouts: Layouts) -> _Template | None:
    """The template that a row makes; None where only the exact path can say what it is.

    The row itself need not equal it: in a template the unused high digits of a field are zeros.
    """
    members = _members(row)
    if members is None or not _well_formed(members):
        return None
    address = _unhex(row, members.hex[b"address"])
    if all(address != source for source, _ in layouts):
        return None
    words = (*members.topics, *_data_words(members.hex[b"data"]))
    shape = layouts.get((address, _unhex(row, words[0]))) if members.topics else None
    if shape is not None and len(members.topics) == shape.foreign_topics:
        shape = None
    if shape is not None and not _fits(shape, members):
        return None
    wanted = _wanted(shape)
    copies = [_copy(name, span) for name, span in _plain_fields(members)]
    copies += [_copy(name, words[at.word], at.bits // 4) for name, at in wanted]
    used = {0} | {at.word for _, at in wanted}
    checks = [span for word, span in enumerate(words) if word not in used]
    checks += [span for key, span in members.hex.items() if key not in _KNOWN]
    text = _with_zeros(row, [words[at.word] for _, at in wanted])
    free = [(column, column + width) for _, column, width in copies] + checks
    fixed = _mask(len(row), free)
    timed = b"blockTimestamp" in members.hex
    return _Template(text, fixed, tuple(copies), tuple(checks), timed, address, shape)


def _unhex(row: bytes, span: Span) -> bytes:
    return unhexlify(row[slice(*span)])


def _data_words(span: Span) -> list[Span]:
    """The 32-byte words of the data; a shorter rest comes last."""
    start, end = span
    return [(at, min(at + 64, end)) for at in range(start, end, 64)]


def _fits(shape: EventShape, members: _Members) -> bool:
    start, end = members.hex[b"data"]
    wanted = 64 * shape.data_words
    long_enough = end - start == wanted if shape.exact else end - start >= wanted
    return long_enough and len(members.topics) == shape.topics


def _wanted(shape: EventShape | None) -> list[tuple[str, Field]]:
    """The fields of an event and their names in _ROW."""
    if shape is None:
        return []
    named = [
        ("sender", shape.sender),
        ("recipient", shape.recipient),
        ("first", shape.first),
        ("second", shape.quantity or shape.last),
    ]
    return [(name, field) for name, field in named if field is not None]


def _plain_fields(members: _Members) -> Iterator[tuple[str, Span]]:
    """The fields that every log has, by their names in _ROW."""
    for key, span in members.hex.items():
        if key in _QUANTITIES:
            yield _QUANTITIES[key][0], span
        elif key in _HASHES:
            yield _HASHES[key], span


def _copy(name: str, span: Span, digits: int = 64) -> tuple[int, int, int]:
    """The last digits of a span, as many as fit, to the right-hand end of their place."""
    start, size = _PLACE[name]
    width = min(size, span[1] - span[0], digits)
    return start + size - width, span[1] - width, width


def _with_zeros(row: bytes, spans: list[Span]) -> Words:
    text = bytearray(row.ljust(_whole_words(len(row)), b" "))
    for start, end in spans:
        text[start:end] = b"0" * (end - start)
    return np.frombuffer(text, np.uint64)


def _mask(length: int, free: list[Span]) -> Words:
    mask = np.zeros(_whole_words(length), np.uint8)
    mask[:length] = 0xFF
    for start, end in free:
        mask[start:end] = 0
    return mask.view(np.uint64)


def _records(rows: U8, template: _Template) -> bytes:
    """The fields of rows of one template as in _ROW; what a log lacks is zero."""
    for start, end in template.checks:
        if not _IS_HEX[rows[:, start:end]].all():
            raise ValueError("not hex digits")
    digits = np.full((len(rows), 2 * _ROW.itemsize), ord("0"), np.uint8)
    for place, column, width in template.copies:
        digits[:, place : place + width] = rows[:, column : column + width]
    return unhexlify(digits.data)


def _result(page: _Page, classes: list[_Class], odd: list[int]) -> Scan:
    """Join the classes, in the order of the answer, and set aside rows that need a second look."""
    sizes = [len(one.places) for one in classes]
    which = np.repeat(np.arange(len(classes)), sizes)
    places = np.concatenate([one.places for one in classes] or [np.zeros(0, np.int64)])
    order = np.argsort(places)
    table = np.frombuffer(b"".join(one.records for one in classes), _ROW)
    which, places, table = which[order], places[order], _rows(table, order)
    timed = np.array([one.template.timed for one in classes], np.bool_)
    table["timestamp"][~timed[which]] = -1
    events, ours = _events(classes, which, table)
    good = _possible(events)
    sound = ~ours
    sound[ours] = good
    if sound.all():
        return Scan(events, _positions(table), tuple((at, page.log(at)) for at in odd))
    doubtful = [*odd, *places[ours][~good].tolist()]
    return Scan(
        events.take(good),
        _positions(_rows(table, np.flatnonzero(sound))),
        tuple((at, page.log(at)) for at in doubtful),
    )


def _events(classes: list[_Class], which: I64, table: npt.NDArray[Any]) -> tuple[Events, Bool]:
    """The rows that are events of ours, possible or not, and which rows these are."""
    shapes = [one.template.shape for one in classes]
    ours = np.array([shape is not None for shape in shapes], np.bool_)[which]
    if not ours.all():
        which, table = which[ours], _rows(table, np.flatnonzero(ours))
    addresses = b"".join(one.template.address for one in classes)
    sender, recipient = _plain(table, "sender"), _plain(table, "recipient")
    first, second = _plain(table, "first"), _plain(table, "second")
    single = np.array([s is not None and s.quantity is s.last is None for s in shapes], np.bool_)
    ranged = np.array([s is not None and s.last is not None for s in shapes], np.bool_)
    quantity = np.where(ranged[which], second - first + 1, second)
    quantity[single[which]] = 1
    kind = np.array([Kind.MINT if s is None else s.kind for s in shapes], np.uint8)[which]
    moved = kind == Kind.TRANSFER
    kind[moved & nobody(recipient)] = Kind.BURN
    kind[moved & nobody(sender)] = Kind.MINT
    events = Events(
        kind=kind,
        block=_plain(table, "block"),
        tx_index=_plain(table, "tx_index"),
        log_index=_plain(table, "log_index"),
        timestamp=_plain(table, "timestamp"),
        sender=sender,
        recipient=recipient,
        first=first,
        quantity=quantity,
        contract=np.frombuffer(addresses, np.uint8).reshape(-1, 20)[which],
        block_hash=_plain(table, "block_hash"),
        tx_hash=_plain(table, "tx_hash"),
    )
    return events, ours


def _rows(table: npt.NDArray[Any], which: I64) -> npt.NDArray[Any]:
    """Some rows; NumPy copies plain bytes much faster than it copies records."""
    return table.view((np.void, _ROW.itemsize))[which].view(_ROW)


def _plain(table: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """A column on its own, in this machine's byte order."""
    column = table[name]
    return np.ascontiguousarray(column, column.dtype.newbyteorder("="))


def _possible(events: Events) -> Bool:
    """Rows that are events as they stand; a wrapped difference of tokens is never below NARROW."""
    first, quantity = events.first, events.quantity
    somebody = ~(nobody(events.sender) & nobody(events.recipient))
    low = (first >= 0) & (first < NARROW) & (quantity >= 1) & (quantity < NARROW)
    possible: Bool = low & (first + quantity < NARROW) & somebody
    return possible


def _positions(table: npt.NDArray[Any]) -> Positions:
    return Positions(*(_plain(table, column.name) for column in fields(Positions)))
