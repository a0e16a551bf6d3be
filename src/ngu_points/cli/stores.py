"""Open the store that a command reads or writes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ngu_points.chain.rpc import Rpc
from ngu_points.cli.options import Given
from ngu_points.config import rules_of
from ngu_points.embedded.database import archive_of, naming_errors, writer_lock
from ngu_points.embedded.history import History
from ngu_points.embedded.retractions import Retraction, settled
from ngu_points.embedded.store import Store
from ngu_points.engine.rules import DAY, Rules
from ngu_points.errors import NguError, StoreError, UsageError
from ngu_points.pipeline.moment import Moment
from ngu_points.pipeline.query import View


class Asked(Protocol):
    """What answers questions about one moment."""

    @property
    def rules(self) -> Rules: ...

    def view(self) -> View:
        """The state at the moment."""
        ...

    def around(self, token: int) -> View:
        """At least what concerns one token."""
        ...

    def midnight(self, view: View) -> View | None:
        """The state at 00:00 UTC of that day; None where it takes the whole history to tell."""
        ...

    def fingerprint(self) -> str: ...

    def validity(self, view: View) -> dict[str, Any]:
        """The block an answer is valid to, and whether that is final."""
        ...

    def is_uncertain(self, wallet: bytes) -> bool:
        """Whether an event that contradicts our record concerns the wallet."""
        ...

    def retractions(self, wallet: bytes) -> list[Retraction]:
        """What was taken back of a wallet's points, as far as that is known."""
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A database open for reading, with its history, to ask about a moment (default: now)."""

    given: Given
    store: Store
    history: History
    moment: Moment | None = None

    @property
    def rules(self) -> Rules:
        return self.store.rules

    def view(self) -> View:
        moment, position = self.moment, self.store.position()
        if moment is None:
            return View.of(self.store.state(), self.rules)
        if moment.timestamp is not None:
            return self.history.state_at(self.rules, moment.timestamp)
        block = moment.block or 0
        if block > position.block:
            raise UsageError(f"--at {block}: the last covered block is {position.block}")
        if block == position.block:
            return View.of(self.store.state(), self.rules)
        return self.history.state_at(self.rules, self.time_of(block), block)

    def around(self, token: int) -> View:  # noqa: ARG002 -- all of it is at hand
        return self.view()

    def midnight(self, view: View) -> View:
        return self.history.state_at(self.rules, view.timestamp // DAY * DAY)

    def fingerprint(self) -> str:
        return self.store.fingerprint()

    def is_uncertain(self, wallet: bytes) -> bool:
        return self.store.is_uncertain(wallet)

    def retractions(self, wallet: bytes) -> list[Retraction]:
        return settled(self.store, wallet)

    def time_of(self, block: int) -> int:
        """The time of a block, from the record or from the chain."""
        known = self.history.timed(block)
        if known is not None and known[0] == block:
            return known[1]
        urls = self.given.config.chain.rpc
        if not urls:
            near = f", or block {known[0]}, which is of @{known[1]}" if known else ""
            raise UsageError(f"--at {block}: the time of that block is not recorded here: "
                             f"give --rpc to ask the chain, or a time{near}")  # fmt: skip
        return asyncio.run(_asked(urls, block))

    def validity(self, view: View) -> dict[str, Any]:
        final = self.store.meta("final", -1)
        return {
            "block": view.state.block,
            "timestamp": view.timestamp,
            "final": view.state.block <= final,
        }


async def _asked(urls: list[str], block: int) -> int:
    async with Rpc(urls) as rpc:
        header = await rpc.header(block)
    if header is None:
        raise UsageError(f"--at {block}: the chain has no such block")
    return header.timestamp


@contextmanager
def asking(given: Given, moment: Moment | None = None) -> Iterator[Asked]:
    """Who can tell about a moment: the deployed tables about now, else a database."""
    if given.deployment and moment is None:
        given.deployment.check()
        from ngu_points.mirror.present import Present

        yield Present(given.deployment)
    else:
        with reading(given, moment) as opened:
            yield opened


@contextmanager
def reading(given: Given, moment: Moment | None = None) -> Iterator[Opened]:
    """The database of a command that reads."""
    with looking(given) as store:
        if store.meta("position") is None:
            raise NguError(f"{given.config.db} covers no block yet: run `ngu sync` first")
        store.check_rules()
        yield Opened(given, store, History(store), moment)


@contextmanager
def looking(given: Given) -> Iterator[Store]:
    """The store as it is, whether or not it holds anything yet."""
    config = beside(given).config
    with naming_errors(config.db):
        store = Store.open(config.db, rules_of(config))
        try:
            yield store
        finally:
            store.close()


def beside(given: Given, *, strict: bool = True, asks: bool = False) -> Given:
    """The same on a copy of the deployment, brought up to date; on a database as it is.

    `strict` as in `mirror.repair.copied`; `asks`: with the addresses of nodes.
    """
    if given.deployment is None:
        return given
    from ngu_points.mirror.repair import copied

    copied(given.deployment, copy_of(given), strict=strict)
    return _on_copy(given, asks=asks)


@contextmanager
def repairing(given: Given, why: str, *, asks: bool = False) -> Iterator[Given]:
    """Where to repair: the database, or a copy of the deployment which then goes back.

    `why` is the command; one that had been broken off is finished first.
    """
    if given.deployment is None:
        yield given
        return
    on, path = given.deployment, copy_of(given)
    from ngu_points.mirror import repair as mirror

    with mirror.repairing(on, path, why):
        yield _on_copy(given, asks=asks)


def copy_of(given: Given) -> Path:
    """Where the copy of a command's deployment is."""
    assert given.deployment is not None, "--store dynamodb"
    from ngu_points.mirror.deployment import cache

    return cache(given.deployment, os.environ)


def _on_copy(given: Given, *, asks: bool) -> Given:
    assert given.deployment is not None, "--store dynamodb"
    config = given.deployment.asking() if asks else given.config
    place = msgspec.structs.replace(config.store, db=str(copy_of(given)), kind="sqlite")
    return Given(msgspec.structs.replace(config, store=place), given.json)


@contextmanager
def writing(given: Given, *, archive_will_do: bool = False) -> Iterator[History]:
    """The store of a command that writes, alone with it; made anew if the archive is enough."""
    db = given.config.db
    if not db.exists() and not (archive_will_do and archive_of(db).is_dir()):
        raise StoreError(f"{db} does not exist: run `ngu sync` or `ngu run` first")
    with writer_lock(db), naming_errors(db):
        store = Store.open(db, rules_of(given.config), write=True)
        try:
            if not archive_will_do:
                store.check_rules()
            yield History(store)
        finally:
            store.close()
