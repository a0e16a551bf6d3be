"""The store on AWS: everything in DynamoDB, nothing kept in the process between two steps.

Implements `pipeline.interfaces.Store`. There is no transaction over a step. Instead it is written
down first (`changes`), then done row by row, each as an absolute value and only if no newer
writer was there, then the position moves, then the events are marked. Stopped anywhere, it is
finished by the next `lead`; so `commit` has nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from ngu_points.aws import changes, events, items, state
from ngu_points.aws import lease as leases
from ngu_points.aws.changes import POSITION_KEY, Head, Step
from ngu_points.aws.dynamo import Dynamo, Where
from ngu_points.aws.lease import Lease
from ngu_points.aws.state import Everything
from ngu_points.aws.tables import META
from ngu_points.engine.coverage import STREAMS, Coverage, Delivery, digest
from ngu_points.engine.coverage import Head as ChainHead
from ngu_points.engine.events import U8, Bool, Events, Ints, blobs, concat, ids
from ngu_points.engine.feast import FeastDay
from ngu_points.engine.fingerprint import fingerprint
from ngu_points.engine.hot import Hot, Part
from ngu_points.engine.rules import DAY, Rules
from ngu_points.engine.state import State
from ngu_points.errors import StoreError, TransientError
from ngu_points.pipeline.interfaces import Change, Position

UNDO_KEPT = 6 * DAY
"""Steps can be taken back for this long: less than their processed events stay in the tables."""
READS = 5
"""How often a reader starts over because a step came in between."""


class Archive(Protocol):
    """What is known for ever of the events that had their effect."""

    def holds(self, found: Events) -> Bool:
        """Which of the events it has, by id and block hash."""
        ...


class Store:
    """Anybody may read and `put`; after `lead` one process may also process."""

    def __init__(self, dynamo: Dynamo, rules: Rules, archive: Archive | None = None) -> None:
        self.dynamo = dynamo
        self.rules = rules
        self.archive = archive
        self._lease: Lease | None = None
        self._ready: dict[tuple[str, int, int], tuple[Coverage, Events]] = {}
        self._last: Step | None = None
        self._identity = dynamo.get(META, {"key": "identity"}) or {}

    # What it is of ------------------------------------------------------------------------

    def identify(self, chain_id: int, contract: str, kind: str, start_block: int = 0) -> None:
        """Note what the tables are of, or refuse if they are of something else."""
        mine = {"chainId": chain_id, "contract": contract, "contractKind": kind}
        row = {"key": "identity", **mine, "startBlock": start_block, "fold": self.rules.fold_key()}
        self.dynamo.put(META, row, Where("attribute_not_exists(#key)", {}))
        stored = self.dynamo.get(META, {"key": "identity"}) or {}
        if {name: stored.get(name) for name in mine} != mine:
            raise StoreError(
                f"the tables hold {stored.get('contractKind')} contract {stored.get('contract')} on"
                f" chain {stored.get('chainId')}, not {kind} contract {contract} on chain"
                f" {chain_id}: use another service name or stage"
            )
        self._identity = stored

    def check_rules(self) -> None:
        """Refuse to go on under rules that the stored facts were not folded by."""
        if self._identity.get("fold", self.rules.fold_key()) != self.rules.fold_key():
            raise StoreError(
                "the tables were folded by other rules (weights, tiers, exclusions, season borders,"
                " staking or feast have changed): run `ngu rebuild`, or restore them"
            )

    @property
    def chain_id(self) -> int:
        return int(self._identity.get("chainId", 0))

    # The right to write -------------------------------------------------------------------

    def lead(self, owner: str, now: int) -> None:
        """Become the writer, and finish what the one before left unfinished.

        `owner` names one process: what has the same name is taken for the same one, restarted.
        TransientError while another holds the lease.
        """
        self.check_rules()
        self._lease = leases.acquire(self.dynamo, owner, now)
        self._ready.clear()
        self._last = None
        self._recover(now)

    def release(self) -> None:
        """Let another become the writer at once."""
        if self._lease:
            leases.release(self.dynamo, self._lease)
            self._lease = None

    @property
    def lease(self) -> Lease:
        if self._lease is None:
            raise StoreError("the tables are open for reading: only their writer may process")
        return self._lease

    def _recover(self, now: int) -> None:
        position = self.position().block
        for head in changes.heads(self.dynamo, position - 1):
            if head.undoing:
                self._take_back(head, now)
            elif head.to_block > position:
                self._finish(changes.step_at(self.dynamo, head), now)
            else:
                step = changes.step_at(self.dynamo, head)
                if not events.marked(self.dynamo, step.marks):
                    events.mark(self.dynamo, self.lease, step.marks, now)

    # Events -------------------------------------------------------------------------------

    @contextmanager
    def commit(self) -> Iterator[None]:
        yield

    def put(
        self,
        deliveries: Sequence[Delivery],
        now: int,
        *,
        processed: bool,  # noqa: ARG002 -- an event is marked when its step is done, never before
    ) -> None:
        """Write what was delivered; `processed` is seen to by the step that follows.

        An event at or below the position is noted before it is written, or after it if the
        position moved meanwhile: `settle` looks at what is noted.
        """
        for delivery in deliveries:
            before = self._position_block()
            late = events.late_rows(delivery, before)
            events.note_late(self.dynamo, delivery.stream, late)
            events.put(self.dynamo, delivery, self.chain_id, now)
            if len(delivery.events) > len(late):
                noted = {row["id"] for row in late}
                since = events.late_rows(delivery, self._position_block())
                rows = [row for row in since if row["id"] not in noted]
                events.note_late(self.dynamo, delivery.stream, rows)

    def coverage(self, after: int) -> list[Coverage]:
        return events.coverage(self.dynamo, after)

    def arrived(self, record: Coverage) -> bool:
        first, last = record.from_block, record.to_block
        found = events.between(self.dynamo, record.stream, first, last)
        letters = events.letters(self.dynamo, record.stream, first, last)
        if len(found) + len(letters) != record.count or digest(found, letters) != record.digest:
            return False
        self._ready[record.stream, last, record.sequence] = (record, found)
        return True

    def pending(self, through: int) -> Events:
        """What `arrived` has seen: another read of the index might show less.

        Without that, what the index shows.
        """
        after = self.position().block
        if not self._ready:
            return events.pending(self.dynamo, after, through)
        newest: dict[str, tuple[int, Events, int]] = {}
        for record, found in self._ready.values():
            inside = np.flatnonzero((found.block > after) & (found.block <= through))
            names = ids(found)
            for row in inside.tolist():
                if newest.get(names[row], (-1,))[0] < record.sequence:
                    newest[names[row]] = (record.sequence, found, row)
        return concat([found.take([row]) for _, found, row in newest.values()]).sorted()

    def settle(self, now: int) -> None:
        leases.renew(self.dynamo, self.lease, now)
        self._ready.clear()
        self._look_back()
        position = self.position().block
        by_stream = events.surfaced(self.dynamo, position)
        late = concat(list(by_stream.values())).sorted()
        if not len(late):
            return
        if self.archive:
            known = self.archive.holds(late)
            events.mark_known(self.dynamo, late.take(known), now)
            late = late.take(~known)
        reach = self._undo_reach(now)
        events.put_aside(self.dynamo, late.take(late.block <= reach), now)
        late = late.take(late.block > reach)
        if len(late):
            self.undo(int(late.block.min()) - 1, now)

    def set_aside(self, strays: Events, now: int) -> None:
        events.put_aside(self.dynamo, strays, now)

    def _look_back(self) -> None:
        """Note what the last step did not see because it was just being written."""
        step, self._last = self._last, None
        if step is None:
            return
        seen = {(mark.id, mark.block_hash) for mark in step.marks}
        for stream in STREAMS:
            found = events.between(self.dynamo, stream, step.from_block, step.to_block)
            keys = list(zip(ids(found), blobs(found.block_hash), strict=True))
            missed = found.take([row for row, key in enumerate(keys) if key not in seen])
            events.note_late(self.dynamo, stream, items.event_rows(missed, 0, 0))

    # State --------------------------------------------------------------------------------

    def position(self) -> Position:
        at = changes.position_of(self.dynamo.get(META, POSITION_KEY))
        if at is None:
            return Position(self._start() - 1, bytes(32), 0)
        return Position(at["block"], bytes.fromhex(at["hash"]), at["timestamp"])

    def _start(self) -> int:
        return int(self._identity.get("startBlock", 0))

    def _position_block(self) -> int:
        return self.position().block

    def load(self, first: Ints, end: Ints, address: U8, timestamp: int) -> Part:
        at = self._position_row() or {}
        some = state.load(self.dynamo, self.rules, at, (first, end), address, timestamp)
        return Hot(some, self.rules).take(first, end, address, timestamp)

    def apply(self, change: Change, now: int) -> None:
        at = self._position_row()
        previous = at["block"] if at else self._start() - 1
        counters = changes.counted(at["counters"] if at else {}, change)
        step = changes.step_of(change, at, previous, counters, now)
        changes.record(self.dynamo, self.lease, step)
        self._finish(step, now)
        self._last = step

    def _position_row(self) -> dict[str, Any] | None:
        return changes.position_of(self.dynamo.get(META, POSITION_KEY))

    def _finish(self, step: Step, now: int) -> None:
        changes.write_rows(self.dynamo, self.lease, step, now)
        changes.move_position(self.dynamo, self.lease, step.before, step.after)
        events.mark(self.dynamo, self.lease, step.marks, now)
        self._ready.clear()

    # Going back ---------------------------------------------------------------------------

    def undo(self, block: int, now: int) -> Position:
        """Take back every step that reaches beyond `block`; the position it leaves.

        Steps are taken back whole, so the position may end below `block`. StoreError if one is
        not written down any more.
        """
        while (position := self.position()).block > block:
            found = changes.heads(self.dynamo, position.block - 1)
            head = next((h for h in found if h.to_block == position.block), None)
            if head is None:
                raise StoreError(
                    f"the tables cannot be taken back to block {block}: the change record of block"
                    f" {position.block} is gone; `ngu rebuild` folds everything again"
                )
            changes.begin_undo(self.dynamo, self.lease, head)
            self._take_back(head, now)
        return position

    def _take_back(self, head: Head, now: int) -> None:
        step = changes.step_at(self.dynamo, head)
        changes.write_rows(self.dynamo, self.lease, step, now, back=True)
        events.reopen(self.dynamo, self.lease, step.marks)
        changes.move_position(self.dynamo, self.lease, step.after, step.before)
        changes.drop(self.dynamo, head)
        self._ready.clear()
        self._last = None

    def _undo_reach(self, now: int) -> int:
        """The block down to which steps can be taken back."""
        reach = self.position().block
        for head in reversed(changes.heads(self.dynamo, -1)):
            if head.to_block != reach or head.at < now - UNDO_KEPT:
                break
            reach = head.from_block - 1
        return reach

    def prune(self, now: int) -> int:
        """Forget the steps that are too old to be taken back; how many."""
        position = self.position().block
        old = [h for h in changes.heads(self.dynamo, -1)
               if h.at < now - UNDO_KEPT and h.to_block < position]  # fmt: skip
        for head in old:
            changes.drop(self.dynamo, head)
        return len(old)

    # Reading ------------------------------------------------------------------------------

    def state(self) -> State:
        """The whole state at the position, by reading all of it."""
        return state.whole(self.rules, *self._settled())

    def fingerprint(self) -> str:
        at, rows = self._settled()
        whole = state.whole(self.rules, at, rows)
        return fingerprint(whole, rows.days, self.rules, self.chain_id)

    def feast_days(self) -> list[tuple[FeastDay, bytes]]:
        """All closed days without their shares, each with the digest of its shares."""
        return state.feast_days(self.dynamo)

    def feast_shares(self, day: int) -> list[tuple[bytes, int]]:
        """Who got how many micro-points on a closed day, lower address first."""
        return state.feast_shares(self.dynamo, day)

    def holdings(self, wallet: bytes) -> list[tuple[int, int]]:
        """The ranges [first, end) of ids that a wallet owns; some moments old at times."""
        return state.holdings(self.dynamo, wallet)

    def counters(self) -> dict[str, int]:
        """How many events of each kind were processed, and how many contradicted the record."""
        at = self._position_row()
        return dict(at["counters"]) if at else {}

    def anomalies(self) -> list[tuple[str, int, str]]:
        """Processed events that contradicted the record: id, block, note."""
        found = changes.rows_of(self.dynamo, changes.ANOMALY)
        return [(row["id"], row["block"], row["note"]) for row in found]

    def uncertain(self) -> dict[bytes, int]:
        """The wallets that contradictions concern, each with the first block of one."""
        wallets: dict[bytes, int] = {}
        for row in changes.rows_of(self.dynamo, changes.UNCERTAIN):
            wallets.setdefault(items.unhexed(row["at"].partition("#")[0]), row["block"])
        return wallets

    def gaps(self) -> list[tuple[str, int, int, str]]:
        """What is known to be missing: stream, first and last block, why."""
        rows = changes.rows_of(self.dynamo, events.GAP)
        return [(r["stream"], r["fromBlock"], r["toBlock"], r["why"]) for r in rows]

    def note_head(self, head: ChainHead) -> None:
        """Remember the newest and the newest final block of the chain."""
        self.dynamo.put(META, {"key": "head", "newest": head.newest, "final": head.final})

    def _settled(self) -> tuple[Mapping[str, Any], Everything]:
        """A position and all rows of the state at it: no step was under way meanwhile."""
        for _ in range(READS):
            before = self._position_row() or {"block": self._start() - 1}
            found = state.read_all(self.dynamo)
            after = self._position_row() or {"block": self._start() - 1}
            if before == after and not self._under_way(after["block"]):
                return before, found
        raise TransientError(
            "the tables change faster than they can be read whole: try again when the backlog is"
            " cleared, or ask for one wallet or token"
        )

    def _under_way(self, block: int) -> bool:
        found = changes.heads(self.dynamo, block - 1)
        return any(head.undoing or head.to_block > block for head in found)
