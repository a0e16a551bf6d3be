"""The emulator for tests of what runs on AWS: started once, and only if it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from aws.dynamo import ministack
from aws.monitored import Deployment, deployed


@pytest.fixture(scope="session")
def emulator_url() -> Iterator[str]:
    """Where the emulator's services answer."""
    with ministack.server() as url:
        yield url


@pytest.fixture
def make(
    emulator_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., AbstractContextManager[Deployment]]:
    """Deployments on the emulator, each a service of its own."""
    folder = tmp_path / "state"
    return lambda node, **more: deployed(node, emulator_url, folder, monkeypatch, **more)
