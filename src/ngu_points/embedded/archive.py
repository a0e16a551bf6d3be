"""The archive: every covered event for ever, in append-only, checksummed segment files.

A segment holds one block range whole. Files appear complete or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from ngu_points.engine.coverage import Covered
from ngu_points.errors import StoreError
from ngu_points.pipeline import segments
from ngu_points.pipeline.pack import Columns
from ngu_points.pipeline.segments import (
    Identity,
    check,
    decoded,
    encoded,
    identity_in,
    segment_name,
)


def named(path: Path) -> tuple[int, int, int]:
    """First block, last block and revision, from the name of a segment's file."""
    return segments.named(path.name)


def segment_files(folder: Path) -> list[Path]:
    """All segments in the folder: by first block, the largest and latest first."""
    found = [(named(path), path) for path in folder.glob("[0-9]*-[0-9]*.npz")]
    found.sort(key=lambda f: (f[0][0], -f[0][1], -f[0][2]))
    return [path for _, path in found]


def write_segment(folder: Path, covered: Covered, identity: Identity) -> str:
    """Write a range's events; returns the file's name once it is on the disk.

    What holds these blocks already stays as it is: this is the next revision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ends = (covered.from_block, covered.to_block)
    there = [named(path)[2] for path in segment_files(folder) if named(path)[:2] == ends]
    name = segment_name(*ends, max(there, default=-1) + 1)
    temporary = folder / f".{name}.{os.getpid()}"
    try:
        with temporary.open("wb") as file:
            file.write(encoded(covered, identity))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / name)
        sync_folder(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{folder} cannot take the segment {name}: {error.strerror}") from error
    return name


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder onto the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def identity_of(path: Path) -> Identity:
    """What the segment's archive is of."""
    return identity_in(_bytes(path), str(path), path.name)


def read_segment(path: Path) -> Covered:
    """A segment as it was written; StoreError if it is missing or a bit of it changed."""
    return decoded(_bytes(path), str(path), path.name)


def check_segment(path: Path) -> None:
    """StoreError if a segment is missing or not as it was written."""
    check(_bytes(path), str(path), path.name)


def read_segments(folder: Path, names: Iterable[str]) -> Iterator[Covered]:
    """Segments one after the other: while one is used, the next is read and checked."""
    with ThreadPoolExecutor(1, thread_name_prefix="archive") as reader:
        ahead: Future[Covered] | None = None
        for name in names:
            following = reader.submit(read_segment, folder / name)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _missing(path, error) from error


@contextmanager
def segment_columns(path: Path) -> Iterator[Columns]:
    """A segment of which only some columns are read; StoreError if one of these is damaged."""
    try:
        with path.open("rb") as file:
            yield Columns(file, str(path))
    except OSError as error:
        raise _missing(path, error) from error
    except StoreError as error:
        raise StoreError(f"{error}: {segments.remedy(path.name)}") from error


def _missing(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path}: {error.strerror}; the archive is incomplete: {segments.remedy(path.name)}"
    )
