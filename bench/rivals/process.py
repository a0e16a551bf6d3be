"""A rival's process with all its children: started, waited for, its memory watched, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ngu_points.errors import NguError

PATIENCE = 1_800.0  # seconds of one measurement
_LOOK = 0.05  # seconds between two looks at the memory
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Watched:
    """A running rival."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.began = time.perf_counter()
        self.rss = 0
        self.over = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.perf_counter() - self.began

    def finished(self) -> float:
        """Wait until it ends by itself; the seconds that took. NguError where it fails."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise NguError(f"it did not end in {PATIENCE:.0f} s; {self.said()}") from None
        seconds = self.seconds
        if code:
            raise NguError(f"it ended with exit code {code}; {self.said()}")
        return seconds

    def until(self, ready: Callable[[], bool], pause: float = 0.1) -> float:
        """Ask again and again until it is ready; the seconds since its start."""
        while not ready():
            if self.process.poll() is not None:
                raise NguError(f"it ended with {self.process.returncode}; {self.said()}")
            if self.seconds > PATIENCE:
                raise NguError(f"it was not ready in {PATIENCE:.0f} s; {self.said()}")
            time.sleep(pause)
        return self.seconds

    def said(self) -> str:
        """The end of what it wrote."""
        text = self.log.read_text(errors="replace").strip()
        return f"it said: {text[-600:]}" if text else "it said nothing"

    def _look(self) -> None:
        while not self.over.wait(_LOOK):
            self.rss = max(self.rss, sum(map(_resident, _family(self.process.pid))))


@contextlib.contextmanager
def started(
    words: Sequence[str | Path], folder: Path, log: Path, settings: Mapping[str, str]
) -> Iterator[Watched]:
    """Start a program in a group of its own; whatever is left of the group in the end is killed."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(map(str, words)), cwd=folder, env=kept | dict(settings), stdout=output,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    watched = Watched(process, log)
    try:
        yield watched
    finally:
        watched.over.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _family(pid: int) -> list[int]:
    """A process and all that it started, and so on."""
    found = [pid]
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found += _family(int(child))
    return found


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    return 0
