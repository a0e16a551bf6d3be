"""The endpoint's side of Firehose's protocol: who is let in, what is read, what is answered."""

from __future__ import annotations

import base64
import gzip
import hmac
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aws.firehose.protocol import Answer, fault_of, judged, request_of
from fuzz.anything import EDITS, JSON, TEXTS, assert_one_line, edited, often, written
from ngu_points.aws import endpoint
from ngu_points.aws.endpoint import LARGEST, Request, Response, handle, unfolded
from ngu_points.errors import BadInput, StoreError, TransientError

CAPTURED = json.loads(
    (Path(__file__).parent.parent / "data/firehose/aws-guide-examples.json").read_text()
)
KEY, OLD = b"the-new-key", b"the-old-key"
ID = "0b1f1bd2-7a43-4f6c-9d58-5a1f6f2f5f11"
NOW = 1_700_000_000_123
ARN = "arn:aws:firehose:us-east-1:000000000000:deliverystream/x"


class Stored:
    """Takes batches; raises what it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.batches: list[list[bytes]] = []
        self.error = error

    def __call__(self, records: Sequence[bytes]) -> None:
        if self.error:
            raise self.error
        self.batches.append(list(records))


def asked(body: bytes, key: str | None = KEY.decode(), **headers: str) -> Request:
    """A request with a body and a key."""
    given = {"X-Amz-Firehose-Request-Id": ID, "Content-Type": "application/json"} | headers
    if key is not None:
        given["X-Amz-Firehose-Access-Key"] = key
    return Request(given, body)


def body_of(*records: bytes, request_id: str = ID) -> bytes:
    return request_of(records, request_id, NOW, ARN).body


def said(response: Response) -> dict[str, Any]:
    """The answer's fields, after checking that Firehose would read it as an answer to `ID`."""
    fault = fault_of(Answer(response.status, response.headers, response.body), ID)
    assert not fault, fault
    shown: dict[str, Any] = json.loads(response.body)
    return shown


def test_the_guides_example_is_answered_as_the_guide_does() -> None:
    """The captured request gives its two records, and the captured answer byte for byte."""
    stored = Stored()
    body = json.dumps(CAPTURED["request_example"]).encode()
    request = Request({**CAPTURED["headers"], "X-Amz-Firehose-Access-Key": KEY.decode()}, body)
    wanted = CAPTURED["response_success_200"]
    response = handle(request, [KEY], stored, wanted["timestamp"])
    assert stored.batches == [[b"hello", b"hello world"]]
    assert response.status == 200
    assert response.body == json.dumps(wanted, separators=(",", ":")).encode()
    assert response.headers == {
        "Content-Type": "application/json",
        "Content-Length": str(len(response.body)),
    }


def test_the_guides_failure_is_answered_with_a_number() -> None:
    """A failed delivery looks as in the guide, but for the time, which must be a number."""
    printed = CAPTURED["response_failure_4xx_5xx_as_printed"]
    body = json.dumps(CAPTURED["request_example"]).encode()
    request = Request({**CAPTURED["headers"], "X-Amz-Firehose-Access-Key": KEY.decode()}, body)
    stored = Stored(TransientError(printed["errorMessage"]))
    response = handle(request, [KEY], stored, int(printed["timestamp"]))
    assert response.status == 503
    wanted = printed | {"timestamp": int(printed["timestamp"])}
    assert response.body == json.dumps(wanted, separators=(",", ":")).encode()


def test_a_real_record_that_is_gzip_itself_is_handed_on_as_it_is() -> None:
    """Records are not looked into: one that its producer has compressed stays compressed."""
    captured = CAPTURED["real_gzip_record_openobserve_issue_1831"]
    stored = Stored()
    response = handle(asked(json.dumps(captured).encode()), [KEY], stored, NOW)
    assert json.loads(response.body)["requestId"] == captured["requestId"]
    [[record]] = stored.batches
    assert record == base64.b64decode(captured["records"][0]["data"])
    assert gzip.decompress(record).startswith(b"{")


