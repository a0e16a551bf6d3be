"""Commands of recovery: what is missing, and how it comes back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ngu_points.chain.reader import Reader
from ngu_points.chain.rpc import Endpoint
from ngu_points.cli.backup import from_archive
from ngu_points.cli.options import Given, shared
from ngu_points.cli.progress import counted
from ngu_points.cli.stores import Opened, beside, copy_of, reading, repairing, writing
from ngu_points.config import contract_of, finality_of
from ngu_points.embedded import certify as certifying
from ngu_points.embedded import jobs, repair
from ngu_points.embedded.app import opened
from ngu_points.embedded.client import client
from ngu_points.embedded.database import archive_of
from ngu_points.embedded.history import History
from ngu_points.embedded.rebuild import rebuild as rebuild_store
from ngu_points.embedded.replay import replay as replay_blocks
from ngu_points.embedded.retractions import listed
from ngu_points.embedded.scores import note_endpoints
from ngu_points.embedded.status import status
from ngu_points.errors import NguError, StoreError, UsageError
from ngu_points.mirror import drain as deployed
from ngu_points.mirror import notes
from ngu_points.mirror.status import dead_letters as dead_letters_of
from ngu_points.mirror.status import missing
from ngu_points.pipeline.recover import drain as drained

Block = click.IntRange(0)
NAMED = 5  # events that one line names at most
DRY = click.option("--dry-run", "dry", is_flag=True, help="Only say what would be done.")


class _Receipts(click.ParamType[int | None]):
    """`all`, or how many blocks."""

    name = "receipts"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | None:
        if value == "all":
            return None
        if not str(value).isascii() or not str(value).isdecimal():
            self.fail(f"{value!r}: it takes all, or a number of blocks", param, ctx)
        return int(value)


RECEIPTS = click.option(
    "--receipts", type=_Receipts(), default="all", show_default=True, metavar="all|N",
    help="Prove all blocks that the bloom leaves open by their receipts, or only N of them.",
)  # fmt: skip


@click.command()
@shared
def gaps(given: Given) -> int:
    """What is missing, why, and since when.

    Blocks, events, archive files.

    Exit code 3 if anything is. `ngu replay FROM TO` brings it back.
    """
    if given.deployment:
        now = int(time.time())
        found = [gap.shown(now) for gap in missing(given.deployment, now, archive=True)]
    else:
        with reading(given) as opened_:
            found = repair.missing(opened_.store)
    if not given.json:
        for gap in found:
            since = "now" if gap["since"] is None else f"since {_when(gap['since'])}"
            click.echo(
                f"{gap['stream']}: blocks {gap['from']}..{gap['to']}: {gap['why']} ({since})"
            )
        if not found:
            click.echo("no gaps")
    given.answer({"gaps": found})
    return 3 if found else 0


@click.command()
@click.argument("first", metavar="[FROM]", type=Block, required=False)
@click.argument("last", metavar="[TO]", type=Block, required=False)
@RECEIPTS
@click.option("--from-archive", "archived", is_flag=True,
              help="Not from the chain: from what Firehose has kept in S3.")  # fmt: skip
@click.option("--since", metavar="HOUR", help="With --from-archive: 2026-01-31T12 (UTC).")
@click.option("--until", metavar="HOUR", help="With --from-archive: the last hour.")
@click.option("--folder", type=click.Path(path_type=Path, exists=True, file_okay=False),
              metavar="DIR", help="With --from-archive: a copy of the bucket.")  # fmt: skip
@DRY
@shared
def replay(
    given: Given,
    first: int | None,
    last: int | None,
    receipts: int | None,
    archived: bool,
    dry: bool,
    **backup: Any,
) -> int:
    """Read blocks again; find and repair what was wrong.

    Every block from FROM to TO is compared with its header, its receipts or other endpoints; what
    differs is replaced, everything behind it is folded again, and the gap, backlog and delay
    figures are published. Name a second --rpc: a node does not notice what it leaves out itself.

    With --from-archive no node is asked: all that was ever sent is put back from the backup in S3
    into the tables (--store dynamodb), or into a database, which may be a new one. What is there
    already stays; it may be broken off and begun anew.

    Exit code 3: something differed (with --dry-run), or still differs, or is not proven; objects
    of the backup are damaged, records are of no use, or blocks are not complete.
    """
    if archived:
        if first is not None:
            raise UsageError("--from-archive takes --since and --until, not blocks")
        return from_archive(given, **backup, dry=dry)
    if any(backup.values()):
        raise UsageError("--since, --until and --folder go with --from-archive")
    if first is None or last is None:
        raise UsageError("replay takes FROM and TO, or --from-archive")
    if first > last:
        raise UsageError(f"{first} {last}: the first block lies behind the last one")
    why = f"ngu replay {first} {last}"
    if dry:
        here = beside(given, strict=False, asks=True)
        report = asyncio.run(_replay(here, first, last, receipts, dry))
    else:
        with repairing(given, why, asks=True) as here:
            report = asyncio.run(_replay(here, first, last, receipts, dry))
    if not given.json:
        _print_replay(report)
    given.answer(report)
    if dry:
        return 3 if report["notCovered"] or report["differing"] else 0
    left = ("stillDiffering", "doubtful", "notCovered", "notRemade")
    return 3 if any(report[name] for name in left) else 0


async def _replay(
    given: Given, first: int, last: int, receipts: int | None, dry: bool
) -> dict[str, Any]:
    if not given.config.db.exists():
        raise StoreError(f"{given.config.db} does not exist: run `ngu sync` or `ngu run` first")
    async with opened(given.config) as app:
        with counted("blocks compared", last - first + 1) as seen:
            return await replay_blocks(
                app, first, last, receipts=receipts, dry=dry, seen=lambda b: seen(b - first + 1)
            )


def _print_replay(report: dict[str, Any]) -> None:
    if report["notCovered"]:
        would = ": they would be read" if report["dryRun"] else ""
        click.echo(f"the last {report['notCovered']:,} blocks are not covered{would}")
    if "verdicts" not in report:
        return
    _print_verdicts(report)
    for found in report["differences"]:
        click.echo(f"  block {found['block']}: {found['what']} ({found['how']})")
    for name in report["notRemade"]:
        click.echo(f"  {name}: damaged or gone, and left so: the chain did not tell all that it "
                   "held; name an endpoint with receipts, or bring the file back")  # fmt: skip
    for name in report["lostSegments"]:
        click.echo(f"  {name}: damaged or gone, {'to be ' if report['dryRun'] else ''}made anew")
    if report["dryRun"]:
        click.echo("nothing was changed (--dry-run)")
    elif report["repaired"]:
        left = report["stillDiffering"]
        how = f"; still differing: {left}" if left else " and compared them again: equal"
        click.echo(f"repaired {report['repaired']} blocks{how}")
        click.echo(f"  {report['retracted']} wallets have fewer points than were shown, "
                   f"{report['feastDaysCorrected']} published feast days corrected: "
                   "`ngu retractions`")  # fmt: skip
    click.echo(f"fingerprint {report['fingerprint']}")


def _print_verdicts(report: dict[str, Any]) -> None:
    click.echo(f"blocks {report['from']}..{report['to']}: {report['events']:,} events, "
               f"{report['deadLetters']:,} dead letters held")  # fmt: skip
    for verdict, blocks in sorted(report["verdicts"].items()):
        click.echo(f"  {blocks:>9,} blocks {verdict}")
    if report["oneEndpointsWord"]:
        click.echo(f"  {report['oneEndpointsWord']:,} of them on the word of one endpoint, which "
                   "does not notice what it leaves out: name a second --rpc")  # fmt: skip
    if report["headersDoubt"]:
        click.echo(f"  headers: {report['headersDoubt']}")


@click.command()
@click.argument("first", metavar="FROM", type=Block)
@click.argument("last", metavar="TO", type=Block)
@RECEIPTS
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
              help="Default: certificates/FROM-TO.json in the archive.")  # fmt: skip
@shared
def certify(given: Given, first: int, last: int, receipts: int | None, output: Path | None) -> int:
    """Prove that blocks FROM to TO lack no event.

    Writes a certificate. Headers are linked by recomputed hashes; where the bloom excludes the
    contract, nothing was logged; elsewhere the receipts must have the header's root. May run
    beside `ngu run`.

    Exit code 3: blocks differ (repair them with `ngu replay`), or could not be proven.
    """
    here = beside(given, asks=True)
    with reading(here) as opened_:
        wanted, revision = last, opened_.store.meta("revision", 0)
        first, last = certifying.checked_range(opened_.store, first, last)
        found, made, scored = asyncio.run(_certify(opened_, first, last, receipts))
    path = output or archive_of(here.config.db) / "certificates" / f"{first:012d}-{last:012d}.json"
    certifying.write_certificate(path, made)
    noted = _note(here, found, scored, revision)
    if given.deployment and noted:
        notes.publish(given.deployment, here.config.db)
    report = {k: made[k] for k in found.summary()} | {"certificate": str(path), "noted": noted}
    report["notCovered"] = wanted - last
    if not given.json:
        _print_verdicts(report)
        for found_ in made["differences"][: certifying.LISTED]:
            click.echo(f"  block {found_['block']}: {found_['what']} ({found_['how']})")
        if found.differences:
            click.echo(f"repair them: `ngu replay {first} {last}`")
        click.echo(f"wrote {path}")
        if not noted:
            click.echo("the database is in use, or has changed meanwhile: nothing was noted there")
        if report["notCovered"]:
            click.echo(f"{report['notCovered']:,} blocks behind block {last} are not covered")
    given.answer(report)
    return 3 if found.doubtful or found.differences or report["notCovered"] else 0


async def _certify(
    opened_: Opened, first: int, last: int, receipts: int | None
) -> tuple[certifying.Comparison, dict[str, Any], Sequence[Endpoint]]:
    config = opened_.given.config
    async with client(config) as rpc:
        chain_id = await rpc.chain_id()
        if chain_id != opened_.store.chain_id:
            raise UsageError(f"the node serves chain {chain_id}, the database is of chain "
                             f"{opened_.store.chain_id}: check --rpc")  # fmt: skip
        reader = Reader(rpc, contract_of(config), finality_of(config))
        with counted("blocks compared", last - first + 1) as seen:
            found = await certifying.compare(
                reader, opened_.history, first, last, receipts, lambda b: seen(b - first + 1)
            )
    made = certifying.certificate(found, opened_.history, int(time.time()))
    return found, made, rpc.endpoints


def _note(
    given: Given, found: certifying.Comparison, scored: Sequence[Endpoint], revision: int
) -> bool:
    """Keep the result, unless another process is writing or the record is not the one compared."""
    try:
        with writing(given) as history:
            if history.store.meta("revision", 0) != revision:
                return False
            certifying.note(history, found, int(time.time()))
            note_endpoints(history.store, scored, {}, int(time.time()))
    except StoreError:
        return False
    return True


@click.command()
@DRY
@shared
def drain(given: Given, dry: bool) -> int:
    """Clear a backlog in large steps, in order.

    Limits are raised and put back, order is checked at every step, and in the end the gap,
    backlog and delay figures are published. Reads nothing from the chain.

    Exit code 3: something is left that cannot be processed yet (see `ngu gaps`).
    """
    if given.deployment:
        report = deployed.drain(given.deployment, copy_of(given), dry=dry)
    else:
        with writing(given) as history:
            if not history.store.coverage(-1):
                raise NguError(f"{given.config.db} covers no block yet: run `ngu sync` first")
            report = _drain(history, dry)
    if not given.json:
        rate = report["events"] / report["seconds"] if report["seconds"] else 0
        click.echo(f"backlog {report['backlogBefore']:,} events, now {report['backlog']:,}")
        click.echo(f"  {report['events']:,} events in {report['steps']} step(s) of up to "
                   f"{report['eventsPerStep']:,}, {report['seconds']:.2f} s ({rate:,.0f}/s), "
                   "in order")  # fmt: skip
        click.echo(f"  alarms: {'; '.join(report['alarms']) or 'none'}")
        click.echo(f"block {report['block']:,}, fingerprint {report['fingerprint']}")
    given.answer(report)
    return 3 if report["backlog"] and not dry else 0


def _drain(history: History, dry: bool) -> dict[str, Any]:
    store, now, began = history.store, int(time.time()), time.monotonic()
    limits = repair.Generous(store)
    backlog = store.queue.backlog()
    history.recall()
    report: dict[str, Any] = {"dryRun": dry, "backlogBefore": backlog, "events": 0, "steps": 0}
    report |= {"eventsPerStep": limits.events, "alarmsBefore": status(store)["alarms"]}
    with counted("events processed", backlog) as seen:
        for step in () if dry else drained(store, store.rules, limits, now):
            history.add(step.events)
            history.seal(store.final)
            report["events"] += len(step.events)
            report["steps"] += 1
            seen(report["events"])
    report["seconds"] = round(time.monotonic() - began, 3)
    if not dry:
        report["metrics"] = jobs.publish(history, now)
    position = store.position().block
    report |= {"backlog": store.queue.backlog(), "block": position}
    return report | {"alarms": status(store)["alarms"], "fingerprint": store.fingerprint()}


@click.command()
@click.argument("block", type=Block)
@DRY
@shared
def rewind(given: Given, block: int, dry: bool) -> int:
    """Go back to a block; the next sync reads on from there.

    To the last range end at or below BLOCK. For a fork below the undo window, or events that
    should be read anew.
    """
    if dry:
        result = _rewind(beside(given, strict=False), block, dry=True)
    else:
        with repairing(given, f"ngu rewind {block}") as here:
            result = _rewind(here, block, dry=False)
    if not given.json and result["from"] == result["block"]:
        click.echo(f"block {result['block']:,} is the last one covered: nothing to take back")
    elif not given.json:
        click.echo(f"{'would go ' if dry else ''}back from block {result['from']:,} to block "
                   f"{result['block']:,}: {result['eventsDropped']:,} events to read "
                   "again")  # fmt: skip
    if not given.json and not dry:
        click.echo(f"fingerprint {result['fingerprint']}")
    given.answer(result)
    return 0


def _rewind(given: Given, block: int, *, dry: bool) -> dict[str, Any]:
    with writing(given) as history:
        store = history.store
        return repair.rewind(store, history, store.rules, block, int(time.time()), dry=dry)


@click.command()
@DRY
@shared
def rebuild(given: Given, dry: bool) -> int:
    """Fold every event again from the archive.

    Under the rules of the configuration. Needed after weights, tiers, exclusions, season borders,
    staking or the feast have changed; otherwise the fingerprint afterwards must be the one before
    (exit code 3 if it is not). Where the database is lost, the archive beside it is enough to make
    it anew.
    """
    if dry:
        result = _rebuild(beside(given, strict=False), dry=True)
    else:
        with repairing(given, "ngu rebuild") as here:
            result = _rebuild(here, dry=False)
    if not given.json:
        click.echo(f"folded {result['events']:,} events in {result['seconds']:.2f} s; "
                   f"fingerprint {result['fingerprint']}")  # fmt: skip
        if result["recovered"]:
            click.echo("  recovered from the archive alone: `ngu sync` reads what came after it")
        elif result["rulesChanged"]:
            click.echo("  the rules have changed: the fingerprint before was under other rules")
        elif result["waiting"]:
            waiting = result["waiting"]
            some = ", ".join([*waiting[:NAMED], *["…"][: len(waiting) > NAMED]])
            click.echo(f"  it is {result['before']}: all that differs is what `ngu sync` is yet to "
                       f"process ({len(waiting):,}): {some}")  # fmt: skip
        elif not result["same"]:
            before = result["before"] or "too damaged to have one"
            click.echo(f"  it was {before}: the stored state differed from the archive")
        if result["retracted"]:
            click.echo(f"  {result['retracted']:,} wallets have fewer points than were shown: "
                       "`ngu retractions`")  # fmt: skip
        if dry:
            click.echo("nothing was changed (--dry-run)")
    given.answer(result)
    return 0 if result["same"] or result["rulesChanged"] or result["recovered"] else 3


def _rebuild(given: Given, *, dry: bool) -> dict[str, Any]:
    with writing(given, archive_will_do=True) as history:
        store = history.store
        with counted("blocks folded", store.position().block) as seen:
            return rebuild_store(store, history, store.rules, int(time.time()), dry=dry, seen=seen)


@click.command("dead-letters")
@click.argument("identifier", metavar="[ID]", required=False)
@click.option("--retry", is_flag=True, help="Decode them again; those that are events now count.")
@DRY
@shared
def dead_letters(given: Given, identifier: str | None, retry: bool, dry: bool) -> int:
    """Logs that cannot be events, each with its reason.

    Or one of them, whole. Exit code 3 if there are any.
    """
    result: dict[str, Any] = {}
    if retry and dry:
        result = _retry(beside(given, strict=False), dry=True)
    elif retry:
        with repairing(given, "ngu dead-letters --retry") as here:
            result = _retry(here, dry=False)
    if given.deployment:
        found = dead_letters_of(given.deployment.store)
    else:
        with reading(given) as opened_:
            found = repair.dead_letters(opened_.store)
    if identifier is not None:
        found = [letter for letter in found if letter["id"] == identifier]
        if not found and not retry:
            raise UsageError(f"there is no dead letter {identifier}: `ngu dead-letters` lists them")
    if not given.json:
        _print_letters(found, result, whole=identifier is not None)
    given.answer(result | {"deadLetters": found})
    return 3 if found else 0


def _retry(given: Given, *, dry: bool) -> dict[str, Any]:
    with writing(given) as history:
        rules, contract = history.store.rules, contract_of(given.config)
        result = repair.retry(history, rules, contract, int(time.time()), dry=dry)
        if not dry:
            jobs.publish(history, int(time.time()))
    return result


def _print_letters(found: list[dict[str, Any]], result: dict[str, Any], *, whole: bool) -> None:
    if result:
        word = "would be" if result["dryRun"] else "are"
        click.echo(f"{result['recovered']} of {result['tried']} {word} events now")
    for letter in found:
        if whole:
            click.echo(json.dumps(letter, indent=1))
        else:
            click.echo(f"{letter['id']}  {letter['stream']}  {letter['reason']}")
    if not found:
        click.echo("no dead letters")


@click.command()
@shared
def retractions(given: Given) -> int:
    """Points that were shown and taken back; corrected days.

    Forks and repairs do that.
    """
    with reading(given) as opened_:
        found = [r.shown_as() for r in listed(opened_.history)]
        days = opened_.store.feasts.corrections()
    if not given.json:
        for r in found:
            click.echo(f"{r['wallet']}  {r['shown']} → {r['now']} as of {_when(r['timestamp'])}: "
                       f"{r['why']}")  # fmt: skip
        for day in days:
            click.echo(f"feast day {day['day']} was corrected on {_when(day['at'])}: {day['why']}")
        if not found and not days:
            click.echo("nothing was taken back")
    given.answer({"retractions": found, "feastDays": days})
    return 0


def _when(seconds: Any) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


COMMANDS = (
    gaps, replay, certify, drain, rewind, rebuild, dead_letters, retractions,
)  # fmt: skip
