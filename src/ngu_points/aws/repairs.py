"""A repair of the tables: written down whole, then done, so that it can be finished by anybody.

All that a repair changes is computed elsewhere, from a copy. Here it becomes an object in the
bucket and a marker in the meta table that names it. While the marker is there nobody folds; it
goes when every row is what the object says. Each row is written as an absolute value, so doing it
again from the beginning has no further effect.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ngu_points.aws import changes, parameters
from ngu_points.aws.changes import Step, Write
from ngu_points.aws.dynamo import Dynamo, Where, key_of
from ngu_points.aws.lease import KEY as LEASE_KEY
from ngu_points.aws.lease import Lease, lost
from ngu_points.aws.parameters import Parameters, Sent
from ngu_points.aws.tables import META
from ngu_points.aws.trouble import code_of, naming
from ngu_points.errors import StoreError, TransientError

PREFIX = "repairs/"
KEY = {"key": "repair"}
ROWS_AT_ONCE = 5_000


class Plan(msgspec.Struct):
    """What a repair makes of the tables."""

    why: str  # the command
    step: Step  # the state as one step; it leaves no change record
    rows: list[Write]  # of all other tables
    sent: str | None = None  # the event monitor's position, where that is set back


class Marker(msgspec.Struct):
    """What the meta table says while a repair is under way."""

    name: str  # of the object
    why: str
    at: int
    placed: bool = False  # all rows are as they should be; what is left is the monitor's position
    done: bool = False


@dataclass(frozen=True)
class Repairs:
    """Where repairs are written down; `s3` is botocore's client."""

    dynamo: Dynamo
    s3: Any
    bucket: str
    parameters: Parameters

    def begin(self, lease: Lease, plan: Plan, now: int) -> Marker:
        """Write a repair down, to be finished whatever happens; StoreError if the lease is lost."""
        name = f"{PREFIX}{now}-{lease.fence}-{self.dynamo.nonce()}.bin"
        data = zlib.compress(msgspec.msgpack.encode(plan), 6)
        with naming(f"s3://{self.bucket}/{name}"):
            self.s3.put_object(Bucket=self.bucket, Key=name, Body=data)
        marker = Marker(name, plan.why, now)
        self._mark(lease, marker)
        return marker

    def apply(self, lease: Lease, marker: Marker, now: int) -> None:
        """Do what is written down, as far as it is not done yet."""
        if marker.done:
            return
        plan = self._plan(marker)
        if not marker.placed:
            _write(self.dynamo, lease, plan.rows)
            changes.write_rows(self.dynamo, lease, plan.step, now)
            for head in changes.heads(self.dynamo, -1):
                changes.drop(self.dynamo, head)
            changes.move_position(self.dynamo, lease, plan.step.before, plan.step.after)
            marker = msgspec.structs.replace(marker, placed=True)
            self._mark(lease, marker)
        if plan.sent is not None:
            self._set_back(parameters.sent_of(plan.sent, marker.name))
        self._mark(lease, msgspec.structs.replace(marker, done=True))

    def close(self, marker: Marker) -> None:
        """Forget a repair that is done: others may fold again, unless there is another by now."""
        with naming(f"s3://{self.bucket}/{marker.name}"):
            self.s3.delete_object(Bucket=self.bucket, Key=marker.name)
        self.dynamo.delete(META, KEY, Where("#name = :name", {"name": marker.name}))

    def _set_back(self, sent: Sent) -> None:
        """Unless the event monitor has gone on from there already."""
        there = self.parameters.position()
        if there is None or there.sequence < sent.sequence:
            self.parameters.put_position(sent)

    def _mark(self, lease: Lease, marker: Marker) -> None:
        row = {**KEY, **msgspec.to_builtins(marker), "fence": lease.fence}
        if not self.dynamo.put_while(META, row, META, LEASE_KEY, lease.holds):
            raise lost(lease)

    def _plan(self, marker: Marker) -> Plan:
        where = f"s3://{self.bucket}/{marker.name}"
        try:
            with naming(where):
                try:
                    body = self.s3.get_object(Bucket=self.bucket, Key=marker.name)["Body"].read()
                except Exception as error:
                    if code_of(error) != "NoSuchKey":
                        raise
                    body = b""  # it was left for longer than it is kept
            return msgspec.msgpack.decode(zlib.decompress(body), type=Plan)
        except (zlib.error, msgspec.DecodeError) as error:
            raise StoreError(
                f"{where} is damaged or gone: `{marker.why}` was broken off and cannot be finished;"
                " `ngu rebuild --store dynamodb` begins anew"
            ) from error


def unfinished(dynamo: Dynamo) -> Marker | None:
    """The repair that is under way or was broken off."""
    row = dynamo.get(META, KEY)
    return msgspec.convert(row, Marker, strict=False) if row else None


def refuse(dynamo: Dynamo, error: Callable[[str], Exception] = TransientError) -> None:
    """Raise an error that names the repair that is under way, if there is one."""
    marker = unfinished(dynamo)
    if marker:
        raise error(told(marker))


def told(marker: Marker) -> str:
    """For people: what is under way, and what to do."""
    return (
        "a repair of the tables is under way or was broken off: if"
        f" `{marker.why} --store dynamodb` does not run any more, run it again to finish it"
    )


def _write(dynamo: Dynamo, lease: Lease, rows: list[Write]) -> None:
    """Put or drop rows, except where a later writer was."""

    def one(write: Write) -> bool:
        if write.after is None:
            known: Mapping[str, Any] = write.before or {}
            return dynamo.delete(write.table, key_of(write.table, known), lease.unfenced)
        return dynamo.put(write.table, {**write.after, "fence": lease.fence}, lease.unfenced)

    for at in range(0, len(rows), ROWS_AT_ONCE):
        if not all(dynamo.each(one, rows[at : at + ROWS_AT_ONCE])):
            raise lost(lease)
