"""Finding, fetching and running anvil: reasons instead of failures, and nothing left behind."""

import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from localnode import local_anvil
from ngu_points.demo import anvil as anvil_module
from ngu_points.demo import fetch
from ngu_points.demo.anvil import Anvil, find_anvil
from ngu_points.demo.fetch import Reason, cached_anvil
from ngu_points.errors import NguError

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
LINUX = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to list processes")


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)
    return path


def alive(marker: str) -> list[str]:
    """The processes whose command line holds `marker`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = entry.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if marker in text:
            found.append(text)
    return found


def gone(directory: str) -> bool:
    """Whether, within some seconds, neither a process nor a file of `directory` is left."""
    deadline = time.monotonic() + 10
    while alive(directory) or Path(directory).exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@LINUX
def test_nothing_is_left_after_use() -> None:
    """When the context ends, by an exception too, process and files are gone."""
    with pytest.raises(RuntimeError, match="on purpose"), local_anvil() as anvil:  # noqa: PT012
        directory = anvil.directory
        assert alive(directory)
        raise RuntimeError("on purpose")
    assert gone(directory)


@LINUX
def test_nothing_is_left_after_kill() -> None:
    """When the process that started it is killed outright, anvil and its files go too."""
    with local_anvil() as anvil:
        binary = anvil.binary
    code = (
        "import sys, pathlib; from ngu_points.demo.anvil import Anvil\n"
        f"anvil = Anvil(pathlib.Path({str(binary)!r})).__enter__()\n"
        "print(anvil.directory, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        directory = parent.stdout.readline().strip()
        assert alive(directory)
        parent.send_signal(signal.SIGKILL)
    assert gone(directory)


@POSIX
def test_a_node_that_does_not_start_says_why(tmp_path: Path) -> None:
    """A binary that ends at once gives one line with its last words."""
    broken = script(tmp_path / "anvil", "echo 'no such flag' >&2; exit 2")
    with pytest.raises(NguError, match="anvil ended at once: no such flag"):
        Anvil(broken).__enter__()


@POSIX
def test_a_named_anvil_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$ANVIL decides alone: if it does not run, the reason says so and nothing else is tried."""
    broken = script(tmp_path / "mine", "echo 'version GLIBC_2.35 not found' >&2; exit 1")
    monkeypatch.setenv("ANVIL", str(broken))
    find_anvil.cache_clear()
    reason = find_anvil(fetch=True)
    find_anvil.cache_clear()
    assert isinstance(reason, Reason)
    assert reason == f"{broken} does not run on this machine: version GLIBC_2.35 not found"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty cache, whose only programs are those put into the directory."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("ANVIL", raising=False)
    monkeypatch.setattr(fetch, "_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(fetch.platform, "system", lambda: "Linux")
    monkeypatch.setattr(fetch.platform, "machine", lambda: "x86_64")
    return programs


def test_no_fetching_unless_allowed(bare: Path) -> None:
    """Without leave to fetch, an empty cache is the reason, even where npm is there."""
    script(bare / "npm", "exit 0")
    assert cached_anvil(fetch=False) == "anvil is neither on the path nor in the cache"


def test_no_npm(bare: Path) -> None:
    """Without npm the reason names it."""
    reason = cached_anvil(fetch=True)
    assert isinstance(reason, Reason)
    assert "npm" in reason


def test_no_package_for_the_machine(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform for which no binary is published is named in the reason."""
    monkeypatch.setattr(fetch.platform, "machine", lambda: "riscv64")
    assert cached_anvil(fetch=True) == "anvil has no package for Linux riscv64"


@POSIX
def test_npm_that_fails(bare: Path, tmp_path: Path) -> None:
    """When npm cannot fetch it, the reason says so and the cache stays empty."""
    script(bare / "npm", "exit 1")
    assert cached_anvil(fetch=True) == "npm cannot fetch anvil 1.7.1 for linux-amd64"
    assert list((tmp_path / "cache").iterdir()) == []


@POSIX
def test_only_the_pinned_package_is_accepted(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package with another digest is refused; with the right one its binary is kept."""
    tarball = package(tmp_path)
    script(bare / "npm", f'/bin/cp "{tarball}" .')
    assert cached_anvil(fetch=True) == "npm's anvil package is not the one we know: wrong sha512"
    assert list((tmp_path / "cache").iterdir()) == []
    monkeypatch.setitem(fetch._PINS, "linux-amd64", fetch._sha512(tarball))
    binary = cached_anvil(fetch=True)
    assert isinstance(binary, Path)
    assert os.access(binary, os.X_OK)
    assert list((tmp_path / "cache").iterdir()) == [binary]
    assert anvil_module._working(binary) == binary


def package(directory: Path) -> Path:
    """A tarball like npm's, with a shell script in place of the binary."""
    binary = script(directory / "anvil", "exit 0")
    tarball = directory / "anvil.tgz"
    with tarfile.open(tarball, "w:gz") as archive:
        archive.add(binary, "package/bin/anvil")
    return tarball
