"""The client of a configuration's nodes."""

from __future__ import annotations

from ngu_points.chain.rpc import Rpc
from ngu_points.config import Config
from ngu_points.errors import UsageError


def client(config: Config) -> Rpc:
    """A client, not yet open; UsageError where no node is named."""
    chain = config.chain
    if not chain.rpc:
        raise UsageError("no chain to read: give --rpc URL, or chain.rpc in ngu.toml")
    return Rpc(
        chain.rpc,
        timeout=chain.timeout,
        requests_per_second=chain.requests_per_second,
        max_retries=chain.retries,
    )
