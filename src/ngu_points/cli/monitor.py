"""`ngu monitor`: the event monitor of a deployment on AWS, as a service."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

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
def monitor(state: Path, port: int) -> int:
    """Carry confirmed events of the chain into the streams on AWS, until stopped.

    Runs on EC2. Settings, node addresses and the position lie in Parameter Store under
    /SERVICE/NODE_ENV; those two and the names of streams and tables come from the environment.
    SIGTERM ends it gracefully; killed, it goes on where it was.

    Exit code 3: the chain forked below what was sent; the last line says what to do.
    """
    try:
        asyncio.run(_monitor(state, port))
    except ForkedBelow as fork:
        click.echo(f"ngu: {fork}", err=True)
        return 3
    return 0


async def _monitor(state: Path, port: int) -> None:
    stop = asyncio.Event()
    with stopping(stop):
        await run(environment(os.environ), state, port, stop)


COMMANDS = (monitor,)
