"""The producer's side of a stream: records into PutRecordBatch calls until all are accepted.

A call takes 500 records and 4 MiB, a record at most 1,000 KiB. An answer of 200 may still refuse
some of the records; only those are sent again. A call without an answer may have written all of
them: they are sent again too, and come twice. Order is kept except where records are refused.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ngu_points.aws.trouble import NO_ANSWER
from ngu_points.errors import BadInput, TransientError, UsageError

RECORDS_OF_A_CALL = 500
BYTES_OF_A_CALL = 4 << 20
BYTES_OF_A_RECORD = 1000 << 10
RECORDS_A_SECOND = 800.0
"""What a catch-up sends on one stream: less than one partition of an index takes."""
VAIN_CALLS = 10
"""Calls in a row of which no record was accepted, before giving up."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 20.0  # seconds
_BUSY = 429
_PASSING = {
    "ExpiredTokenException",
    "InternalFailure",
    "InternalServerError",
    "LimitExceededException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}


class Client(Protocol):
    """The one method of botocore's Firehose client that is used; it blocks, and is thread-safe."""

    def put_record_batch(
        self,
        *,
        DeliveryStreamName: str,  # noqa: N803 -- botocore's names
        Records: Sequence[Mapping[str, bytes]],  # noqa: N803
    ) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Sent:
    """What it took: records accepted, calls made, records sent again after a refusal."""

    records: int = 0
    calls: int = 0
    resent: int = 0


@dataclass(slots=True)
class Pace:
    """Holds a stream to so many records a second, whoever sends; a call's worth goes at once.

    A catch-up would else bring more events of one type than their index takes: all of them share
    one partition of it, which takes 1,000 a second, and an index that is throttled throttles its
    table.
    """

    rate: float = RECORDS_A_SECOND
    free: float = 0.0  # when everything that was sent has had its time

    def wait(self, records: int, now: float) -> float:
        """Seconds to wait before sending some records. `now` only ever grows."""
        begins = max(self.free, now - RECORDS_OF_A_CALL / self.rate)
        self.free = begins + records / self.rate
        return max(0.0, self.free - now)


async def send(
    client: Client,
    stream_name: str,
    records: Sequence[bytes],
    *,
    rng: random.Random,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    pace: Pace | None = None,
) -> Sent:
    """Return once the stream has accepted every record, in order as far as it does.

    With `pace` it takes its time over them; without, as little as AWS allows.

    Raises BadInput, with nothing sent, for a record that no stream takes; TransientError where
    nothing was accepted in `VAIN_CALLS` calls in a row; UsageError where AWS refuses for good.
    After an error a part may be on the stream: send all again, readers know a record by its id.
    """
    chunks = list(chunked(records, stream_name))
    calls = resent = 0
    for chunk in chunks:
        waiting, vain = chunk, 0
        while waiting:
            if pace:
                await sleep(pace.wait(len(waiting), time.monotonic()))
            refused, why = await _put(client, stream_name, waiting)
            calls += 1
            vain = 0 if len(refused) < len(waiting) else vain + 1
            if vain == VAIN_CALLS:
                raise TransientError(
                    f"the stream {stream_name} accepted none of {len(waiting)} records in"
                    f" {vain} calls ({why}): try again later"
                )
            if refused:
                resent += len(refused)
                await sleep(rng.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**vain)))
            waiting = refused
    return Sent(len(records), calls, resent)


def chunked(records: Sequence[bytes], stream_name: str) -> Iterator[list[bytes]]:
    """Consecutive records, as many as one call takes. Raises BadInput for one that is too large."""
    chunk: list[bytes] = []
    size = 0
    for at, record in enumerate(records):
        if len(record) > BYTES_OF_A_RECORD:
            raise BadInput(
                f"record {at + 1} of {len(records)} for the stream {stream_name} has"
                f" {len(record):,} bytes, it takes {BYTES_OF_A_RECORD:,}: {_beginning(record)}"
            )
        if len(chunk) == RECORDS_OF_A_CALL or size + len(record) > BYTES_OF_A_CALL:
            yield chunk
            chunk, size = [], 0
        chunk.append(record)
        size += len(record)
    if chunk:
        yield chunk


def _beginning(record: bytes) -> str:
    """As much of a record as names it: its kind, contract and id come first."""
    return record[:300].decode("utf-8", "replace") + "…"


async def _put(client: Client, stream: str, records: list[bytes]) -> tuple[list[bytes], str]:
    """One call: the records that must be sent again, in order, and why."""
    entries = [{"Data": record} for record in records]
    try:
        answer = await asyncio.to_thread(
            client.put_record_batch, DeliveryStreamName=stream, Records=entries
        )
    except Exception as error:  # noqa: BLE001 -- botocore's own classes are unknown here
        return records, _passing(error, stream)
    results = answer["RequestResponses"]
    if len(results) != len(records):
        return records, f"an answer about {len(results)} records instead of {len(records)}"
    codes = [result.get("ErrorCode") for result in results]
    refused = [record for record, code in zip(records, codes, strict=True) if code]
    if answer["FailedPutCount"] != len(refused):
        return records, f"{answer['FailedPutCount']} refused records, {len(refused)} of them named"
    return refused, ", ".join(sorted({code for code in codes if code}))


def _passing(error: Exception, stream: str) -> str:
    """The reason, if calling again may help. Raises UsageError, or `error` itself, if not."""
    answer = getattr(error, "response", None)
    if isinstance(answer, dict) and "Error" in answer:
        code = str(answer["Error"].get("Code", "an error without a code"))
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _PASSING or status == _BUSY or status >= 500:
            return code
        raise UsageError(f"the stream {stream} cannot be written to ({code}): check its name, the"
                         " region and what the role may do") from error  # fmt: skip
    if {kind.__name__ for kind in type(error).__mro__} & NO_ANSWER:
        return "no answer"
    raise error
