"""`ngu monitor`: the event monitor of a deployment on AWS, as a service."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import click

from ngu_points.aws.environment import environment
from ngu_points.aws.monitor_fork import ForkedBelow
from ngu_points.aws.monitor_start import run
from ngu_points.cli.work import stopping

PORT = 8081


@click.command()
@click.option("--state", type=click.Path(path_type=Path), metavar="FOLDER",
              default=lambda: os.environ.get("STATE_DIRECTORY", "ngu-monitor"),
              help="Where the outbox lies (default: $STATE_DIRECTORY or ngu-monitor).")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65_535), default=PORT, show_default=True,
              help="Port on loopback for /health, /ready and /metrics.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def monitor(state: Path, port: int, as_json: bool) -> int:
    """Carry confirmed events into the streams on AWS.

    Runs on EC2, until stopped. Settings, node addresses and the position lie in Parameter Store
    under /SERVICE/NODE_ENV; those two and the names of streams and tables come from the
    environment.
    SIGTERM ends it gracefully; killed, it goes on where it was.

    Exit code 3: the chain forked below what was sent; the last line says what to do.
    """
    code = 0
    try:
        summary = asyncio.run(_monitor(state, port))
    except ForkedBelow as fork:
        click.echo(f"ngu: {fork}", err=True)
        summary, code = {"error": str(fork), "exit": 3}, 3
    if as_json:
        click.echo(json.dumps(summary))
    return code


async def _monitor(state: Path, port: int) -> dict[str, Any]:
    stop = asyncio.Event()
    with stopping(stop):
        return await run(environment(os.environ), state, port, stop)


COMMANDS = (monitor,)
