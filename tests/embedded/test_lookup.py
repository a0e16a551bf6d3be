"""Looking into a few columns of the archive finds what reading all of it finds."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import oracle
from chains import Chain
from embedded.test_store import NOW, chain_of, new_store
from histories import WALLETS, histories
from ngu_points.embedded import lookup
from ngu_points.embedded.archive import read_segment, segment_columns, write_segment
from ngu_points.embedded.history import History
from ngu_points.engine.coverage import announce
from ngu_points.engine.events import Events
from ngu_points.engine.rules import Rules
from ngu_points.errors import StoreError
from ngu_points.pipeline.process import ingest
from ngu_points.pipeline.segments import Identity, events_of, naming
from ngu_points.web.interfaces import Looked

IDENTITY = Identity(1, "0x" + "ab" * 20, "ngu")


def rows_of(events: Events) -> list[Any]:
    return [getattr(events, f.name).tolist() for f in fields(Events)]


@given(history=histories())
def test_rows_of_a_segment_are_those_of_the_whole(history: Any) -> None:
    """Whoever is looked for: the same rows, with every column as it is in the whole segment."""
    _, events, until = history
    chain = chain_of(events, until)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / write_segment(folder, chain.covered(0, chain.last_block), IDENTITY)
        whole = read_segment(path).events
        for wallet in (bytes.fromhex(a[2:]) for a in WALLETS):
            names = (events_.tobytes() == wallet for events_ in (*whole.sender, *whole.recipient))
            hits = np.fromiter(names, np.bool_).reshape(2, -1).any(axis=0)
            with segment_columns(path) as columns:
                rows = naming(columns, wallet)
                assert rows.tolist() == np.flatnonzero(hits).tolist()
                assert rows_of(events_of(columns, rows)) == rows_of(whole.take(rows))


def test_a_damaged_column_is_told_of(tmp_path: Path) -> None:
    """A bit that changed in what is read, and a file that is gone: what to do about it."""
    chain = chain_of([], 10)
    path = tmp_path / write_segment(tmp_path, chain.covered(0, chain.last_block), IDENTITY)
    data = bytearray(path.read_bytes())
    data[data.index(b"\x93NUMPY") + 130] ^= 1  # of the first column, the head
    path.write_bytes(data)
    with segment_columns(path) as columns, pytest.raises(StoreError, match="is damaged"):
        columns["head"]
    path.unlink()
    with pytest.raises(StoreError, match="ngu replay 0 3"), segment_columns(path):
        pass


def test_the_latest_events_are_found_without_reading_all_that_is_recent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten events a block, for 300 blocks: a page of twenty reads some 16 blocks, not 256."""
    mints = [
        oracle.Event("BatchMint", block, log, 100 + block, "", WALLETS[0], 10 * block + log, 1)
        for block in range(300)
        for log in range(10)
    ]
    with closing(new_store(tmp_path, Rules())) as store:
        list(ingest(store, announce(Chain(mints, 299, 900).covered(0, 299), 1), store.rules, NOW))
        read: list[int] = []
        recent = store.queue.recent

        def counted(first: int, last: int) -> Events:
            events = recent(first, last)
            read.append(len(events))
            return events

        monkeypatch.setattr(store.queue, "recent", counted)
        found = lookup.find(History(store), Looked(20, (2**62, 0)), read_segment)
        assert found.events.block.tolist() == [299] * 10 + [298] * 10
        assert sum(read) <= 200
