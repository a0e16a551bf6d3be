"""Read what came back: JSON-RPC envelopes and the fields of results, checked strictly (pure).

Whatever is not right becomes a Refusal whose verdict says what to do about it; the array of logs
is only looked at from the outside.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from ngu_points.chain.endpoint import Endpoint
from ngu_points.chain.limits import Action, Verdict, understand

_TOP = 2**63
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_BYTES = re.compile(r"0x(?:[0-9a-fA-F]{2})*")


@dataclass(frozen=True, slots=True)
class Header:
    """What is needed of a block header; hashes are 32 bytes, the timestamp is in seconds.

    `bloom` has 256 bytes, or none where the node gives no logsBloom.
    """

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int
    bloom: bytes = b""


class Refusal(Exception):  # noqa: N818 -- an answer to act upon, seldom one to report
    """An answer that holds no result, and the verdict on it."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class Asked:
    """What one HTTP request asks for, and of whom."""

    endpoint: Endpoint
    method: str
    first: int | None = None
    last: int | None = None
    calls: int = 1

    def refused(
        self,
        status: int,
        message: object,
        code: int | None = None,
        data: Any = None,
        wait: float | None = None,
    ) -> Refusal:
        """The refusal that an error answer amounts to."""
        if isinstance(message, str):
            message = self.endpoint.redacted(message)
        verdict = understand(self.method, status, code, message, data, self.first, self.last)
        return Refusal(verdict if wait is None else replace(verdict, seconds=wait))


class _Answer(msgspec.Struct):
    id: int | str | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_one = msgspec.json.Decoder(_Answer)
_many = msgspec.json.Decoder(list[_Answer])


def results(
    asked: Asked, status: int, wait: float | None, body: bytes, ids: list[int]
) -> list[bytes]:
    """The JSON text of each result, in the order of `ids`; raises Refusal.

    `wait` is what the Retry-After header told, in seconds. A block that the node says it does
    not have is the result null.
    """
    answers = _envelopes(asked, status, wait, body)
    texts = {answer.id: _result(asked, status, wait, answer) for answer in answers}
    if len(answers) != len(ids) or texts.keys() != set(ids):
        raise broken("an answer to another question (wrong id)")
    return [texts[id_] for id_ in ids]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds (RFC 9110: seconds, or a date to hold against the Date header)."""
    value = headers.get("Retry-After", "")
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        until, now = (parsedate_to_datetime(text) for text in (value, headers.get("Date", "")))
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _envelopes(asked: Asked, status: int, wait: float | None, body: bytes) -> list[_Answer]:
    """The envelopes of an answer; some nodes wrap a single one in an array."""
    start = body[:64].lstrip()[:1]
    try:
        answers = _many.decode(body) if start == b"[" else [_one.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if status >= 300:
            raise asked.refused(status, _plain(start, body), wait=wait) from None
        raise broken(_garbage(start, str(error))) from None
    if status >= 300 and not any(answer.error for answer in answers):
        said = "" if any(answer.result for answer in answers) else _plain(start, body)
        raise asked.refused(status, said, wait=wait)
    return answers


def _plain(start: bytes, body: bytes) -> str:
    return "" if start == b"<" else body[:1000].decode("utf-8", "replace")


def _garbage(start: bytes, error: str) -> str:
    if start == b"<":
        return "an HTML page instead of JSON"
    if not start:
        return "an empty answer"
    return "half an answer" if "truncated" in error else "an answer that is not JSON-RPC"


def _result(asked: Asked, status: int, wait: float | None, answer: _Answer) -> bytes:
    error = decoded(bytes(answer.error)) if answer.error else None
    if error is None:
        if not answer.result:
            raise broken("an answer without a result")
        return bytes(answer.result)
    refusal = _understood(asked, status, wait, error)
    if refusal.verdict.action is Action.MISSING:
        return b"null"
    raise refusal


def _understood(asked: Asked, status: int, wait: float | None, error: object) -> Refusal:
    if not isinstance(error, dict):
        return asked.refused(status, error, wait=wait)
    code = error.get("code")
    code = code if isinstance(code, int) else None
    return asked.refused(status, error.get("message"), code, error.get("data"), wait)


def broken(reason: str) -> Refusal:
    """Nothing usable came; the next try may do better."""
    return Refusal(Verdict(Action.RETRY, reason))


def _wrong(reason: str) -> Refusal:
    """The answer contradicts its format: only another endpoint can help."""
    return Refusal(Verdict(Action.FAIL, reason, "use another --rpc"))


def log_array(raw: bytes) -> bytes:
    """The result of eth_getLogs, untouched; anything but an array is refused."""
    if raw[:1] != b"[":
        raise broken("null instead of a list of logs" if raw == b"null" else "not a list of logs")
    return raw


def decoded(raw: bytes) -> Any:
    """A result as Python values; raises Refusal where it is no JSON after all."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise broken("an answer that is not JSON-RPC") from None


