"""The producer: calls within the limits, refused records again, nothing acknowledged too early."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws.firehose.backup import Bucket
from aws.firehose.service import Client, Service
from aws.firehose.stream import Clock, Faults, Secret, Settings, Stream
from fuzz.anything import assert_one_line
from ngu_points.aws.sender import (
    BYTES_OF_A_CALL,
    BYTES_OF_A_RECORD,
    RECORDS_OF_A_CALL,
    VAIN_CALLS,
    Pace,
    Sent,
    chunked,
    send,
)
from ngu_points.errors import BadInput, TransientError, UsageError

NAME = "ngu-batch-events-staging"
RECORDS = [b"record %d" % n for n in range(1_234)]


def service_of(faults: Faults | None = None) -> Service:
    """One stream, with whatever unkindness."""
    faults = faults or Faults()
    stream = Stream(Settings(NAME), Clock(), Bucket(), Secret(), faults)
    return Service({NAME: stream}, faults)


def accepted(service: Service) -> list[bytes]:
    return [held.data for held in service.streams[NAME].accepted]


def sent(client: Any, records: Sequence[bytes], seed: int = 0) -> tuple[Sent, list[float]]:
    """Send; gives the result and the pauses that were made."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    rng = random.Random(seed)
    return asyncio.run(send(client, NAME, records, rng=rng, sleep=sleep)), pauses


def test_all_records_arrive_in_order_in_as_few_calls_as_allowed() -> None:
    """Without trouble: 500 records a call, order kept, no pause."""
    service = service_of()
    result, pauses = sent(Client(service), RECORDS)
    assert accepted(service) == RECORDS
    assert [len(call) for call in service.calls] == [500, 500, 234]
    assert (result, pauses) == (Sent(1_234, 3, 0), [])


def test_nothing_to_send_makes_no_call() -> None:
    """An empty list is accepted without asking AWS."""
    service = service_of()
    assert sent(Client(service), []) == (Sent(0, 0, 0), [])
    assert not service.calls


def test_calls_of_large_records_stay_below_4_mib() -> None:
    """Records of the largest size go four to a call; the service refuses none."""
    largest = [bytes([n]) * BYTES_OF_A_RECORD for n in range(9)]
    service = service_of()
    sent(Client(service), largest)
    assert accepted(service) == largest
    assert [len(call) for call in service.calls] == [4, 4, 1]


@given(st.lists(st.integers(0, BYTES_OF_A_RECORD), max_size=30), st.integers(0, 1200))
def test_chunks_are_whole_and_within_limits(sizes: list[int], small: int) -> None:
    """Chunks put together are the records, and no call breaks a limit of AWS."""
    records = [bytes(size) for size in sizes] + [b"x"] * small
    chunks = list(chunked(records, NAME))
    assert [record for chunk in chunks for record in chunk] == records
    for chunk in chunks:
        assert 1 <= len(chunk) <= RECORDS_OF_A_CALL
        assert sum(map(len, chunk)) <= BYTES_OF_A_CALL


def test_a_record_that_is_too_large_is_named_and_nothing_is_sent() -> None:
    """The error says which one, how large it is and what the limit is."""
    service = service_of()
    large = b'{"kind":"deadLetter","id":"18-0xabc-7"' + b" " * BYTES_OF_A_RECORD
    with pytest.raises(
        BadInput, match=r"record 1235 of 1235.*1,024,038.*1,024,000.*18-0xabc-7"
    ) as e:
        sent(Client(service), [*RECORDS, large])
    assert_one_line(str(e.value))
    assert not service.calls


def test_only_refused_records_are_sent_again() -> None:
    """After a partial failure the next call holds exactly what was refused, in order."""
    service = service_of(Faults(random.Random(3), refuse=0.3))
    result, pauses = sent(Client(service), RECORDS)
    got = accepted(service)
    assert sorted(got) == sorted(RECORDS)
    assert len(got) == len(set(got))
    assert result.records == len(RECORDS)
    assert result.calls == len(service.calls) > 3
    assert result.resent == sum(map(len, service.calls)) - len(RECORDS)
    assert len(pauses) == len(service.calls) - 3
    for one, two in zip(service.calls, service.calls[1:], strict=False):
        follows = [record for record in one if record in set(two)]
        assert follows in ([], two)


def test_calls_without_an_answer_may_come_twice_and_never_not_at_all() -> None:
    """A lost answer leads to duplicates; every record is on the stream at least once."""
    service = service_of(Faults(random.Random(5), lose_put=0.5))
    sent(Client(service), RECORDS)
    got = accepted(service)
    assert set(got) == set(RECORDS)
    assert len(got) > len(RECORDS)


@given(st.integers(0, 10**6), st.floats(0, 0.7), st.floats(0, 0.5), st.floats(0, 0.5))
def test_whatever_fails_all_is_accepted_or_an_error_says_so(
    seed: int, refuse: float, throttle: float, lose: float
) -> None:
    """Return means that every record is on the stream; else the error is one to try again after."""
    faults = Faults(random.Random(seed), refuse=refuse, throttle=throttle, lose_put=lose)
    service = service_of(faults)
    records = RECORDS[:700]
    try:
        result, _ = sent(Client(service), records, seed)
    except TransientError as error:
        assert_one_line(str(error))
    else:
        assert set(accepted(service)) == set(records)
        assert result.records == len(records)


