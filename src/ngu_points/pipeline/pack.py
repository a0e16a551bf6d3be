"""Named arrays as bytes and back: NumPy's .npz, never pickled, with a checksum over all of it."""

from __future__ import annotations

import hashlib
import io
import math
import struct
import tokenize
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from ngu_points.errors import StoreError

DIGEST = 32
HEADER = 1 << 16  # bytes: no array's description is longer
DAMAGE = (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    KeyError,
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
)


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


def unpack(data: bytes, what: str, only: str | None = None) -> dict[str, Any]:
    """The arrays, or one of them; StoreError naming `what` if a bit of any changed."""
    body, checksum = data[:-DIGEST], data[-DIGEST:]
    if hashlib.sha256(body).digest() != checksum:
        raise StoreError(f"{what} is damaged: its checksum does not match")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as files:
            found = files.infolist()
        named = {f.filename.removesuffix(".npy"): f for f in found}
        return {n: _wide(_array(body, f)) for n, f in named.items() if only in (None, n)}
    except DAMAGE as error:
        raise StoreError(f"{what} is damaged: {error}") from error


def _array(body: bytes, file: zipfile.ZipInfo) -> Any:
    """A stored .npy file as an array of its own. Its bytes are known to be right: `np.load` would
    take twice as long as the checksum over all of them, to add them up once more."""
    if file.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{file.filename} is compressed")
    name, extra = struct.unpack_from("<HH", body, file.header_offset + 26)
    start = file.header_offset + 30 + name + extra
    npy = io.BytesIO(body[start : start + HEADER])
    if np.lib.format.read_magic(npy) != (1, 0):
        raise ValueError(f"{file.filename} has another version")
    shape, by_column, dtype = np.lib.format.read_array_header_1_0(npy)
    flat = np.frombuffer(body, dtype, math.prod(shape), start + npy.tell())
    return flat.reshape(shape, order="F" if by_column else "C").copy(order="K")


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
