"""Calls to DynamoDB: what AWS refuses or does not answer, many calls at once, pages."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ngu_points.aws.dynamo import AT_ONCE, ATTEMPTS, Dynamo, Where
from ngu_points.aws.tables import META
from ngu_points.errors import NguError, StoreError, TransientError, UsageError

errors = pytest.importorskip("botocore.exceptions", reason="boto3 is not installed (extra `aws`)")
parsers = pytest.importorskip("botocore.parsers")
KEY = {"key": "a"}


class Fake:
    """A client that raises or answers what is in `script`, the last of it for ever."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.asked: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**request: Any) -> Any:
            self.asked.append(request)
            told = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            if isinstance(told, Exception):
                raise told
            return told

        return call


def dynamo(client: Any, threads: int = 4) -> Dynamo:
    return Dynamo(client, "ngu", "test", lambda _: None, random.Random(1), threads)


def refused(code: str, status: int = 400) -> Exception:
    """AWS's refusal, with a message that may hold anything."""
    answer = {"Error": {"Code": code, "Message": "a secret"},
              "ResponseMetadata": {"HTTPStatusCode": status}}  # fmt: skip
    error: Exception = errors.ClientError(answer, "GetItem")
    return error


SILENCE = [
    errors.EndpointConnectionError(endpoint_url="https://x"),
    errors.ConnectTimeoutError(endpoint_url="https://x"),
    errors.ReadTimeoutError(endpoint_url="https://x"),
    errors.ConnectionClosedError(endpoint_url="https://x"),
    errors.SSLError(endpoint_url="https://x", error="broken"),
    errors.ProxyConnectionError(proxy_url="https://user:password@proxy"),
    errors.IncompleteReadError(actual_bytes=1, expected_bytes=2),
    parsers.ResponseParserError("not JSON"),
]


@pytest.mark.parametrize("error", SILENCE, ids=lambda error: type(error).__name__)
def test_silence_is_waited_out_and_then_said_in_one_line(error: Exception) -> None:
    """Tried again; if it does not end, the table and what to do are named, and no address."""
    assert dynamo(Fake(error, error, {})).get(META, KEY) is None
    client = Fake(error)
    with pytest.raises(
        TransientError, match=r"get_item on ngu-meta-test .*AWS does not ans"
    ) as told:
        dynamo(client).get(META, KEY)
    assert len(client.asked) == ATTEMPTS
    assert "password" not in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("error", "kind", "why"),
    [
        (errors.NoCredentialsError(), UsageError, "no AWS credentials"),
        (errors.ParamValidationError(report="a secret"), StoreError, "ParamValidationError"),
        (refused("ResourceNotFoundException"), UsageError, "is it deployed"),
        (refused("AccessDeniedException"), UsageError, "not allowed"),
        (refused("ValidationException"), StoreError, "AWS refuses"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_will_not_pass_is_said_at_once(error: Exception, kind: type, why: str) -> None:
    """One call, one line, nothing of what AWS printed."""
    client = Fake(error)
    with pytest.raises(kind, match=why) as told:
        dynamo(client).put(META, KEY)
    assert len(client.asked) == 1
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    "error",
    [
        refused("ProvisionedThroughputExceededException"),
        refused("ThrottlingException"),
        refused("InternalServerError", 500),
        refused("ServiceUnavailable", 503),
        refused("TransactionConflictException"),
    ],
    ids=str,
)
def test_a_busy_table_is_tried_again(error: Exception) -> None:
    """Until it answers, a bounded number of times."""
    assert dynamo(Fake(error, error, {})).put(META, KEY)
    with pytest.raises(TransientError):
        dynamo(Fake(error)).put(META, KEY)


def test_a_condition_that_does_not_hold_is_an_answer() -> None:
    """False, after one call."""
    client = Fake(refused("ConditionalCheckFailedException"))
    assert not dynamo(client).put(META, KEY, Where("attribute_not_exists(#key)", {}))
    assert len(client.asked) == 1


def test_a_fault_of_ours_is_not_taken_for_one_of_aws() -> None:
    """It is raised as it is."""
    with pytest.raises(ZeroDivisionError):
        dynamo(Fake(ZeroDivisionError())).get(META, KEY)


def test_things_are_done_several_at_a_time_and_answered_in_order() -> None:
    """Four wait for each other; results are in the order of the things, in any number."""
    together = threading.Barrier(4, timeout=20)

    def work(n: int) -> int:
        together.wait()
        return n * n

    assert dynamo(None).each(work, range(8)) == [n * n for n in range(8)]
    many = range(2 * AT_ONCE + 5)
    calls: list[None] = []
    assert dynamo(None).each(str, many, lambda: calls.append(None)) == [str(n) for n in many]
    assert len(calls) == 2
    assert dynamo(None).each(str, []) == []


def test_the_first_error_ends_it() -> None:
    """What was begun is waited for, what was not is not begun."""
    begun: list[int] = []

    def work(n: int) -> None:
        begun.append(n)
        if n == 3:
            raise NguError("no more")
        if n > 3:
            threading.Event().wait(0.005)

    with pytest.raises(NguError, match="no more"):
        dynamo(None, threads=2).each(work, range(AT_ONCE))
    seen = len(begun)
    assert seen < AT_ONCE
    assert 3 in begun
    assert len(begun) == seen


def test_counting_stops_where_nobody_wants_to_know_more() -> None:
    """Page after page, up to the bound."""
    page = {"Count": 400, "LastEvaluatedKey": {"key": {"S": "a"}}}
    client = Fake(page)
    where = Where("#stream = :stream", {"stream": "batch"})
    assert dynamo(client).count("dead-letters", where, "an-index", most=1_000) == 1_000
    assert len(client.asked) == 3
    last = {"Count": 5}
    assert dynamo(Fake(page, last)).count("dead-letters", where, "an-index", most=1_000) == 405
