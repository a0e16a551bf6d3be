"""What must come out: a branch folded at once by the engine alone, and by the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import oracle
from chains import columns
from engine.test_against_oracle import owners_of
from ngu_points.embedded.history import History
from ngu_points.embedded.store import Store
from ngu_points.engine import invariants
from ngu_points.engine.coverage import gaps
from ngu_points.engine.events import ids
from ngu_points.engine.fingerprint import fingerprint, shares_digest
from ngu_points.engine.rules import Rules
from ngu_points.engine.state import State, advance, no_state, no_wallets
from ngu_points.pipeline.process import explain, moves_of
from ngu_points.pipeline.query import View
from simulation.blocks import Block
from simulation.nodes import CHAIN_ID


class Violation(AssertionError):  # noqa: N818 -- what happened, not what to do
    """A guarantee that does not hold."""


@dataclass(frozen=True)
class Truth:
    """All there is to compare about one branch up to its tip."""

    block: int
    hash: bytes
    timestamp: int
    state: State
    fingerprint: str
    ids: list[str]
    letters: set[str]
    anomalies: set[str]
    uncertain: set[bytes]


def truth_of(blocks: Sequence[Block], rules: Rules) -> Truth:
    """The truth about consecutive blocks, of which the first is the deployment's first."""
    tip = blocks[-1]
    listed = [event for block in blocks for event in block.events]
    names = [id_ for block in blocks for id_ in block.ids]
    events = columns(listed)
    address, moves = moves_of(events)
    start = State(no_state(rules).runs, no_wallets(rules, address))
    done = advance(start, moves, rules, tip.number, tip.timestamp)
    closed = [(day, shares_digest(day, done.state.wallets.address)) for day in done.days]
    notes, uncertain = explain(done.anomalies, events, done.state.wallets.address)
    return Truth(
        tip.number,
        tip.hash,
        tip.timestamp,
        done.state,
        fingerprint(done.state, closed, rules, CHAIN_ID),
        names,
        {letter.id for block in blocks for letter in block.letters},
        {names[row] for row in notes},
        set(uncertain),
    )


def same(what: str, found: object, wanted: object) -> None:
    """Raise Violation unless the two are equal."""
    if found != wanted:
        if isinstance(found, set) and isinstance(wanted, set):
            more, less = sorted(found - wanted)[:3], sorted(wanted - found)[:3]
            raise Violation(f"{what}: unexpected {more}, missing {less}")
        raise Violation(f"{what}: {str(found)[:150]} instead of {str(wanted)[:150]}")


def check_state(store: Store, truth: Truth) -> None:
    """The state is that of the branch up to the position, whatever happened on the way."""
    try:
        invariants.check(store.state(), store.rules)
    except AssertionError as error:
        raise Violation(f"invariant: {error}") from error
    same("fingerprint", store.fingerprint(), truth.fingerprint)


def check_record(store: Store, history: History, truth: Truth) -> None:
    """Nothing is lost, nothing counted twice, nothing left over, and doubts are noted."""
    found = [id_ for covered in history.covered() for id_ in ids(covered.events)]
    if sorted(found) != sorted(truth.ids):
        same("events in archive and tables", set(found), set(truth.ids))
        raise Violation(f"events counted twice: {len(found)} instead of {len(truth.ids)}")
    same("order of events", found, truth.ids)
    same("dead letters", _column(store, "SELECT id FROM dead_letters"), truth.letters)
    same("anomalies", _column(store, "SELECT id FROM anomalies"), truth.anomalies)
    same("uncertain wallets", _column(store, "SELECT wallet FROM uncertain"), truth.uncertain)
    counters = store.meta("counters") or {}
    same("events counted", sum(v for k, v in counters.items() if k.isdigit()), len(truth.ids))
    same("anomalies counted", counters.get("anomalies", 0), len(truth.anomalies))
    same("backlog", store.queue.backlog(), 0)
    begin = max(store.meta("start_block"), store.archived() + 1)
    same("gaps", gaps(store.coverage(-1), begin, truth.block), [])


def check_past(history: History, rules: Rules, truth: Truth) -> None:
    """An answer about the past is that of the branch as it stands."""
    view = history.state_at(rules, truth.timestamp, truth.block)
    same("owners as of a block", _owners(view.state), _owners(truth.state))


def check_oracle(blocks: Sequence[Block], truth: Truth, plain: oracle.Rules, rules: Rules) -> None:
    """The plainest fold that there is agrees: owners, stakers, times, points."""
    teller = oracle.Oracle(plain)
    for block in blocks:
        for event in block.events:
            teller.apply(event)
    view, state = teller.at(truth.timestamp), truth.state
    same("the oracle's owners", _owners(state), {
        "owners": view.owners, "stakers": view.stakers,
        "owned_since": view.owned_since, "staked_since": view.staked_since,
    })  # fmt: skip
    view_now = View.of(state, rules)
    for s, season in enumerate(rules.seasons):
        numerators, denominator = view_now.points(s)
        mine = {
            "0x" + a.tobytes().hex(): Fraction(int(n), denominator)
            for a, n in zip(state.wallets.address, numerators, strict=True)
            if int(n)
        }
        theirs = {w: p for w, p in view.points[season.name].items() if p}
        same(f"the oracle's points of season {season.name}", mine, theirs)


def _column(store: Store, query: str) -> set[object]:
    return {row[0] for row in store.db.execute(query)}


def _owners(state: State) -> dict[str, dict[int, object]]:
    return owners_of(state, ["0x" + a.tobytes().hex() for a in state.wallets.address])
