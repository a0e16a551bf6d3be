"""The model of DynamoDB costs what the emulator says, answers as it does, and throttles as AWS."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from bench.dynamo.client import Client, Refused, Spent

from aws.dynamo import faults, ministack
from ngu_points.aws.dynamo import Dynamo, Where, key_of
from ngu_points.aws.tables import (
    BATCH_EVENTS,
    CHANGES,
    META,
    STAKING_EVENTS,
    TABLES,
    TOKENS,
    TYPE_BLOCK,
    creation,
)
from ngu_points.errors import TransientError

LETTERS = "abcdefgh"


@dataclass
class Clock:
    """Virtual seconds."""

    now: float = 1_800_000_000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(scope="module")
def emulator() -> Any:
    """A client of the emulator's DynamoDB."""
    with ministack.server() as url:
        client = ministack.client_at(url)
        yield client
        client.close()


def tables_of(client: Any, clock: Clock | None = None) -> Dynamo:
    """Empty tables, used by one thread."""
    sleep = clock.sleep if clock else lambda _: None
    dynamo = Dynamo(client, "model", "test", sleep, random.Random(1), threads=1)
    for table in TABLES:
        client.create_table(**creation(table, dynamo.names[table.name]))
    return dynamo


def an_event(rng: random.Random) -> dict[str, Any]:
    """A row of the batch events, small or of several KB, among few ids and blocks."""
    return {
        "id": rng.choice(LETTERS),
        "type": rng.choice(["BatchMint", "BatchBurn"]),
        "blockNumber": rng.randrange(8),
        "quantity": str(10 ** rng.randrange(70)),
        "timestamp": rng.choice([0, 7, 100, 1_700_000_000, 12_345_678_901_234]),
        "blockHash": "0x" + rng.choice(LETTERS) * 64,
        "to": "0x" + "a" * rng.choice([40, 40, 900, 2_100]),
        "processed": rng.random() < 0.5,
        "raw": bytes(rng.randrange(3) * 700),
    }


def some_calls(dynamo: Dynamo, rng: random.Random) -> list[Any]:
    """The answers to calls of all kinds, the same for the same seed."""
    said: list[Any] = []
    for _ in range(150):
        row = an_event(rng)
        key = key_of(BATCH_EVENTS, row)
        fresh = Where("attribute_not_exists(#id) OR #blockHash <> :b", {"b": row["blockHash"]})
        said.append(dynamo.put(BATCH_EVENTS, row, rng.choice([None, fresh])))
        there = Where("attribute_exists(#id) AND (#processed = :no)", {"no": False})
        done = {"processed": True, "ttl": rng.randrange(10**9), "error": rng.choice([None, "x"])}
        said.append(dynamo.update(BATCH_EVENTS, {"id": rng.choice(LETTERS)}, done, there))
        if rng.random() < 0.3:
            said.append(dynamo.delete(BATCH_EVENTS, {"id": rng.choice(LETTERS)}))
        said.append(dynamo.get(BATCH_EVENTS, key))
        first = rng.randrange(8)
        asked = {"type": "BatchMint", "first": first, "last": first + rng.randrange(4)}
        where = Where("#type = :type AND #blockNumber BETWEEN :first AND :last", asked)
        found = dynamo.query(BATCH_EVENTS, where, index=TYPE_BLOCK, limit=rng.choice([None, 2]))
        said.append(sorted(found, key=lambda r: (r["blockNumber"], r["id"])))
        said.append(dynamo.count(BATCH_EVENTS, where, TYPE_BLOCK, 1_000))
        at = f"{rng.randrange(50):03d}"
        held = Where("#fence = :fence", {"fence": rng.randrange(2)})
        said.append(dynamo.put_while(CHANGES, {"kind": "step", "at": at}, META, META_KEY, held))
        dynamo.put(META, {**META_KEY, "fence": rng.randrange(2)})
        since = Where("#kind = :kind AND #at >= :at", {"kind": "step", "at": at})
        backwards = rng.random() < 0.5
        said.append(list(dynamo.query(CHANGES, since, limit=3, backwards=backwards)))
        said.append(run_of_token(dynamo, rng))
    said.append(sorted(dynamo.scan(BATCH_EVENTS, there), key=lambda r: str(r["id"])))
    keys = [{"id": letter} for letter in LETTERS]
    said.append(sorted(dynamo.get_many(BATCH_EVENTS, keys), key=lambda r: str(r["id"])))
    return said


