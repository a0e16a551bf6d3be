"""The command that shows all of it on a chain of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from typing import Any

import click

from ngu_points.cli.work import NO_WEB, stopping
from ngu_points.config import WebSettings
from ngu_points.demo.show import for_a_while, show
from ngu_points.embedded.web import listening


class Duration(click.ParamType[float]):
    """Seconds from `20s`, `2m` or `20`."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        text = str(value)
        factor = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
        try:
            seconds = float(text if factor is None else text[:-1]) * (factor or 1)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds < 1e6:
            self.fail(f"{value!r} is no duration: it takes 20s, 2m or 1h", param, ctx)
        return seconds


@click.command()
@click.option("--for", "seconds", type=Duration(), metavar="TIME", help="End after 20s, 2m, 1h.")
@click.option("--simulated", is_flag=True, help="Use the simulated node, even where anvil runs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--port", type=click.IntRange(0, 65_535), metavar="N", default=8080,
              envvar="NGU_WEB_PORT", show_default=True,
              help="Serve dashboard and API there (0: any that is free).")  # fmt: skip
@NO_WEB
def demo(seconds: float | None, simulated: bool, as_json: bool, port: int, no_web: bool) -> int:
    """Watch a local chain with traffic become points.

    Starts a real EVM node (anvil) with traffic from several wallets, follows its head with the
    whole pipeline, and in the end compares every token with the contract. Keeps nothing.
    The dashboard is at http://127.0.0.1:8080 meanwhile (see --port).
    """
    listener = None if no_web else listening(WebSettings(port=port))
    return asyncio.run(_demo(seconds, simulated, as_json, listener))


async def _demo(
    seconds: float | None, simulated: bool, as_json: bool, listener: socket.socket | None
) -> int:
    logging.getLogger("ngu").setLevel(logging.WARNING)
    stop = asyncio.Event()
    with stopping(stop):
        ending = asyncio.create_task(for_a_while(stop, seconds))
        try:
            summary = await show(stop, simulated=simulated, quiet=as_json, listener=listener)
        finally:
            ending.cancel()
    if as_json:
        click.echo(json.dumps(summary))
        return 0
    counts = ", ".join(f"{n} {name}" for name, n in summary["counts"].items())
    click.echo(f"{summary['chain']}: {summary['transactions']:,} transactions, "
               f"{summary['events']:,} events ({counts})")  # fmt: skip
    click.echo(f"block {summary['block']:,}: {summary['tokens']:,} tokens, {summary['staked']:,} "
               f"staked, feasts held: {summary['feasts']}")  # fmt: skip
    for row in summary["leaderboard"]:
        click.echo(f"  {row['rank']:>2}  {row['wallet']}  {row['points']:>20}")
    click.echo(f"owner and staker of all {summary['tokensEqualToContract']:,} tokens equal the "
               "contract's own answers")  # fmt: skip
    click.echo(f"fingerprint {summary['fingerprint']}")
    return 0


COMMANDS = (demo,)
