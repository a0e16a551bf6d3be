"""A rebuild, dry or not, tells a wrong state from tables that are not what was announced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import oracle
from chains import Chain, columns
from cli.program import ngu
from embedded.test_mend import read
from embedded.test_store import NOW, new_store
from ngu_points.config import Config, rules_of
from ngu_points.embedded.history import History
from ngu_points.embedded.rebuild import rebuild
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import announce
from ngu_points.engine.events import ids
from ngu_points.errors import StoreError
from ngu_points.pipeline.persist import persist

ALICE = "0x" + "a1" * 20
MINTS = [oracle.Event("BatchMint", b, 0, 100 + b, "", ALICE, b, 1) for b in range(1, 20)]
CHAIN = Chain(MINTS, 29, 400)
NAMES = ids(columns(MINTS))
TWELFTH = "blockNumber = 12"
BOTH = pytest.mark.parametrize("dry", [True, False])


@contextmanager
def read_to_14(folder: Path, final: int, lost: set[str] | None = None) -> Iterator[Store]:
    """A store in which blocks 0-9 are archived, if final, and 10-14 are in the tables."""
    with closing(new_store(folder, rules_of(Config()))) as store:
        store.final = min(final, 9)
        read(store, History(store), CHAIN, [(0, 4), (5, 9), (10, 14)], lost or set())
        store.set_meta("final", final)
        yield store


def rebuilt(store: Store, *, dry: bool) -> dict[str, object]:
    history = History(store)
    history.recall()
    return rebuild(store, history, store.rules, NOW, dry=dry)


@BOTH
@pytest.mark.parametrize("final", [-1, 9, 14])
def test_events_that_are_gone_are_no_fault_of_the_state(
    tmp_path: Path, final: int, dry: bool
) -> None:
    """It is said from where on to read again; no state without them takes the place of this one."""
    with read_to_14(tmp_path, final) as store:
        before = store.fingerprint()
        store.db.execute(f"DELETE FROM batch_events WHERE {TWELFTH}")
        with pytest.raises(StoreError, match="above block 9: run `ngu rewind 9`"):
            rebuilt(store, dry=dry)
        assert store.fingerprint() == before


@BOTH
@pytest.mark.parametrize("final", [-1, 14])
def test_an_event_that_counts_and_is_not_noted_as_processed_is_folded(
    tmp_path: Path, final: int, dry: bool
) -> None:
    """The answer is the same, so that is what is said."""
    with read_to_14(tmp_path, final) as store:
        store.db.execute(f"UPDATE batch_events SET processed = 0 WHERE {TWELFTH}")
        found = rebuilt(store, dry=dry)
        assert (found["same"], found["events"], found["waiting"]) == (True, 14, [])


def test_a_dry_rebuild_names_the_events_that_wait(tmp_path: Path) -> None:
    """Announced since, and not yet processed: they are all that differs, and they stay as they
    are; the rebuild folds them and has the fingerprint that was foretold."""
    with read_to_14(tmp_path, -1, {NAMES[11]}) as store:
        persist(store, announce(CHAIN.covered(10, 14), 4), NOW)
        foretold = rebuilt(store, dry=True)
        assert (foretold["same"], foretold["waiting"]) == (False, [NAMES[11]])
        assert store.queue.backlog() == 1
        store.close()
        told = ngu("rebuild", "--dry-run", "--db", store.path)
        assert (told.code, f"yet to process (1): {NAMES[11]}" in told.out) == (3, True)
    with closing(Store.open(store.path, store.rules, write=True)) as store:
        done = rebuilt(store, dry=False)
        assert done["fingerprint"] == foretold["fingerprint"] != foretold["before"]
        assert store.queue.backlog() == 0


def test_a_wrong_state_is_not_blamed_on_events_that_wait(tmp_path: Path) -> None:
    """Without them the new fold differs as well: nothing is named."""
    with read_to_14(tmp_path, -1, {NAMES[11]}) as store:
        persist(store, announce(CHAIN.covered(10, 14), 4), NOW)
        store.db.execute("UPDATE tokens SET since = since - 1")
        store.reload()
        found = rebuilt(store, dry=True)
        assert (found["same"], found["waiting"]) == (False, [])


@BOTH
def test_what_lies_ready_behind_the_position_stays_there(tmp_path: Path, dry: bool) -> None:
    """A rebuild folds up to the position, however much more could be processed."""
    with read_to_14(tmp_path, 9) as store:
        persist(store, announce(CHAIN.covered(15, 19), 4), NOW)
        found = rebuilt(store, dry=dry)
        assert (found["same"], found["block"]) == (True, 14)
        assert store.queue.backlog() == 5
