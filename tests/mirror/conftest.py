"""The emulator for tests of what runs on AWS: started once, and only if it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aws.dynamo import ministack
from cli.program import busy_chain
from mirror.stage import Stage, filled, stage_of

LAST = 60


@pytest.fixture(scope="session")
def emulator_url() -> Iterator[str]:
    """Where the emulator's services answer."""
    with ministack.server() as url:
        yield url


@pytest.fixture(scope="session")
def synced(emulator_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage on the emulator and a database, both of the same 60 blocks: some to be asked."""
    folder: Path = tmp_path_factory.mktemp("stage")
    with stage_of(busy_chain(LAST, 2), emulator_url, folder) as made:
        filled(made, LAST)
        assert made.beside("sync", "--to-block", LAST).code == 0
        yield made
