"""Calls to DynamoDB: plain values in and out, pages joined, throttling and silence waited out.

The client is botocore's or one shaped like it; nothing here imports it. Attribute names are
always aliased, because many of ours are reserved words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any, TypeVar

from ngu_points.aws.tables import KEYS, table_name
from ngu_points.aws.trouble import code_of, naming
from ngu_points.errors import NguError, TransientError

One = TypeVar("One")
Result = TypeVar("Result")

Plain = Mapping[str, Any]
"""A row: text, whole numbers of at most 38 digits, bytes, booleans. None stands for absent."""

ATTEMPTS = 9
SHORTEST, LONGEST = 0.05, 5.0  # seconds to wait after a throttled call
THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "InternalServerError",
        "ServiceUnavailable",
        "TransactionConflictException",  # the row is just part of somebody's transaction
        "TransactionInProgressException",
    }
)
PASSING = frozenset(
    {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "None"}
)
"""Why a transaction may fail although nothing is wrong with it."""
ANSWERS = frozenset({"ConditionalCheckFailedException", "TransactionCanceledException"})
"""Errors that are answers: a condition does not hold."""
KEYS_MAX = 100
THREADS = 16
AT_ONCE = 1_000
"""Calls that are handed to the threads at once."""


@dataclass(frozen=True, slots=True)
class Where:
    """A condition: an expression in which `#name` is an attribute and `:name` one of `values`."""

    text: str
    values: Plain


class Dynamo:
    """The tables of one stage."""

    def __init__(
        self,
        client: Any,
        service: str,
        stage: str,
        sleep: Callable[[float], None],
        rng: Random,
        threads: int = THREADS,
    ) -> None:
        self.client = client
        self.names = {name: table_name(service, name, stage) for name in KEYS}
        self._sleep = sleep
        self._rng = rng
        self._threads = threads

    def nonce(self) -> str:
        """A text that no other call has given."""
        return f"{self._rng.getrandbits(64):016x}"

    def each(
        self,
        work: Callable[[One], Result],
        things: Iterable[One],
        between: Callable[[], None] = lambda: None,
    ) -> list[Result]:
        """Do the same for all of some things, several at a time; the results in their order.

        `between` is called whenever another `AT_ONCE` of them are done. The first error ends it:
        nothing more is begun, and what was begun is waited for. Not to be used by `work` itself.
        """
        todo = list(things)
        if self._threads == 1 or len(todo) < 2:
            return [work(one) for one in todo]
        results: list[Result] = []
        for at in range(0, len(todo), AT_ONCE):
            if at:
                between()
            results += self._together(work, todo[at : at + AT_ONCE])
        return results

    def _together(self, work: Callable[[One], Result], todo: Sequence[One]) -> list[Result]:
        futures = [self._pool.submit(work, one) for one in todo]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            for future in futures:
                future.cancel()
            wait(futures)
        for future in futures:
            if not future.cancelled() and (error := future.exception()):
                raise error
        return [future.result() for future in futures]

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, "dynamodb")

    def put(self, table: str, row: Plain, where: Where | None = None) -> bool:
        """Write a row; False if the condition does not hold, then nothing is written."""
        request = {"TableName": self.names[table], "Item": marshal(row)}
        return self._conditional("put_item", request | _condition(where))

    def update(self, table: str, key: Plain, values: Plain, where: Where) -> bool:
        """Set attributes of a row (None removes one); False if the condition does not hold."""
        sets = ", ".join(f"#{n} = :{n}" for n, v in values.items() if v is not None)
        removes = ", ".join(f"#{n}" for n, v in values.items() if v is None)
        text = f"SET {sets}" + (f" REMOVE {removes}" if removes else "")
        both = Where(f"{text} {where.text}", {**values, **where.values})
        request = {
            "TableName": self.names[table],
            "Key": marshal(key),
            "UpdateExpression": text,
            "ConditionExpression": where.text,
            **_aliases(both),
        }
        return self._conditional("update_item", request)

    def delete(self, table: str, key: Plain, where: Where | None = None) -> bool:
        """Drop a row; one that is not there is dropped already. False as with `put`."""
        request = {"TableName": self.names[table], "Key": marshal(key)}
        return self._conditional("delete_item", request | _condition(where))

    def get(self, table: str, key: Plain) -> dict[str, Any] | None:
        """A row as the last write left it."""
        request = {"TableName": self.names[table], "Key": marshal(key), "ConsistentRead": True}
        found = self._call("get_item", request).get("Item")
        return plain(found) if found else None

    def get_many(self, table: str, keys: Sequence[Plain]) -> Iterator[dict[str, Any]]:
        """The rows that exist of some distinct keys, as the last write left them."""
        name = self.names[table]
        for at in range(0, len(keys), KEYS_MAX):
            wanted = [marshal(key) for key in keys[at : at + KEYS_MAX]]
            for attempt in range(ATTEMPTS):
                request = {"RequestItems": {name: {"Keys": wanted, "ConsistentRead": True}}}
                answer = self._call("batch_get_item", request)
                yield from map(plain, answer["Responses"].get(name, []))
                wanted = answer.get("UnprocessedKeys", {}).get(name, {}).get("Keys", [])
                if not wanted:
                    break
                self._wait(attempt)
            else:
                raise _busy(table)

    def query(
        self,
        table: str,
        where: Where,
        *,
        index: str | None = None,
        limit: int | None = None,
        backwards: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """Rows of one partition in key order; of an index they may be some moments old.

        `limit` is how many rows a page has, for a caller who stops early.
        """
        request = {
            "TableName": self.names[table],
            "KeyConditionExpression": where.text,
            "ScanIndexForward": not backwards,
            **_aliases(where),
        }
        request |= {"IndexName": index} if index else {"ConsistentRead": True}
        if limit:
            request["Limit"] = limit
        return self._pages("query", request)

    def count(self, table: str, where: Where, index: str, most: int) -> int:
        """How many rows an index has of one partition; it may be some moments behind.

        It stops counting at `most`.
        """
        request = {
            "TableName": self.names[table],
            "IndexName": index,
            "KeyConditionExpression": where.text,
            "Select": "COUNT",
            **_aliases(where),
        }
        found = 0
        for answer in self._answers("query", request):
            found += int(answer["Count"])
            if found >= most:
                return most
        return found

    def scan(self, table: str, where: Where | None = None) -> Iterator[dict[str, Any]]:
        """All rows, or those for which a condition holds."""
        request: dict[str, Any] = {"TableName": self.names[table], "ConsistentRead": True}
        if where:
            request |= {"FilterExpression": where.text, **_aliases(where)}
        return self._pages("scan", request)

    def put_while(self, table: str, row: Plain, other: str, key: Plain, where: Where) -> bool:
        """Write a row if a condition on another row holds; both or nothing."""
        check = {"TableName": self.names[other], "Key": marshal(key)} | _condition(where)
        put = {"TableName": self.names[table], "Item": marshal(row)}
        request = {"TransactItems": [{"ConditionCheck": check}, {"Put": put}]}
        for attempt in range(ATTEMPTS):
            try:
                self._call("transact_write_items", request)
            except Exception as error:
                answer = getattr(error, "response", {})
                reasons = {r.get("Code") for r in answer.get("CancellationReasons", [])}
                if "ConditionalCheckFailed" in reasons:
                    return False
                if not reasons or not reasons <= PASSING:
                    raise
                self._wait(attempt)
            else:
                return True
        raise _busy(self.names[table])

    def _pages(self, operation: str, request: Plain) -> Iterator[dict[str, Any]]:
        for answer in self._answers(operation, request):
            yield from map(plain, answer.get("Items", []))

    def _answers(self, operation: str, request: Plain) -> Iterator[dict[str, Any]]:
        start: dict[str, Any] = {}
        while True:
            answer = self._call(operation, {**request, **start})
            yield answer
            if not answer.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _conditional(self, operation: str, request: Plain) -> bool:
        try:
            self._call(operation, request)
        except Exception as error:
            if code_of(error) == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def _call(self, operation: str, request: Plain) -> dict[str, Any]:
        table = str(request.get("TableName", "the tables"))
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with naming(f"{operation} on {table} in {self._region}"):
                    answer: dict[str, Any] = getattr(self.client, operation)(**request)
                    return answer
            except NguError as error:
                cause = error.__cause__
                if isinstance(cause, Exception) and code_of(cause) in ANSWERS:
                    raise cause from None
                throttled = isinstance(cause, Exception) and code_of(cause) in THROTTLED
                if not throttled and not isinstance(error, TransientError):
                    raise
                if attempt == ATTEMPTS:
                    raise _busy(table) if throttled else error from cause
            self._wait(attempt - 1)
        raise AssertionError("the last attempt returns or raises")

    @property
    def _region(self) -> str:
        return str(getattr(getattr(self.client, "meta", None), "region_name", "no region"))

    def _wait(self, attempt: int) -> None:
        self._sleep(self._rng.uniform(0, min(LONGEST, SHORTEST * 2**attempt)))


def marshal(row: Plain) -> dict[str, dict[str, Any]]:
    """A row in DynamoDB's form."""
    return {name: _value(value) for name, value in row.items() if value is not None}


