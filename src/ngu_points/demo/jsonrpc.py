"""What the parts of the simulated node share of JSON-RPC: its errors and its hex (pure)."""

from typing import Any, Final

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
NO_METHOD: Final = -32601
INVALID_PARAMS: Final = -32602
SERVER_ERROR: Final = -32000
LIMIT_EXCEEDED: Final = -32005
REVERTED: Final = 3


class RpcError(Exception):
    """An error answer."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


def hex_bytes(given: Any, size: int) -> bytes:
    """A parameter of exactly `size` bytes. Raises RpcError."""
    try:
        value = bytes.fromhex(given.removeprefix("0x"))
    except (AttributeError, ValueError):
        value = b""
    if len(value) != size:
        raise RpcError(INVALID_PARAMS, f"invalid argument 0: {given!r} is not {size} bytes of hex")
    return value
