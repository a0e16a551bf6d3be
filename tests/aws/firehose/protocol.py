"""The wire: delivery requests as Firehose makes them, answers as it judges them, waits between."""

from __future__ import annotations

import base64
import gzip
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

ACK_SECONDS = 180.0
FIRST_WAIT, FACTOR, JITTER, LONGEST_WAIT = 1.0, 2.0, 0.15, 120.0
LONGEST_ANSWER = 1 << 20
LONGEST_MESSAGE = 8192
AGENT = "Amazon Kinesis Data Firehose Agent/1.0"
ANSWER_FIELDS = {"requestId", "timestamp", "errorMessage"}


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A POST to the endpoint."""

    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint said, after how many seconds."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No connection, or none that held until an answer had come."""

    why: str
    seconds: float = 0.0


Outcome = Answer | NoAnswer


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a delivery was not made, in Firehose's words; `final` if it is not tried again."""

    code: str
    message: str
    final: bool = False


def request_of(
    records: Sequence[bytes],
    request_id: str,
    now_ms: int,
    arn: str,
    *,
    key: str = "",
    attributes: Mapping[str, str] | None = None,
    gzipped: bool = False,
) -> HttpRequest:
    """One delivery request; `timestamp` is when it is made."""
    elements = [{"data": base64.b64encode(record).decode()} for record in records]
    shown = {"requestId": request_id, "timestamp": now_ms, "records": elements}
    body = json.dumps(shown, separators=(",", ":")).encode()
    headers = {
        "X-Amz-Firehose-Protocol-Version": "1.0",
        "X-Amz-Firehose-Request-Id": request_id,
        "X-Amz-Firehose-Source-Arn": arn,
        "Content-Type": "application/json",
        "User-Agent": AGENT,
    }
    if key:
        headers["X-Amz-Firehose-Access-Key"] = key
    if attributes:
        common = {"commonAttributes": dict(attributes)}
        headers["X-Amz-Firehose-Common-Attributes"] = json.dumps(common)
    if gzipped:
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, mtime=0)
    headers["Content-Length"] = str(len(body))
    return HttpRequest(headers, body)


def judged(outcome: Outcome, request_id: str) -> Verdict | None:
    """None where a delivery counts as made."""
    if isinstance(outcome, NoAnswer):
        return Verdict("HttpEndpoint.ConnectionFailed", outcome.why)
    if outcome.seconds > ACK_SECONDS:
        return Verdict("HttpEndpoint.RequestTimeout", "no answer within three minutes")
    said = f"{outcome.status}: {outcome.body[:1000].decode('utf-8', 'replace')}"
    if outcome.status != 200:
        return Verdict(
            "HttpEndpoint.DestinationException",
            f"The following response was received from the endpoint destination. {said}",
            final=outcome.status == 413,
        )
    fault = fault_of(outcome, request_id)
    if fault:
        return Verdict(
            "HttpEndpoint.InvalidResponseFromDestination",
            f"{fault}. Raw response received: {said}",
        )
    return None


def fault_of(answer: Answer, request_id: str) -> str:
    """What is wrong with the form of an answer; empty if nothing is."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    if headers.get("content-type") != "application/json":
        return "the content type is not application/json"
    if "content-encoding" in headers:
        return "the answer is encoded"
    if headers.get("content-length") != str(len(answer.body)):
        return "there is no right content length"
    if len(answer.body) > LONGEST_ANSWER:
        return "the answer is larger than 1 MiB"
    try:
        said = json.loads(answer.body)
    except ValueError:
        return "the answer is not JSON"
    if not isinstance(said, dict) or not said.keys() <= ANSWER_FIELDS:
        return "the answer has fields that it must not have"
    if said.get("requestId") != request_id:
        return "the request id is not that of the request"
    if type(said.get("timestamp")) is not int:
        return "the timestamp is not a number"
    message = said.get("errorMessage", "")
    if not isinstance(message, str) or len(message) > LONGEST_MESSAGE:
        return "the error message is no text of at most 8192 characters"
    return ""


def waits(rng: random.Random) -> Iterator[float]:
    """Seconds before each retry: 1, doubling, each 15 % off at most, never above 120."""
    wait = FIRST_WAIT
    while True:
        yield min(LONGEST_WAIT, wait * rng.uniform(1 - JITTER, 1 + JITTER))
        wait = min(LONGEST_WAIT, wait * FACTOR)
