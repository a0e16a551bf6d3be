"""A delivered batch becomes rows: validated, written by event id, so that twice is once."""

from __future__ import annotations

from collections.abc import Sequence

from ngu_points.engine.coverage import STREAMS, Delivery, of_stream
from ngu_points.engine.events import MAX_TOKEN, Events
from ngu_points.errors import BadInput
from ngu_points.pipeline.interfaces import Store


def persist(store: Store, deliveries: Sequence[Delivery], now: int) -> None:
    """Write what streams delivered; the events count once their coverage says all have come."""
    for delivery in deliveries:
        validate(delivery)
    with store.commit():
        store.put(deliveries, now, processed=False)


def validate(delivery: Delivery) -> None:
    """Raise BadInput for a delivery that no monitor sends."""
    events = delivery.events
    if delivery.stream not in STREAMS:
        raise BadInput(f"a delivery for stream {delivery.stream!r}: it must be one of {STREAMS}")
    if not of_stream(events, delivery.stream).all():
        raise BadInput(f"an event on the {delivery.stream} stream belongs to the other one")
    _in_range(events, delivery.stream)


def _in_range(events: Events, stream: str) -> None:
    if not len(events):
        return
    if (events.quantity < 1).any() or (events.first + (events.quantity - 1) > MAX_TOKEN).any():
        raise BadInput(f"an event on the {stream} stream has an impossible token range")
    if min(events.block.min(), events.log_index.min(), events.timestamp.min()) < 0:
        raise BadInput(f"an event on the {stream} stream has a negative position or time")
