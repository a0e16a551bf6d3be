"""Calls to DynamoDB: plain values in and out, pages joined, throttling waited out.

The client is botocore's or one shaped like it; nothing here imports it. Attribute names are
always aliased, because many of ours are reserved words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from ngu_points.aws.tables import KEYS, table_name
from ngu_points.errors import TransientError

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
        "TransactionInProgressException",
    }
)
PASSING = frozenset(
    {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "None"}
)
"""Why a transaction may fail although nothing is wrong with it."""
KEYS_MAX = 100


@dataclass(frozen=True, slots=True)
class Where:
    """A condition: an expression in which `#name` is an attribute and `:name` one of `values`."""

    text: str
    values: Plain


class Dynamo:
    """The tables of one stage."""

    def __init__(
        self, client: Any, service: str, stage: str, sleep: Callable[[float], None], rng: Random
    ) -> None:
        self.client = client
        self.names = {name: table_name(service, name, stage) for name in KEYS}
        self._sleep = sleep
        self._rng = rng

    def put(self, table: str, row: Plain, where: Where | None = None) -> bool:
        """Write a row; False if the condition does not hold, then nothing is written."""
        request = {"TableName": self.names[table], "Item": marshal(row)}
        return self._conditional(self.client.put_item, request | _condition(where))

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
        return self._conditional(self.client.update_item, request)

    def delete(self, table: str, key: Plain) -> None:
        """Drop a row; one that is not there is dropped already."""
        self._call(self.client.delete_item, {"TableName": self.names[table], "Key": marshal(key)})

    def get(self, table: str, key: Plain) -> dict[str, Any] | None:
        """A row as the last write left it."""
        request = {"TableName": self.names[table], "Key": marshal(key), "ConsistentRead": True}
        found = self._call(self.client.get_item, request).get("Item")
        return plain(found) if found else None

    def get_many(self, table: str, keys: Sequence[Plain]) -> Iterator[dict[str, Any]]:
        """The rows that exist of some distinct keys, as the last write left them."""
        name = self.names[table]
        for at in range(0, len(keys), KEYS_MAX):
            wanted = [marshal(key) for key in keys[at : at + KEYS_MAX]]
            for attempt in range(ATTEMPTS):
                request = {"RequestItems": {name: {"Keys": wanted, "ConsistentRead": True}}}
                answer = self._call(self.client.batch_get_item, request)
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
        return self._pages(self.client.query, request)

    def scan(self, table: str, where: Where | None = None) -> Iterator[dict[str, Any]]:
        """All rows, or those for which a condition holds."""
        request: dict[str, Any] = {"TableName": self.names[table], "ConsistentRead": True}
        if where:
            request |= {"FilterExpression": where.text, **_aliases(where)}
        return self._pages(self.client.scan, request)

    def put_while(self, table: str, row: Plain, other: str, key: Plain, where: Where) -> bool:
        """Write a row if a condition on another row holds; both or nothing."""
        check = {"TableName": self.names[other], "Key": marshal(key)} | _condition(where)
        put = {"TableName": self.names[table], "Item": marshal(row)}
        request = {"TransactItems": [{"ConditionCheck": check}, {"Put": put}]}
        for attempt in range(ATTEMPTS):
            try:
                self._call(self.client.transact_write_items, request)
            except self.client.exceptions.ClientError as error:
                reasons = {r.get("Code") for r in error.response.get("CancellationReasons", [])}
                if "ConditionalCheckFailed" in reasons:
                    return False
                if not reasons or not reasons <= PASSING:
                    raise
                self._wait(attempt)
            else:
                return True
        raise _busy(table)

    def _pages(
        self, call: Callable[..., Any], request: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        start: dict[str, Any] = {}
        while True:
            answer = self._call(call, {**request, **start})
            yield from map(plain, answer.get("Items", []))
            if not answer.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _conditional(self, call: Callable[..., Any], request: Mapping[str, Any]) -> bool:
        try:
            self._call(call, request)
        except self.client.exceptions.ClientError as error:
            if _code(error) == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def _call(self, call: Callable[..., Any], request: Mapping[str, Any]) -> dict[str, Any]:
        for attempt in range(ATTEMPTS):
            try:
                answer: dict[str, Any] = call(**request)
            except self.client.exceptions.ClientError as error:
                if _code(error) not in THROTTLED:
                    raise
                self._wait(attempt)
            else:
                return answer
        raise _busy(str(request.get("TableName", "the tables")))

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


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code"))


def _busy(table: str) -> TransientError:
    return TransientError(
        f"DynamoDB throttles {table} after {ATTEMPTS} attempts: try again later, or raise the"
        " table's maximum"
    )
