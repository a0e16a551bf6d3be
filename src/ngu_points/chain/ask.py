"""What goes out: JSON-RPC calls and their parameters, and what is asked for with them."""

from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass(frozen=True, slots=True)
class LogPage:
    """The logs of the blocks `from_block` to `to_block`, both included.

    `raw` is the JSON array as the node wrote it.
    """

    from_block: int
    to_block: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Filter:
    """Which logs: any of these 20-byte addresses and any of these 32-byte first topics."""

    addresses: tuple[bytes, ...]
    topics: tuple[bytes, ...]

    def params(self) -> dict[str, Any]:
        """The part of eth_getLogs' parameters that does not say where."""
        where: dict[str, Any] = {}
        if self.addresses:
            where["address"] = ["0x" + address.hex() for address in self.addresses]
        if self.topics:
            where["topics"] = [["0x" + topic.hex() for topic in self.topics]]
        return where


def call_object(id_: int, method: str, params: list[Any]) -> dict[str, Any]:
    """One JSON-RPC 2.0 call."""
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}


def block_param(block: int | str | bytes) -> str | dict[str, Any]:
    """A block by number or tag; by hash as EIP-1898 has it, for canonical blocks only."""
    if isinstance(block, bytes):
        return {"blockHash": "0x" + block.hex(), "requireCanonical": True}
    return hex(block) if isinstance(block, int) else block


def connection_trouble(error: Exception) -> str:
    """Why no answer came, in words that show nothing of the URL."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "the host name is not known"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return "no trusted TLS connection"
        case aiohttp.ClientConnectorError():
            return "cannot connect"
        case aiohttp.ClientPayloadError():
            return "the answer broke off half-way"
    return "the connection was closed without an answer"
