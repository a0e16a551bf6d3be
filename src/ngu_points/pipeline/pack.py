"""Named arrays as bytes and back: NumPy's .npz, never pickled, with a checksum over all of it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from ngu_points.errors import StoreError

DIGEST = 32
DAMAGE = (ValueError, OSError, EOFError, RuntimeError, KeyError, zipfile.BadZipFile)


def pack(arrays: Mapping[str, Any]) -> bytes:
    """Object columns (wide integers) travel as decimal text."""
    buffer = io.BytesIO()
    pack_into(buffer, arrays)
    return buffer.getvalue()


def pack_into(file: io.BytesIO | io.BufferedRandom, arrays: Mapping[str, Any]) -> None:
    """The bytes of `pack` into an empty file, open to read as well, without holding them."""
    np.savez(file, allow_pickle=False, **{k: _plain(np.asarray(a)) for k, a in arrays.items()})
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").digest()
    file.seek(0, io.SEEK_END)
    file.write(digest)


def unpack(data: bytes, what: str) -> dict[str, Any]:
    """The arrays; StoreError naming `what` if a bit of it changed."""
    body, checksum = data[:-DIGEST], data[-DIGEST:]
    if hashlib.sha256(body).digest() != checksum:
        raise StoreError(f"{what} is damaged: its checksum does not match")
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            return {name: _wide(arrays[name]) for name in arrays.files}
    except DAMAGE as error:
        raise StoreError(f"{what} is damaged: {error}") from error


class Columns:
    """Arrays of a packed file, each read when it is asked for and checked by its own CRC."""

    def __init__(self, file: IO[bytes], what: str) -> None:
        self.what = what
        try:
            self._arrays: Any = np.load(file, allow_pickle=False)
        except DAMAGE as error:
            raise StoreError(f"{what} is damaged: {error}") from error

    def __getitem__(self, name: str) -> Any:
        try:
            return _wide(self._arrays[name])
        except DAMAGE as error:
            raise StoreError(f"{self.what} is damaged: {error}") from error


def _plain(array: Any) -> Any:
    return array.astype("U") if array.dtype == object else array


def _wide(array: Any) -> Any:
    if array.dtype.kind != "U":
        return array
    out = np.empty(array.shape, object)
    out.ravel()[:] = [int(text) for text in array.ravel()]
    return out
