"""The command that writes everything at one block into a folder: `ngu snapshot`."""

from __future__ import annotations

from pathlib import Path

import click

from ngu_points.cli.options import Given, shared
from ngu_points.cli.stores import reading
from ngu_points.embedded.bundle import write_bundle
from ngu_points.embedded.exports import FORMATS


@click.command()
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="csv", show_default=True,
    help="Of the tables.",
)  # fmt: skip
@click.option("-o", "--output", metavar="FOLDER", help="Default: ngu-snapshot-BLOCK.")
@shared
def snapshot(given: Given, form: str, output: str | None) -> int:
    """Write all there is at one block into a folder.

    Tables, rules, position, fingerprint, and a manifest with hashes.
    Everything in it is of one block, whatever is written meanwhile. Tokens are ranges. To check a
    bundle: the hashes in manifest.json, then `ngu fingerprint --at BLOCK` anywhere else.
    """
    with reading(given) as opened:
        block = opened.store.position().block
        folder = Path(f"ngu-snapshot-{block}" if output is None else output)
        manifest = write_bundle(folder, form, opened.history)
    if not given.json:
        size = sum(file["bytes"] for file in manifest["files"].values())
        click.echo(
            f"wrote {folder}: {len(manifest['files'])} files, {size:,} bytes, block {block:,}"
        )
        click.echo(f"fingerprint {manifest['fingerprint']}")
    given.answer({"folder": str(folder), **manifest})
    return 0


COMMANDS = (snapshot,)
