"""`ngu run` on a simulated node, and its API asked over HTTP by nothing of our own."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from cli.program import COMMAND, KEPT, place
from localnode import served
from ngu_points.demo.node import SimNode

PATIENCE = 60.0
FAST = {"NGU_CHAIN_POLL_INTERVAL": "0.05", "NGU_WEB_REQUESTS_PER_SECOND": "100000"}


@dataclass(frozen=True)
class Answered:
    """What a request came to."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Api:
    """A running server."""

    url: str
    node: SimNode
    node_url: str
    db: Path
    pid: int  # of the pipeline

    def ask(self, path: str, headers: Mapping[str, str] | None = None, **query: Any) -> Answered:
        """GET a path; parameters that are None are left out."""
        given = "&".join(
            f"{name.rstrip('_')}={quote(str(value))}"
            for name, value in query.items()
            if value is not None
        )
        request = urllib.request.Request(
            f"{self.url}{path}{'?' if given else ''}{given}", headers=dict(headers or {})
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                return Answered(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answered(error.code, dict(error.headers), error.read())

    def get(self, path: str, **query: Any) -> Any:
        """The JSON of an answer that must be one."""
        answered = self.ask(path, **query)
        assert answered.status == 200, answered.body
        return answered.json

    def pages(self, path: str, key: str, **query: Any) -> list[Any]:
        """All rows of an answer that comes in pages."""
        rows: list[Any] = []
        cursor = None
        while True:
            page = self.get(path, cursor=cursor, **query)
            rows += page[key]
            cursor = page["next"]
            if cursor is None:
                return rows

    def connection(self) -> http.client.HTTPConnection:
        where = urlsplit(self.url)
        return http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)

    def at_head(self) -> bool:
        valid = self.get("/api/status")["valid"]
        head = self.node.head
        return valid is not None and valid["blockHash"] == "0x" + head.hash.hex()

    def caught_up(self) -> None:
        """Wait until the API answers for the node's head."""
        until(self.at_head)


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


@contextlib.contextmanager
def running(
    node: SimNode, folder: Path, *words: object, env: Mapping[str, str] | None = None
) -> Iterator[Api]:
    """`ngu run` with its web server, caught up with the node."""
    db = folder / "ngu.db"
    with served(node) as where:
        command = ("run", *place(node, where.url, db), "--finality", 0, "--port", 0, *words)
        process = subprocess.Popen(
            [*COMMAND, *map(str, command)],
            env={**KEPT, **FAST, **(env or {})},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        try:
            url = ""
            for line in process.stderr:
                if '"serving"' in line:
                    url = json.loads(line)["url"]
                    break
            assert url, "the server did not say where it is"
            rest = threading.Thread(target=_passed_on, args=(process.stderr,), daemon=True)
            rest.start()
            api = Api(url, node, where.url, db, process.pid)
            api.caught_up()
            yield api
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            rest.join()
            process.stderr.close()


def _passed_on(lines: Any) -> None:
    for line in lines:
        sys.stderr.write(line)


def web_process(api: Api) -> int:
    """The process that serves beside the pipeline."""
    (child,) = Path(f"/proc/{api.pid}/task/{api.pid}/children").read_text("utf-8").split()
    return int(child)
