"""Where Firehose delivers: its HTTP endpoint protocol 1.0, and the two shapes a Lambda gets (pure).

Firehose takes a delivery for made only if the answer is exactly as it wants it; anything else it
sends again for as long as the stream's retry duration says. A batch is accepted or refused as a
whole, so that a bad record in it is the business of `deliver`, which must not raise for one.
413 is never answered: what gets it is dropped and not even kept with the failed records.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hmac
import io
import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from ngu_points.errors import BadInput, NguError, TransientError

log = logging.getLogger(__name__)

LARGEST = 64 << 20
"""Bytes of a body before compression, the most that Firehose sends."""

ID_HEADER = "x-amz-firehose-request-id"
KEY_HEADER = "x-amz-firehose-access-key"
_GZIP = b"\x1f\x8b"
_LATIN_GZIP = "\x1f\x8b"

Deliver = Callable[[Sequence[bytes]], None]
"""Stores a batch of records and returns, or raises an NguError: then nothing counts as delivered.

TransientError where trying again may help. Called again with what it has stored before.
"""


@dataclass(frozen=True, slots=True)
class Request:
    """What came: headers (names in any case) and the body as it is on the wire.

    Whether the body is base64, gzip or both is seen by its first bytes, whatever headers and
    flags say of it.
    """

    headers: Mapping[str, str] = field(repr=False)  # one of them is the key
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back; `headers` are all that Firehose asks for, and no more."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Body(msgspec.Struct, rename="camel"):
    request_id: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    records: list[msgspec.Raw]


class _Element(msgspec.Struct):
    data: bytes


_bodies = msgspec.json.Decoder(_Body)
_elements = msgspec.json.Decoder(_Element)


def handle(request: Request, keys: Sequence[bytes], deliver: Deliver, now_ms: int) -> Response:
    """Answer one delivery request: 200, 400 unreadable, 401 key, 503 try again, 500 other.

    `keys` are those accepted now, two during rotation; with none everything is refused. The key
    is looked at before anything else of the request. `now_ms` is the wall clock in milliseconds.
    """
    headers = {name.lower(): value for name, value in request.headers.items()}
    request_id = headers.get(ID_HEADER, "")
    if not _admitted(headers.get(KEY_HEADER, ""), keys):
        return _answer(401, request_id, now_ms, "the access key is missing or is not the right one")
    try:
        body = _parsed(unfolded(request.body))
    except BadInput as error:
        return _answer(400, request_id, now_ms, str(error))
    try:
        deliver([_data(element) for element in body.records])
    except NguError as error:
        status = 503 if isinstance(error, TransientError) else 500
        return _answer(status, body.request_id, now_ms, str(error))
    return _answer(200, body.request_id, now_ms)


def unfolded(body: bytes) -> bytes:
    """The JSON text in a body, out of base64 and gzip in any combination.

    Raises BadInput where there is none, or more than `LARGEST` bytes of it; then not more than
    that was ever unpacked.
    """
    if len(body) > LARGEST // 3 * 4 + 4:
        raise _too_large()
    layers = {"gzip": _gunzipped, "base64": _decoded}
    while not body[:64].lstrip().startswith(b"{"):
        layer = layers.pop("gzip" if body.startswith(_GZIP) else "base64", None)
        if layer is None:
            raise BadInput("the body is neither JSON nor gzip or base64 of it: check the stream's"
                           " content encoding")  # fmt: skip
        body = layer(body)
    if len(body) > LARGEST:
        raise _too_large()
    return body


def handle_function_url(
    payload: Mapping[str, Any], keys: Sequence[bytes], deliver: Deliver, now_ms: int
) -> dict[str, Any]:
    """`handle` for the payload of a Lambda function URL (format 2.0); gives the result it wants."""
    text = payload.get("body") or ""
    # Where a body is binary and not flagged as such, each of its bytes has become one character.
    plain = text.startswith(_LATIN_GZIP) and max(text) <= "\xff"
    body = text.encode("latin-1" if plain else "utf-8", "replace")
    return _result(handle(Request(payload.get("headers") or {}, body), keys, deliver, now_ms))


def _result(response: Response) -> dict[str, Any]:
    return {
        "statusCode": response.status,
        "headers": response.headers,
        "body": response.body.decode(),
        "isBase64Encoded": False,
    }


def unavailable(payload: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """The answer to a function URL's payload that could not be looked at: try again."""
    headers = {name.lower(): value for name, value in (payload.get("headers") or {}).items()}
    trouble = "the access keys cannot be looked up: try again later"
    return _result(_answer(503, headers.get(ID_HEADER, ""), now_ms, trouble))


def handle_transformation(payload: Mapping[str, Any], deliver: Deliver) -> dict[str, Any]:
    """The same delivery from within a Firehose Lambda transformation, where no URL may be public.

    Of each record: `Ok` once delivered, so that it goes on to the stream's destination in S3;
    `Dropped` if it is empty; `ProcessingFailed`, which S3 keeps apart with its data, if it cannot
    be read or nothing could be delivered. Firehose does not try those again by itself.
    """
    records = payload["records"]
    data = [_plain(record["data"]) for record in records]
    failed = {at for at, one in enumerate(data) if one is None}
    try:
        deliver([one for one in data if one])
    except NguError as error:
        log.warning("a batch of %d records was not delivered: %s", len(records), error)
        failed = {at for at, one in enumerate(data) if one != b""}
    results = []
    for at, record in enumerate(records):
        result = "ProcessingFailed" if at in failed else "Ok" if data[at] else "Dropped"
        results.append({"recordId": record["recordId"], "result": result, "data": record["data"]})
    return {"records": results}


def _admitted(given: str, keys: Sequence[bytes]) -> bool:
    """Whether a key is one of `keys`; takes equally long wherever it differs."""
    presented = given.encode("utf-8", "surrogatepass")
    matches = [hmac.compare_digest(presented, key) for key in keys if key]
    return any(matches)


def _gunzipped(body: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as stream:
            text = stream.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"the body is damaged gzip: {error}") from error
    if len(text) > LARGEST:
        raise _too_large()
    return text


def _decoded(body: bytes) -> bytes:
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise BadInput(f"the body is neither JSON nor gzip nor base64: {error}") from error


def _too_large() -> BadInput:
    return BadInput(f"the body is larger than {LARGEST >> 20} MiB: lower the stream's buffer size")


def _parsed(text: bytes) -> _Body:
    try:
        return _bodies.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"the body is no delivery request: {error}") from error


def _data(element: msgspec.Raw) -> bytes:
    """A record's bytes; what is no base64 goes on as it came, in a form that no record has."""
    try:
        return _elements.decode(element).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b'{"unreadable":' + bytes(element) + b"}"


def _plain(text: str) -> bytes | None:
    """Base64 decoded; None where it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


def _answer(status: int, request_id: str, now_ms: int, trouble: str = "") -> Response:
    shown: dict[str, Any] = {
        "requestId": request_id.encode("utf-8", "replace").decode(),
        "timestamp": now_ms,
    }
    if trouble:
        shown["errorMessage"] = trouble
    body = msgspec.json.encode(shown)
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return Response(status, headers, body)