def test_pauses_grow_and_end() -> None:
    """Ten calls in vain: pauses of up to 0.4 s, doubling, 20 s at most; then an error."""
    service = service_of(Faults(throttle=1.0))

    class Highest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            assert a == 0
            return b

    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    with pytest.raises(TransientError, match=rf"{NAME} accepted none of 1 records in 10 calls"):
        asyncio.run(send(Client(service), NAME, [b"x"], rng=Highest(), sleep=sleep))
    assert pauses == [0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0, 20.0, 20.0]
    assert len(pauses) == VAIN_CALLS - 1


def test_progress_is_not_giving_up() -> None:
    """A stream that accepts one record a call is slow and not broken: more calls than the bound."""

    class OneAtATime:
        def __init__(self) -> None:
            self.taken: list[bytes] = []

        def put_record_batch(
            self,
            *,
            DeliveryStreamName: str,  # noqa: N803
            Records: Sequence[Mapping[str, bytes]],  # noqa: N803
        ) -> dict[str, Any]:
            self.taken.append(Records[0]["Data"])
            rest = [{"ErrorCode": "ServiceUnavailableException"} for _ in Records[1:]]
            return {"FailedPutCount": len(rest), "RequestResponses": [{"RecordId": "1"}, *rest]}

    client = OneAtATime()
    result, _ = sent(client, RECORDS[:40])
    assert client.taken == RECORDS[:40]
    assert result.calls == 40


class Saying:
    """Answers with these, then accepts."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls = 0

    def put_record_batch(
        self,
        *,
        DeliveryStreamName: str,  # noqa: N803
        Records: Sequence[Mapping[str, bytes]],  # noqa: N803
    ) -> dict[str, Any]:
        self.calls += 1
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return dict(answer)
        return {"FailedPutCount": 0, "RequestResponses": [{"RecordId": "1"} for _ in Records]}


def refusal(code: str, status: int) -> Exception:
    """A ClientError as botocore shapes it."""
    error = Exception(f"An error occurred ({code})")
    error.response = {  # type: ignore[attr-defined]
        "Error": {"Code": code, "Message": "…"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return error


class EndpointConnectionError(ConnectionError):
    """By its bases' names one of botocore's."""


class ResponseParserError(Exception):
    """Botocore's of an answer that it cannot read, as a proxy gives one."""


@pytest.mark.parametrize(
    "answer",
    [
        refusal("ServiceUnavailableException", 503),
        refusal("ThrottlingException", 400),
        refusal("ExpiredTokenException", 400),
        refusal("SomethingNew", 500),
        refusal("SomethingNew", 429),
        TimeoutError(),
        EndpointConnectionError(),
        ResponseParserError(),
        {"FailedPutCount": 0, "RequestResponses": []},
        {"FailedPutCount": 1, "RequestResponses": [{"RecordId": "1"}, {"RecordId": "2"}]},
    ],
    ids=range(10),
)
def test_what_may_pass_is_tried_again(answer: Any) -> None:
    """Throttling, server faults, time-outs and answers that make no sense: the call is repeated."""
    client = Saying(answer)
    result, pauses = sent(client, [b"x", b"y"])
    assert (result.calls, result.resent, len(pauses)) == (2, 2, 1)


@pytest.mark.parametrize(
    "code", ["ResourceNotFoundException", "AccessDeniedException", "InvalidArgumentException"]
)
def test_what_cannot_pass_is_said_at_once(code: str) -> None:
    """A stream that is not there or may not be written to: one call, one line, what to check."""
    client = Saying(refusal(code, 400))
    with pytest.raises(UsageError, match=rf"{NAME} cannot be written to \({code}\): check") as e:
        sent(client, [b"x"])
    assert_one_line(str(e.value))
    assert client.calls == 1


def test_faults_of_ours_are_not_tried_again() -> None:
    """An error that is none of AWS's or the network's comes through as it is."""
    client = Saying(KeyError("x"))
    with pytest.raises(KeyError):
        sent(client, [b"x"])
    assert client.calls == 1


def test_a_pace_lets_a_calls_worth_go_and_then_so_many_a_second() -> None:
    """Little traffic never waits; over any stretch a catch-up keeps to the rate."""
    pace = Pace(rate=1_000.0)
    assert [pace.wait(400, now) for now in (100.0, 101.0, 102.0)] == [0, 0, 0]
    now = begun = 200.0
    for _ in range(100):
        now += pace.wait(500, now)
    assert now - begun == pytest.approx(49.5)
    assert pace.wait(500, now + 3_600) == 0
    assert pace.wait(500, now + 3_600) == pytest.approx(0.5)


def test_a_paced_sender_waits_between_its_calls() -> None:
    """Every call's records have their time, those that are sent again too."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    stream = Stream(Settings(NAME), Clock(), Bucket(), Secret(), Faults())
    client = Client(Service({NAME: stream}))
    records = [b"%d" % n for n in range(2_000)]
    sent = asyncio.run(
        send(client, NAME, records, rng=random.Random(1), sleep=sleep, pace=Pace(rate=10.0))
    )
    assert sent.calls == 4
    assert pauses[0] == 0
    assert [round(pause) for pause in pauses[1:]] == [50, 100, 150]
