"""Addresses as people write them: 0x and 40 hex digits, with a checksum where the case is mixed."""

from __future__ import annotations

from ngu_points.chain.contract import keccak256
from ngu_points.errors import UsageError


def address_of(text: str, key: str) -> bytes:
    """20 bytes from 0x and 40 hex digits; a mixed-case checksum (EIP-55) must be right."""
    digits = text[2:]
    try:
        value = bytes.fromhex(digits)
    except ValueError:
        value = b""
    if not text.startswith("0x") or len(digits) != 40 or len(value) != 20:
        raise UsageError(f"{key}: {text!r} is not an address: it takes 0x and 40 hex digits")
    if digits not in (digits.lower(), digits.upper()) and text != checksummed(value):
        raise UsageError(
            f"{key}: the checksum of {text} is wrong (EIP-55): a digit may be mistyped; "
            "write it in lower case to skip the check"
        )
    return value


def checksummed(address: bytes) -> str:
    """An address in the mixed case of EIP-55."""
    digits = address.hex()
    hashed = keccak256(digits.encode()).hex()
    return "0x" + "".join(
        c.upper() if int(h, 16) >= 8 else c for c, h in zip(digits, hashed, strict=False)
    )
