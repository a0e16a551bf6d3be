"""The oracle: the rules of the design once more, one token at a time, in dicts and Python integers.

It shares no code with `ngu_points` on purpose: what the two agree on was arrived at twice.
Nothing here is fast. An event is applied to each token of its range in turn; every stretch of
time in which one wallet earned with one token is kept as a `Spell`; the seconds, points and
feasts are counted from the spells only when somebody asks (`Oracle.at`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

DAY = 86_400
MICRO = 10**6
ZERO_ADDRESS = "0x" + "00" * 20
COUNTS = ("minted", "burned", "sent", "received", "staked", "unstaked")


@dataclass(frozen=True)
class Event:
    """One on-chain event; addresses are "0x" + 40 lower-case hex digits, "" where absent."""

    kind: str  # "BatchMint", "BatchBurn", "BatchTransfer", "Stake" or "Unstake"
    block: int
    log_index: int
    timestamp: int
    sender: str  # from, or the account of a Stake or Unstake
    recipient: str
    first: int
    quantity: int


@dataclass(frozen=True)
class Season:
    """[start, end) in seconds, None for no border; rates in points per token-day."""

    name: str
    start: int | None
    end: int | None
    held: Fraction
    staked: Fraction
    awards: dict[str, Fraction] = field(default_factory=dict)  # points per token, keys: COUNTS

    def contains(self, timestamp: int) -> bool:
        """Whether the second `timestamp` belongs to the season."""
        after_start = self.start is None or self.start <= timestamp
        before_end = self.end is None or timestamp < self.end
        return after_start and before_end


def one(token: int) -> int:
    """The default weight of a token."""
    return 1


@dataclass(frozen=True)
class Rules:
    """What the operator configured. Seasons do not overlap; tiers are sorted by days."""

    seasons: list[Season]
    weights: Callable[[int], int] = one
    tiers: list[tuple[int, Fraction]] = field(default_factory=list)  # days staked, multiplier
    excluded: set[str] = field(default_factory=set)
    staking_contracts: set[str] = field(default_factory=set)
    custody: bool = False
    feast_emission: int = 0  # micro-points a day
    feast_burn: int = 0  # micro-points per unit of weight burned

    def season_of(self, timestamp: int) -> Season | None:
        """The season that holds the second `timestamp`, if one does."""
        return next((s for s in self.seasons if s.contains(timestamp)), None)

    def earns(self, wallet: str) -> bool:
        """Whether the wallet may earn at all."""
        nobody = {ZERO_ADDRESS} | self.excluded | self.staking_contracts
        return wallet not in nobody


@dataclass(frozen=True)
class Token:
    """What the record says about one token; `touched` is when its latest event happened."""

    owner: str | None = None
    owned_since: int | None = None
    staker: str | None = None
    staked_since: int | None = None
    touched: int = 0

    def unstaked(self) -> Token:
        """The same with staking ended."""
        return replace(self, staker=None, staked_since=None)


class Spell(NamedTuple):
    """`wallet` earned with `token` during [since, until); staked_since is None where it held."""

    token: int
    wallet: str
    since: int
    until: int
    staked_since: int | None


class Anomaly(NamedTuple):
    """An event that contradicted the record: all its codes, and every token that had one."""

    block: int
    log_index: int
    codes: set[str]
    tokens: list[int]


class FeastDay(NamedTuple):
    """One closed day, in micro-points and weighted seconds; wallets with share 0 are left out."""

    pool: int
    carry_in: int
    emission: int
    contribution: int
    total_seconds: int
    shares: dict[str, int]
    carry_out: int


@dataclass
class Facts:
    """What one wallet has in one season; seconds are weighted, counts are tokens."""

    held: int
    staked: list[int]  # by tier, [0] before the first threshold
    counts: dict[str, int]  # keys: COUNTS
    awards_micro: int = 0  # feast shares

    def nothing(self) -> bool:
        """Whether every fact is zero."""
        return not (self.held or any(self.staked) or any(self.counts.values()) or self.awards_micro)


@dataclass(frozen=True)
class View:
    """Everything there is to compare at one moment; wallets with no facts are left out."""

    owners: dict[int, str]
    stakers: dict[int, str]
    owned_since: dict[int, int]
    staked_since: dict[int, int]
    facts: dict[str, dict[str, Facts]]  # by season name, then wallet
    points: dict[str, dict[str, Fraction]]  # by season name, then wallet
    feasts: dict[int, FeastDay]  # by day: timestamp // 86400


class Oracle:
    """Give it every event in position order, then ask what holds at a timestamp."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.tokens: dict[int, Token] = {}  # those with an owner or a staker
        self.spells: list[Spell] = []  # those that ended
        self.counts: dict[tuple[str, str, str], int] = defaultdict(int)  # season, wallet, count
        self.burned_weight: dict[int, int] = defaultdict(int)  # by day
        self.codes: dict[tuple[int, int], dict[int, set[str]]] = {}  # position -> token -> codes
        self.first_day: int | None = None
        self.now = 0
        self.position = (-1, -1)

    def apply(self, event: Event) -> None:
        """Fold one event; position must grow and timestamps must not go back."""
        assert (event.block, event.log_index) > self.position, "events come in position order"
        assert event.timestamp >= self.now, "time does not go back"
        self.position, self.now = (event.block, event.log_index), event.timestamp
        if self.first_day is None:
            self.first_day = event.timestamp // DAY
        for token_id in range(event.first, event.first + event.quantity):
            self._apply_to_token(event, token_id)

    @property
    def anomalies(self) -> list[Anomaly]:
        """One entry for each event that contradicted the record, in position order."""
        return [
            Anomaly(block, log_index, set().union(*by_token.values()), sorted(by_token))
            for (block, log_index), by_token in sorted(self.codes.items())
        ]

    def at(self, timestamp: int) -> View:
        """All that holds once every block up to `timestamp` (seconds) is covered."""
        assert timestamp >= self.now, "a view lies at or after the last event"
        running = [s for t in self.tokens if (s := self._spell(t, self.tokens[t], timestamp))]
        spells = self.spells + running
        feasts = self._feasts(spells, timestamp)
        facts = self._facts(spells, feasts)
        points = {
            season.name: {w: self._points(season, f) for w, f in facts[season.name].items()}
            for season in self.rules.seasons
        }
        tokens = self.tokens.items()
        return View(
            owners={i: t.owner for i, t in tokens if t.owner is not None},
            stakers={i: t.staker for i, t in tokens if t.staker is not None},
            owned_since={i: t.owned_since for i, t in tokens if t.owned_since is not None},
            staked_since={i: t.staked_since for i, t in tokens if t.staked_since is not None},
            facts=facts,
            points=points,
            feasts=feasts,
        )

    # One event on one token ---------------------------------------------------------------

    def _apply_to_token(self, event: Event, token_id: int) -> None:
        before = self.tokens.pop(token_id, Token())
        ended = self._spell(token_id, before, event.timestamp)
        if ended:
            self.spells.append(ended)
        codes: set[str] = set()
        if event.kind == "BatchMint":
            after = self._mint(before, event, codes)
        elif event.kind == "BatchBurn":
            after = self._burn(before, event, codes, token_id)
        elif event.kind == "BatchTransfer":
            after = self._transfer(before, event, codes)
        elif event.kind == "Stake":
            after = self._stake(before, event, codes)
        elif event.kind == "Unstake":
            after = self._unstake(before, event, codes)
        else:
            raise ValueError(f"no event is called {event.kind!r}")
        if after.owner is not None or after.staker is not None:
            self.tokens[token_id] = replace(after, touched=event.timestamp)
        if codes:
            self.codes.setdefault((event.block, event.log_index), {})[token_id] = codes

    def _mint(self, token: Token, event: Event, codes: set[str]) -> Token:
        self._count(event.recipient, "minted", event.timestamp)
        if token.owner is not None or token.staker is not None:
            codes.add("EXISTS")
        return Token(owner=event.recipient, owned_since=event.timestamp)

    def _burn(self, token: Token, event: Event, codes: set[str], token_id: int) -> Token:
        self._count(event.sender, "burned", event.timestamp)
        self.burned_weight[event.timestamp // DAY] += self.rules.weights(token_id)
        self._expect_owner(token, event.sender, codes)
        return Token()

    def _transfer(self, token: Token, event: Event, codes: set[str]) -> Token:
        a, b, rules = event.sender, event.recipient, self.rules
        if a != b:
            self._count(a, "sent", event.timestamp)
            self._count(b, "received", event.timestamp)
        self._expect_owner(token, a, codes)
        if a == b and token.owner == b:
            return token

        moved = replace(token, owner=b, owned_since=event.timestamp)
        from_contract = a in rules.staking_contracts
        to_contract = b in rules.staking_contracts
        if rules.custody and to_contract and not from_contract:
            if token.staker is not None:
                codes.add("WAS_STAKED")
            self._count(a, "staked", event.timestamp)
            return replace(moved, staker=a, staked_since=event.timestamp)
        if token.staker is None:
            return moved
        if rules.custody and from_contract:
            self._count(token.staker, "unstaked", event.timestamp)
            return moved.unstaked()
        if not rules.custody and to_contract and token.staker == a:
            return moved
        if not rules.custody and from_contract and token.staker == b:
            return moved
        if not rules.custody and from_contract:
            return moved.unstaked()
        codes.add("WAS_STAKED")
        return moved.unstaked()

    def _stake(self, token: Token, event: Event, codes: set[str]) -> Token:
        self._count(event.sender, "staked", event.timestamp)
        if token.owner not in self.rules.staking_contracts:
            self._expect_owner(token, event.sender, codes)
        if token.staker is not None:
            codes.add("ALREADY_STAKED")
        return replace(token, staker=event.sender, staked_since=event.timestamp)

    def _unstake(self, token: Token, event: Event, codes: set[str]) -> Token:
        self._count(event.sender, "unstaked", event.timestamp)
        if token.staker is None:
            codes.add("NOT_STAKED")
        elif token.staker != event.sender:
            codes.add("NOT_STAKER")
        return token.unstaked()

    def _expect_owner(self, token: Token, wallet: str, codes: set[str]) -> None:
        if token.owner is None:
            codes.add("NOT_EXISTING")
        elif token.owner != wallet:
            codes.add("NOT_OWNER")

    def _count(self, wallet: str, what: str, timestamp: int) -> None:
        season = self.rules.season_of(timestamp)
        if season is not None and self.rules.earns(wallet):
            self.counts[season.name, wallet, what] += 1

    def _spell(self, token_id: int, token: Token, until: int) -> Spell | None:
        earner = token.staker if token.staker is not None else token.owner
        if earner is None or not self.rules.earns(earner) or token.touched == until:
            return None
        return Spell(token_id, earner, token.touched, until, token.staked_since)

    # What the spells add up to --------------------------------------------------------------

    def _pieces(self, spell: Spell) -> Iterator[tuple[int, int]]:
        """The spell cut wherever a day, a season or a tier begins or ends."""
        since, until = spell.since, spell.until
        cuts = {since, until}
        for season in self.rules.seasons:
            cuts |= {border for border in (season.start, season.end) if border is not None}
        if spell.staked_since is not None:
            cuts |= {day * DAY for day in range(since // DAY + 1, until // DAY + 1)}
            cuts |= {spell.staked_since + days * DAY for days, _ in self.rules.tiers}
        inside = sorted(cut for cut in cuts if since <= cut <= until)
        yield from pairwise(inside)

    def _tier(self, seconds_staked: int) -> int:
        return sum(1 for days, _ in self.rules.tiers if days * DAY <= seconds_staked)

    def _facts(
        self, spells: list[Spell], feasts: dict[int, FeastDay]
    ) -> dict[str, dict[str, Facts]]:
        tiers = len(self.rules.tiers) + 1

        def none_yet() -> Facts:
            return Facts(0, [0] * tiers, dict.fromkeys(COUNTS, 0))

        facts: dict[str, dict[str, Facts]] = {
            season.name: defaultdict(none_yet) for season in self.rules.seasons
        }
        for (season_name, wallet, what), number in self.counts.items():
            facts[season_name][wallet].counts[what] = number
        for spell in spells:
            self._add_seconds(facts, spell)
        for day, feast in feasts.items():
            season = self.rules.season_of((day + 1) * DAY - 1)
            for wallet, share in feast.shares.items():
                assert season is not None, "a day that ends outside the seasons is not shared"
                facts[season.name][wallet].awards_micro += share
        return {
            name: {w: f for w, f in by_wallet.items() if not f.nothing()}
            for name, by_wallet in facts.items()
        }

    def _add_seconds(self, facts: dict[str, dict[str, Facts]], spell: Spell) -> None:
        weight = self.rules.weights(spell.token)
        for start, end in self._pieces(spell):
            season = self.rules.season_of(start)
            if season is None:
                continue
            mine = facts[season.name][spell.wallet]
            if spell.staked_since is None:
                mine.held += weight * (end - start)
            else:
                mine.staked[self._tier(start - spell.staked_since)] += weight * (end - start)

    def _points(self, season: Season, facts: Facts) -> Fraction:
        multipliers = [Fraction(1)] + [multiplier for _, multiplier in self.rules.tiers]
        points = facts.held * season.held / DAY
        for seconds, multiplier in zip(facts.staked, multipliers, strict=True):
            points += seconds * multiplier * season.staked / DAY
        for what, number in facts.counts.items():
            points += number * season.awards.get(what, Fraction(0))
        return points + Fraction(facts.awards_micro, MICRO)

    # The feasts -----------------------------------------------------------------------------

    def _feasts(self, spells: list[Spell], timestamp: int) -> dict[int, FeastDay]:
        staked = self._staked_seconds_by_day(spells)
        feasts: dict[int, FeastDay] = {}
        carry = 0
        day = self.first_day
        while day is not None and (day + 1) * DAY <= timestamp:
            contribution = self.burned_weight.get(day, 0) * self.rules.feast_burn
            pool = carry + self.rules.feast_emission + contribution
            seconds = staked.get(day, {})
            total = sum(seconds.values())
            shares: dict[str, int] = {}
            if total > 0 and self.rules.season_of((day + 1) * DAY - 1) is not None:
                shares = divide(pool, seconds)
            carry_out = pool - sum(shares.values())
            feasts[day] = FeastDay(
                pool, carry, self.rules.feast_emission, contribution, total, shares, carry_out
            )
            carry = carry_out
            day += 1
        return feasts

    def _staked_seconds_by_day(self, spells: list[Spell]) -> dict[int, dict[str, int]]:
        seconds: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for spell in spells:
            if spell.staked_since is None:
                continue
            weight = self.rules.weights(spell.token)
            for start, end in self._pieces(spell):
                seconds[start // DAY][spell.wallet] += weight * (end - start)
        return seconds


def divide(pool: int, seconds: dict[str, int]) -> dict[str, int]:
    """Share `pool` micro-points in proportion to `seconds` (at least 1 in all), to the last one.

    Each wallet gets the whole part of its exact share; what is left goes one by one to the
    largest fractional parts, of equal ones to the lower address first. Shares of 0 are left out.
    """
    total = sum(seconds.values())
    exact = {wallet: Fraction(pool * mine, total) for wallet, mine in seconds.items()}
    shares = {wallet: int(share) for wallet, share in exact.items()}
    left = pool - sum(shares.values())
    for wallet in sorted(exact, key=lambda w: (shares[w] - exact[w], w))[:left]:
        shares[wallet] += 1
    return {wallet: share for wallet, share in shares.items() if share > 0}