def plain(item: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A row out of DynamoDB's form."""
    row = {}
    for name, typed in item.items():
        ((kind, value),) = typed.items()
        row[name] = int(value) if kind == "N" else bytes(value) if kind == "B" else value
    return row


def key_of(table: str, row: Plain) -> dict[str, Any]:
    """The key attributes of a row."""
    key = KEYS[table]
    return {part[0]: row[part[0]] for part in (key.hash, key.range) if part}


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int):
        return {"N": str(value)}
    return {"B": value} if isinstance(value, bytes) else {"S": value}


def _condition(where: Where | None) -> dict[str, Any]:
    return {"ConditionExpression": where.text, **_aliases(where)} if where else {}


def _aliases(where: Where) -> dict[str, Any]:
    words = where.text.replace("(", " ").replace(")", " ").replace(",", " ").split()
    request: dict[str, Any] = {
        "ExpressionAttributeNames": {word: word[1:] for word in words if word.startswith("#")}
    }
    values = {f":{n}": _value(v) for n, v in where.values.items() if v is not None}
    return request | ({"ExpressionAttributeValues": values} if values else {})


def _busy(table: str) -> TransientError:
    return TransientError(
        f"DynamoDB throttles {table} after {ATTEMPTS} attempts: try again later, or raise the"
        " table's maximum"
    )
