"""What a handful of wallets do with an NGU collection, from a seed: always the same (pure)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from ngu_points.chain.contract import keccak256
from ngu_points.demo import contract
from ngu_points.demo.contract import Event
from ngu_points.demo.holdings import MAX_QUANTITY, Holdings
from ngu_points.engine.events import ZERO_ADDRESS, Kind

_STAKED_AT_ONCE = 12
_TRIES = 8
_SHARES = {Kind.MINT: 18, Kind.TRANSFER: 32, Kind.BURN: 6, Kind.STAKE: 27, Kind.UNSTAKE: 17}


@dataclass(frozen=True, slots=True)
class Action:
    """One transaction: `sender` acts on `quantity` tokens from `first` on.

    A wallet mints for itself. `recipient` is the zero address except in a transfer.
    """

    kind: Kind
    sender: bytes
    recipient: bytes
    first: int
    quantity: int


def wallets(count: int) -> tuple[bytes, ...]:
    """Addresses for a simulated chain: the same every time."""
    return tuple(keccak256(b"demo wallet %d" % number)[12:] for number in range(count))


def events_of(action: Action) -> list[Event]:
    """The events that the contract emits for it."""
    kind, first, quantity = action.kind, action.first, action.quantity
    if kind >= Kind.STAKE:
        return [
            Event(kind, action.sender, ZERO_ADDRESS, token)
            for token in range(first, first + quantity)
        ]
    if kind is Kind.MINT:
        return [Event(kind, ZERO_ADDRESS, action.sender, first, quantity)]
    return [Event(kind, action.sender, action.recipient, first, quantity)]


def call_of(action: Action) -> str:
    """The call data that makes the contract do it."""
    first, quantity = action.first, action.quantity
    if action.kind is Kind.MINT:
        return contract.batch_mint(action.sender, quantity)
    if action.kind is Kind.BURN:
        return contract.batch_burn(first, quantity)
    if action.kind is Kind.TRANSFER:
        return contract.batch_transfer(action.recipient, first, quantity)
    tokens = range(first, first + quantity)
    return contract.stake(tokens) if action.kind is Kind.STAKE else contract.unstake(tokens)


@dataclass(slots=True)
class Traffic:
    """An endless supply of actions, each valid after all those before it.

    `holdings` is the state of the contract when every action taken so far has happened. Start it
    on a contract of which no token has been minted.
    """

    seed: int
    wallets: Sequence[bytes]
    holdings: Holdings = field(default_factory=Holdings)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def take(self, count: int) -> list[Action]:
        """The next actions."""
        return [self._next() for _ in range(count)]

    def _next(self) -> Action:
        (kind,) = self._random.choices(list(_SHARES), list(_SHARES.values()))
        action = None if kind is Kind.MINT else self._on_existing(kind)
        if action is None:
            action = self._mint()
        self.holdings.play(events_of(action))
        return action

    def _mint(self) -> Action:
        draw = self._random
        sizes = (1, draw.randint(2, 30), draw.randint(31, MAX_QUANTITY), MAX_QUANTITY)
        (quantity,) = draw.choices(sizes, (30, 45, 20, 5))
        wallet = draw.choice(self.wallets)
        return Action(Kind.MINT, wallet, ZERO_ADDRESS, self.holdings.next_id, quantity)

    def _on_existing(self, kind: Kind) -> Action | None:
        """Something done to a random token and those after it; None if none can be found."""
        for _ in range(_TRIES):
            token = self._random.randrange(self.holdings.next_id)
            owner = self.holdings.owners.get(token)
            staked = token in self.holdings.stakers
            fitting = kind is Kind.BURN or staked == (kind is Kind.UNSTAKE)
            if owner is None or not fitting:
                continue
            limit = _STAKED_AT_ONCE if kind >= Kind.STAKE else MAX_QUANTITY
            run = self.holdings.run_from(token, limit)
            # Single tokens and whole runs are the border cases, so they come up often.
            quantity = self._random.choice((1, run, self._random.randint(1, run)))
            recipient = self._random.choice(self.wallets)
            other = recipient if kind is Kind.TRANSFER else ZERO_ADDRESS
            return Action(kind, owner, other, token, quantity)
        return None
