"""The engine and the oracle give the same answer to every history, however it is cut."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import oracle
from histories import RangeWeights, histories
from ngu_points.engine import facts as engine_facts
from ngu_points.engine.events import Kind, ids_column
from ngu_points.engine.feast import FeastDay
from ngu_points.engine.fingerprint import fingerprint, shares_digest
from ngu_points.engine.invariants import check
from ngu_points.engine.rules import Rules, Season, Tier, Weights
from ngu_points.engine.runs import NOBODY, Anomaly, Moves
from ngu_points.engine.state import State, advance, among, no_state, no_wallets

KINDS = {"BatchMint": Kind.MINT, "BatchBurn": Kind.BURN, "BatchTransfer": Kind.TRANSFER,
         "Stake": Kind.STAKE, "Unstake": Kind.UNSTAKE}  # fmt: skip


def engine_rules(rules: oracle.Rules) -> Rules:
    """The oracle's rules in the engine's terms."""
    assert isinstance(rules.weights, RangeWeights) or rules.weights is oracle.one
    table = getattr(rules.weights, "table", ())
    return Rules(
        seasons=tuple(Season(s.name, s.start, s.end, s.held, s.staked, s.awards)
                      for s in rules.seasons),
        weights=Weights([(first, first + n - 1, weight) for first, n, weight in table]),
        tiers=tuple(Tier(days, multiplier) for days, multiplier in rules.tiers),
        excluded=frozenset(bytes.fromhex(a[2:]) for a in rules.excluded),
        staking_contracts=frozenset(bytes.fromhex(a[2:]) for a in rules.staking_contracts),
        custody=rules.custody,
        feast_emission=rules.feast_emission,
        feast_burn=rules.feast_burn,
    )  # fmt: skip


def engine_moves(events: list[oracle.Event]) -> tuple[Moves, list[str]]:
    """The events as columns, and the wallets that their indices mean."""
    wallets = sorted({a for e in events for a in (e.sender, e.recipient) if a}, reverse=True)
    index = {a: i for i, a in enumerate(wallets)} | {"": NOBODY}
    first, end = [e.first for e in events], [e.first + e.quantity for e in events]
    moves = Moves(
        np.array([KINDS[e.kind] for e in events], np.uint8),
        ids_column(first, ends=end),
        ids_column(end, ends=end),
        np.array([index[e.sender] for e in events], np.int64),
        np.array([index[e.recipient] for e in events], np.int64),
        np.array([e.timestamp for e in events], np.int64),
    )
    return moves, wallets


def run(rules: Rules, events: list[oracle.Event], cuts: list[int], until: int):
    """Fold the events in the batches that `cuts` makes."""
    moves, wallets = engine_moves(events)
    address = np.array([list(bytes.fromhex(a[2:])) for a in wallets], np.uint8).reshape(-1, 20)
    state = State(no_state(rules).runs, no_wallets(rules, address))
    days: list[FeastDay] = []
    anomalies = []
    edges = [0, *sorted(cuts), len(events)]
    for low, high in pairwise(edges):
        part = moves.take(slice(low, high))
        last = high == len(events)
        now = until if last else (events[high - 1].timestamp if high else state.timestamp)
        done = advance(state, part, rules, high, now)
        check(done.state, rules)
        state = done.state
        days += done.days
        found = done.anomalies
        anomalies += [
            (int(found.event[i]) + low, int(found.first[i]), int(found.end[i]), int(found.code[i]))
            for i in range(len(found))
        ]
    return state, wallets, days, anomalies


def owners_of(state: State, wallets: list[str]) -> dict[str, dict[int, object]]:
    """The runs spelled out token by token, in the oracle's terms."""
    out: dict[str, dict[int, object]] = {
        "owners": {}, "stakers": {}, "owned_since": {}, "staked_since": {}
    }  # fmt: skip
    runs = state.runs
    for i in range(len(runs)):
        for token in range(int(runs.first[i]), int(runs.end[i])):
            if runs.owner[i] != NOBODY:
                out["owners"][token] = wallets[runs.owner[i]]
                out["owned_since"][token] = int(runs.owned_since[i])
            if runs.staker[i] != NOBODY:
                out["stakers"][token] = wallets[runs.staker[i]]
                out["staked_since"][token] = int(runs.since[i])
    return out


@settings(max_examples=3 * settings().max_examples)
@given(history=histories(), data=st.data())
def test_every_history_folds_to_what_the_oracle_says(history, data) -> None:
    """Owners, stakers, times, facts, points, feasts and anomalies are equal, for any batches."""
    oracle_rules, events, until = history
    rules = engine_rules(oracle_rules)
    truth = oracle.Oracle(oracle_rules)
    for event in events:
        truth.apply(event)
    view = truth.at(until)
    cuts = data.draw(st.lists(st.integers(0, len(events)), max_size=6))
    state, wallets, days, anomalies = run(rules, events, cuts, until)

    assert owners_of(state, wallets) == {
        "owners": view.owners, "stakers": view.stakers,
        "owned_since": view.owned_since, "staked_since": view.staked_since,
    }  # fmt: skip
    earns = ~among(state.wallets.address, rules.earns_nothing)
    now = engine_facts.at_time(state.wallets.facts, state.runs, rules, earns, until)
    for s, season in enumerate(rules.seasons):
        theirs = view.facts[season.name]
        numerators, denominator = engine_facts.points(now, rules, [s])
        for w, address in enumerate(wallets):
            mine = [int(x) for x in now[s, :, w]]
            fact = theirs.get(address)
            if fact is None:
                assert not any(mine), (address, mine)
                continue
            counts = [fact.counts[c] for c in oracle.COUNTS]
            assert mine == [fact.held, *counts, fact.awards_micro, *fact.staked], address
            assert Fraction(int(numerators[w]), denominator) == view.points[season.name][address]
    assert {d.day for d in days} == set(view.feasts)
    for d in days:
        feast = view.feasts[d.day]
        assert (d.pool, d.carry_in, d.emission, d.contribution, d.seconds, d.carry_out) == (
            feast.pool, feast.carry_in, feast.emission, feast.contribution,
            feast.total_seconds, feast.carry_out)  # fmt: skip
        shares = {wallets[w]: int(m) for w, m in zip(d.wallet, d.share, strict=True) if m}
        assert shares == feast.shares
    theirs_found = {
        (a.block, a.log_index): (a.codes, set(a.tokens)) for a in truth.anomalies
    }  # fmt: skip
    mine_found: dict[tuple[int, int], tuple[set[str], set[int]]] = {}
    for row, first, end, code in anomalies:
        at = (events[row].block, events[row].log_index)
        codes, tokens = mine_found.setdefault(at, (set(), set()))
        codes |= {str(c.name) for c in Anomaly(code)}
        tokens |= set(range(first, end))
    assert mine_found == theirs_found


@given(history=histories(), data=st.data())
def test_batches_make_no_difference_to_the_fingerprint(history, data) -> None:
    """One batch, or one batch an event: the same fingerprint, anomalies and wallet records."""
    oracle_rules, events, until = history
    rules = engine_rules(oracle_rules)
    results = []
    for cuts in ([], list(range(len(events)))):
        state, _, days, anomalies = run(rules, events, cuts, until)
        closed = [(d, shares_digest(d, state.wallets.address)) for d in days]
        w = state.wallets
        stamps = [w.last_stake, w.last_unstake, w.streak(until), w.updated, w.held, w.staked,
                  w.total_staked]  # fmt: skip
        results.append((
            fingerprint(state, closed, rules, 1), anomalies, [list(map(int, s)) for s in stamps]
        ))  # fmt: skip
    assert results[0] == results[1]
