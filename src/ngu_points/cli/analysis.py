"""The command that copies the record for analysis: `ngu analysis`."""

from __future__ import annotations

from pathlib import Path

import click

from ngu_points.cli.options import Given, shared
from ngu_points.cli.stores import reading
from ngu_points.embedded.analysis import write_analysis
from ngu_points.errors import UsageError


@click.command()
@click.option("-o", "--output", required=True, metavar="FOLDER", help="Where the copy lies.")
@click.option("--location", metavar="S3", help="Where it will lie for Athena: s3://bucket/prefix.")
@shared
def analysis(given: Given, output: str, location: str | None) -> int:
    """The record as Parquet files, for DuckDB and Athena.

    Days that are over and final are written once; run it again to add the days since. In the
    folder lie duckdb.sql and, with --location, athena/*.sql. docs/analysis.md has the tables and
    what to ask them.
    """
    if not output:
        raise UsageError("-o '' names no folder")
    with reading(given) as opened:
        done = write_analysis(opened.history, Path(output), location)
    if not given.json:
        through = f"through {done['through']}" if done["days"] else "no day is over and final yet"
        click.echo(f"{done['newDays']} days written, {done['days']} in all, {through}")
    given.answer(done)
    return 0


COMMANDS = (analysis,)