META_KEY = {"key": "lease"}


def run_of_token(dynamo: Dynamo, rng: random.Random) -> Any:
    """A run that changes hands: its entry in the index of owners moves."""
    row = {"part": "s", "last": rng.choice(LETTERS), "first": "0", "owner": rng.choice(LETTERS)}
    unfenced = Where("attribute_not_exists(#fence) OR #fence <= :fence", {"fence": 5})
    gone = {"part": row["part"], "last": row["last"], "gone": True, "fence": 5}
    return dynamo.put(TOKENS, rng.choice([row, gone]), unfenced)


@pytest.mark.parametrize("seed", range(3))
def test_answers_and_write_units_are_the_emulators(emulator: Any, seed: int) -> None:
    """Calls of all kinds say the same, and cost the same units in tables and indexes.

    The emulator tells nothing about failed conditions, splits no transaction, and counts every
    read as one: these are compared with AWS's rules below.
    """
    real, model = faults.Client(emulator), faults.Client(Client(), exceptions=Refused)
    try:
        assert some_calls(tables_of(real), random.Random(seed)) == some_calls(
            tables_of(model), random.Random(seed)
        )
    finally:
        for table in TABLES:
            emulator.delete_table(TableName=f"model-{table.name}-test")
    assert real.units[f"model-{BATCH_EVENTS}-test", TYPE_BLOCK] > 50
    assert +model.units == +real.units


def spent(client: Client) -> dict[tuple[str, str, str], float]:
    """Units since the last time, by short name."""
    taken = {(s.table.split("-", 1)[1].removesuffix("-test"), s.place, s.kind): float(n)
             for s, n in client.units.items()}  # fmt: skip
    client.units = Counter[Spent]()
    return taken


def test_what_the_emulator_does_not_tell_costs_what_aws_says() -> None:
    """Failed conditions, transactions, and reads by the size of what was read."""
    client = Client()
    dynamo = tables_of(client)
    big = {"id": "a", "raw": bytes(4_000)}
    fresh = Where("attribute_not_exists(#id)", {})
    dynamo.put(BATCH_EVENTS, big, fresh)
    spent(client)
    assert not dynamo.put(BATCH_EVENTS, {"id": "a"}, fresh)
    assert spent(client) == {(BATCH_EVENTS, "", "write"): 4}
    exists = Where("attribute_exists(#id)", {})
    assert not dynamo.update(BATCH_EVENTS, {"id": "b"}, {"processed": True}, exists)
    assert spent(client) == {(BATCH_EVENTS, "", "write"): 1}
    dynamo.put_while(CHANGES, {"kind": "k", "at": "1"}, META, META_KEY, Where("#a <> :a", {"a": 1}))
    assert spent(client) == {(CHANGES, "", "write"): 2, (META, "", "write"): 2}
    dynamo.get(BATCH_EVENTS, {"id": "a"})
    assert spent(client) == {(BATCH_EVENTS, "", "read"): 1}
    dynamo.put(BATCH_EVENTS, {"id": "a", "raw": bytes(9_000)})
    spent(client)
    dynamo.get(BATCH_EVENTS, {"id": "a"})
    list(dynamo.get_many(BATCH_EVENTS, [{"id": "a"}, {"id": "none"}]))
    assert spent(client) == {(BATCH_EVENTS, "", "read"): 3 + 3 + 1}
    where = Where("#type = :type", {"type": "BatchMint"})
    list(dynamo.query(BATCH_EVENTS, where, index=TYPE_BLOCK))
    assert spent(client) == {(BATCH_EVENTS, TYPE_BLOCK, "read"): 0.5}


def test_pages_end_at_1_mb_and_filters_are_paid_for() -> None:
    """A scan reads all, page by page, whatever its filter lets through."""
    client = Client()
    dynamo = tables_of(client)
    for n in range(30):
        dynamo.put(BATCH_EVENTS, {"id": f"{n:02d}", "raw": bytes(100_000)})
    spent(client)
    assert list(dynamo.scan(BATCH_EVENTS, Where("#id = :id", {"id": "none"}))) == []
    assert client.calls["scan"] == 3
    assert 730 < spent(client)[BATCH_EVENTS, "", "read"] < 740


