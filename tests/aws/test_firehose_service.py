"""The simulated PutRecordBatch: AWS's limits, its answers, its errors as botocore shapes them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from aws.firehose.service import Client, ClientError, HTTPClientError, Service
from aws.firehose.setup import NAME, Scene
from aws.firehose.stream import Faults


def put(data: list[bytes], faults: Faults | None = None, name: str = NAME) -> tuple[Any, Scene]:
    """One call; gives its answer, or the error it raised, and what became of the stream."""
    scene = Scene(faults=faults or Faults())
    client = Client(Service({NAME: scene.stream}, scene.faults))
    try:
        entries = [{"Data": one} for one in data]
        return client.put_record_batch(DeliveryStreamName=name, Records=entries), scene
    except (ClientError, HTTPClientError) as error:
        return error, scene


def accepted(scene: Scene) -> list[bytes]:
    return [held.data for held in scene.stream.accepted]


def test_accepted_records_have_an_id_each() -> None:
    """The answer has one entry per record, in order, and counts no failure."""
    answer, scene = put([b"a", b"b"])
    assert answer["FailedPutCount"] == 0
    assert [list(entry) for entry in answer["RequestResponses"]] == [["RecordId"]] * 2
    assert len({entry["RecordId"] for entry in answer["RequestResponses"]}) == 2
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert accepted(scene) == [b"a", b"b"]


LARGEST = bytes(1_024_000)
TOO_MUCH: dict[str, tuple[list[bytes], str]] = {
    "no record": ([], "ValidationException"),
    "501 records": ([b"x"] * 501, "ValidationException"),
    "more than 1000 KiB": ([LARGEST + b"x"], "InvalidArgumentException"),
    "more than 4 MiB": ([LARGEST] * 4 + [bytes(98_305)], "InvalidArgumentException"),
}


@pytest.mark.parametrize(("data", "code"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_calls_past_a_limit_are_refused_whole(data: list[bytes], code: str) -> None:
    """A call that breaks a limit of AWS is an error, and nothing of it is on the stream."""
    error, scene = put(data)
    assert isinstance(error, ClientError)
    assert error.response["Error"]["Code"] == code
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert accepted(scene) == []


def test_calls_at_the_limits_are_accepted() -> None:
    """500 records, 1000 KiB and 4 MiB are allowed."""
    for data in ([b"x"] * 500, [LARGEST] * 4 + [bytes(98_304)]):
        answer, scene = put(data)
        assert answer["FailedPutCount"] == 0
        assert accepted(scene) == data


def test_an_unknown_stream_is_an_error() -> None:
    """A name that the account does not have is ResourceNotFoundException."""
    error, _ = put([b"x"], name="other")
    assert error.response["Error"]["Code"] == "ResourceNotFoundException"


def test_refused_entries_are_counted_and_not_accepted() -> None:
    """A partial failure is an answer of 200 whose entries say which records were not taken."""
    data = [b"%d" % n for n in range(100)]
    answer, scene = put(data, Faults(random.Random(1), refuse=0.5))
    codes = [entry.get("ErrorCode") for entry in answer["RequestResponses"]]
    assert answer["FailedPutCount"] == sum(code is not None for code in codes)
    assert 20 < answer["FailedPutCount"] < 80
    assert set(codes) == {None, "ServiceUnavailableException"}
    assert accepted(scene) == [d for d, code in zip(data, codes, strict=True) if code is None]


def test_throttled_calls_accept_nothing_and_lost_answers_all() -> None:
    """A throttled call is a 503; one whose answer is lost has been made."""
    error, scene = put([b"x"], Faults(throttle=1.0))
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert accepted(scene) == []
    error, scene = put([b"x"], Faults(lose_put=1.0))
    assert isinstance(error, HTTPClientError)
    assert accepted(scene) == [b"x"]
