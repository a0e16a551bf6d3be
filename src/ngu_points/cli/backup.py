"""`ngu replay --from-archive`: what Firehose has kept in S3 goes back."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from ngu_points.aws.backup import in_doubt
from ngu_points.cli.options import Given
from ngu_points.cli.progress import counted
from ngu_points.mirror.backup import Objects, into_database, into_tables, objects_of
from ngu_points.mirror.deployment import opened
from ngu_points.pipeline.moment import seconds_of

LAST = "9999"


def from_archive(
    given: Given, since: str | None, until: str | None, folder: Path | None, *, dry: bool
) -> int:
    """Put the backup back into the deployed tables, or into a database."""
    hours = _hour(since, "--since", ""), _hour(until, "--until", LAST)
    on = given.deployment
    if on is None and folder is None and (given.config.store.stage or os.environ.get("NODE_ENV")):
        on = opened(given.config, os.environ, {}, own=True)
    objects = objects_of(on, folder, hours)
    with counted("objects of the backup", _count(objects)) as seen:
        if given.deployment:
            report = into_tables(given.deployment, objects, seen, dry=dry)
        else:
            report = into_database(given.config, objects, seen, dry=dry)
    if not given.json:
        _print(report)
    given.answer(report)
    return 3 if in_doubt(report) else 0


def _hour(text: str | None, key: str, default: str) -> str:
    """YYYY/MM/DD/HH, as the bucket's folders are named."""
    if text is None:
        return default
    return time.strftime("%Y/%m/%d/%H", time.gmtime(seconds_of(text, key)))


def _count(objects: Objects) -> int:
    return sum(1 for _ in objects())


def _print(report: dict[str, Any]) -> None:
    would = "would be " if report["dryRun"] else ""
    click.echo(f"{report['objects']:,} objects, {report['records']:,} records")
    click.echo(f"  {report['written']:,} events {would}written, {report['known']:,} were there; "
               f"{report['processed']:,} processed, up to block {report['block']:,}")  # fmt: skip
    if report["poison"]:
        click.echo(f"  {report['poison']:,} records {would}put into the quarantine: they are none "
                   "of this deployment")  # fmt: skip
    if report["incomplete"]:
        click.echo(f"  the last {report['incomplete']:,} blocks are not complete: see `ngu gaps`")
    for text in report["damaged"]:
        click.echo(f"  {text}")
    if report["damagedObjects"] > len(report["damaged"]):
        click.echo(f"  and {report['damagedObjects'] - len(report['damaged']):,} more objects")
    if report["unknownBlocks"]:
        blocks = ", ".join(map(str, report["unknownBlocks"]))
        click.echo(f"  blocks {blocks}: the backup has events that the archive has not: a repair "
                   "took them out, or `ngu certify` them")  # fmt: skip
    if report.get("fingerprint"):
        click.echo(f"fingerprint {report['fingerprint']}")
