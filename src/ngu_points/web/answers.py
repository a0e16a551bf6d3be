"""What the API answers with. The OpenAPI document is made from these types.

Whatever can outgrow 53 bits is a string: token ids, numbers of tokens, facts, amounts. Points are
text with six decimals, rounded down; `exact` beside them is the rational.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Whole = Annotated[int, Meta(ge=0)]
Time = Annotated[int, Meta(ge=0, description="Unix seconds of block time.")]
Clock = Annotated[int, Meta(ge=0, description="Unix seconds of the server's clock.")]
Big = Annotated[str, Meta(pattern="^[0-9]+$", description="An integer of any size.")]
Points = Annotated[str, Meta(pattern="^[0-9]+\\.[0-9]{6}$", description="Rounded down.")]
Exact = Annotated[str, Meta(pattern="^[0-9]+/[0-9]+$", description="The exact rational.")]
Address = Annotated[str, Meta(pattern="^0x[0-9a-f]{40}$")]
Hash = Annotated[str, Meta(pattern="^0x[0-9a-f]{64}$")]
Next = Annotated[str | None, Meta(description="The cursor of the next page; null at the end.")]
TypeName = Literal["BatchMint", "BatchBurn", "BatchTransfer", "Stake", "Unstake"]
TYPE_NAMES: tuple[TypeName, ...] = ("BatchMint", "BatchBurn", "BatchTransfer", "Stake", "Unstake")


def _json_name(name: str) -> str:
    head, *rest = name.rstrip("_").split("_")
    return head + "".join(word.title() for word in rest)


class Answer(msgspec.Struct, frozen=True, rename=_json_name, kw_only=True):
    """Names in JSON are in camelCase."""


class Valid(Answer, frozen=True):
    """The block that an answer is valid to, its time, and whether it can still change."""

    block: int
    block_hash: Hash | None
    timestamp: Time
    time: str
    final: bool


class Row(Answer, frozen=True):
    """A wallet on the leaderboard."""

    rank: Annotated[int, Meta(ge=1)]
    wallet: Address
    points: Points
    total_points: Points
    held: Big
    staked: Big


class Leaderboard(Answer, frozen=True):
    """Wallets with points, the most first; of equals the lower address."""

    valid: Valid
    season: str | None
    total: Whole
    next: Next
    wallets: list[Row]


class Retracted(Answer, frozen=True):
    """Points that were shown and taken back by a fork or a repair."""

    shown: str
    now: str
    timestamp: Time
    why: str
    at: Clock
    block: Whole


class Wallet(Answer, frozen=True):
    """A wallet's points and the facts they come from."""

    valid: Valid
    wallet: Address
    known: bool
    earns: bool
    season: str | None
    rank: int | None
    points: Points
    exact: Exact
    total_points: Points
    daily_points: Points | None
    per_day: Annotated[Points, Meta(description="What it earns now in a day, without feasts.")]
    current_held: Big
    current_staked: Big
    total_staked: Big
    last_stake_at: Time | None
    last_unstake_at: Time | None
    staking_streak: Whole
    last_update_at: Time | None
    uncertain: bool
    facts: dict[str, Big]
    retractions: list[Retracted]


class Range(Answer, frozen=True):
    """Consecutive tokens with one owner, one staker and one history."""

    first: Big
    last: Big
    quantity: Big
    owner: Address | None
    staker: Address | None
    owned_since: Time | None
    since: Time
    staked: bool


class Holdings(Answer, frozen=True):
    """What a wallet owns or stakes, as ranges in id order."""

    valid: Valid
    wallet: Address
    total: Whole
    next: Next
    ranges: list[Range]


class WalletFeast(Answer, frozen=True):
    """A wallet's share of a day's feast."""

    day: Whole
    date: str
    share_micro: Big
    share: Points
    pool_micro: Big


class WalletFeasts(Answer, frozen=True):
    """The feasts that a wallet shared in, the latest first."""

    valid: Valid
    wallet: Address
    next: Next
    total_micro: Big
    feasts: list[WalletFeast]


class Line(Answer, frozen=True):
    """One term of the sum: a fact, its rate, and what that comes to."""

    fact: str
    text: str
    amount: Big
    unit: str
    rate: Exact
    rate_text: str
    points: Points
    exact: Exact


