"""Options that every command takes, and what they make: a configuration, a moment, an answer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ngu_points.chain.address import address_of
from ngu_points.config import Config, load
from ngu_points.errors import UsageError
from ngu_points.pipeline.moment import Moment, moment_of

if TYPE_CHECKING:
    from ngu_points.mirror.deployment import Deployment

DEFAULT_FILE = Path("ngu.toml")


@dataclass(frozen=True, slots=True)
class Given:
    """What the shared options of one command say."""

    config: Config
    json: bool
    deployment: Deployment | None = None  # with --store dynamodb

    def answer(self, data: dict[str, Any]) -> None:
        """With --json: one JSON object, the last line on stdout."""
        if self.json:
            click.echo(json.dumps(data))

    def on_file(self, command: str, on_aws: str) -> None:
        """Refuse --store dynamodb for a command that is of one machine; `on_aws` is done there."""
        if self.deployment:
            raise UsageError(f"`{command}` goes with a database file: on AWS {on_aws}")


def shared(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the shared options; the command gets them as its first argument, a `Given`."""

    @click.option("--config", "file", type=click.Path(path_type=Path), metavar="FILE",
                  help="Settings (default: ngu.toml, if it is there).")  # fmt: skip
    @click.option("--rpc", multiple=True, metavar="URL", help="Ethereum node; repeat for several.")
    @click.option("--contract", metavar="0x…", help="The collection's token contract.")
    @click.option("--kind", type=click.Choice(["ngu", "erc721", "custom"]),
                  help="What its events look like.")  # fmt: skip
    @click.option("--from-block", type=click.IntRange(0), metavar="N",
                  help="First block (default: the one that created the contract).")  # fmt: skip
    @click.option("--finality", metavar="WHEN",
                  help="Read up to: finalized, safe, or a number of confirmations.")  # fmt: skip
    @click.option("--db", metavar="PATH", help="The database file; the archive lies beside it.")
    @click.option("--store", type=click.Choice(["sqlite", "dynamodb"]),
                  help="A database file, or the tables of a stage on AWS.")  # fmt: skip
    @click.option("--stage", type=click.Choice(["prod", "staging"]), help="Of the tables on AWS.")
    @click.option("--service", metavar="NAME", help="Of the tables on AWS (default: ngu).")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
    @wraps(command)
    def wrapped(
        file: Path | None,
        rpc: tuple[str, ...],
        contract: str | None,
        kind: str | None,
        from_block: int | None,
        finality: str | None,
        db: str | None,
        as_json: bool,
        **rest: Any,
    ) -> Any:
        options = {
            "chain.rpc": list(rpc) or None,
            "contract.address": contract,
            "contract.kind": kind,
            "contract.from_block": from_block,
            "chain.finality": finality,
            "store.db": db,
            "store.kind": rest.pop("store"),
            "store.stage": rest.pop("stage"),
            "store.service": rest.pop("service"),
        }
        path = file or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
        config = load(path, os.environ, options)
        if config.store.kind == "sqlite":
            return command(Given(config, as_json), **rest)
        # what is of AWS is a sixth of a command's start: on a file it goes without
        from ngu_points.mirror.deployment import opened

        deployment = opened(config, os.environ, options, own=file is not None)
        return command(Given(deployment.config, as_json, deployment), **rest)

    return wrapped


def wallet(text: str) -> bytes:
    return address_of(text, "WALLET")


def token_id(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 2**256:
        raise UsageError(f"ID: {text!r} is not a token id: it takes a number from 0 to 2^256-1")
    return value


def at(text: str | None) -> Moment | None:
    """The moment that --at names; None for now."""
    return None if text is None else moment_of(text, "--at")