def staked(n: int) -> dict[str, Any]:
    return {"id": f"{n}", "type": "Stake", "blockNumber": n, "staker": f"{n}", "tokenId": "1"}


def test_a_partition_of_an_index_takes_1000_writes_a_second() -> None:
    """All rows of a type share one: it bounds the table, and says so."""
    clock = Clock()
    client = Client(clock)
    dynamo = tables_of(client)
    dynamo.client = direct = client
    for n in range(1_000):
        dynamo.put(STAKING_EVENTS, staked(n))
    request = {"TableName": dynamo.names[STAKING_EVENTS], "Item": {"id": {"S": "x"}}}
    request["Item"] |= {"type": {"S": "Stake"}, "blockNumber": {"N": "1"}}
    with pytest.raises(Refused) as refused:
        direct.put_item(**request)
    assert refused.value.response["Error"]["Code"] == "ThrottlingException"
    ((reason,),) = [refused.value.response["ThrottlingReasons"]]
    assert reason["reason"] == "IndexWriteKeyRangeThroughputExceeded"
    request["Item"]["type"] = {"S": "Unstake"}
    direct.put_item(**request)
    clock.now += 1
    for n in range(1_000):
        dynamo.put(STAKING_EVENTS, staked(1_000 + n))
    assert client.throttled.total() == 1


def test_throttled_calls_wait_and_lose_nothing() -> None:
    """Retries with growing waits bring every row in, at the rate that the partition takes."""
    clock = Clock()
    began = clock.now
    client = Client(clock, seconds=0.0001)
    dynamo = tables_of(client, clock)
    for n in range(5_000):
        dynamo.put(STAKING_EVENTS, staked(n))
    assert client.throttled.total() > 0
    assert len(client.tables[dynamo.names[STAKING_EVENTS]].rows) == 5_000
    assert 4 <= clock.now - began < 8


def test_a_new_table_takes_4000_a_second_and_twice_its_peak_half_an_hour_later() -> None:
    """On-demand capacity follows past traffic; a maximum bounds it at once."""
    clock = Clock()
    clock.now -= clock.now % 1_800
    client = Client(clock)
    dynamo = tables_of(client)
    assert [in_one_second(client, dynamo, clock) for _ in range(2)] == [4_000, 4_000]
    clock.now += 1_800
    assert in_one_second(client, dynamo, clock) == 8_000
    client.update_table(
        TableName=dynamo.names[BATCH_EVENTS], OnDemandThroughput={"MaxWriteRequestUnits": 500}
    )
    assert in_one_second(client, dynamo, clock) == 500
    assert {reason for _, reason in client.throttled} == {
        "TableWriteKeyRangeThroughputExceeded",
        "TableWriteMaxOnDemandThroughputExceeded",
    }


def in_one_second(client: Client, dynamo: Dynamo, clock: Clock) -> int:
    """How many rows of 1 KB are written before the first one is throttled."""
    clock.now += 1
    for n in range(50_000):
        item = {"id": {"S": f"{clock.now}#{n}"}}
        try:
            client.put_item(TableName=dynamo.names[BATCH_EVENTS], Item=item)
        except Refused:
            return n
    raise AssertionError("nothing was throttled")


def test_keys_that_a_batch_does_not_get_to_are_unprocessed_and_asked_again() -> None:
    """A batch of reads is cut where throughput ends; the caller gets all rows in the end."""
    clock = Clock()
    client = Client(clock)
    dynamo = tables_of(client, clock)
    for n in range(90):
        dynamo.put(CHANGES, {"kind": "image", "at": f"{n:02d}", "image": bytes(200_000)})
        clock.now += 1
    keys = [{"kind": "image", "at": f"{n:02d}"} for n in range(90)]
    assert len(list(dynamo.get_many(CHANGES, keys))) == 90
    assert client.calls["batch_get_item"] > 1


def test_what_stays_throttled_is_an_error_that_says_so() -> None:
    """After the last attempt the caller hears that the table is busy."""
    client = Client(Clock())
    dynamo = tables_of(client)
    client.update_table(
        TableName=dynamo.names[BATCH_EVENTS], OnDemandThroughput={"MaxWriteRequestUnits": 1}
    )
    dynamo.put(BATCH_EVENTS, {"id": "1"})
    with pytest.raises(TransientError, match="throttles"):
        dynamo.put(BATCH_EVENTS, {"id": "2"})
