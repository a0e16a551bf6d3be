"""A client that counts what it uses, and fails on order: throttled, half done, behind, dead."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

CALLS = ("put_item", "update_item", "delete_item", "get_item", "batch_get_item", "query", "scan",
         "transact_write_items")  # fmt: skip
WRITES = ("put_item", "update_item", "delete_item", "transact_write_items")


class Dead(BaseException):
    """The process ends here: nothing catches it."""


class Client:
    """Shaped like botocore's client of DynamoDB. `dies_at` and `throttles` may be set any time."""

    def __init__(self, client: Any, seed: int = 0, exceptions: Any = None) -> None:
        self.real = client
        self.exceptions = exceptions or client.exceptions
        self.rng = random.Random(seed)
        self.calls = 0
        self.dies_at: int | None = None  # after this many calls have been made
        self.throttles = 0.0  # probability
        self.conflicts = 0.0  # of a transaction
        self.leaves = 0.0  # of a key that a batch does not get to
        self.behind = 0  # how many reads of an index still show what was there before
        self._shown: dict[Any, tuple[int, Any]] = {}
        self.before: Callable[[str, dict[str, Any]], None] | None = None
        self.units: Counter[tuple[str, str]] = Counter()  # (table, index or "")

    def __getattr__(self, name: str) -> Any:
        if name not in CALLS:
            return getattr(self.real, name)
        return lambda **request: self._call(name, request)

    def counted(self) -> None:
        """A call is about to be made; there is none after the death."""
        if self.dies_at is not None and self.calls >= self.dies_at:
            raise Dead
        self.calls += 1

    def _call(self, name: str, request: dict[str, Any]) -> Any:
        self.counted()
        if self.before:
            self.before(name, request)
        if self.rng.random() < self.throttles:
            raise self._error("ProvisionedThroughputExceededException")
        if name == "transact_write_items" and self.rng.random() < self.conflicts:
            raise self._error("TransactionCanceledException", "TransactionConflict")
        if name == "batch_get_item" and self.rng.random() < self.leaves:
            return self._half(request)
        if name == "query" and "IndexName" in request and self.behind:
            return self._stale(request)
        counted = {"ReturnConsumedCapacity": "INDEXES"} if name in WRITES else {}
        answer = getattr(self.real, name)(**request, **counted)
        self._count(answer)
        return answer

    def _error(self, code: str, reason: str | None = None) -> Exception:
        response: dict[str, Any] = {"Error": {"Code": code, "Message": "as ordered"}}
        if reason:
            response["CancellationReasons"] = [{"Code": "None"}, {"Code": reason}]
        error: Exception = self.exceptions.ClientError(response, "any")
        return error

    def _half(self, request: dict[str, Any]) -> Any:
        ((table, wanted),) = request["RequestItems"].items()
        keys = wanted["Keys"]
        middle = (len(keys) + 1) // 2
        half = {table: {**wanted, "Keys": keys[:middle]}}
        left = {table: {**wanted, "Keys": keys[middle:]}} if keys[middle:] else {}
        answer = self.real.batch_get_item(RequestItems=half)
        return {**answer, "UnprocessedKeys": left}

    def _stale(self, request: dict[str, Any]) -> Any:
        """An answer as it was `behind` calls before; at first as it was before everything."""
        key = repr(sorted(request.items(), key=lambda pair: pair[0]))
        asked, _ = self._shown.get(key, (0, None))
        self._shown[key] = (asked + 1, None)
        answer = self.real.query(**request)
        if asked < self.behind and answer["Items"]:
            return {"Items": answer["Items"][:-1]}
        return answer

    def _count(self, answer: Any) -> None:
        used = answer.get("ConsumedCapacity") or []
        for one in used if isinstance(used, list) else [used]:
            name = one["TableName"]
            table = one.get("Table", {}).get("CapacityUnits", 0)
            self.units[name, ""] += table
            for index, part in one.get("GlobalSecondaryIndexes", {}).items():
                self.units[name, index] += part["CapacityUnits"]
