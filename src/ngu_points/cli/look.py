"""Commands that read: status, points, token, leaderboard, export, fingerprint."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ngu_points.cli.options import Given, at, shared, token_id, wallet
from ngu_points.cli.stores import Asked, Opened, asking, looking, reading
from ngu_points.embedded.exports import FORMATS, TABLES, export_to
from ngu_points.embedded.status import status as status_of
from ngu_points.errors import UsageError
from ngu_points.mirror import status as deployed
from ngu_points.pipeline import query
from ngu_points.pipeline.moment import Moment
from ngu_points.pipeline.query import View

SHOWN = 20  # ranges of one wallet
AT = "A moment: a block (12345), a unix time (@1700000000) or a time (2026-01-31T12:00:00Z)."


def _console() -> Console:
    """As wide as the terminal; wide enough for any row where there is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def _valid(validity: dict[str, Any]) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(validity["timestamp"]))
    return f"block {validity['block']:,}, {when}, {'final' if validity['final'] else 'not final'}"


@click.command()
@shared
def status(given: Given) -> int:
    """Where the pipeline stands: position, head, lag, backlog, gaps, dead letters, alarms.

    Exit code 3: something is in doubt (gaps, dead letters, contradictions).
    """
    if given.deployment:
        found = deployed.status(given.deployment, int(time.time()))
    else:
        with looking(given) as store:
            found = status_of(store)
    if not given.json:
        table = Table.grid(padding=(0, 2))
        table.add_column()
        table.add_column(overflow="fold")
        for name, value in found.items():
            table.add_row(name, _words(_endpoints(value) if name == "endpoints" else value))
        _console().print(table)
    given.answer(found)
    return 3 if found["alarms"] else 0


def _endpoints(scores: list[dict[str, Any]]) -> list[str]:
    return [
        f"{e['host']}: {e['requests']:,} requests, {e['failures']:,} failed, "
        f"{e['contradictions']:,} answers wrong"
        + (f" (last: {e['lastContradiction']})" if e["lastContradiction"] else "")
        for e in scores
    ]


def _words(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
    return "–" if value is None else str(value)


@click.command()
@click.argument("address", metavar="WALLET")
@click.option("--at", "when", metavar="T", help=AT)
@shared
def points(given: Given, address: str, when: str | None) -> int:
    """The points of a wallet, and the facts they come from."""
    who, moment = wallet(address), at(when)
    with asking(given, moment) as asked:
        view = asked.view()
        midnight = asked.midnight(view) or _midnight(given, view)
        record = query.wallet_record(view, who, midnight)
        record["runs"] = query.runs_of_wallet(view, who)
        record["uncertain"] = asked.is_uncertain(who)
        record["retractions"] = [r.shown_as() for r in asked.retractions(who)]
        record |= asked.validity(view)
    if not given.json:
        _print_record(record)
    given.answer(record)
    return 0


def _midnight(given: Given, view: View) -> View:
    with reading(given) as opened:
        return opened.midnight(view)


def _print_record(record: dict[str, Any]) -> None:
    table = Table.grid(padding=(0, 2))
    for name, value in record.items():
        if name not in ("facts", "runs", "retractions", "block", "timestamp", "final"):
            table.add_row(name, _words(value))
    for name, value in record.get("facts", {}).items():
        if value:
            table.add_row(f"  {name}", f"{value:,}")
    for run in record["runs"][:SHOWN]:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(run["since"]))
        how = "staked" if run["staked"] else "held"
        table.add_row(f"  {how}", f"{run['first']}–{run['last']} since {since}")
    for r in record["retractions"]:
        table.add_row("  taken back", f"{r['shown']} → {r['now']}: {r['why']}")
    if len(record["runs"]) > SHOWN:
        table.add_row("", f"and {len(record['runs']) - SHOWN} more ranges: --json has them all")
    console = _console()
    console.print(table)
    console.print(f"[dim]valid at {_valid(record)}[/dim]")


