"""Whatever is done in whatever order, in the end everything is as after one clean pass."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from chains import Chain, columns
from embedded.test_mend import truth
from embedded.test_store import NOW, chain_of, new_store
from engine.test_against_oracle import engine_rules
from histories import histories
from ngu_points.embedded import jobs
from ngu_points.embedded.history import History
from ngu_points.embedded.mend import mend
from ngu_points.embedded.rebuild import rebuild
from ngu_points.embedded.repair import Generous, missing, rewind
from ngu_points.embedded.retractions import remember
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import announce
from ngu_points.engine.events import ids
from ngu_points.engine.rules import DAY, Rules
from ngu_points.pipeline.persist import persist
from ngu_points.pipeline.process import ingest, process
from ngu_points.pipeline.recover import drain


class Life:
    """One database through everything that may happen to it; `lost` is what it does not hold."""

    def __init__(self, folder: Path, rules: Rules, chain: Chain, rng: random.Random) -> None:
        self.folder, self.rules, self.chain, self.rng = folder, rules, chain, rng
        self.names = ids(columns(chain.events))
        self.lost: set[str] = set()
        self.now = NOW
        self.store = new_store(folder, rules)
        self.history = History(self.store)

    @property
    def block(self) -> int:
        return self.store.position().block

    def lost_below(self, block: int) -> set[str]:
        return {id_ for id_ in self.lost if block_of(id_) <= block}

    # What may happen ----------------------------------------------------------------------

    def read(self, omit: float = 0.15) -> None:
        """Read on, without some of the logs: in line, or late and out of order."""
        if self.block >= self.chain.last_block:
            return
        first, last = self.block + 1, self.rng.randint(self.block + 1, self.chain.last_block)
        if first <= self.store.final:
            last = min(last, self.store.final)  # as the app: no step crosses finality
        left_out = {id_ for id_ in self.names if self.rng.random() < omit}
        self.lost = self.lost_below(self.block)
        self.lost |= {id_ for id_ in left_out if first <= block_of(id_) <= last}
        found = self.chain.covered(first, last)
        kept = [row for row, id_ in enumerate(ids(found.events)) if id_ not in left_out]
        seen = type(found)(first, last, found.parent_hash, found.last_hash, found.timestamp,
                           found.events.take(kept), found.rejected)  # fmt: skip
        deliveries = announce(seen, self.store.queue.last_sequence() + 1)
        if self.rng.random() < 0.3:
            persist(self.store, self.rng.sample(deliveries, 2), self.now)
            steps = drain(self.store, self.rules, Generous(self.store), self.now)
        else:
            steps = ingest(self.store, deliveries, self.rules, self.now)
        for step in steps:
            self.history.add(step.events)
            self.history.seal(self.store.final, least=self.rng.choice([1, 50_000]))

    def finalise(self) -> None:
        self.store.final = self.rng.randint(self.store.final, self.chain.last_block)
        self.store.set_meta("final", self.store.final)

    def tidy(self) -> None:
        jobs.tidy(self.history, self.now)

    def repair(self, share: float = 0.5) -> None:
        blocks = sorted({block_of(id_) for id_ in self.lost_below(self.block)})
        blocks = [block for block in blocks if self.rng.random() < share]
        if blocks:
            mend(self.history, self.rules, truth(self.chain, blocks), "test", self.now)
            self.lost = {id_ for id_ in self.lost if block_of(id_) not in blocks}

    def go_back(self) -> None:
        if self.block > 0:
            target = self.rng.randint(0, self.block - 1)
            rewind(self.store, self.history, self.rules, target, self.now)
            self.lost = self.lost_below(self.block)

    def fork(self) -> None:
        """The app's way back, where before images reach."""
        above = self.rng.randint(max(self.store.archived(), 0), max(self.block, 0))
        if above < self.block and self.store.undoable(above):
            self.history.drop_snapshots(self.store.archived())
            with self.store.commit():
                remember(self.store, above + 1, "fork", self.now)
                self.store.undo(above)
                self.store.forget(above)
            self.history.recall()
            while step := process(self.store, self.rules, self.now):
                self.history.add(step.events)  # steps are undone whole
            self.lost = self.lost_below(self.block)

    def rebuild(self) -> None:
        if self.block >= 0:
            dry = self.rng.random() < 0.3
            assert rebuild(self.store, self.history, self.rules, self.now, dry=dry)["same"]
            self.history.recall()

    def restart(self) -> None:
        self.store.close()
        self.store = Store.open(self.folder / "ngu.db", self.rules, write=True)
        self.history = History(self.store)
        self.history.recall()

    def snapshot(self) -> None:
        if self.block >= 0:
            self.history.snapshot()

    # What must hold -----------------------------------------------------------------------

    def check(self) -> None:
        """The record holds what was read of the blocks up to the position, once and in order."""
        held = [id_ for part in History(self.store).covered() for id_ in ids(part.events)]
        wanted = [i for i in self.names if block_of(i) <= self.block and i not in self.lost]
        assert held == wanted

    def end(self) -> None:
        """Repair and read all there is; then nothing tells this life from a fresh one."""
        self.repair(share=1)
        while self.block < self.chain.last_block:
            self.read(omit=0)
        with tempfile.TemporaryDirectory() as folder, closing(
            new_store(Path(folder), self.rules)
        ) as fresh:  # fmt: skip
            whole = announce(self.chain.covered(0, self.chain.last_block), 1)
            list(ingest(fresh, whole, self.rules, NOW))
            assert self.store.fingerprint() == fresh.fingerprint()
            for rows in ("id FROM anomalies", "wallet FROM uncertain"):
                query = f"SELECT {rows} ORDER BY 1"
                assert self.store.db.execute(query).fetchall() == fresh.db.execute(query).fetchall()
            counted = {k: v for k, v in self.store.meta("counters").items() if v}
            assert counted == {k: v for k, v in fresh.meta("counters").items() if v}
        self.tidy()
        gaps = missing(self.store)
        assert gaps == []
        assert self.store.db.execute("SELECT count(*) FROM shown").fetchone() == (0,)
        assert None not in [c["after"] for c in self.store.feasts.corrections()]


def block_of(id_: str) -> int:
    return int(id_.partition("-")[0])


@given(history=histories(), seed=st.integers(0, 2**32))
def test_any_sequence_ends_as_one_clean_pass(history, seed) -> None:
    """Reading with gaps, forks, finality, repairs, rewinds, rebuilds and restarts, at random."""
    oracle_rules, events, until = history
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder), engine_rules(oracle_rules), chain_of(events, until), rng)
        happenings: list[Callable[[], None]] = [
            *[life.read] * 4, *[life.finalise] * 2, *[life.repair] * 2, life.tidy, life.go_back,
            life.fork, life.rebuild, life.restart, life.snapshot,
        ]  # fmt: skip
        for _ in range(rng.randint(4, 12)):
            life.now += rng.choice([1, 60, 4_000, 8 * DAY])
            rng.choice(happenings)()
            life.check()
        life.end()
        life.store.close()
