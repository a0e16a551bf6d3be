"""Rivals as their locks say, into .tools/rivals, once for each state of the lock."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from bench.measure import ROOT
from ngu_points.errors import NguError

PROJECTS = Path(__file__).parent / "projects"
INSTALLED = ROOT / ".tools" / "rivals"
_PATIENCE = 900.0  # seconds of one installation


def folder_of(name: str) -> Path:
    """Where a rival is installed, its handlers beside its packages."""
    return INSTALLED / name


def npm(name: str) -> None:
    """A Node project's packages, by integrity hashes; its own files are copied anew each time."""
    program = shutil.which("npm")
    if program is None or shutil.which("node") is None:
        raise NguError(f"{name}: Node.js with npm is not installed")
    folder, lock = folder_of(name), PROJECTS / name / "package-lock.json"
    shutil.copytree(PROJECTS / name, folder, dirs_exist_ok=True)
    shutil.copy(PROJECTS / "runs.mjs", folder)
    _once(folder, lock, [program, "ci", "--no-audit", "--no-fund", "--loglevel=error"])


def python(name: str) -> None:
    """A Python rival in an environment of its own, by hashes, on the Python that runs this."""
    folder, lock = folder_of(name), PROJECTS / name / "requirements.txt"
    if not (folder / "venv" / "bin" / "python").exists():
        try:
            venv.create(folder / "venv", with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise NguError(f"{name}: no virtual environment can be made: {error}") from error
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    # Everything is in the lock; pip would want extras of it pinned a second time.
    _once(folder, lock, [*pip, "--no-deps", "--require-hashes", "-r", str(lock)])


def _once(folder: Path, lock: Path, words: Sequence[str]) -> None:
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    mark = folder / ".installed"
    if mark.exists() and mark.read_text() == digest:
        return
    print(f"installing {folder.name} …", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NguError(f"{folder.name}: cannot be installed: {error}") from error
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise NguError(f"{folder.name}: cannot be installed: {''.join(last)}")
    mark.write_text(digest)
