"""docs/fingerprint.md says exactly which bytes are hashed: written once more here, by the page."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import blocks, page

import oracle
from engine.test_against_oracle import engine_rules, run
from histories import RangeWeights, histories
from ngu_points.engine.fingerprint import fingerprint, shares_digest

PAGE = page("docs/fingerprint.md")
VECTORS: list[dict[str, Any]] = [json.loads(block) for block in blocks(PAGE, "json")]


@dataclass
class Told:
    """The oracle's state, and since when each token has earned as it does."""

    rules: oracle.Rules
    ended: dict[int, int] = field(default_factory=dict)  # token → when its last staking ended

    def __post_init__(self) -> None:
        self.oracle = oracle.Oracle(self.rules)

    def apply(self, event: oracle.Event) -> None:
        """Fold an event, and note the tokens whose staking it ends."""
        tokens = range(event.first, event.first + event.quantity)
        staked = [t for t in tokens if self._token(t).staker is not None]
        self.oracle.apply(event)
        for token in staked:
            if self._token(token).staker is None:
                self.ended[token] = event.timestamp

    def runs(self) -> list[tuple[int, int, tuple[str, str, int, int]]]:
        """(first, last, (owner, staker, owned since, since)), maximal, in id order."""
        known = sorted(self.oracle.tokens)
        rows = [(t, self._columns(t)) for t in known]
        found = []
        for _, group in groupby(enumerate(rows), lambda e: (e[1][0] - e[0], e[1][1])):
            members = [row for _, row in group]
            found.append((members[0][0], members[-1][0], members[0][1]))
        return found

    def _token(self, token: int) -> oracle.Token:
        return self.oracle.tokens.get(token, oracle.Token())

    def _columns(self, token: int) -> tuple[str, str, int, int]:
        known = self._token(token)
        since = known.staked_since
        if since is None:
            since = max(known.owned_since or 0, self.ended.get(token, 0))
        return known.owner or "", known.staker or "", known.owned_since or 0, since


def u64(value: int) -> bytes:
    """8 bytes, big-endian."""
    return value.to_bytes(8, "big")


def integer(value: int) -> bytes:
    """8 bytes below 2^63, else the escape, the length and the bytes."""
    if value < 2**63:
        return u64(value)
    size = (value.bit_length() + 7) // 8
    return b"\xff" * 8 + u64(size) + value.to_bytes(size, "big")


def address(text: str) -> bytes:
    """20 bytes; zeros for nobody."""
    return bytes.fromhex(text[2:]) if text else bytes(20)


def documented(told: Told, chain_id: int, block: int, timestamp: int) -> bytes:
    """All the bytes that are hashed, as the page defines them."""
    view = told.oracle.at(timestamp)
    out = b"ngu-points fingerprint 1\n" + u64(chain_id) + u64(block) + u64(timestamp)
    runs = told.runs()
    out += u64(len(runs))
    for first, last, (owner, staker, owned, since) in runs:
        out += first.to_bytes(32, "big") + last.to_bytes(32, "big")
        out += address(owner) + address(staker) + u64(owned) + u64(since)
    for season in told.rules.seasons:
        name, facts = season.name.encode(), view.facts[season.name]
        out += u64(len(name)) + name + u64(len(facts))
        for wallet in sorted(facts):
            fact = facts[wallet]
            counts = [fact.counts[name] for name in oracle.COUNTS]
            row = [fact.held, *counts, fact.awards_micro, *fact.staked]
            out += address(wallet) + b"".join(map(integer, row))
    out += u64(len(view.feasts))
    for day, feast in sorted(view.feasts.items()):
        amounts = (feast.carry_in, feast.emission, feast.contribution, feast.total_seconds,
                   feast.carry_out)  # fmt: skip
        shares = [address(w) + integer(s) for w, s in sorted(feast.shares.items())]
        out += u64(day) + b"".join(map(integer, amounts))
        out += hashlib.sha256(b"".join(shares)).digest()
    return out


