"""Commands that read: status, points, token, leaderboard, export, fingerprint."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from ngu_points.cli import terminal
from ngu_points.cli.options import Given, at, shared, token_id, wallet
from ngu_points.cli.stores import Asked, Opened, asking, looking, reading
from ngu_points.embedded.exports import FORMATS, TABLES, export_to
from ngu_points.embedded.status import status as status_of
from ngu_points.engine.facts import shown
from ngu_points.errors import UsageError
from ngu_points.pipeline import query
from ngu_points.pipeline.explain import Term, terms
from ngu_points.pipeline.moment import Moment
from ngu_points.pipeline.query import View

AT = "A moment: a block (12345), a unix time (@1700000000) or a time (2026-01-31T12:00:00Z)."


@click.command()
@shared
def status(given: Given) -> int:
    """Where the pipeline stands, and what is in doubt.

    Position, head, lag, backlog, gaps, dead letters, proofs, endpoints, alarms.

    Exit code 3: something is in doubt (gaps, dead letters, contradictions).
    """
    if given.deployment:
        from ngu_points.mirror import status as deployed

        found = deployed.status(given.deployment, int(time.time()))
    else:
        with looking(given) as store:
            found = status_of(store)
    if not given.json:
        terminal.draw(*terminal.status(found))
    given.answer(found)
    return 3 if found["alarms"] else 0


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
        terms = _terms(view, record)
        record["explanation"] = [
            {"fact": t.fact, "text": t.text, "points": shown(t.points)} for t in terms
        ]
    if not given.json:
        terminal.draw(*terminal.wallet(record, terms))
    given.answer(record)
    return 0


def _midnight(given: Given, view: View) -> View:
    with reading(given) as opened:
        return opened.midnight(view)


def _terms(view: View, record: dict[str, Any]) -> list[Term]:
    stored = list(record.get("facts", {}).values())
    return terms(view.rules, view.season, stored) if stored else []


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
            click.echo(f"token {number} does not exist at {terminal.valid(answer)}")
        else:
            terminal.draw(*terminal.token(answer))
    given.answer(answer)
    return 0


@click.command()
@click.option("--limit", type=click.IntRange(1, 100_000), default=10, show_default=True,
              help="How many wallets.")  # fmt: skip
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
        terminal.draw(*terminal.board(ranked, validity))
    given.answer({"leaderboard": ranked} | validity)
    return 0


def _season(view: View, name: str | None) -> int | None:
    names = [s.name for s in view.rules.seasons]
    if name is None:
        return None
    if name not in names:
        raise UsageError(f"--season {name!r}: there is {', '.join(names) or 'none'}")
    return names.index(name)


@click.command()
@click.argument("table", type=click.Choice(TABLES))
@click.option("--format", "form", type=click.Choice(FORMATS), default="csv", show_default=True,
              help="Of the file.")  # fmt: skip
@click.option("--at", "when", metavar="T", help=AT)
@click.option("--ranges", is_flag=True, help="Tokens as ranges (start,end,…), not one by one.")
@click.option("-o", "--output", default="-", metavar="FILE", help="Default: standard output.")
@shared
def export(given: Given, table: str, form: str, when: str | None, ranges: bool, output: str) -> int:
    """Tokens, points, events or feasts as CSV, JSON or Parquet."""
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
    """One hash over the whole state, now or at a block.

    Equal hashes: equal owners, seconds, points and feasts.
    """
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
