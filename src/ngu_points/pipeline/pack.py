"""Named arrays as bytes and back: NumPy's .npz, never pickled, with a checksum over all of it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from ngu_points.errors import StoreError

DIGEST = 32


def pack(arrays: Mapping[str, Any]) -> bytes:
    """Object columns (wide integers) travel as decimal text."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{k: _plain(np.asarray(a)) for k, a in arrays.items()})
    with buffer.getbuffer() as data:  # no copy, nor is there one below: a state is large
        digest = hashlib.sha256(data).digest()
    buffer.write(digest)
    return buffer.getvalue()


def unpack(data: bytes, what: str) -> dict[str, Any]:
    """The arrays; StoreError naming `what` if a bit of it changed."""
    body, checksum = data[:-DIGEST], data[-DIGEST:]
    if hashlib.sha256(body).digest() != checksum:
        raise StoreError(f"{what} is damaged: its checksum does not match")
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            return {name: _wide(arrays[name]) for name in arrays.files}
    except (ValueError, OSError, EOFError, RuntimeError, KeyError, zipfile.BadZipFile) as error:
        raise StoreError(f"{what} is damaged: {error}") from error


def _plain(array: Any) -> Any:
    return array.astype("U") if array.dtype == object else array


def _wide(array: Any) -> Any:
    if array.dtype.kind != "U":
        return array
    out = np.empty(array.shape, object)
    out.ravel()[:] = [int(text) for text in array.ravel()]
    return out
