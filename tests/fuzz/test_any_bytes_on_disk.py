"""Archive files and snapshots with flipped, cut or doubled bytes: as written, or refused."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from contextlib import closing
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from chains import Chain, block_hash
from fuzz.anything import EDITS, assert_one_line, edited, often
from ngu_points.embedded.archive import identity_of, read_segment, write_segment
from ngu_points.embedded.history import History
from ngu_points.embedded.rebuild import rebuild
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import Covered, announce
from ngu_points.engine.events import Events, Rejected
from ngu_points.engine.fingerprint import fingerprint
from ngu_points.engine.rules import DAY, Rules
from ngu_points.errors import StoreError
from ngu_points.pipeline.pack import DIGEST, unpack
from ngu_points.pipeline.process import ingest
from ngu_points.pipeline.segments import Identity

OWNER, OTHER = "0x" + "11" * 20, "0x" + "22" * 20
IDENTITY = Identity(1, "0x" + "ab" * 20, "ngu")
EVENTS = [
    oracle.Event("BatchMint", 2, 0, 100, "", OWNER, 5, 10),
    oracle.Event("BatchMint", 2, 1, 100, "", OTHER, 2**255, 3),
    oracle.Event("Stake", 5, 0, DAY + 7, OWNER, "", 6, 1),
    oracle.Event("BatchTransfer", 7, 4, DAY + 9, OWNER, OTHER, 8, 2),
    oracle.Event("BatchBurn", 9, 0, 3 * DAY, OTHER, "", 9, 1),
]
LETTER = Rejected(8, 0, 0, 200, b"t" * 32, block_hash(8), b"c" * 20, "batch", "quantity 0", b"{}")
CHAIN = Chain(EVENTS, 12, 4 * DAY, [LETTER])


def told(covered: Covered) -> Any:
    """A range as plain values, to compare."""
    columns = [getattr(covered.events, f.name).tolist() for f in fields(Events)]
    kinds = [str(getattr(covered.events, f.name).dtype) for f in fields(Events)]
    ends = (covered.from_block, covered.to_block, covered.parent_hash, covered.last_hash)
    return ends, covered.timestamp, columns, kinds, [astuple(r) for r in covered.rejected]


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segment file of the whole chain."""
    folder = tmp_path_factory.mktemp("archive")
    return folder / write_segment(folder, CHAIN.covered(0, 12), IDENTITY)


def assert_as_written_or_refused(path: Path, data: bytes) -> None:
    """Reading gives what was written, or StoreError that names the file."""
    right = told(read_segment(path))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(data)
        for read in (read_segment, identity_of):
            try:
                found = read(copy)
            except StoreError as error:
                assert_one_line(str(error))
            else:
                assert told(found) == right if isinstance(found, Covered) else found == IDENTITY


@often(6)
@given(EDITS)
def test_a_damaged_segment_is_refused(segment: Path, edits: list[tuple[str, float, bytes]]) -> None:
    """Flipped, cut, inserted or repeated bytes are never read as other events."""
    assert_as_written_or_refused(segment, edited(segment.read_bytes(), edits))


def test_every_cut_of_a_segment_is_refused(segment: Path) -> None:
    """A file that ends early, anywhere, is refused: half a write is no archive."""
    data = segment.read_bytes()
    for length in range(0, len(data), 7):
        with pytest.raises(StoreError, match="is damaged"):
            unpack(data[:length], "it")


@given(EDITS, st.binary(max_size=80))
def test_a_foreign_file_with_a_right_checksum_is_refused(
    segment: Path, edits: list[tuple[str, float, bytes]], noise: bytes
) -> None:
    """Contents that no version wrote end in StoreError, even where the checksum is theirs."""
    body = segment.read_bytes()[:-DIGEST]
    for changed in (edited(body, edits), noise):
        sealed = changed + hashlib.sha256(changed).digest()
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / segment.name
            copy.write_bytes(sealed)
            for read in (read_segment, identity_of):
                with contextlib.suppress(StoreError):
                    read(copy)


@pytest.mark.parametrize("name", ["000000000000-000000000011.npz", "000000000001-000000000012.npz"])
def test_a_segment_under_another_name_is_refused(segment: Path, tmp_path: Path, name: str) -> None:
    """A file restored or copied to a wrong name holds other blocks than the archive believes."""
    shutil.copy(segment, tmp_path / name)
    with pytest.raises(StoreError, match=name):
        read_segment(tmp_path / name)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database, its archive in several segments, and snapshots."""
    folder = tmp_path_factory.mktemp("kept")
    store = Store.open(folder / "ngu.db", Rules(), write=True)
    store.identify(IDENTITY)
    history = History(store)
    store.final = 12
    for sequence, (first, last) in enumerate([(0, 3), (4, 6), (7, 12)], 1):
        for step in ingest(store, announce(CHAIN.covered(first, last), sequence), Rules(), 1):
            history.add(step.events)
        history.snapshot()
    history.seal(12, least=0)
    store.close()
    return folder


def answers(store: Store) -> list[str]:
    """The state as it was at several times, as fingerprints."""
    history = History(store)
    found = []
    for moment in (50, 100, DAY + 8, 3 * DAY - 1, 3 * DAY):
        state = history.state_at(Rules(), moment).state
        found.append(fingerprint(replace(state, block=0, timestamp=moment), [], Rules(), 1))
    return found


def opened(folder: Path) -> Store:
    return Store.open(folder / "ngu.db", Rules(), write=True)


@given(EDITS, st.integers(0, 2))
def test_a_damaged_snapshot_changes_no_answer(
    kept: Path, edits: list[tuple[str, float, bytes]], which: int
) -> None:
    """Snapshots are a cache: whatever became of their bytes, answers stay what they were."""
    store = opened(kept)
    right = answers(store)
    store.close()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "copy"
        shutil.copytree(kept, folder)
        snapshot = sorted(folder.rglob("snapshots/*.npz"))[which]
        snapshot.write_bytes(edited(snapshot.read_bytes(), edits))
        store = opened(folder)
        assert answers(store) == right
        store.close()


def test_a_snapshot_under_another_name_changes_no_answer(kept: Path, tmp_path: Path) -> None:
    """A snapshot that says it is older than it is is not begun from."""
    folder = tmp_path / "copy"
    shutil.copytree(kept, folder)
    store = opened(folder)
    with closing(store):
        right = answers(store)
        snapshots = sorted(folder.rglob("snapshots/*.npz"))
        snapshots[0].write_bytes(snapshots[-1].read_bytes())
        assert answers(store) == right


@given(EDITS)
def test_a_rebuild_from_a_damaged_archive_is_refused(
    kept: Path, edits: list[tuple[str, float, bytes]]
) -> None:
    """It ends in the same fingerprint, or in StoreError with the stored state as it was."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "copy"
        shutil.copytree(kept, folder)
        store = opened(folder)
        mark = store.fingerprint()
        segment = next(p for p in folder.rglob("*.npz") if p.parent.name != "snapshots")
        segment.write_bytes(edited(segment.read_bytes(), edits))
        try:
            assert rebuild(store, History(store), Rules(), 1)["same"]
        except StoreError as error:
            assert_one_line(str(error))
        store.reload()
        assert store.fingerprint() == mark
        store.close()
