"""Where the objects of a backup are: in the bucket, or in a folder that is a copy of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from heapq import merge
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from ngu_points.aws.backup import Saved
from ngu_points.aws.tables import BATCH_EVENTS, STAKING_EVENTS
from ngu_points.aws.trouble import naming
from ngu_points.engine.coverage import BATCH, STAKING
from ngu_points.errors import BadInput, NguError, TransientError, UsageError

BACKUP, FAILED = "backup/", "failed/"
_HOUR = re.compile(r"/(\d{4}/\d\d/\d\d/\d\d)/")
_MOMENT = re.compile(r"-(\d{4}(?:-\d\d){5})-")
_TABLE = re.compile(rf"(?:^|/)[^/]+-({BATCH_EVENTS}|{STAKING_EVENTS})-[^/]+/")
STREAMS = {BATCH_EVENTS: BATCH, STAKING_EVENTS: STAKING}


def in_bucket(
    s3: Any, bucket: str, tables: Mapping[str, str], since: str = "", until: str = "9999"
) -> Iterator[Saved]:
    """The objects of a deployment's backup in the order of time, then what was not delivered.

    `tables` are the full names of the event tables by stream; `since` and `until` the first and
    the last hour of arrival, `YYYY/MM/DD/HH` in UTC.
    """

    def under(prefix: str, stream: str, *, failed: bool) -> Iterator[Saved]:
        after = "" if failed else prefix + since
        for key in _keys(s3, bucket, prefix, after):
            hour = _HOUR.search(key)
            if hour and hour[1] > until and not failed:
                return
            if hour is None or since <= hour[1] <= until:
                content = partial(_downloaded, s3, bucket, key)
                yield Saved(f"s3://{bucket}/{key}", stream, failed, content)

    places = tables.items()
    backups = (under(f"{BACKUP}{table}/", stream, failed=False) for stream, table in places)
    yield from merge(*backups, key=lambda saved: _moment(saved.name))
    for stream, table in places:
        yield from under(f"{FAILED}{table}/", stream, failed=True)


def in_folder(folder: Path, since: str = "", until: str = "9999") -> Iterator[Saved]:
    """The same of a local copy of the bucket; UsageError if there is nothing of a backup in it."""
    found = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        table, hour = _TABLE.search(f"{folder.name}/{name}"), _HOUR.search(name)
        if table and path.is_file() and (hour is None or since <= hour[1] <= until):
            failed = FAILED in f"{folder.name}/{name}"
            found.append(Saved(str(path), STREAMS[table[1]], failed, partial(_opened, path)))
    if not found:
        raise UsageError(
            f"{folder} holds no backup: it takes a copy of the bucket, with the folders"
            f" {BACKUP}<table>/ and, if there is one, {FAILED}<table>/ in it"
        )
    yield from sorted(found, key=lambda saved: (saved.failed, _moment(saved.name), saved.name))


def _opened(path: Path) -> IO[bytes]:
    return path.open("rb")


def _moment(name: str) -> str:
    """When an object began, so that the streams can be read side by side."""
    moment, hour = _MOMENT.search(name), _HOUR.search(name)
    return moment[1] if moment else hour[1].replace("/", "-") if hour else ""


def _keys(s3: Any, bucket: str, prefix: str, after: str) -> Iterator[str]:
    pages = s3.get_paginator("list_objects_v2")
    with naming(f"the bucket {bucket}"):
        for page in pages.paginate(Bucket=bucket, Prefix=prefix, StartAfter=after):
            yield from (found["Key"] for found in page.get("Contents", []))


@contextmanager
def _downloaded(s3: Any, bucket: str, key: str) -> Iterator[IO[bytes]]:
    """An object as a temporary file; BadInput if it alone cannot be had."""
    with TemporaryFile() as file:
        try:
            with naming(f"s3://{bucket}/{key}"):
                body = s3.get_object(Bucket=bucket, Key=key)["Body"]
                with body:
                    shutil.copyfileobj(body, file)
        except TransientError:
            raise
        except NguError as error:
            raise BadInput(str(error)) from error
        yield file
