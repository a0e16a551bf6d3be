"""Find and run anvil, a real EVM node that lives in one binary."""

import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from ngu_points.demo.fetch import Reason, cached_anvil
from ngu_points.errors import NguError

GAS_LIMIT = 1_000_000_000

_START_SECONDS = 20.0
_PORTS_TRIED = 3

# Whatever becomes of the parent, its end of standard input closes: then the node goes too. Where
# the parent was killed outright, nobody else is left to remove the node's files; the watch must
# then outlive the node, whose end would otherwise be its own.
_KEEPER = """
exec 3<&0
directory=$1; shift
"$@" </dev/null 3<&- & node=$!
(
  read -r line <&3
  trap '' TERM
  kill -9 $node
  test "$line" || rm -rf "$directory"
) >/dev/null 2>&1 & watch=$!
wait $node 2>/dev/null; status=$?
kill $watch 2>/dev/null
exit $status
"""


@functools.cache
def find_anvil(fetch: bool) -> Path | Reason:
    """The anvil to use: $ANVIL, the one on the path, our cache, or (`fetch`) npm's package.

    Whichever comes first decides; it is run once to see whether it works here.
    """
    named = os.environ.get("ANVIL")
    if named:
        return _working(Path(named))
    on_path = shutil.which("anvil")
    if on_path:
        return _working(Path(on_path))
    cached = cached_anvil(fetch)
    return cached if isinstance(cached, Reason) else _working(cached)


def _working(binary: Path) -> Path | Reason:
    try:
        subprocess.run([binary, "--version"], capture_output=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Reason(f"{binary} does not run on this machine: {_why(error)}")
    return binary


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:200] if lines else f"exit code {error.returncode}"
    if isinstance(error, OSError):
        return error.strerror or "the system refused"
    return "no answer in time"


@dataclass(slots=True)
class Anvil:
    """A running anvil on a loopback port; a context manager that leaves nothing behind.

    It mines only when told (`evm_mine`), or every `block_time` wall-clock seconds. Each block is
    `seconds_per_block` of block time after the last; the genesis block has `timestamp`.
    """

    binary: Path
    timestamp: int | None = None
    seconds_per_block: int | None = None
    block_time: float | None = None
    chain_id: int = 31337
    port: int = field(default=0, init=False)
    directory: str = field(default="", init=False)
    """Its files; removed at the end."""
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """The HTTP endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """The WebSocket endpoint."""
        return f"ws://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Start it and wait until it answers. Raises NguError when it does not."""
        words = ""
        for _ in range(_PORTS_TRIED):
            self.port = _free_port()
            process = self._start()
            try:
                if self._await_answer(process):
                    return self
                words = _last_words(process)
            except BaseException:
                self._stop()
                raise
            # Somebody else may have taken the port meanwhile.
            self._stop()
        raise NguError(f"anvil ended at once: {words}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill it and remove its files."""
        self._stop()

    def _start(self) -> subprocess.Popen[bytes]:
        self.directory = tempfile.mkdtemp(prefix="ngu-anvil-")
        command: list[str] = [str(self.binary.resolve()), *self._flags()]
        if os.name == "posix":
            command = ["/bin/sh", "-c", _KEEPER, "anvil", self.directory, *command]
        process = self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=self.directory,
            env=_environment(self.directory),
            # Ctrl-C in a terminal is for us alone; we stop the node ourselves.
            start_new_session=True,
        )
        return process

    def _flags(self) -> list[str]:
        flags = ["--host", "127.0.0.1", "--port", str(self.port), "--silent"]
        flags += ["--chain-id", str(self.chain_id), "--slots-in-an-epoch", "4"]
        flags += ["--max-persisted-states", "1", "--no-request-size-limit"]
        flags += ["--cache-path", self.directory]
        # Gas price is what orders the transactions of a block (see the drivers), not a cost.
        flags += ["--block-base-fee-per-gas", "0", "--disable-min-priority-fee"]
        flags += ["--gas-limit", str(GAS_LIMIT)]
        if self.timestamp is not None:
            flags += ["--timestamp", str(self.timestamp)]
        if self.block_time is None:
            return [*flags, "--no-mining"]
        return [*flags, "--block-time", str(self.block_time)]

    def _await_answer(self, process: subprocess.Popen[bytes]) -> bool:
        """True once it answers, False if it has ended. Raises NguError if neither comes."""
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(self.port, self.seconds_per_block):
            if process.poll() is not None:
                return False
            if time.monotonic() > deadline:
                raise NguError(f"anvil does not answer within {_START_SECONDS:.0f} s")
            time.sleep(0.01)
        return True

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stderr is not None
        with suppress(OSError):
            process.stdin.write(b"stop\n")
            process.stdin.close()
        try:
            process.wait(2.0 if os.name == "posix" else 0.0)
        except subprocess.TimeoutExpired:
            _kill(process)
        process.stderr.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def _last_words(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    lines = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else "no reason given"


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
    process.wait()


def _environment(home: str) -> dict[str, str]:
    """Nothing of the user's settings: no home, no proxies, no configuration."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    return kept | {"HOME": home, "USERPROFILE": home, "TMPDIR": home, "TEMP": home}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int, interval: int | None) -> bool:
    """Whether the node answers; its block interval is set on the way."""
    method, params = ("eth_chainId", "") if interval is None else (_INTERVAL, str(interval))
    request = f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":[{params}]}}'
    connection = HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        connection.request("POST", "/", request, {"Content-Type": "application/json"})
        return b'"result"' in connection.getresponse().read()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


_INTERVAL = "anvil_setBlockTimestampInterval"