def quantity(raw: bytes) -> int:
    """A result that is a number below 2**63 in hex."""
    return _integer(decoded(_not_null(raw)), "result")


def hex_data(raw: bytes) -> bytes:
    """A result that is bytes in hex."""
    value = decoded(_not_null(raw))
    if not isinstance(value, str) or not _BYTES.fullmatch(value):
        raise _wrong(f"result is not hex bytes: {_shown(value)}")
    return bytes.fromhex(value[2:])


def _not_null(raw: bytes) -> bytes:
    """A node that is starting or overloaded may say null to what always has an answer."""
    if raw == b"null":
        raise broken("null instead of an answer")
    return raw


def _integer(value: object, name: str) -> int:
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise _wrong(f"{name} is not a hex number: {_shown(value)}")
    number = int(value, 16)
    if number >= _TOP:
        raise _wrong(f"{name} is 2**63 or more: {_shown(value)}")
    return number


def _hash(value: object, name: str) -> bytes:
    if not isinstance(value, str) or len(value) != 66 or not _BYTES.fullmatch(value):
        raise _wrong(f"{name} is not a 32-byte hash: {_shown(value)}")
    return bytes.fromhex(value[2:])


def _bloom(value: object) -> bytes:
    if not isinstance(value, str) or len(value) != 514 or not _BYTES.fullmatch(value):
        return b""
    return bytes.fromhex(value[2:])


def block_header(raw: bytes, number: int | None) -> Header | None:
    """Read a block's header; `number` is the block asked for, None for a tag."""
    fields = block_fields(raw, number)
    return None if fields is None else header_of(fields)


def block_fields(raw: bytes, number: int | None) -> dict[str, Any] | None:
    """All fields of a block as the node gave them, those of its `Header` checked.

    Without the hashes of its transactions, which no header holds.
    """
    block = decoded(raw)
    if block is None:
        return None
    if not isinstance(block, dict):
        raise _wrong(f"result is not a block: {_shown(block)}")
    header = header_of(block)
    if number is not None and header.number != number:
        raise _wrong(f"number is {header.number}, asked for was {number}")
    block.pop("transactions", None)
    return block


def header_of(fields: Mapping[str, Any]) -> Header:
    """What is needed of a block's fields. Raises Refusal where one of them is not right."""
    return Header(
        _integer(fields.get("number"), "number"),
        _hash(fields.get("hash"), "hash"),
        _hash(fields.get("parentHash"), "parentHash"),
        _integer(fields.get("timestamp"), "timestamp"),
        _bloom(fields.get("logsBloom")),
    )


def receipt_list(raw: bytes) -> list[dict[str, Any]]:
    """The result of eth_getBlockReceipts; what is in the receipts is for `receipts` to check."""
    found = decoded(raw)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _wrong(f"result is not a list of receipts: {_shown(found)}")
    return found


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else text[:79] + "…"