def test_the_simulator_sends_the_guides_example() -> None:
    """What tests deliver is the captured request, byte for byte, and its headers."""
    shown = CAPTURED["request_example"]
    request = request_of(
        [b"hello", b"hello world"],
        shown["requestId"],
        shown["timestamp"],
        CAPTURED["headers"]["X-Amz-Firehose-Source-Arn"],
        attributes=CAPTURED["common_attributes_example"]["commonAttributes"],
    )
    assert request.body == json.dumps(shown, separators=(",", ":")).encode()
    headers = dict(request.headers)
    common = json.loads(headers.pop("X-Amz-Firehose-Common-Attributes"))
    assert common == CAPTURED["common_attributes_example"]
    assert headers.pop("Content-Length") == str(len(request.body))
    assert headers == CAPTURED["headers"]


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda b: b,
    "gzip": gzip.compress,
    "base64": base64.b64encode,
    "base64 of gzip": lambda b: base64.b64encode(gzip.compress(b)),
    "gzip of base64": lambda b: gzip.compress(base64.b64encode(b)),
    "two gzip members": lambda b: gzip.compress(b[:9]) + gzip.compress(b[9:]),
    "spaces before": lambda b: b" \r\n\t" + b,
}


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("encoding", ["gzip", "identity", None])
def test_base64_and_gzip_in_any_combination(pack: Any, encoding: str | None) -> None:
    """The first bytes decide what a body is, whatever the header says."""
    stored = Stored()
    headers = {"Content-Encoding": encoding} if encoding else {}
    response = handle(asked(pack(body_of(b"one", b"")), **headers), [KEY], stored, NOW)
    assert response.status == 200
    assert said(response) == {"requestId": ID, "timestamp": NOW}
    assert stored.batches == [[b"one", b""]]


def test_header_names_are_read_in_any_case() -> None:
    """A function URL gives header names in lower case, others as they were sent."""
    for change in (str.lower, str.upper):
        request = asked(body_of(b"x"))
        request = Request({change(n): v for n, v in request.headers.items()}, request.body)
        assert handle(request, [KEY], Stored(), NOW).status == 200


REFUSED: dict[str, tuple[str | None, list[bytes]]] = {
    "no key": (None, [KEY]),
    "an empty key": ("", [KEY]),
    "an empty key where the secret is empty": ("", [b""]),
    "no key where the secret is empty": (None, [b""]),
    "no secret": (KEY.decode(), []),
    "another key": ("the-new-kez", [KEY]),
    "a part of the key": ("the-new", [KEY]),
    "more than the key": ("the-new-key ", [KEY]),
    "the key in capitals": ("THE-NEW-KEY", [KEY]),
    "both keys": ("the-new-keythe-old-key", [KEY, OLD]),
    "letters beyond ASCII": ("schlüssel", [KEY]),
    "half a letter": ("\ud800", [KEY]),
    "the old key after rotation": (OLD.decode(), [KEY]),
}


