"""What Firehose has left goes back: into the deployed tables, or into a database of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from ngu_points.aws import backup, saved
from ngu_points.aws.backup import Place, Saved
from ngu_points.aws.records import Origin, Poison
from ngu_points.aws.refill import Tables
from ngu_points.config import Config, contract_of, rules_of
from ngu_points.embedded.database import naming_errors, writer_lock
from ngu_points.embedded.history import History
from ngu_points.embedded.refill import Database
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import Coverage, Delivery
from ngu_points.engine.events import Bool, Events
from ngu_points.errors import NguError, UsageError
from ngu_points.mirror.deployment import Deployment
from ngu_points.mirror.repair import owner, publish
from ngu_points.pipeline.interfaces import Position
from ngu_points.pipeline.segments import Identity

Objects = Callable[[], Iterable[Saved]]
Seen = Callable[[int], None]


def objects_of(on: Deployment | None, folder: Path | None, hours: tuple[str, str]) -> Objects:
    """The backup in a folder, else the one in the deployment's bucket; hours are YYYY/MM/DD/HH."""
    since, until = hours
    if folder is not None:
        return lambda: saved.in_folder(folder, since, until)
    if on is None:
        raise UsageError("which backup? --stage names a deployment, --folder DIR a copy of its"
                         " bucket")  # fmt: skip
    streams = {stream: on.env.tables[name] for name, stream in saved.STREAMS.items()}
    return lambda: saved.in_bucket(on.s3, on.bucket, streams, since, until)


def into_tables(on: Deployment, objects: Objects, seen: Seen, *, dry: bool) -> dict[str, Any]:
    """Put a backup back into the tables of its stage."""
    stage, chain_id = _origin(objects)
    chain_id = on.config.chain.chain_id or on.store.chain_id or chain_id
    if stage != on.env.stage:
        raise UsageError(f"the backup is of stage {stage}, not of {on.env.stage}")
    contract = contract_of(on.config)
    if dry and not on.store.chain_id:
        with TemporaryDirectory() as scratch:  # nothing is there: as into a new database
            return into_database(_at(on.config, Path(scratch)), objects, seen, dry=True)
    if not on.store.chain_id:
        first = _first(on.config, objects, Origin(stage, chain_id, contract.addresses))
        on.store.identify(chain_id, "0x" + contract.token.hex(), contract.kind, first)
    place = Tables(on.store, on.archive, f"{owner()}, from a backup")
    report = _replayed(place, objects, Origin(stage, chain_id, contract.addresses), seen, dry=dry)
    if not dry:
        report["metrics"] = publish(on, int(time.time()))
        report["fingerprint"] = on.store.fingerprint() if report["block"] >= 0 else None
    return report


def _at(config: Config, folder: Path) -> Config:
    store = msgspec.structs.replace(config.store, db=str(folder / "ngu.db"), kind="sqlite")
    return msgspec.structs.replace(config, store=store)


def into_database(config: Config, objects: Objects, seen: Seen, *, dry: bool) -> dict[str, Any]:
    """Make a database from a backup alone, or go on with one that was."""
    stage, chain_id = _origin(objects)
    contract = contract_of(config)
    origin = Origin(stage, config.chain.chain_id or chain_id, contract.addresses)
    with _database(config, dry=dry) as place:
        known = place.store.meta("start_block")
        start = _first(config, objects, origin) if known is None else known
        identity = Identity(origin.chain_id, "0x" + contract.token.hex(), contract.kind)
        place.begin(identity, contract.digest(), start)
        report = _replayed(place, objects, origin, seen, dry=dry)
        if not dry:
            report["fingerprint"] = place.store.fingerprint()
    return report


@contextmanager
def _database(config: Config, *, dry: bool) -> Iterator[Database]:
    """The database to fill; where nothing shall be written and there is none, one for a moment."""
    with TemporaryDirectory() as scratch:
        db = config.db if config.db.exists() or not dry else Path(scratch) / "ngu.db"
        rules = rules_of(config)
        with (
            writer_lock(db),
            naming_errors(db),
            closing(Store.open(db, rules, write=True)) as store,
        ):
            store.check_rules()
            yield Database(History(store))


def _origin(objects: Objects) -> tuple[str, int]:
    found = backup.origin(objects())
    if found is None:
        raise NguError("the backup holds no record of a stage: is it the right one?")
    return found


def _first(config: Config, objects: Objects, origin: Origin) -> int:
    """The first block of all: the settings' own, or the first that the backup announces."""
    if config.contract.from_block is not None:
        return config.contract.from_block
    first = backup.first_block(objects(), origin)
    if first is None:
        raise NguError("the backup announces no blocks: name the first one, --from-block")
    return first


def _replayed(
    place: Place, objects: Objects, origin: Origin, seen: Seen, *, dry: bool
) -> dict[str, Any]:
    where = Unwritten(place) if dry else place
    done = backup.replay(objects(), where, origin, int(time.time()), seen=seen)
    report = done.shown(place.store.position()) | {"dryRun": dry}
    if dry:
        report["incomplete"] = 0
    return report


@dataclass(frozen=True)
class Unwritten:
    """A place to which nothing is written, and its store: what would be done is counted."""

    place: Place

    @property
    def store(self) -> Any:
        return self

    def commit(self) -> AbstractContextManager[None]:
        return nullcontext()

    def put(self, deliveries: Sequence[Delivery], now: int, *, processed: bool) -> None:
        """Leave everything as it is."""

    def position(self) -> Position:
        return self.place.store.position()

    def coverage(self, after: int) -> list[Coverage]:
        return self.place.store.coverage(after)

    def archived(self) -> int:
        return self.place.archived()

    def holds(self, found: Events) -> Bool:
        return self.place.holds(found)

    def arrived(self, record: Coverage) -> bool:
        return self.place.arrived(record)

    def quarantine(self, poison: Sequence[Poison], stream: str) -> None:
        """Leave it where it is."""

    def process(self) -> int:
        return 0