class EventName(Answer, frozen=True):
    """An event on the chain, by name."""

    id: str
    type: TypeName
    block: Whole
    timestamp: Time
    transaction_hash: Hash


class TierSeconds(Answer, frozen=True):
    """The part of a staked stretch in one tier."""

    tier: Whole
    multiplier: Exact
    seconds: Big


class Interval(Answer, frozen=True):
    """A stretch of earning: these tokens, from one event to another."""

    first: Big
    last: Big
    quantity: Big
    weight: Big
    how: Literal["held", "staked"]
    since: Time
    until: Time | None
    seconds: Annotated[Big, Meta(description="Weighted token-seconds within the season.")]
    points: Points
    exact: Exact
    tiers: list[TierSeconds]
    opened: Annotated[EventName | None, Meta(description="Of its first token.")]
    opened_by: Annotated[int, Meta(ge=0, description="Events that began parts of it.")]
    closed: EventName | None


class Explanation(Answer, frozen=True):
    """Why a wallet has its points: facts × rates line by line, and the intervals behind them."""

    valid: Valid
    wallet: Address
    season: str | None
    points: Points
    exact: Exact
    lines: list[Line]
    agrees: Annotated[bool, Meta(description="The intervals add up to the stored facts.")]
    total: Whole
    next: Next
    intervals: list[Interval]


class PointsAt(Answer, frozen=True):
    """What a wallet had at a time."""

    timestamp: Time
    points: Points
    held: Big
    staked: Big


class PointsHistory(Answer, frozen=True):
    """A wallet's points over time."""

    valid: Valid
    wallet: Address
    season: str | None
    series: list[PointsAt]


class IdRange(Answer, frozen=True):
    """Token ids, both ends included."""

    first: Big
    last: Big


class Token(Answer, frozen=True):
    """Who owns and who stakes a token, and since when."""

    valid: Valid
    token_id: Big
    exists: bool
    weight: Big
    owner: Address | None = None
    staker: Address | None = None
    owned_since: Time | None = None
    staked_since: Time | None = None
    earner: Address | None = None
    range: IdRange | None = None


class Event(Answer, frozen=True):
    """An event on the chain; a stake or unstake has its account in `from`."""

    id: str
    type: TypeName
    block: Whole
    log_index: Whole
    transaction_hash: Hash
    block_hash: Hash
    timestamp: Time
    time: str
    from_: Address | None
    to: Address | None
    first: Big
    last: Big
    quantity: Big
    error: str | None


class Events(Answer, frozen=True):
    """Events, the latest first. A page may be short though there is a `next`."""

    valid: Valid
    next: Next
    scanned_from: Annotated[int, Meta(description="The lowest block that was looked at.")]
    events: list[Event]


class OpenDay(Answer, frozen=True):
    """The feast of a day that is not over; its pool grows with what is burned."""

    day: Whole
    date: str
    closes_at: Time
    pool_micro: Big
    pool: Points
    carry_micro: Big
    emission_micro: Big
    contribution_micro: Big
    staked_tokens: Big
    stakers: Whole


class ClosedDay(Answer, frozen=True):
    """A feast that was held; shares plus carry are the pool."""

    day: Whole
    date: str
    pool_micro: Big
    pool: Points
    carry_in_micro: Big
    emission_micro: Big
    contribution_micro: Big
    carry_out_micro: Big
    staked_seconds: Big
    season: str | None
    block: Whole
    published: bool
    sharers: Whole
    corrected: bool


class Feasts(Answer, frozen=True):
    """The open feast, and those that were held, the latest first."""

    valid: Valid
    next: Next
    open: OpenDay | None
    feasts: list[ClosedDay]


class Share(Answer, frozen=True):
    """What a staker gets of a feast."""

    rank: Annotated[int, Meta(ge=1)]
    wallet: Address
    share_micro: Big
    share: Points
    seconds: Annotated[Big | None, Meta(description="Weighted staked seconds, of an open day.")]


class Feast(Answer, frozen=True):
    """A day's feast and its shares, the largest first; of an open day what they would be."""

    valid: Valid
    open: bool
    feast: dict[str, Any]
    total: Whole
    next: Next
    shares: list[Share]