@click.command()
@click.argument("identifier", metavar="ID")
@click.option("--at", "when", metavar="T", help=AT)
@shared
def token(given: Given, identifier: str, when: str | None) -> int:
    """Who owns and who stakes a token, and since when."""
    number, moment = token_id(identifier), at(when)
    with asking(given, moment) as asked:
        view = asked.around(number)
        found = query.token(view, number)
        answer = (found or {"tokenId": str(number), "owner": None}) | asked.validity(view)
    if not given.json:
        if found is None:
            click.echo(f"token {number} does not exist at {_valid(answer)}")
        else:
            table = Table.grid(padding=(0, 2))
            for name in ("tokenId", "owner", "staker", "ownedSince", "stakedSince"):
                table.add_row(name, _words(answer[name]))
            _console().print(table)
            _console().print(f"[dim]valid at {_valid(answer)}[/dim]")
    given.answer(answer)
    return 0


@click.command()
@click.option("--limit", type=click.IntRange(1, 100_000), default=10, show_default=True)
@click.option("--season", metavar="NAME", help="Another season than the current one.")
@click.option("--at", "when", metavar="T", help=AT)
@shared
def leaderboard(given: Given, limit: int, season: str | None, when: str | None) -> int:
    """The wallets with the most points."""
    moment = at(when)
    with asking(given, moment) as asked:
        view = asked.view()
        ranked = query.leaderboard(view, limit, _season(view, season))
        validity = asked.validity(view)
    if not given.json:
        _print_board(ranked)
        _console().print(f"[dim]valid at {_valid(validity)}[/dim]")
    given.answer({"leaderboard": ranked} | validity)
    return 0


def _print_board(ranked: list[dict[str, Any]]) -> None:
    """Short addresses and no sum over seasons where 80 columns have to do."""
    console = _console()
    narrow = console.width < 110
    table = Table(box=None, padding=(0, 2, 0, 0))
    columns = ["rank", "wallet", "points", "totalPoints", "held", "staked"]
    columns = [c for c in columns if not (narrow and c == "totalPoints")]
    for name in columns:
        table.add_column(name, justify="left" if name == "wallet" else "right", no_wrap=True)
    for row in ranked:
        short = f"{row['wallet'][:10]}…{row['wallet'][-8:]}"
        shown = row | {"wallet": short} if narrow else row
        table.add_row(*(str(shown[name]) for name in columns))
    console.print(table)


def _season(view: View, name: str | None) -> int | None:
    names = [s.name for s in view.rules.seasons]
    if name is None:
        return None
    if name not in names:
        raise UsageError(f"--season {name!r}: there is {', '.join(names) or 'none'}")
    return names.index(name)


@click.command()
@click.argument("table", type=click.Choice(TABLES))
@click.option("--format", "form", type=click.Choice(FORMATS), default="csv", show_default=True)
@click.option("--at", "when", metavar="T", help=AT)
@click.option("--ranges", is_flag=True, help="Tokens as ranges (start,end,…), not one by one.")
@click.option("-o", "--output", default="-", metavar="FILE", help="Default: standard output.")
@shared
def export(given: Given, table: str, form: str, when: str | None, ranges: bool, output: str) -> int:
    """Write tokens, points, events or feasts as CSV, JSON or Parquet."""
    moment = at(when)
    if given.json and output == "-":
        raise UsageError("--json goes with -o FILE: standard output cannot hold both")
    with reading(given, moment) as opened:
        view = opened.view()
        path = None if output == "-" else Path(output)
        rows = export_to(path, table, form, view, opened.store, opened.history, ranges=ranges)
        given.answer({"table": table, "rows": rows, "file": output} | opened.validity(view))
    return 0


@click.command()
@click.option("--at", "block", type=click.IntRange(0), metavar="BLOCK", help="At a block.")
@shared
def fingerprint(given: Given, block: int | None) -> int:
    """One hash over the whole state: equal hashes, equal owners, seconds, points and feasts."""
    with asking(given, None if block is None else Moment(block)) as asked:
        value, view = _fingerprint(asked, block)
        answer = {"fingerprint": value} | asked.validity(view)
    if not given.json:
        click.echo(value)
    given.answer(answer)
    return 0


def _fingerprint(asked: Asked, block: int | None) -> tuple[str, View]:
    if isinstance(asked, Opened) and block not in (None, asked.store.position().block):
        return asked.history.fingerprint_at(_checked(asked, block))
    return asked.fingerprint(), asked.view()


def _checked(opened: Opened, block: int) -> tuple[int, int]:
    position = opened.store.position().block
    if block > position:
        raise UsageError(f"--at {block}: the last covered block is {position}")
    return block, opened.time_of(block)


COMMANDS = (status, points, token, leaderboard, export, fingerprint)
