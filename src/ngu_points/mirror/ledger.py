"""What people are told beside the state: certificates, points taken back, corrected feast days.

A deployment keeps it as one object in its bucket, named by a row of the meta table; a copy has it
in the tables of its database.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import msgspec

from ngu_points.aws.changes import Write
from ngu_points.aws.dynamo import Where
from ngu_points.aws.items import Row
from ngu_points.aws.tables import META
from ngu_points.aws.trouble import naming
from ngu_points.embedded.retractions import Retraction
from ngu_points.embedded.store import Store
from ngu_points.errors import StoreError, TransientError
from ngu_points.mirror.deployment import Deployment

PREFIX = "ledger/"
KEY = {"key": "ledger"}
TABLES = {
    "certificates": ("fromBlock", "toBlock", "at", "verdicts"),
    "retractions": ("at", "why", "block", "timestamp", "wallet", "shown", "now"),
    "shown": ("id", "at", "why", "block", "through", "timestamp", "totals"),
    "corrections": ("day", "at", "why", "before", "after"),
}
META_KEYS = ("verified", "cleared")


class Ledger(msgspec.Struct):
    """Rows by table, and what the meta table says."""

    rows: dict[str, list[list[Any]]] = {}
    meta: dict[str, Any] = {}


def read(on: Deployment) -> Ledger:
    """The deployment's ledger; an empty one where nothing was ever noted."""
    row = on.store.dynamo.get(META, KEY)
    if row is None:
        return Ledger()
    where = f"s3://{on.bucket}/{row['name']}"
    try:
        with naming(where):
            body = on.s3.get_object(Bucket=on.bucket, Key=row["name"])["Body"].read()
        return msgspec.msgpack.decode(zlib.decompress(body), type=Ledger)
    except (zlib.error, msgspec.DecodeError) as error:
        raise StoreError(f"{where} is damaged: bring back an earlier version of it") from error


def retractions(on: Deployment, wallet: bytes) -> list[Retraction]:
    """What was taken back of a wallet's points, oldest first."""
    found = [Retraction(*row) for row in read(on).rows.get("retractions", [])]
    return [r for r in found if r.wallet == wallet]


def load(on: Deployment, local: Store) -> None:
    """Make the ledger in a copy what the deployment's is; inside a commit."""
    ledger = read(on)
    for table, columns in TABLES.items():
        local.db.execute(f"DELETE FROM {table}")
        marks = ",".join("?" * len(columns))
        local.db.executemany(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})",
            ledger.rows.get(table, []),
        )
    for key in META_KEYS:
        local.set_meta(key, ledger.meta.get(key, {} if key == "cleared" else None))


def held(local: Store) -> Ledger:
    """The ledger of a copy."""
    rows = {}
    for table, columns in TABLES.items():
        names = ", ".join(columns)
        found = local.db.execute(f"SELECT {names} FROM {table} ORDER BY {names}")
        rows[table] = [list(row) for row in found]
    return Ledger(rows, {key: local.meta(key) for key in META_KEYS if local.meta(key)})


def written(on: Deployment, local: Store, now: int) -> Row | None:
    """Write the copy's ledger to the bucket; the row that will name it. None if it is the same."""
    mine, known = held(local), on.store.dynamo.get(META, KEY)
    if _packed(mine) == _packed(read(on)):
        return None
    version = int(known["version"]) + 1 if known else 1
    name = f"{PREFIX}{version:08d}-{now}-{on.store.dynamo.nonce()}.bin"
    with naming(f"s3://{on.bucket}/{name}"):
        on.s3.put_object(Bucket=on.bucket, Key=name, Body=_packed(mine))
    return {**KEY, "name": name, "version": version}


def publish(on: Deployment, local: Store, now: int) -> None:
    """Make the deployment's ledger what the copy's is; TransientError if another has changed it."""
    row = written(on, local, now)
    if row is None:
        return
    same = Where("attribute_not_exists(#key) OR #version = :was", {"was": row["version"] - 1})
    if not on.store.dynamo.put(META, row, same):
        raise TransientError("another command has noted something meanwhile: run it again")


def _packed(ledger: Ledger) -> bytes:
    empty = {name: rows for name, rows in sorted(ledger.rows.items()) if rows}
    meta = json.loads(json.dumps(ledger.meta, sort_keys=True))
    return zlib.compress(msgspec.msgpack.encode(Ledger(empty, meta)), 6)


def write_of(row: Row) -> Write:
    """The row as a part of a repair."""
    return Write(META, None, row)
