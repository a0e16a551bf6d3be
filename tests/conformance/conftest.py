"""Both stores for every test here; the emulator is started once, and only if it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from aws.dynamo import ministack


@pytest.fixture(scope="session")
def emulator() -> Iterator[Any]:
    """A client of the emulator's DynamoDB."""
    with ministack.server() as url:
        client = ministack.client_at(url)
        yield client
        client.close()


@pytest.fixture(params=["sqlite", "dynamodb"])
def where(request: pytest.FixtureRequest) -> str:
    """The name of a store."""
    return str(request.param)


@pytest.fixture
def client(where: str, request: pytest.FixtureRequest) -> Any:
    """A client for the store that needs one."""
    return request.getfixturevalue("emulator") if where == "dynamodb" else None