@pytest.mark.parametrize(("key", "keys"), REFUSED.values(), ids=REFUSED)
def test_without_the_right_key_nothing_is_read(
    key: str | None, keys: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is 401 before the body is looked at, and it tells no key."""
    monkeypatch.setattr(endpoint, "unfolded", lambda body: pytest.fail("the body was read"))
    stored = Stored()
    response = handle(asked(b"\x1f\x8bnothing", key), keys, stored, NOW)
    assert response.status == 401
    assert "errorMessage" in said(response)
    assert not stored.batches
    assert not any(k in response.body for k in (KEY, OLD))


def test_two_keys_are_accepted_during_rotation() -> None:
    """The new key and the one before both let in; each is compared in constant time."""
    for key in (KEY, OLD):
        assert handle(asked(body_of(b"x"), key.decode()), [KEY, OLD], Stored(), NOW).status == 200


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key is compared, by `compare_digest`, also after one has matched."""
    compared = []
    real = hmac.compare_digest

    def spied(one: bytes, two: bytes) -> bool:
        compared.append((one, two))
        return real(one, two)

    monkeypatch.setattr(hmac, "compare_digest", spied)
    assert handle(asked(body_of(b"x")), [KEY, OLD], Stored(), NOW).status == 200
    assert compared == [(KEY, KEY), (KEY, OLD)]


def test_a_request_does_not_show_its_key() -> None:
    """In a traceback or a log a request shows neither key nor body."""
    shown = repr(asked(b"secret body"))
    assert KEY.decode() not in shown
    assert "secret body" not in shown


UNREADABLE = {
    "nothing": b"",
    "no JSON": b"hello",
    "half a JSON": b'{"requestId":"x","records":[',
    "a list": b"[]",
    "bad base64": base64.b64encode(b'{"requestId":"x","records":[]}')[:-3] + b"!!!",
    "base64 with other letters": b"!!!!" + base64.b64encode(b'{"requestId":"x","records":[]}'),
    "bad gzip": gzip.compress(body_of(b"x"))[:-9],
    "gzip with a wrong sum": gzip.compress(body_of(b"x"))[:-8] + bytes(8),
    "gzip of nothing of ours": gzip.compress(b"hello"),
    "bytes that look like gzip": b"\x1f\x8b\x08" + bytes(40),
    "gzip destroyed as text": gzip.compress(body_of(b"x")).decode("utf-8", "replace").encode(),
    "gzip in gzip": gzip.compress(gzip.compress(body_of(b"x"))),
    "base64 in base64": base64.b64encode(base64.b64encode(body_of(b"x"))),
    "no records": b'{"requestId":"x","timestamp":1}',
    "records that are none": b'{"requestId":"x","timestamp":1,"records":{}}',
    "no request id": b'{"timestamp":1,"records":[]}',
    "an empty request id": b'{"requestId":"","records":[]}',
    "a request id that is a number": b'{"requestId":1,"records":[]}',
    "deep JSON": b'{"requestId":"x","records":' + b"[" * 200_000,
    "no UTF-8": b'{"requestId":"\xff\xfe","records":[]}',
}  # fmt: skip


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_a_body_that_cannot_be_read_is_said_to_be_so(body: bytes) -> None:
    """The answer is 400, in one line, and Firehose reads it as the endpoint's own answer."""
    stored = Stored()
    response = handle(asked(body), [KEY], stored, NOW)
    assert response.status == 400
    assert_one_line(said(response)["errorMessage"])
    assert not stored.batches


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_bomb_is_not_unpacked(wrapped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a small body that unpacks to more than 64 MiB not more than that is ever unpacked."""
    monkeypatch.setattr(endpoint, "LARGEST", 1 << 20)
    sizes = []
    real = gzip.GzipFile.read

    def spied(self: gzip.GzipFile, size: int = -1) -> bytes:
        sizes.append(size)
        return real(self, size)

    monkeypatch.setattr(gzip.GzipFile, "read", spied)
    bomb = gzip.compress(bytes(64 << 20))
    body = base64.b64encode(bomb) if wrapped else bomb
    assert len(body) < 1 << 20
    response = handle(asked(body), [KEY], Stored(), NOW)
    assert response.status == 400
    assert "larger than 1 MiB" in said(response)["errorMessage"]
    assert sizes == [(1 << 20) + 1]


def test_bodies_up_to_64_mib_are_read() -> None:
    """The most that Firehose sends is read; one byte more, plain or packed, is 400, never 413."""
    frame = b'{"requestId":"' + ID.encode() + b'","timestamp":1,"records":['
    element = b'{"data":"' + b"AAAA" * 250_000 + b'"}'
    records = b",".join([element] * 66)
    fits = frame + records + b" " * (LARGEST - len(frame) - len(records) - 2) + b"]}"
    assert len(fits) == LARGEST
    stored = Stored()
    assert handle(asked(fits), [KEY], stored, NOW).status == 200
    assert list(map(len, stored.batches[0])) == [750_000] * 66
    assert unfolded(gzip.compress(fits, 1)) == fits
    for over in (fits + b" ", gzip.compress(fits + b" ", 1), b"A" * (LARGEST // 3 * 4 + 5)):
        response = handle(asked(over), [KEY], stored, NOW)
        assert response.status == 400
        assert "64 MiB" in said(response)["errorMessage"]
    assert len(stored.batches) == 1


def test_ten_thousand_records_are_one_batch() -> None:
    """The most records that Firehose puts into a request arrive in their order."""
    records = [b"%d" % n for n in range(10_000)]
    stored = Stored()
    assert handle(asked(body_of(*records)), [KEY], stored, NOW).status == 200
    assert stored.batches == [records]


@pytest.mark.parametrize(
    "element", [b'{"data":"%%%"}', b'{"data":"aGVsbG8"}', b'{"data":5}', b"{}", b"null", b"7",
                b'{"kind":"coverage","version":1}'],
)  # fmt: skip
def test_a_bad_element_goes_on_as_it_came(element: bytes) -> None:
    """A record without base64 does not fail the batch, and can be taken for no record of ours."""
    stored = Stored()
    body = b'{"requestId":"%s","records":[{"data":"aGk="},%s]}' % (ID.encode(), element)
    response = handle(asked(body), [KEY], stored, NOW)
    assert response.status == 200
    assert stored.batches == [[b"hi", b'{"unreadable":' + element + b"}"]]


def test_a_failed_delivery_is_asked_for_again() -> None:
    """What may pass is 503, what needs a person 500, each with its text: Firehose tries again."""
    for error, status in ((TransientError("throttled"), 503), (StoreError("no table"), 500),
                          (BadInput("odd"), 500)):  # fmt: skip
        response = handle(asked(body_of(b"x")), [KEY], Stored(error), NOW)
        assert response.status == status
        assert said(response) == {"requestId": ID, "timestamp": NOW, "errorMessage": str(error)}
        assert judged(Answer(status, response.headers, response.body), ID)


def test_a_fault_of_ours_is_not_swallowed() -> None:
    """An error that nobody thought of reaches the platform, whose answer is no 200 either."""
    with pytest.raises(ZeroDivisionError):
        handle(asked(body_of(b"x")), [KEY], Stored(ZeroDivisionError()), NOW)


def test_the_request_id_of_the_body_is_the_one_that_is_answered() -> None:
    """The body's id is echoed; the header's where the body was not read; never null."""
    response = handle(asked(body_of(b"x", request_id="of the body")), [KEY], Stored(), NOW)
    assert json.loads(response.body)["requestId"] == "of the body"
    assert json.loads(handle(asked(b"?"), [KEY], Stored(), NOW).body)["requestId"] == ID
    bare = handle(Request({"x-amz-firehose-access-key": KEY.decode()}, b"?"), [KEY], Stored(), NOW)
    assert json.loads(bare.body)["requestId"] == ""


@often(4)
@given(
    st.dictionaries(st.sampled_from(["requestId", "timestamp", "records", "x"]), JSON),
    EDITS,
    st.sampled_from(sorted(PACKED)),
    st.sampled_from([KEY.decode(), OLD.decode()]) | TEXTS,
    TEXTS,
)
@example({"requestId": "\ud800", "records": []}, [], "plain", KEY.decode(), "\ud800")
def test_any_request_gets_an_answer(
    body: dict[str, Any], edits: list[tuple[str, float, bytes]], pack: str, key: str, name: str
) -> None:
    """Whatever comes: a status from the list, never 413, well formed, with nothing stored twice."""
    raw = PACKED[pack](edited(written(body), edits))
    stored = Stored()
    request = Request({"X-Amz-Firehose-Access-Key": key, "X-Amz-Firehose-Request-Id": name}, raw)
    response = handle(request, [KEY], stored, NOW)
    assert response.status in (200, 400, 401)
    shown = json.loads(response.body)
    assert not fault_of(
        Answer(response.status, response.headers, response.body), shown["requestId"]
    )
    assert len(stored.batches) == (response.status == 200)
    assert key == KEY.decode() or response.status == 401
    if "errorMessage" in shown:
        assert_one_line(shown["errorMessage"])
