"""Packed arrays come back as they were, and what is no packed array is named."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ngu_points.errors import StoreError
from ngu_points.pipeline.pack import Columns, pack, unpack

PLAIN = arrays.arrays(
    st.sampled_from([np.uint8, np.uint32, np.int64, np.bool_]),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)
WIDE = st.lists(st.integers(0, 2**256 - 1), max_size=5).map(lambda v: np.array(v, object))


@given(
    held=st.dictionaries(st.sampled_from("abcde"), PLAIN | WIDE, min_size=1),
    by_column=st.booleans(),
)
def test_arrays_come_back_as_they_were(held, by_column) -> None:
    """All at once or column by column, by rows or by columns, and theirs to change."""
    if by_column:
        held = {name: np.asfortranarray(array) for name, array in held.items()}
    data = pack(held)
    found, columns = unpack(data, "it"), Columns(io.BytesIO(data), "it")
    assert found.keys() == held.keys()
    for name, array in held.items():
        assert found[name].dtype == array.dtype
        assert found[name].flags.writeable
        assert found[name].flags.aligned
        for other in (found[name], columns[name]):
            assert other.shape == array.shape
            assert other.tolist() == array.tolist()


def sealed(body: bytes) -> bytes:
    """With the checksum that belongs to it."""
    return body + hashlib.sha256(body).digest()


def saved(save, array) -> bytes:
    """What NumPy saves of an array."""
    file = io.BytesIO()
    save(file, a=array)
    return file.getvalue()


def test_what_was_not_packed_here_is_named_even_if_its_checksum_is_right() -> None:
    """Compressed, pickled, cut off before it was sealed, of another version, or no archive."""
    plain = saved(np.savez, np.arange(9))
    for body in (
        saved(np.savez_compressed, np.zeros(99)),
        saved(np.savez, np.array([{}], object)),
        plain[:-30],
        plain.replace(b"\x93NUMPY\x01", b"\x93NUMPY\x03"),
        plain.replace(b"'shape': (9,)", b"'shape': (9e9"),
        plain.replace(b"'shape': (9,)", b"'shape':(99,)"),
        b"nothing",
    ):
        with pytest.raises(StoreError, match="it is damaged"):
            unpack(sealed(body), "it")
    assert unpack(sealed(plain), "it")["a"].tolist() == list(range(9))
    with pytest.raises(StoreError, match="checksum"):
        unpack(plain + bytes(32), "it")
