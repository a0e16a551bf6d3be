"""How answers look in a terminal of 80 columns; what a program reads is --json."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ngu_points.engine.facts import shown
from ngu_points.pipeline.explain import Term

SHOWN = 20  # ranges of one wallet
WIDE = 110  # columns that whole addresses and the sum over seasons need
NAMES = {
    "held_seconds": "holding",
    "staked_seconds_0": "staking",
    "minted": "minting",
    "burned": "burning",
    "sent": "sending",
    "received": "receiving",
    "staked": "stakes",
    "unstaked": "unstakes",
    "feast_micro": "feasts",
}


def console() -> Console:
    """As wide as the terminal; wide enough for any row where there is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def draw(*parts: RenderableType) -> None:
    """Print without the spaces that rich leaves at the ends of lines."""
    screen = console()
    with screen.capture() as captured:
        screen.print(Group(*parts))
    lines = captured.get().splitlines()
    screen.file.write("".join(line.rstrip() + "\n" for line in lines))


def when(seconds: int | None) -> str:
    """2026-01-31 12:00:00 UTC, or a dash."""
    if not seconds:
        return "–"
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def valid(validity: dict[str, Any]) -> str:
    """The block an answer is valid to, its time, whether it is final."""
    final = "final" if validity["final"] else "not final"
    return f"block {validity['block']:,}, {when(validity['timestamp'])}, {final}"


def grouped(decimal: str) -> str:
    """1234567.890000 as 1,234,567.890000."""
    whole, point, fraction = decimal.partition(".")
    return f"{int(whole):,}{point}{fraction}"


def _rows(rows: Iterable[tuple[RenderableType, ...]], *, right: int | None = None) -> Table:
    grid = Table.grid(padding=(0, 2))
    for number, row in enumerate(rows):
        for column in range(len(row) if not number else 0):
            grid.add_column(overflow="fold", justify="right" if column == right else "left")
        grid.add_row(*row)
    return grid


def _dim(text: str) -> Text:
    return Text(text, style="dim")


def wallet(record: dict[str, Any], terms: Sequence[Term]) -> list[RenderableType]:
    """Points, the facts × rates that they are the sum of, and the tokens behind them."""
    season = f" in season {record['season']}" if "season" in record else ""
    parts: list[RenderableType] = [
        Text(record["wallet"], style="bold"),
        Text(f"{grouped(record['points'])} points{season}"),
        _dim(_beside(record)),
    ]
    if terms:
        parts += ["", _sum(terms)]
    if record["known"]:
        parts += ["", _rows(_life(record, terms))]
    if record["runs"]:
        parts += ["", _rows(_tokens(record["runs"]))]
    parts += [Text(f"taken back: {r['shown']} became {r['now']}: {r['why']}", style="yellow")
              for r in record["retractions"]]  # fmt: skip
    if record["uncertain"]:
        parts.append(Text("uncertain: an event contradicts the record, see `ngu verify`",
                          style="yellow"))  # fmt: skip
    return [*parts, "", _dim(f"valid at {valid(record)}")]


def _beside(record: dict[str, Any]) -> str:
    if not record["known"]:
        return "no event names this wallet"
    today = f"{grouped(record['dailyPoints'])} today, " if "dailyPoints" in record else ""
    return f"{today}{grouped(record['totalPoints'])} in all seasons"


def _sum(terms: Sequence[Term]) -> Table:
    """The terms and their sum."""
    rows: list[tuple[RenderableType, ...]] = [
        (_named(t.fact), _dim(t.text), grouped(shown(t.points))) for t in terms
    ]
    total = sum((t.points for t in terms), Fraction(0))
    return _rows([*rows, ("sum", "", Text(grouped(shown(total)), style="bold"))], right=2)


def _named(fact: str) -> str:
    tier = fact.removeprefix("staked_seconds_")
    return NAMES.get(fact) or (f"staking, tier {tier}" if tier != fact else fact)


def _life(record: dict[str, Any], terms: Sequence[Term]) -> list[tuple[RenderableType, ...]]:
    streak = record["stakingStreak"]
    worth = {t.fact for t in terms}
    facts = record.get("facts", {}).items()
    counted = [f"{n:,} {fact}" for fact, n in facts if n and fact not in worth]
    return [
        (_dim("holds"), f"{record['currentHeld']:,}"),
        (_dim("stakes"), f"{record['currentStaked']:,}, {record['totalStaked']:,} ever, "
                         f"{streak} {'day' if streak == 1 else 'days'} in a row"),
        (_dim("last stake"), when(record["lastStakeAt"])),
        (_dim("last unstake"), when(record["lastUnstakeAt"])),
        (_dim("last event"), when(record["lastUpdateAt"])),
        (_dim("also counted"), ", ".join(counted) or "–"),
    ]  # fmt: skip


