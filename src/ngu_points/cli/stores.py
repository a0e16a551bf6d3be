"""Open the store that a command reads or writes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ngu_points.chain.rpc import Rpc
from ngu_points.cli.options import Given
from ngu_points.config import rules_of
from ngu_points.embedded.database import archive_of, naming_errors, writer_lock
from ngu_points.embedded.history import History
from ngu_points.embedded.store import Store
from ngu_points.errors import NguError, StoreError, UsageError
from ngu_points.pipeline.moment import Moment
from ngu_points.pipeline.query import View


@dataclass(frozen=True, slots=True)
class Opened:
    """A store open for reading, and its history."""

    given: Given
    store: Store
    history: History

    def view(self, moment: Moment | None) -> View:
        """The state at a moment, by default at the last covered block."""
        rules = self.store.rules
        position = self.store.position()
        if moment is None:
            return View.of(self.store.state(), rules)
        if moment.timestamp is not None:
            return self.history.state_at(rules, moment.timestamp)
        block = moment.block or 0
        if block > position.block:
            raise UsageError(f"--at {block}: the last covered block is {position.block}")
        if block == position.block:
            return View.of(self.store.state(), rules)
        return self.history.state_at(rules, self.time_of(block), block)

    def time_of(self, block: int) -> int:
        """The time of a block, from the record or from the chain."""
        known = self.history.time_of(block)
        if known is not None:
            return known
        urls = self.given.config.chain.rpc
        if not urls:
            raise UsageError(f"--at {block}: the time of that block is not recorded here: "
                             "give --rpc to ask the chain, or a time")  # fmt: skip
        return asyncio.run(_asked(urls, block))

    def validity(self, view: View) -> dict[str, Any]:
        """The block an answer is valid to, and whether that is final."""
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
def reading(given: Given) -> Iterator[Opened]:
    """The store of a command that reads."""
    with looking(given) as store:
        if store.meta("position") is None:
            raise NguError(f"{given.config.db} covers no block yet: run `ngu sync` first")
        store.check_rules()
        yield Opened(given, store, History(store))


@contextmanager
def looking(given: Given) -> Iterator[Store]:
    """The store as it is, whether or not it holds anything yet."""
    with naming_errors(given.config.db):
        store = Store.open(given.config.db, rules_of(given.config))
        try:
            yield store
        finally:
            store.close()


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
