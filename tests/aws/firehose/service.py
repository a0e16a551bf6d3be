"""Firehose as a producer sees it: PutRecordBatch with its limits, and a client like botocore's."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aws.firehose.stream import Faults, Stream

MOST_ENTRIES, MOST_BYTES, LONGEST_RECORD = 500, 4 << 20, 1_024_000


class ServiceError(Exception):
    """An error answer of the service."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class LostAnswer(Exception):  # noqa: N818 -- no error, but the lack of any word
    """The call was made and nothing came back."""


@dataclass
class Service:
    """The streams of an account, by name."""

    streams: Mapping[str, Stream]
    faults: Faults = field(default_factory=Faults)
    lock: threading.Lock = field(default_factory=threading.Lock)
    calls: list[list[bytes]] = field(default_factory=list)
    records: int = 0

    def put_record_batch(self, name: str, data: Sequence[bytes]) -> dict[str, Any]:
        """The answer to a call. Raises ServiceError, or LostAnswer after accepting it."""
        with self.lock:
            self._check(name, data)
            self.calls.append(list(data))
            rng, faults = self.faults.rng, self.faults
            if rng.random() < faults.throttle:
                raise ServiceError(503, "ServiceUnavailableException", "Slow down.")
            results = [self._put(name, one, rng.random() < faults.refuse) for one in data]
            if rng.random() < faults.lose_put:
                raise LostAnswer
        failed = sum("ErrorCode" in result for result in results)
        return {"FailedPutCount": failed, "Encrypted": False, "RequestResponses": results}

    def _put(self, name: str, data: bytes, refused: bool) -> dict[str, str]:
        if refused:
            return {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."}
        self.streams[name].put(data)
        self.records += 1
        return {"RecordId": f"record-{self.records}"}

    def _check(self, name: str, data: Sequence[bytes]) -> None:
        if name not in self.streams:
            raise ServiceError(400, "ResourceNotFoundException", f"Firehose {name} not found.")
        if not 1 <= len(data) <= MOST_ENTRIES:
            raise ServiceError(400, "ValidationException", "records must have 1 to 500 members")
        if any(len(one) > LONGEST_RECORD for one in data):
            raise ServiceError(400, "InvalidArgumentException", "a record is larger than 1000 KiB")
        if sum(map(len, data)) > MOST_BYTES:
            raise ServiceError(400, "InvalidArgumentException", "the call is larger than 4 MiB")


class ClientError(Exception):
    """Shaped like botocore's: what the service said is in `response`."""

    def __init__(self, error: ServiceError, operation: str) -> None:
        super().__init__(f"An error occurred ({error.code}) when calling {operation}")
        self.response: dict[str, dict[str, Any]] = {
            "Error": {"Code": error.code, "Message": error.message},
            "ResponseMetadata": {"HTTPStatusCode": error.status},
        }
        self.operation_name = operation


class HTTPClientError(Exception):
    """Shaped like botocore's: no answer came."""


class ReadTimeoutError(HTTPClientError):
    """Shaped like botocore's: it did not come in time."""


@dataclass
class Client:
    """Shaped like botocore's client; calls a service in this process."""

    service: Service

    def put_record_batch(
        self,
        *,
        DeliveryStreamName: str,  # noqa: N803 -- botocore's names
        Records: Sequence[Mapping[str, bytes]],  # noqa: N803
    ) -> dict[str, Any]:
        try:
            data = [entry["Data"] for entry in Records]
            answer = self.service.put_record_batch(DeliveryStreamName, data)
        except ServiceError as error:
            raise ClientError(error, "PutRecordBatch") from error
        except LostAnswer as error:
            raise ReadTimeoutError("Read timeout on endpoint") from error
        return answer | {"ResponseMetadata": {"HTTPStatusCode": 200, "RetryAttempts": 0}}
