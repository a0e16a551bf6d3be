"""A delivered batch becomes rows: validated, written by event id, so that twice is once."""

from __future__ import annotations

from collections.abc import Sequence

from ngu_points.engine.coverage import STREAMS, Coverage, Delivery, of_stream
from ngu_points.engine.events import MAX_TOKEN, Events, Kind, Rejected, nobody
from ngu_points.errors import BadInput
from ngu_points.pipeline.interfaces import Store

HIGHEST = 2**60  # of a block number or a time
INDICES = 2**31  # of a log or a transaction in its block


def persist(store: Store, deliveries: Sequence[Delivery], now: int) -> None:
    """Write what streams delivered; the events count once their coverage says all have come."""
    for delivery in deliveries:
        validate(delivery)
    with store.commit():
        store.put(deliveries, now, processed=False)


def validate(delivery: Delivery) -> None:
    """Raise BadInput for a delivery that no monitor sends."""
    events, stream = delivery.events, delivery.stream
    if stream not in STREAMS:
        raise BadInput(f"a delivery for stream {stream!r}: it must be one of {STREAMS}")
    if not of_stream(events, stream).all():
        raise BadInput(f"an event on the {stream} stream belongs to the other one")
    why = impossible(events)
    if why:
        raise BadInput(f"an event on the {stream} stream has {why}")
    if not all(r.stream == stream and is_letter(r) for r in delivery.rejected):
        raise BadInput(f"a dead letter on the {stream} stream is not of a log of it")
    if not all(_is_record(c, stream) for c in delivery.coverage):
        raise BadInput(f"a coverage record on the {stream} stream is not of a block range of it")


def impossible(events: Events) -> str | None:
    """What no decoder gives, if some event has it."""
    if not len(events):
        return None
    last = events.first + (events.quantity - 1)
    if (events.first < 0).any() or (events.quantity < 1).any() or (last > MAX_TOKEN).any():
        return "an impossible token range"
    for column, limit in (
        (events.block, HIGHEST),
        (events.timestamp, HIGHEST),
        (events.log_index, INDICES),
        (events.tx_index, INDICES),
    ):
        if column.min() < 0 or column.max() >= limit:
            return "an impossible position or time"
    return "a field that its kind does not have" if _of_another_kind(events) else None


def _of_another_kind(events: Events) -> bool:
    """A kind leaves some fields empty: what stood there would be lost without a word."""
    staking = events.kind >= Kind.STAKE
    odd = events.kind > Kind.UNSTAKE
    odd |= staking & (events.quantity != 1)
    odd |= (staking | (events.kind == Kind.BURN)) & ~nobody(events.recipient)
    odd |= (events.kind == Kind.MINT) & ~nobody(events.sender)
    return bool(odd.any())


def is_letter(letter: Rejected) -> bool:
    """Whether a dead letter is one of a log on one of the streams."""
    return (
        letter.stream in STREAMS
        and 0 <= letter.block < HIGHEST
        and all(0 <= n < INDICES for n in (letter.log_index, letter.tx_index))
        and -1 <= letter.timestamp < HIGHEST
        and (len(letter.tx_hash), len(letter.block_hash), len(letter.contract)) == (32, 32, 20)
    )


def _is_record(record: Coverage, stream: str) -> bool:
    numbers = (record.sequence, record.from_block, record.to_block, record.timestamp, record.count)
    hashes = (record.parent_hash, record.last_hash, record.digest)
    return (
        record.stream == stream
        and all(0 <= n < HIGHEST for n in numbers)
        and record.from_block <= record.to_block
        and all(len(h) == 32 for h in hashes)
    )
