"""The model's face: shaped like botocore's client, thread-safe, counting by table and index."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from bench.dynamo import expressions, units
from bench.dynamo.expressions import Item, key_range
from bench.dynamo.table import PAGE_BYTES, Place, Table
from bench.dynamo.throughput import Demand, admit

Request = Mapping[str, Any]
Answer = dict[str, Any]


class Clock(Protocol):
    """Virtual seconds."""

    now: float


class Spent(NamedTuple):
    """What units are counted by."""

    table: str
    place: str  # the index; empty for the table itself
    kind: str  # "write" or "read"


class Refused(Exception):  # noqa: N818 -- shaped like botocore's ClientError
    """An error answer of DynamoDB."""

    def __init__(self, code: str, message: str, **more: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.response: dict[str, Any] = {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": 400},
            **more,
        }


@dataclass
class _Read:
    """A page that is being read."""

    items: list[Item]
    bytes: int = 0


class Client:
    """Tables in memory. With a clock each call takes `seconds` and throughput is bounded."""

    def __init__(self, clock: Clock | None = None, seconds: float = 0.0) -> None:
        self.clock, self.seconds = clock, seconds
        self.tables: dict[str, Table] = {}
        self.units: Counter[Spent] = Counter()
        self.calls: Counter[str] = Counter()
        self.throttled: Counter[tuple[str, str]] = Counter()  # resource, reason
        self._lock = threading.RLock()

    # Tables -------------------------------------------------------------------------------

    def create_table(self, **request: Any) -> Answer:
        self.tables[request["TableName"]] = Table(request)
        return {}

    def describe_table(self, TableName: str) -> Answer:  # noqa: N803 -- botocore's names
        table = self.tables[TableName]
        indexes = [
            {"IndexName": place.name, "OnDemandThroughput": place.maximum()}
            for place in table.indexes
        ]
        told = {"TableName": TableName, "TableStatus": "ACTIVE", "GlobalSecondaryIndexes": indexes}
        return {"Table": told | {"OnDemandThroughput": table.main.maximum()}}

    def update_table(self, **request: Any) -> Answer:
        table = self.tables[request["TableName"]]
        table.main.bound(request.get("OnDemandThroughput", {}))
        for one in request.get("GlobalSecondaryIndexUpdates", ()):
            table.place(one["Update"]["IndexName"]).bound(one["Update"]["OnDemandThroughput"])
        return self.describe_table(request["TableName"])

    # Writing ------------------------------------------------------------------------------

    def put_item(self, **request: Any) -> Answer:
        return self._write("put_item", request, units.Row(request["Item"]))

    def delete_item(self, **request: Any) -> Answer:
        return self._write("delete_item", request, None)

    def update_item(self, **request: Any) -> Answer:
        table, names = self.tables[request["TableName"]], request["ExpressionAttributeNames"]
        before = table.rows.get(table.key_of(request["Key"]))
        sets, removes = expressions.update(request["UpdateExpression"])
        after = dict(before or request["Key"])
        for name, given in sets:
            after[names[name]] = request["ExpressionAttributeValues"][given]
        for name in removes:
            after.pop(names[name], None)
        return self._write("update_item", request, units.Row(after))

    def _write(self, operation: str, request: Request, after: Item | None) -> Answer:
        with self._lock:
            self._begin(operation)
            table = self.tables[request["TableName"]]
            before = table.rows.get(table.key_of(request.get("Key") or request["Item"]))
            if not _holds(request, before):
                spent = units.write_units(units.size(before) if before else 0, 0)
                key = table.main.pages_key(before or request.get("Key") or request["Item"])
                self._spend(table, [(table.main, spent, key)])
                raise Refused("ConditionalCheckFailedException", "The conditional request failed")
            if before is None and after is None:
                costs = [(table.main, 1, table.main.pages_key(request["Key"]))]
            else:
                costs = table.cost(before, after)
            self._spend(table, costs)
            table.write(before, after)
            return _told(request, table, costs)

    def transact_write_items(self, **request: Any) -> Answer:
        with self._lock:
            self._begin("transact_write_items")
            parts = [next(iter(one.items())) for one in request["TransactItems"]]
            planned = []
            reasons = []
            for kind, part in parts:
                table = self.tables[part["TableName"]]
                before = table.rows.get(table.key_of(part.get("Key") or part["Item"]))
                reasons.append("None" if _holds(part, before) else "ConditionalCheckFailed")
                after = units.Row(part["Item"]) if kind == "Put" else before
                planned.append((table, before, after, part))
            for table, before, after, part in planned:
                known = before is None and after is None
                key = table.main.pages_key(part.get("Key") or part["Item"])
                costs = [(table.main, 1, key)] if known else table.cost(before, after)
                twice = [(p, n if p.name else 2 * n, k) for p, n, k in costs]
                self._spend(table, twice)
            if set(reasons) != {"None"}:
                told = [{"Code": reason} for reason in reasons]
                raise Refused("TransactionCanceledException", "cancelled", CancellationReasons=told)
            for table, before, after, _ in planned:
                if after is not before:
                    table.write(before, after)
            return {}

    # Reading ------------------------------------------------------------------------------

    def get_item(self, **request: Any) -> Answer:
        with self._lock:
            self._begin("get_item")
            table = self.tables[request["TableName"]]
            found = table.rows.get(table.key_of(request["Key"]))
            self._read(table, table.main, [request["Key"]], units.size(found or {}), request)
            return {"Item": found} if found else {}

    def batch_get_item(self, **request: Any) -> Answer:
        """As many of the keys as throughput allows; the others are unprocessed."""
        with self._lock:
            self._begin("batch_get_item")
            ((name, wanted),) = request["RequestItems"].items()
            table, found = self.tables[name], list[Item]()
            for n, key in enumerate(wanted["Keys"]):
                item = table.rows.get(table.key_of(key))
                try:
                    self._read(table, table.main, [key], units.size(item or {}), wanted)
                except Refused:
                    if n == 0:
                        raise
                    left = {name: {**wanted, "Keys": wanted["Keys"][n:]}}
                    return {"Responses": {name: found}, "UnprocessedKeys": left}
                if item:
                    found.append(item)
            return {"Responses": {name: found}, "UnprocessedKeys": {}}

    def query(self, **request: Any) -> Answer:
        with self._lock:
            self._begin("query")
            table = self.tables[request["TableName"]]
            place = table.place(request.get("IndexName"))
            wanted = key_range(
                request["KeyConditionExpression"], request["ExpressionAttributeValues"]
            )
            partition = place.partitions.get(wanted.hash)
            backwards = not request.get("ScanIndexForward", True)
            after = request.get("ExclusiveStartKey")
            keys = partition.between(wanted, backwards=backwards, after=after) if partition else ()
            page, last = _Read([]), None
            for key in keys:
                assert partition is not None, "keys of no partition"
                item, size = partition.items[key]
                if page.items and page.bytes + size > PAGE_BYTES:
                    break
                page.items.append(item)
                page.bytes += size
                last = key
                if len(page.items) == request.get("Limit"):
                    break
            else:
                last = None
            self._read(table, place, [], page.bytes, request, wanted.hash)
            answer: Answer = {"Count": len(page.items)} | (
                {} if request.get("Select") == "COUNT" else {"Items": page.items}
            )
            return answer | ({"LastEvaluatedKey": last} if last is not None else {})

    def scan(self, **request: Any) -> Answer:
        with self._lock:
            self._begin("scan")
            table = self.tables[request["TableName"]]
            keys = list(table.rows)
            at = request.get("ExclusiveStartKey", 0)
            page = _Read([])
            while at < len(keys) and page.bytes < PAGE_BYTES:
                page.items.append(table.rows[keys[at]])
                page.bytes += units.size(page.items[-1])
                at += 1
            self._read(table, table.main, [], page.bytes, request)
            kept = list(_kept(request, page.items))
            return {"Items": kept, "Count": len(kept)} | (
                {"LastEvaluatedKey": at} if at < len(keys) else {}
            )

    # What it costs ------------------------------------------------------------------------

    def _begin(self, operation: str) -> None:
        self.calls[operation] += 1
        if self.clock:
            self.clock.now += self.seconds

    def _spend(self, table: Table, costs: list[tuple[Place, int, Any]]) -> None:
        self._admit(table, table.demands(costs))
        for place, spent, _ in costs:
            self.units[Spent(table.name, place.name, "write")] += spent

    def _read(
        self,
        table: Table,
        place: Place,
        keys: list[Item],
        size: int,
        request: Request,
        hash_: Any = None,
    ) -> None:
        spent = units.read_units(size, consistent=bool(request.get("ConsistentRead")))
        for key in keys:
            hash_ = place.pages_key(key)
        self._admit(table, [(place.reads, hash_, spent)])
        self.units[Spent(table.name, place.name, "read")] += spent  # type: ignore[assignment]

    def _admit(self, table: Table, demands: list[Demand]) -> None:
        if not self.clock:
            return
        reason = admit(demands, self.clock.now)
        if reason:
            self.throttled[table.name, reason] += 1
            why = [{"reason": reason, "resource": table.name}]
            raise Refused("ThrottlingException", reason, ThrottlingReasons=why)


def _holds(request: Request, item: Item | None) -> bool:
    text = request.get("ConditionExpression")
    return text is None or expressions.condition(text)(
        item or {},
        request.get("ExpressionAttributeNames", {}),
        request.get("ExpressionAttributeValues", {}),
    )


def _kept(request: Request, items: list[Item]) -> Iterator[Item]:
    text = request.get("FilterExpression")
    check = expressions.condition(text) if text else None
    names = request.get("ExpressionAttributeNames", {})
    values = request.get("ExpressionAttributeValues", {})
    for item in items:
        if check is None or check(item, names, values):
            yield item


def _told(request: Request, table: Table, costs: list[tuple[Place, int, Any]]) -> Answer:
    """Consumed capacity as an answer has it, for a request that asks for it."""
    if request.get("ReturnConsumedCapacity") != "INDEXES":
        return {}
    by_index = {p.name: {"CapacityUnits": float(n)} for p, n, _ in costs if p.name}
    own = sum(n for place, n, _ in costs if not place.name)
    told: Answer = {"TableName": table.name, "Table": {"CapacityUnits": float(own)}}
    return {"ConsumedCapacity": told | ({"GlobalSecondaryIndexes": by_index} if by_index else {})}
