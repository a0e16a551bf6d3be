"""The store on AWS: everything in DynamoDB, nothing kept in the process between two steps.

Implements `pipeline.interfaces.Store`. There is no transaction over a step. Instead it is written
down first (`changes`), then done row by row, each as an absolute value and only if no newer
writer was there, then the position moves, then the events are marked. Stopped anywhere, it is
finished by the next `lead`; so `commit` has nothing to do.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np

from ngu_points.aws import changes, events, gaps, items, repairs, segments, state, strays
from ngu_points.aws import lease as leases
from ngu_points.aws.changes import POSITION_KEY, Head, Step
from ngu_points.aws.dynamo import Dynamo, Where
from ngu_points.aws.events import Written
from ngu_points.aws.gaps import Gap
from ngu_points.aws.lease import Lease
from ngu_points.aws.state import Everything
from ngu_points.aws.tables import META
from ngu_points.engine.coverage import Coverage, Delivery, digest
from ngu_points.engine.coverage import Head as ChainHead
from ngu_points.engine.events import U8, Bool, Events, Ints, Rejected, concat, ids
from ngu_points.engine.feast import FeastDay
from ngu_points.engine.fingerprint import fingerprint
from ngu_points.engine.hot import Hot, Part
from ngu_points.engine.rules import DAY, Rules
from ngu_points.engine.state import State
from ngu_points.errors import StoreError, TransientError
from ngu_points.pipeline.interfaces import Change, Position
from ngu_points.pipeline.segments import Segment

log = logging.getLogger("ngu")
T = TypeVar("T")
UNDO_KEPT = 3 * DAY
"""Steps can be taken back for this long. Then their events go to the archive, which must be done
before their rows expire: there are four days for it."""
COVERAGE_DROPPED = 2_000  # records of a stream that a call of `prune` drops at most
FROZEN_KEY = {"key": "frozen"}
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
        self._identity: Mapping[str, Any] = {}
        self.recall()

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
        for name, rates in self._frozen().items():
            if self.rules.rates(name) != rates:
                raise StoreError(
                    f"season {name!r} is closed and its rates are frozen: restore them ({rates})"
                )
        if self._identity.get("fold", self.rules.fold_key()) != self.rules.fold_key():
            raise StoreError(
                "the tables were folded by other rules (weights, tiers, exclusions, season borders,"
                " staking or feast have changed): run `ngu rebuild`, or restore them"
            )

    def recall(self) -> None:
        """Look again what the tables are of."""
        self._identity = self.dynamo.get(META, {"key": "identity"}) or {}

    @property
    def chain_id(self) -> int:
        """0 until `identify` was called by anybody."""
        return int(self._identity.get("chainId", 0))

    @property
    def start_block(self) -> int:
        return int(self._identity.get("startBlock", 0))

    def freeze(self) -> list[str]:
        """Freeze the rates of the seasons that are over for good; their names."""
        before, end = self._frozen(), self.position().timestamp
        over = {s.name: self.rules.rates(s.name) for s in self.rules.seasons if s.ends <= end}
        frozen = over | before
        if frozen != before:
            self.dynamo.put(META, {**FROZEN_KEY, "rates": json.dumps(frozen)})
        return list(frozen)

    def _frozen(self) -> dict[str, Any]:
        row = self.dynamo.get(META, FROZEN_KEY)
        found: dict[str, Any] = json.loads(row["rates"]) if row else {}
        return found

    # The right to write -------------------------------------------------------------------

    def lead(self, owner: str, now: int) -> None:
        """Become the writer, and finish what the one before left unfinished.

        `owner` names one process: what has the same name is taken for the same one, restarted.
        TransientError while another holds the lease; StoreError while a repair is unfinished.
        """
        self.check_rules()
        self._take(owner, now)
        try:
            repairs.refuse(self.dynamo, StoreError)
        except StoreError:
            self.release()
            raise
        self._recover(now)

    def lead_repair(self, owner: str, now: int) -> None:
        """Become the writer in order to repair: under any rules, whatever was left unfinished.

        What cannot be finished is for the repair to put right. TransientError while another
        holds the lease, or the archive is being tidied.
        """
        self._take(owner, now, repair=True)
        if leases.is_tidied(self.dynamo, now):
            self.release()
            raise TransientError("the archive is being tidied: wait until that is done, which may"
                                 " take some minutes")  # fmt: skip
        try:
            self._recover(now)
        except StoreError as error:
            log.warning("not finished", extra={"fields": {"why": str(error)}})

    def _take(self, owner: str, now: int, *, repair: bool = False) -> None:
        self._lease = leases.acquire(self.dynamo, owner, now, repair=repair)
        self._ready.clear()
        self._last = None

    @contextmanager
    def still(self, owner: str, now: int) -> Iterator[None]:
        """Keep writers away if none is at work; where one is, nothing is held."""
        try:
            held = leases.acquire(self.dynamo, owner, now)
        except TransientError:
            yield
            return
        try:
            yield
        finally:
            leases.release(self.dynamo, held)

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
            elif head.at > now - changes.IMAGE_KEPT:  # what an older one says has expired
                step = changes.step_at(self.dynamo, head)
                if not events.marked(self.dynamo, step.marks):
                    self._mark(step, now)
                self._last = step

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
    ) -> Written:
        """Write what was delivered; `processed` is seen to by the step that follows.

        An event at or below the position is noted before it is written, or after it if the
        position moved meanwhile: `settle` looks at what is noted.
        """
        new = known = 0
        for delivery in deliveries:
            late = strays.late_rows(delivery, self.position().block)
            strays.note(self.dynamo, delivery.stream, late, now)
            written = events.put(self.dynamo, delivery, self.chain_id, now)
            if len(delivery.events) > len(late):
                noted = {row["id"] for row in late}
                since = strays.late_rows(delivery, self.position().block)
                rows = [row for row in since if row["id"] not in noted]
                strays.note(self.dynamo, delivery.stream, rows, now)
            new, known = new + written.new, known + written.known
        return Written(new, known)

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
        if self._last:
            strays.look_back(self.dynamo, self._last, now)
            self._last = None
        found = strays.surfaced(self.dynamo, self.position().block)
        if any(found.values()):
            self._settle(found, now)

    def _settle(self, found: dict[str, list[items.Row]], now: int) -> None:
        late = {stream: items.events_of(rows) for stream, rows in found.items()}
        if self.archive:
            every = concat(list(late.values()))
            known = every.take(self.archive.holds(every))
            strays.mark_known(self.dynamo, known, now)
            done = set(ids(known))
            found = {s: [row for row in rows if row["id"] not in done] for s, rows in found.items()}
        complete, unannounced = strays.divided(self.dynamo, found, now)
        reach = self._undo_reach(now)
        strays.put_aside(self.dynamo, unannounced, now)
        strays.put_aside(self.dynamo, complete.take(complete.block <= reach), now)
        complete = complete.take(complete.block > reach)
        if len(complete):
            self.undo(int(complete.block.min()) - 1, now)

    def set_aside(self, events: Events, now: int) -> None:
        strays.put_aside(self.dynamo, events, now)

    # State --------------------------------------------------------------------------------

    def position(self) -> Position:
        at = changes.position_of(self.dynamo.get(META, POSITION_KEY))
        if at is None:
            return Position(self.start_block - 1, bytes(32), 0)
        return Position(at["block"], bytes.fromhex(at["hash"]), at["timestamp"])

    def load(self, first: Ints, end: Ints, address: U8, timestamp: int) -> Part:
        at = self._position_row() or {}
        some = state.load(self.dynamo, self.rules, at, (first, end), address, timestamp)
        return Hot(some, self.rules).take(first, end, address, timestamp)

    def apply(self, change: Change, now: int) -> None:
        at = self._position_row()
        previous = at["block"] if at else self.start_block - 1
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
        self._mark(step, now)
        self._ready.clear()

    def _mark(self, step: Step, now: int) -> None:
        """Note a step's events as processed; what took the place of one comes late."""
        for stream, row in events.mark(self.dynamo, self.lease, step.marks, now):
            strays.note(self.dynamo, stream, [row], now)

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
        """Forget the steps that are too old to be taken back, and coverage that the archive has.

        Events go by themselves, seven days after they were processed. Returns how many steps.
        """
        position, archived = self.position().block, self.archived()
        old = [h for h in changes.heads(self.dynamo, -1)
               if h.at < now - UNDO_KEPT and h.to_block < position]  # fmt: skip
        for head in old:
            changes.drop(self.dynamo, head)
        events.forget_coverage(self.dynamo, min(position, archived), COVERAGE_DROPPED)
        return len(old)

    # The archive's side -------------------------------------------------------------------

    def segments(self) -> list[Segment]:
        """What the archive holds, in the order of blocks."""
        return segments.live(self.dynamo)

    def sealed(self, segment: Segment, now: int) -> None:
        """Note that the archive holds a range, in the place of what it held from there on."""
        segments.note(self.dynamo, segment, now)

    def archived(self) -> int:
        """The last block in the archive; the one before the first if there is none."""
        last = segments.last(self.dynamo)
        return last.to_block if last else self.start_block - 1

    def recent(self, first: int, last: int) -> Events:
        """The events of some blocks that are still in the tables, in position order."""
        return events.pending(self.dynamo, first - 1, last)

    def letters(self, first: int, last: int) -> tuple[Rejected, ...]:
        """The dead letters of some blocks that were announced as such, in position order."""
        return tuple(events.letters_whole(self.dynamo, first, last))

    def end_at(self, block: int) -> Coverage | None:
        """The record of the last covered range that ends at or below a block."""
        return events.end_at(self.dynamo, block)

    def parent_of(self, block: int) -> bytes:
        """The parent hash of a block at which a covered range begins; zeros if none does."""
        return events.parent_of(self.dynamo, block)

    # Reading ------------------------------------------------------------------------------

    def state(self) -> State:
        """The whole state at the position, by reading all of it."""
        return self.steady(lambda at: state.read_whole(self.dynamo, self.rules, at))[1]

    def fingerprint(self) -> str:
        _, (whole, days) = self.steady(
            lambda at: (state.read_whole(self.dynamo, self.rules, at), self.feast_days())
        )
        return fingerprint(whole, days, self.rules, self.chain_id)

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

    def totals(self) -> dict[str, Any]:
        """How many tokens there are, how many of them are staked, how many wallets were seen."""
        at = self._position_row()
        return dict(at["totals"]) if at else {"tokens": "0", "staked": "0", "wallets": 0}

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

    def gaps(self) -> list[Gap]:
        """What is known to be missing."""
        return gaps.known(self.dynamo)

    def note_head(self, head: ChainHead) -> None:
        """Remember the newest and the newest final block of the chain."""
        self.dynamo.put(META, {"key": "head", "newest": head.newest, "final": head.final})

    def here(self, read: Callable[[Mapping[str, Any]], T]) -> tuple[Mapping[str, Any], T]:
        """The position and what is read at it, for the one who leads: nobody else changes it."""
        at = self._position_row() or {"block": self.start_block - 1}
        return at, read(at)

    def settled(self) -> tuple[Mapping[str, Any], Everything]:
        """A position and all rows of the state at it."""
        return self.steady(lambda _: state.read_all(self.dynamo))

    def steady(self, read: Callable[[Mapping[str, Any]], T]) -> tuple[Mapping[str, Any], T]:
        """A position and what was read at it: no step and no repair was under way meanwhile."""
        repairs.refuse(self.dynamo)
        for _ in range(READS):
            before = self._position_row() or {"block": self.start_block - 1}
            found = read(before)
            after = self._position_row() or {"block": self.start_block - 1}
            if before == after and not self._under_way(after["block"]):
                repairs.refuse(self.dynamo)
                return before, found
        raise TransientError(
            "the tables change faster than they can be read whole: try again when the backlog is"
            " cleared, or ask for one wallet or token"
        )

    def _under_way(self, block: int) -> bool:
        found = changes.heads(self.dynamo, block - 1)
        return any(head.undoing or head.to_block > block for head in found)
