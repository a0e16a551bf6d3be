"""`ngu verify`: our owners, stakers and supply against the contract's own answers."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ngu_points.cli.options import Given, shared
from ngu_points.cli.progress import counted
from ngu_points.cli.stores import beside, reading
from ngu_points.config import rules_of
from ngu_points.embedded.verify import cleared, planned, report
from ngu_points.embedded.verify import verify as compared
from ngu_points.errors import UsageError
from ngu_points.mirror import notes
from ngu_points.pipeline.verify import size

SAMPLE = 1000


@click.command()
@click.option("--sample", type=click.IntRange(1, 1_000_000), metavar="N",
              help=f"Living tokens to ask for (default: {SAMPLE}).")  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Ask for every living token.")
@shared
def verify(given: Given, sample: int | None, every: bool) -> int:
    """Compare the record with the contract's own answers.

    Owners, stakers and supply, at the same block.

    Asks for a sample of the living tokens, which the block's hash chooses, for ids that should
    not exist, and for all tokens in doubt. Wallets marked as uncertain are cleared where all of
    their tokens agree. Where something differs, looks for the first block that has it, for which
    the node needs the state of earlier blocks.

    Exit code 3: something differs, or the contract does not say who owns a token.
    """
    if every and sample is not None:
        raise UsageError("--all and --sample contradict each other: give one of them")
    started = time.monotonic()
    here = beside(given, asks=True)
    with reading(here) as opened:
        plan = planned(opened.history, None if every else sample or SAMPLE)
        with counted("verify", size(plan.asked)) as done:
            found = asyncio.run(compared(here.config, opened.history, plan, done))
        final = found.position.block <= opened.store.meta("final", -1)
    wallets, kept = cleared(here.config, rules_of(here.config), found, int(time.time()))
    if given.deployment:
        notes.publish(given.deployment, here.config.db)
    answer = report(found) | {
        "final": final,
        "cleared": wallets,
        "notWritten": kept or None,
        "seconds": round(time.monotonic() - started, 3),
    }
    if not given.json:
        _print(answer)
    given.answer(answer)
    return 0 if found.agrees else 3


def _print(answer: dict[str, Any]) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    table = Table.grid(padding=(0, 2))
    living = answer["tokens"] - answer["absent"]
    table.add_row("block", f"{answer['block']:,}{'' if answer['final'] else ', not final'}")
    table.add_row("asked for", f"{living:,} of {answer['living']:,} living tokens, "
                  f"{answer['absent']:,} ids that should not exist")  # fmt: skip
    for name in ("owners", "stakers"):
        table.add_row(name, answer[name])
    table.add_row("supply", _supply(**answer["supply"]))
    table.add_row("differences", f"{answer['differences']:,}")
    if answer["uncertain"]:
        table.add_row("uncertain", f"{answer['uncertain']:,} wallets, {answer['cleared']:,} "
                      "of them cleared")  # fmt: skip
    if answer["notWritten"]:
        table.add_row("", f"nothing was written: {answer['notWritten']}")
    console.print(table)
    for one in answer["differing"]:
        click.echo(_difference(one))
    if answer["differences"] > len(answer["differing"]):
        click.echo(f"and {answer['differences'] - len(answer['differing']):,} more")


def _supply(ours: int, chain: int | None) -> str:
    if chain is None:
        return f"{ours:,}; not verifiable: the contract does not say"
    if ours == chain:
        return f"{ours:,}, as the contract says"
    return f"{ours:,}; the contract says {chain:,}"


def _difference(one: dict[str, Any]) -> str:
    parts = [
        f"{name} {one['ours'][name] or 'nobody'}; the contract says {value or 'nobody'}"
        for name, value in one["chain"].items()
        if value != one["ours"][name]
    ]
    since = "" if one["firstBlock"] is None else f", since block {one['firstBlock']}"
    tail = [f"  {text}" for text in (one["note"], one["hint"] and f"→ {one['hint']}") if text]
    return "\n".join([f"token {one['tokenId']}: {', '.join(parts)}{since}", *tail])


COMMANDS = (verify,)
