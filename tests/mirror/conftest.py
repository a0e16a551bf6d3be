"""The emulator for tests of what runs on AWS: started once, and only if it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aws.dynamo import ministack


@pytest.fixture(scope="session")
def emulator_url() -> Iterator[str]:
    """Where the emulator's services answer."""
    with ministack.server() as url:
        yield url
