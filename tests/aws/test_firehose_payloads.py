"""The two Lambda shapes of a delivery: a function URL's payload, a transformation's payload."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from typing import Any

import pytest

from aws.firehose.protocol import Answer, fault_of, request_of
from ngu_points.aws.endpoint import handle_function_url, handle_transformation
from ngu_points.errors import StoreError, TransientError

KEY = b"key"
ID = "2d4e7d1e-94c4-43e9-8c1e-6c3f0f1b7a52"
NOW = 1_700_000_000_000


def payload_of(body: str | None, *, flag: bool, key: str = "key") -> dict[str, Any]:
    """What a function URL hands on, payload format 2.0."""
    payload: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/",
        "rawQueryString": "",
        "headers": {
            "content-type": "application/json",
            "x-amz-firehose-request-id": ID,
            "x-amz-firehose-access-key": key,
        },
        "requestContext": {"http": {"method": "POST", "path": "/", "protocol": "HTTP/1.1"}},
        "isBase64Encoded": flag,
    }
    return payload if body is None else payload | {"body": body}


def answer_to(payload: dict[str, Any], stored: list[list[bytes]]) -> dict[str, Any]:
    """What the function gives back; checked to be an answer for Firehose."""

    def deliver(records: Sequence[bytes]) -> None:
        stored.append(list(records))

    result = handle_function_url(payload, [KEY], deliver, NOW)
    assert result.keys() == {"statusCode", "headers", "body", "isBase64Encoded"}
    assert result["isBase64Encoded"] is False
    assert json.loads(json.dumps(result)) == result
    answer = Answer(result["statusCode"], result["headers"], result["body"].encode())
    assert not fault_of(answer, ID)
    return result


PLAIN = request_of([b"one", b"two"], ID, NOW, "arn").body
PACKED = gzip.compress(PLAIN)


@pytest.mark.parametrize(
    ("body", "flag"),
    [
        (PLAIN.decode(), False),
        (base64.b64encode(PLAIN).decode(), True),
        (base64.b64encode(PACKED).decode(), True),
        (base64.b64encode(PACKED).decode(), False),
        (PACKED.decode("latin-1"), False),
        (PLAIN.decode(), True),
    ],
    ids=["plain", "base64", "base64 of gzip", "unflagged", "gzip as letters", "wrongly flagged"],
)
def test_a_function_urls_body_is_read_however_it_comes(body: str, flag: bool) -> None:
    """Base64 flag or not, gzip or not: the records arrive and the answer is 200."""
    stored: list[list[bytes]] = []
    result = answer_to(payload_of(body, flag=flag), stored)
    assert result["statusCode"] == 200
    assert json.loads(result["body"]) == {"requestId": ID, "timestamp": NOW}
    assert stored == [[b"one", b"two"]]


@pytest.mark.parametrize(
    "body",
    [None, "", "hello", PACKED.decode("utf-8", "replace"), "\x1f\x8b\u20ac", "\ud800", "{\ud800}"],
    ids=["no body", "empty", "text", "destroyed gzip", "odd letters", "half a letter", "broken"],
)
def test_a_function_urls_body_that_cannot_be_read_is_400(body: str | None) -> None:
    """What emulators and strangers make of a body is refused with an answer, not with a crash."""
    stored: list[list[bytes]] = []
    assert answer_to(payload_of(body, flag=False), stored)["statusCode"] == 400
    assert not stored


def test_strangers_at_the_url_are_refused() -> None:
    """Without headers, or with the wrong key, the answer is 401."""
    stored: list[list[bytes]] = []
    wrong = answer_to(payload_of(PLAIN.decode(), flag=False, key="kez"), stored)
    assert wrong["statusCode"] == 401
    bare = handle_function_url({"version": "2.0"}, [KEY], stored.append, NOW)  # type: ignore[arg-type]
    assert bare["statusCode"] == 401
    assert not stored


def transformation(*data: str) -> dict[str, Any]:
    """What Firehose hands to a transformation."""
    return {
        "invocationId": ID,
        "deliveryStreamArn": "arn:aws:firehose:us-east-1:000000000000:deliverystream/x",
        "region": "us-east-1",
        "records": [
            {"recordId": str(at), "approximateArrivalTimestamp": NOW, "data": text}
            for at, text in enumerate(data)
        ],
    }


GOOD, OTHER, EMPTY, BROKEN = base64.b64encode(b"good").decode(), "aGk=", "", "%%%"


def results(payload: dict[str, Any], error: Exception | None = None) -> tuple[list[str], Any]:
    """The result of each record, and what was delivered."""
    stored: list[bytes] = []

    def deliver(records: Sequence[bytes]) -> None:
        if error:
            raise error
        stored.extend(records)

    given = handle_transformation(payload, deliver)
    assert [(r["recordId"], r["data"]) for r in given["records"]] == [
        (r["recordId"], r["data"]) for r in payload["records"]
    ]
    assert all(r.keys() == {"recordId", "result", "data"} for r in given["records"])
    return [r["result"] for r in given["records"]], stored


def test_a_transformation_says_of_each_record_what_became_of_it() -> None:
    """Delivered is Ok, empty is dropped, unreadable is failed; ids and data come back unchanged."""
    found, stored = results(transformation(GOOD, EMPTY, BROKEN, OTHER))
    assert found == ["Ok", "Dropped", "ProcessingFailed", "Ok"]
    assert stored == [b"good", b"hi"]


@pytest.mark.parametrize("error", [TransientError("throttled"), StoreError("no table")])
def test_a_transformation_that_stores_nothing_marks_all_as_failed(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is Ok if delivery fails, so that S3 keeps it among the failed; it is logged."""
    found, stored = results(transformation(GOOD, EMPTY, BROKEN, OTHER), error)
    assert found == ["ProcessingFailed", "Dropped", "ProcessingFailed", "ProcessingFailed"]
    assert not stored
    assert str(error) in caplog.text