def rules_of(vector: dict[str, Any]) -> oracle.Rules:
    """A vector's rules; what it does not name has no part in the fingerprint."""
    nothing = Fraction(0)
    return oracle.Rules(
        [oracle.Season(name, start, end, nothing, nothing)
         for name, start, end in vector["seasons"]],
        RangeWeights(tuple((first, last - first + 1, w) for first, last, w in vector["weights"])),
        [(days, Fraction(1)) for days in vector["tiers"]],
        feast_emission=vector["emission"],
        feast_burn=vector["burn"],
    )  # fmt: skip


def events_of(vector: dict[str, Any]) -> list[oracle.Event]:
    """A vector's events, one block each."""
    return [
        oracle.Event(kind, number, 0, time, sender, recipient, first, last - first + 1)
        for number, (kind, time, sender, recipient, first, last) in enumerate(vector["events"], 1)
    ]


def told(rules: oracle.Rules, events: list[oracle.Event]) -> Told:
    """All events applied."""
    story = Told(rules)
    for event in events:
        story.apply(event)
    return story


def engines(rules: oracle.Rules, events: list[oracle.Event], until: int, at: Any) -> str:
    """The engine's own fingerprint; `at` is (chain id, block)."""
    mine = engine_rules(rules)
    state, _, days, _ = run(mine, events, [], until)
    object.__setattr__(state, "block", at[1])
    closed = [(day, shares_digest(day, state.wallets.address)) for day in days]
    return fingerprint(state, closed, mine, at[0])


def test_there_are_vectors() -> None:
    """The page holds the vectors that the tests below are about."""
    assert len(VECTORS) == 4


@pytest.mark.parametrize("vector", VECTORS, ids=[v["name"] for v in VECTORS])
def test_a_vector_is_what_page_and_engine_give(vector: dict[str, Any]) -> None:
    """The bytes of the page hash to the vector's fingerprint, and so do the engine's."""
    rules, events = rules_of(vector), events_of(vector)
    at, until = (vector["chain_id"], vector["block"]), vector["timestamp"]
    hashed = documented(told(rules, events), *at, until)
    assert len(hashed) == vector["length"]
    assert hashlib.sha256(hashed).hexdigest() == vector["fingerprint"]
    assert engines(rules, events, until, at) == vector["fingerprint"]


def test_the_bytes_written_out_are_those_of_the_second_vector() -> None:
    """The listing in hex, its remarks left out, is what is hashed."""
    (listing,) = blocks(PAGE, "text")
    digits = "".join(line.partition("#")[0] for line in listing.splitlines())
    vector = VECTORS[1]
    hashed = documented(told(rules_of(vector), events_of(vector)), vector["chain_id"],
                        vector["block"], vector["timestamp"])  # fmt: skip
    assert bytes.fromhex(digits) == hashed


def test_the_vectors_cover_ids_and_numbers_of_any_width() -> None:
    """One vector has an id of 256 bits, one a number that needs the escape."""
    assert any(last == 2**256 - 1 for v in VECTORS for *_, last in v["events"])
    hashed = [documented(told(rules_of(v), events_of(v)), v["chain_id"], v["block"],
                         v["timestamp"]) for v in VECTORS]  # fmt: skip
    assert any(b"\xff" * 8 + u64(9) in h or b"\xff" * 8 + u64(8) in h for h in hashed)


@given(history=histories(max_events=25), chain_id=st.integers(1, 2**63 - 1))
def test_random_histories_have_the_documented_bytes(
    history: tuple[oracle.Rules, list[oracle.Event], int], chain_id: int
) -> None:
    """Whatever happened, the hash of the page's bytes is the engine's fingerprint."""
    rules, events, until = history
    block = events[-1].block if events else 0
    hashed = documented(told(rules, events), chain_id, block, until)
    assert engines(rules, events, until, (chain_id, block)) == hashlib.sha256(hashed).hexdigest()
