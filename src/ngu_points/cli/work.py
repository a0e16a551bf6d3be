"""Commands of every day: init, sync, run, recalc."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from ngu_points.cli.options import Given, shared
from ngu_points.cli.progress import drawn
from ngu_points.cli.stores import writing
from ngu_points.embedded import jobs
from ngu_points.embedded.app import App, opened
from ngu_points.embedded.run import follow
from ngu_points.embedded.web import beside, listening, url_of
from ngu_points.engine.coverage import Head
from ngu_points.engine.facts import total
from ngu_points.errors import UsageError

log = logging.getLogger("ngu")
TEMPLATE = Path(__file__).with_name("ngu.toml")

PORT = click.option(
    "--port", type=click.IntRange(0, 65_535), metavar="N",
    help="Serve dashboard and API there (default 8080; 0: any that is free).",
)  # fmt: skip
NO_WEB = click.option("--no-web", is_flag=True, help="Serve no dashboard and no API.")
MONITOR = "the event monitor reads the chain (`ngu monitor`)"


@click.command()
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("file", type=click.Path(path_type=Path), default=Path("ngu.toml"))
def init(file: Path, force: bool, as_json: bool) -> None:
    """Write a commented ngu.toml to start from."""
    if file.exists() and not force:
        raise UsageError(f"{file} is there already: --force overwrites it")
    file.write_text(TEMPLATE.read_text(encoding="utf-8"), encoding="utf-8")
    if as_json:
        click.echo(json.dumps({"file": str(file)}))
    else:
        click.echo(f"wrote {file}: set chain.rpc, contract.address and contract.kind, then "
                   "`ngu sync` or `ngu run`")  # fmt: skip


@click.command()
@click.option("--to-block", type=click.IntRange(0), metavar="N", help="Stop there.")
@shared
def sync(given: Given, to_block: int | None) -> int:
    """Catch up with the chain, print a summary, exit.

    Reads every event from the contract's first block (or --from-block) to --to-block, or as far
    as the chain is final. Interrupt it at any moment: it goes on where it was.

    Exit code 3: done, but finality allows less than --to-block, or events contradict the record
    or cannot be read.

    \b
    ngu sync --rpc https://base.example --contract 0x1234… --kind erc721
    """
    given.on_file("ngu sync", MONITOR)
    return asyncio.run(_sync(given, to_block))


async def _sync(given: Given, to_block: int | None) -> int:
    started = time.monotonic()
    async with opened(given.config) as app:
        start = app.store.meta("start_block")
        if to_block is not None and to_block < start:
            raise UsageError(f"--to-block {to_block} lies before the first block, {start}")
        with drawn(app.progress):
            head = await app.reach(to_block)
            # both take long, and neither needs what the other does
            mark, _ = await asyncio.gather(app.fingerprint(), app.on_worker(app.bulk.settle))
        await app.on_worker(jobs.catch_up, app.history, int(app.now()))
        await app.on_worker(app.note_running, False)
        summary = await app.on_worker(_summary, app, head) | {"fingerprint": mark}
    seconds = time.monotonic() - started
    short = to_block is not None and summary["block"] < to_block
    if not given.json:
        _print_summary(summary, seconds, given.config.contract.kind)
    if short:
        click.echo(
            f"ngu: block {to_block} is not reached: the chain is at {head.newest}, and "
            f"{given.config.chain.finality!r} allows {head.readable}; sync again later, or choose "
            "--finality",
            err=True,
        )
    if to_block is not None and summary["block"] > to_block:
        click.echo(f"ngu: block {to_block} was covered before: the database is at "
                   f"{summary['block']}; --at {to_block} asks about it", err=True)  # fmt: skip
    behind = summary["block"] > head.newest
    if behind:
        click.echo(
            f"ngu: the node's newest block is {head.newest}, below the last covered block "
            f"{summary['block']}: it lags, or the chain went back; sync again once it is further",
            err=True,
        )
    stuck = summary["block"] < min(head.readable, head.readable if to_block is None else to_block)
    if stuck:
        click.echo("ngu: not all that was read could be processed: see `ngu gaps`", err=True)
    given.answer(summary | {"seconds": round(seconds, 3)})
    doubts = (short, behind, stuck, summary["uncertainWallets"], summary["deadLetters"])
    return 3 if any(doubts) else 0


def _summary(app: App, head: Head) -> dict[str, Any]:
    store = app.store
    position, counters = store.position(), store.meta("counters") or {}
    state = store.state()
    return {
        "block": position.block,
        "blockHash": "0x" + position.hash.hex(),
        "timestamp": position.timestamp,
        "head": head.newest,
        "final": position.block <= head.final,
        "events": sum(v for k, v in counters.items() if k.isdigit()),
        "eventsNow": app.progress.events,
        "tokens": total(state.wallets.held) + total(state.wallets.staked),
        "staked": total(state.wallets.staked),
        "wallets": len(state.wallets),
        "runs": len(state.runs),
        "anomalies": counters.get("anomalies", 0),
        "uncertainWallets": store.uncertain_wallets(),
        "deadLetters": store.queue.dead_letters(),
    }


def _print_summary(s: dict[str, Any], seconds: float, kind: str) -> None:
    rate = s["eventsNow"] / seconds if seconds else 0
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(s["timestamp"]))
    click.echo(f"block {s['block']:,} ({when}){'' if s['final'] else ', not final yet'}")
    click.echo(f"  {s['eventsNow']:,} events in {seconds:.1f} s ({rate:,.0f}/s); "
               f"{s['events']:,} in all")  # fmt: skip
    click.echo(f"  {s['tokens']:,} tokens, {s['staked']:,} staked, {s['wallets']:,} wallets")
    if s["anomalies"] or s["deadLetters"]:
        click.echo(f"  {s['anomalies']} events contradict the record, "
                   f"{s['deadLetters']} dead letters: see `ngu status`")  # fmt: skip
    click.echo(f"  fingerprint {s['fingerprint']}")
    if not s["events"]:
        hint = " (--kind erc721 reads Transfer events, into another --db)" if kind == "ngu" else ""
        click.echo(f"no event of kind {kind!r} so far: does the contract emit others?{hint}")


@click.command()
@PORT
@NO_WEB
@shared
def run(given: Given, port: int | None, no_web: bool) -> int:
    """Follow the chain, run the schedules, serve the dashboard.

    Until stopped: Ctrl-C or SIGTERM ends it gracefully; after a crash it goes on where it was. The
    dashboard and the API are at http://127.0.0.1:8080 (see --port).
    """
    given.on_file("ngu run", MONITOR)
    web = given.config.web
    if port is not None:
        web = msgspec.structs.replace(web, port=port)
    listener = None if no_web else listening(web)
    return asyncio.run(_run(given, listener))


async def _run(given: Given, listener: socket.socket | None) -> int:
    stop = asyncio.Event()
    async with opened(given.config) as app, beside(app, listener):
        with stopping(stop):
            _greet(None if listener is None else url_of(listener))
            await follow(app, stop)
        head = app.progress.head or Head(-1, -1, -1)
        summary = await app.on_worker(_summary, app, head)
        summary["fingerprint"] = await app.fingerprint()
    given.answer(summary)
    return 0


def _greet(url: str | None) -> None:
    """Where to look, for a person or for the log."""
    if sys.stderr.isatty():
        at = f"dashboard: {url}\n" if url else ""
        click.echo(f"{at}following the chain, Ctrl-C ends it; `ngu top` shows it live", err=True)
    elif url:
        log.info("serving", extra={"fields": {"url": url}})


@contextmanager
def stopping(stop: asyncio.Event) -> Any:
    """Set `stop` on SIGINT and SIGTERM."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


@click.command()
@shared
def recalc(given: Given) -> int:
    """Rank all wallets now, check that ledger and totals agree.

    This is Points Recalc, which `ngu run` does every day at 00:00 UTC.
    """
    now = int(time.time())
    if given.deployment:
        given.deployment.check()
        from ngu_points.mirror.repair import run_job

        result = run_job(given.deployment, "points-recalc", now)
    else:
        with writing(given) as history:
            result = jobs.recalc(history, now)
    if not given.json:
        click.echo(f"ranked {result['wallets']:,} wallets at block {result['block']:,}; "
                   f"ledger and totals agree")  # fmt: skip
    given.answer(result)
    return 0


COMMANDS = (init, sync, run, recalc)
