"""One synthesis for all tests of the deployment."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest
from templates import STAGES, Deployment, deployment, synthesize

from aws.dynamo import ministack


@pytest.fixture(scope="session")
def synthesized(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder with the templates of both stages; test processes share it."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    out, done = shared / "cdk.out", shared / "cdk.done"
    with (shared / "cdk.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            ended = synthesize(out)
            assert ended.returncode == 0, ended.stdout + ended.stderr
            done.touch()
    return out


@pytest.fixture(scope="session", params=STAGES)
def deployed(request: pytest.FixtureRequest, synthesized: Path) -> Deployment:
    """Each stage's stacks."""
    return deployment(synthesized, request.param)


@pytest.fixture(scope="session")
def emulator_url() -> Iterator[str]:
    """Where the emulator's services answer."""
    with ministack.server() as url:
        yield url


@pytest.fixture(scope="session")
def both(synthesized: Path) -> dict[str, Deployment]:
    """Both stages side by side."""
    return {stage: deployment(synthesized, stage) for stage in STAGES}
