"""ministack on loopback: installed on demand into an environment of its own, one server a run."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
LOCK = ROOT / "requirements" / "emulator.txt"
HOME = ROOT / ".tools" / "ministack"
READY = HOME / "ready.txt"


def client_at(url: str, service: str = "dynamodb") -> Any:
    """A client of a service; skips where boto3 is not installed."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed (extra `aws`)")
    from botocore.config import Config

    config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=60)
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=config,
    )


@contextmanager
def server() -> Iterator[str]:
    """The URL of a running emulator; skips with the reason where none can be had."""
    pytest.importorskip("boto3", reason="boto3 is not installed (extra `aws`)")
    with _alone():
        python = _installed()
    port = _free_port()
    env = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "PYTHONPATH": ""}
    log = subprocess.DEVNULL
    process = subprocess.Popen([python, "-m", "ministack"], env=env, stdout=log, stderr=log)
    try:
        _wait(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def _alone() -> Iterator[None]:
    """Test processes that run side by side install one after the other."""
    HOME.mkdir(parents=True, exist_ok=True)
    with HOME.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _installed() -> Path:
    python = HOME / "bin" / "python"
    if READY.exists() and READY.read_text() == LOCK.read_text():
        return python
    try:
        venv.create(HOME, with_pip=True, clear=True)
        install = [python, "-m", "pip", "install", "-q", "--require-hashes", "-r", LOCK]
        subprocess.run(install, check=True, capture_output=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"the emulator cannot be installed here: {type(error).__name__}")
    READY.write_text(LOCK.read_text())
    return python


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(150):
        if process.poll() is not None:
            pytest.skip(f"the emulator ended at once (exit code {process.returncode})")
        try:
            with opener.open(f"http://127.0.0.1:{port}/_ministack/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    pytest.skip("the emulator did not answer within 15 seconds")
