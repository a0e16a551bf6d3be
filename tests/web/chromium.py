"""Find Chromium; in CI on Debian, install it once."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
INSTALL = (
    ("apt-get", "update", "-qq"),
    ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"),
)


def chromium() -> tuple[str | None, str]:
    """The program, or None and the reason why there is none."""
    if found := _found():
        return found, ""
    if os.environ.get("CI") != "true":
        return None, "there is no Chromium: apt-get install chromium"
    if not shutil.which("apt-get") or os.geteuid() != 0:
        return None, "there is no Chromium, and only root on Debian may install it"
    with (Path(tempfile.gettempdir()) / "ngu-chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of the test processes installs, the others wait
        if not _found():
            for command in INSTALL:
                quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
                done = subprocess.run(
                    command, env=quiet, capture_output=True, text=True, check=False
                )
                if done.returncode:
                    last = (done.stderr.strip() or "no reason given").splitlines()[-1]
                    return None, f"Chromium cannot be installed: {last}"
    return _found(), "apt-get has installed no Chromium"


def _found() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)