def _tokens(runs: Sequence[dict[str, Any]]) -> list[tuple[RenderableType, ...]]:
    rows: list[tuple[RenderableType, ...]] = []
    for number, run in enumerate(runs[:SHOWN]):
        ids = run["first"] if run["first"] == run["last"] else f"{run['first']}–{run['last']}"
        how = "staked" if run["staked"] else "held"
        rows.append(
            (_dim("tokens" if not number else ""), ids, f"{how} since {when(run['since'])}")
        )
    if len(runs) > SHOWN:
        rows.append(("", "", _dim(f"and {len(runs) - SHOWN} more ranges: --json has them all")))
    return rows


def token(answer: dict[str, Any]) -> list[RenderableType]:
    """Owner, staker, since when."""
    return [
        Text(f"token {answer['tokenId']}", style="bold"),
        _rows([
            (_dim("owner"), answer["owner"] or "–"),
            (_dim("owned since"), when(answer["ownedSince"])),
            (_dim("staker"), answer["staker"] or "–"),
            (_dim("staked since"), when(answer["stakedSince"])),
        ]),
        _dim(f"valid at {valid(answer)}"),
    ]  # fmt: skip


def board(ranked: Sequence[dict[str, Any]], validity: dict[str, Any]) -> list[RenderableType]:
    """The leaderboard; short addresses and no sum over seasons where 80 columns have to do."""
    narrow = console().width < WIDE
    table = Table(box=None, padding=(0, 2, 0, 0))
    columns = ["rank", "wallet", "points", "all seasons", "held", "staked"]
    for name in (c for c in columns if not (narrow and c == "all seasons")):
        table.add_column(name, justify="left" if name == "wallet" else "right", no_wrap=True)
    for row in ranked:
        short = f"{row['wallet'][:10]}…{row['wallet'][-8:]}"
        cells = [
            str(row["rank"]),
            short if narrow else row["wallet"],
            grouped(row["points"]),
            *([] if narrow else [grouped(row["totalPoints"])]),
            f"{row['held']:,}",
            f"{row['staked']:,}",
        ]
        table.add_row(*cells)
    shown = table if ranked else Text("no wallet has points")
    return [shown, _dim(f"valid at {valid(validity)}")]


def status(found: dict[str, Any]) -> list[RenderableType]:
    """Where the pipeline stands, what is in doubt last."""
    rows = [(_dim(name), text) for name, text in _standing(found)]
    alarms = [Text(alarm, style="bold red") for alarm in found["alarms"]]
    rows.append((_dim("alarms"), Group(*alarms) if alarms else Text("none", style="green")))
    return [_rows(rows)]


def _standing(found: dict[str, Any]) -> Iterable[tuple[str, RenderableType]]:
    yield "database", found["database"]
    if found["identity"]:
        chain, contract, *kind = found["identity"]
        yield "contract", contract
        yield "chain", f"{chain}, contract kind {kind[0]}" if kind else str(chain)
    if found["timestamp"]:
        yield "block", valid(found)
    if found["head"] is not None:
        yield "head", f"block {found['head']:,}, {found['lag']:,} ahead of what is processed"
    yield "events", f"{found['events']:,} processed, {found['backlog']:,} waiting"
    if found["startBlock"] is not None and found["timestamp"]:
        yield "covered", f"blocks {found['startBlock']:,} to {found['block']:,}"
        yield "archived", f"through block {found['archivedThrough']:,}"
    yield "gaps", _listed(found["gaps"])
    yield "dead letters", _pointing(found["deadLetters"], "ngu dead-letters")
    if "quarantine" in found:
        yield "quarantine", f"{found['quarantine']:,}"
    yield "contradictions", f"{found['anomalies']:,} events"
    yield "uncertain", f"{found['uncertainWallets']:,} wallets"
    if "retractions" in found:
        yield "taken back", _pointing(found["retractions"], "ngu retractions")
        yield "certified", _listed(found["certified"])
        yield "verified", _verified(found["verified"])
    if "endpoints" in found:
        yield "endpoints", _listed([_endpoint(e) for e in found["endpoints"]])


def _pointing(count: int, command: str) -> str:
    return f"{count:,}: see `{command}`" if count else "none"


def _listed(lines: Sequence[str]) -> RenderableType:
    return Group(*lines) if lines else "none"


def _verified(last: dict[str, Any] | None) -> str:
    if last is None:
        return "never: see `ngu verify`"
    return (f"block {last['block']:,}, {last['tokens']:,} tokens, {last['differences']:,} "
            f"differences, on {when(last['at'])}")  # fmt: skip


def _endpoint(e: dict[str, Any]) -> str:
    wrong = f" (last: {e['lastContradiction']})" if e["lastContradiction"] else ""
    return (f"{e['host']}: {e['requests']:,} requests, {e['failures']:,} failed, "
            f"{e['contradictions']:,} answers wrong{wrong}")  # fmt: skip
