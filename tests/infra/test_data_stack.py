"""The tables of the template are those that the code declares, also once they are made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from templates import Deployment, needs_cdk

from ngu_points.aws.archive import PREFIX as SEGMENTS
from ngu_points.aws.repairs import PREFIX as REPAIRS
from ngu_points.aws.saved import BACKUP, FAILED
from ngu_points.aws.tables import TABLES, Table, creation
from ngu_points.mirror.ledger import PREFIX as LEDGER

needs_cdk()

LONGEST = 51_200  # bytes of a template that is not uploaded first


@pytest.fixture(params=TABLES, ids=lambda table: table.name)
def table(request: pytest.FixtureRequest) -> Table:
    """Each of the declared tables."""
    return request.param


def in_order(request: dict[str, Any]) -> dict[str, Any]:
    """Arguments of CreateTable, with what has no order sorted."""
    indexes = sorted(request.get("GlobalSecondaryIndexes", []), key=lambda one: one["IndexName"])
    for index in indexes:
        names = index["Projection"].get("NonKeyAttributes")
        if names:
            index["Projection"]["NonKeyAttributes"] = sorted(names)
    return {
        "KeySchema": request["KeySchema"],
        "AttributeDefinitions": sorted(
            request["AttributeDefinitions"], key=lambda one: one["AttributeName"]
        ),
        "GlobalSecondaryIndexes": [
            {key: index[key] for key in ("IndexName", "KeySchema", "Projection")}
            for index in indexes
        ],
    }


def test_the_template_has_each_table_as_declared(deployed: Deployment, table: Table) -> None:
    """Name, keys, indexes with their projections, on-demand capacity."""
    made = deployed["data"].one("AWS::DynamoDB::Table", TableName=deployed.name(table.name))
    asked = creation(table, deployed.name(table.name))
    assert made["BillingMode"] == asked["BillingMode"] == "PAY_PER_REQUEST"
    assert in_order(made) == in_order(asked)


def test_there_are_no_other_tables(deployed: Deployment) -> None:
    """One for each that is declared."""
    made = deployed["data"].all("AWS::DynamoDB::Table").values()
    assert {one["TableName"] for one in made} == {deployed.name(table.name) for table in TABLES}


def test_rows_expire_where_they_may(deployed: Deployment, table: Table) -> None:
    """TTL is on for tables that say so, and only for them."""
    made = deployed["data"].one("AWS::DynamoDB::Table", TableName=deployed.name(table.name))
    wanted = {"AttributeName": "ttl", "Enabled": True} if table.expires else None
    assert made.get("TimeToLiveSpecification") == wanted


def test_on_demand_has_a_maximum(deployed: Deployment, table: Table) -> None:
    """Table and indexes alike, so that 80% of it means something; DynamoDB takes 1 and more."""
    made = deployed["data"].one("AWS::DynamoDB::Table", TableName=deployed.name(table.name))
    most = made["OnDemandThroughput"]["MaxWriteRequestUnits"]
    assert 1 <= most <= 40_000
    for index in made.get("GlobalSecondaryIndexes", []):
        assert index["OnDemandThroughput"]["MaxWriteRequestUnits"] == most


def test_tables_are_encrypted_and_prods_outlive_mistakes(
    deployed: Deployment, table: Table
) -> None:
    """Prod has point-in-time recovery, deletion protection, and stays when the stack goes."""
    made = deployed["data"].one("AWS::DynamoDB::Table", TableName=deployed.name(table.name))
    lasting = deployed.stage == "prod"
    assert made["SSESpecification"] == {"SSEEnabled": True}
    assert made["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": lasting}
    assert made["DeletionProtectionEnabled"] is lasting
    policies = {
        resource["DeletionPolicy"]
        for stack, _, resource in deployed.resources()
        if resource["Type"] == "AWS::DynamoDB::Table"
    }
    assert policies == {"Retain" if lasting else "Delete"}


def test_objects_expire_where_they_may(deployed: Deployment) -> None:
    """Copies of records and what a repair left behind; never segments and the ledger of repairs."""
    bucket = deployed["data"].one("AWS::S3::Bucket")
    rules = bucket["LifecycleConfiguration"]["Rules"]
    days = {r["Prefix"]: r["ExpirationInDays"] for r in rules if "ExpirationInDays" in r}
    kept = {"staging": (30, 90), "prod": (400, 400)}[deployed.stage]
    assert days == {BACKUP: kept[0], FAILED: kept[1], REPAIRS: 90}
    assert not any(prefix.startswith((SEGMENTS, LEDGER)) for prefix in days)
    others = [r for r in rules if r.get("Prefix") not in {*days, SEGMENTS}]
    assert [r["NoncurrentVersionExpiration"] for r in others] == [{"NoncurrentDays": 30}]


@pytest.fixture(scope="session")
def cloud(emulator_url: str) -> Iterator[dict[str, Any]]:
    """Clients of an emulator."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed (extra `aws`)")
    url, own = emulator_url, {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    names = ("cloudformation", "dynamodb", "secretsmanager", "ssm")
    made = {
        name: boto3.client(name, endpoint_url=url, region_name="us-east-1", **own) for name in names
    }
    bootstrapped = {"Name": "/cdk-bootstrap/hnb659fds/version", "Value": "30"}
    made["ssm"].put_parameter(**bootstrapped, Type="String")
    yield made
    for client in made.values():
        client.close()


def test_the_data_stack_can_be_created(deployed: Deployment, cloud: dict[str, Any]) -> None:
    """CloudFormation of the emulator makes it; its tables are those that the code would make.

    The emulator leaves off what another test reads in the template: expiry and maxima.
    """
    body = json.dumps(deployed["data"].content)
    assert len(body) < LONGEST
    stack = {"StackName": deployed["data"].name}
    cloud["cloudformation"].create_stack(
        **stack, TemplateBody=body, Capabilities=["CAPABILITY_NAMED_IAM"]
    )
    (shown,) = cloud["cloudformation"].describe_stacks(**stack)["Stacks"]
    assert shown["StackStatus"] == "CREATE_COMPLETE", shown
    dynamodb = cloud["dynamodb"]
    names = {deployed.name(table.name): table for table in TABLES}
    assert names.keys() <= set(dynamodb.list_tables()["TableNames"])
    for name, table in names.items():
        made = dynamodb.describe_table(TableName=name)["Table"]
        assert in_order(made) == in_order(creation(table, name))
        row = {part[0]: {part[1]: "1"} for part in (table.key.hash, table.key.range) if part}
        dynamodb.put_item(TableName=name, Item=row)
        assert dynamodb.get_item(TableName=name, Key=row)["Item"] == row
    secret = cloud["secretsmanager"].get_secret_value(SecretId=deployed.name("access-key"))
    assert len(json.loads(secret["SecretString"])["api_key"]) == 64
