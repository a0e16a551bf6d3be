"""The tables as they are declared, and rows to columns and back."""

from __future__ import annotations

import pytest
from hypothesis import given

from chains import columns
from engine.test_against_oracle import engine_rules, run
from histories import histories
from ngu_points.aws import items
from ngu_points.aws.dynamo import marshal, plain
from ngu_points.aws.tables import TABLES, Table, creation, table_name
from ngu_points.engine.events import blobs
from ngu_points.engine.fingerprint import fingerprint
from ngu_points.engine.state import State, no_wallets

CHANGING = {"processed", "processedAt", "error", "ttl", "fence"}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_indexes_hold_nothing_that_changes(table: Table) -> None:
    """Marking an event or renewing a row writes no index entry again."""
    request = creation(table, "any")
    for index in request.get("GlobalSecondaryIndexes", []):
        projection = index["Projection"]
        assert projection["ProjectionType"] in ("KEYS_ONLY", "INCLUDE")
        keys = {key["AttributeName"] for key in index["KeySchema"]}
        assert not CHANGING & (keys | set(projection.get("NonKeyAttributes", [])))


def test_the_event_tables_are_the_specifications() -> None:
    """Names, keys, indexes and capacity mode as the specification has them."""
    batch, staking = (creation(t, table_name("ngu", t.name, "prod")) for t in TABLES[:2])
    assert batch["TableName"] == "ngu-batch-events-prod"
    assert staking["TableName"] == "ngu-staking-events-prod"
    shown = {
        index["IndexName"]: [key["AttributeName"] for key in index["KeySchema"]]
        for request in (batch, staking)
        for index in request["GlobalSecondaryIndexes"]
    }
    assert shown == {
        "TypeBlockIndex": ["type", "blockNumber"],
        "StakerTokenIndex": ["staker", "tokenId"],
    }
    for request in (batch, staking):
        assert request["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
        assert request["BillingMode"] == "PAY_PER_REQUEST"


@given(history=histories())
def test_rows_give_back_the_columns_they_were_made_of(history) -> None:
    """Events, runs and wallets of any width survive the way to DynamoDB's form and back."""
    oracle_rules, told, until = history
    rules = engine_rules(oracle_rules)
    events = columns(told)
    rows = [plain(marshal(row)) for row in items.event_rows(events, 1, 0)]
    again = items.events_of(rows)
    for name in events.__slots__:
        assert getattr(again, name).tolist() == getattr(events, name).tolist()
    state, _, _, _ = run(rules, told, [], until)
    runs = [plain(marshal(r)) for r in items.run_rows(state.runs, state.wallets.address)]
    wallets = [plain(marshal(r)) for r in items.wallet_rows(state.wallets)]
    number = {items.hexed(a): i for i, a in enumerate(blobs(state.wallets.address))} | {None: -1}
    blank = no_wallets(rules, state.wallets.address[:0])
    back = State(
        items.runs_of(runs, number),
        items.wallets_of(wallets, blank),
        state.block,
        state.timestamp,
        state.day,
        state.carry,
        state.contribution,
    )
    assert fingerprint(back, [], rules, 1) == fingerprint(state, [], rules, 1)


def test_a_run_lies_where_its_last_id_is_looked_for() -> None:
    """The part of an id is fixed-width, so that the highest one has its place too."""
    assert items.bucket(0) == "s#" + "0" * 59
    assert items.bucket(2**20 - 1) != items.bucket(2**20)
    assert items.bucket(2**256 - 1) == "s#" + "f" * 59
    assert len(items.padded(2**256 - 1)) == len(items.padded(0)) == items.DIGITS
