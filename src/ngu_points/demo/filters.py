"""Filters of eth_getLogs and of subscriptions (pure)."""

from dataclasses import dataclass
from typing import Any

from ngu_points.demo.blocks import Block, Key, Log, logs_where
from ngu_points.demo.jsonrpc import INVALID_PARAMS, RpcError, hex_bytes


@dataclass(frozen=True, slots=True)
class Filter:
    """Which logs are wanted: by address, and by topic place by place; None wants any."""

    addresses: frozenset[bytes] | None
    topics: tuple[frozenset[bytes] | None, ...]

    def accepts(self, log: Log) -> bool:
        """Whether a log is wanted. A log with fewer topics than places is not."""
        if self.addresses is not None and log.address not in self.addresses:
            return False
        return len(log.topics) >= len(self.topics) and all(
            wanted is None or topic in wanted
            for wanted, topic in zip(self.topics, log.topics, strict=False)
        )

    def settles(self, key: Key) -> bool | None:
        """Whether all logs with a key are wanted, or none; None if that depends on more."""
        if self.addresses is not None and key.address not in self.addresses:
            return False
        if not self.topics:
            return True
        if key.topic0 is None or (self.topics[0] is not None and key.topic0 not in self.topics[0]):
            return False
        return True if len(self.topics) == 1 else None


def read_filter(given: Any) -> Filter:
    """The addresses and topics of a filter object. Raises RpcError."""
    if not isinstance(given, dict):
        raise RpcError(INVALID_PARAMS, "invalid argument 0: the filter must be an object")
    address, topics = given.get("address"), given.get("topics") or []
    if not isinstance(topics, list) or len(topics) > 4:
        raise RpcError(INVALID_PARAMS, "invalid argument 0: topics must be at most four")
    return Filter(_choice(address, 20), tuple(_choice(topic, 32) for topic in topics))


def matching(block: Block, wanted: Filter) -> list[bytes]:
    """The texts of a block's wanted logs, each of one or several logs joined by commas."""
    verdicts = {wanted.settles(key) for key in block.keys}
    if verdicts <= {False}:
        return []
    return [block.logs] if verdicts == {True} else logs_where(block, wanted.accepts)


def _choice(given: Any, size: int) -> frozenset[bytes] | None:
    """One value, a list of values, or anything: null and the empty list."""
    if given is None or given == []:
        return None
    values = given if isinstance(given, list) else [given]
    return frozenset(hex_bytes(value, size) for value in values)
