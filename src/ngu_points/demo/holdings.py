"""Who owns and who stakes each token: the state of an NGU contract, token by token (pure)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ngu_points.demo.contract import Event
from ngu_points.engine.events import ZERO_ADDRESS, Kind

MAX_QUANTITY = 400
"""The largest range that the contract accepts."""


@dataclass(slots=True)
class Holdings:
    """Living tokens with their owners, staked tokens with their stakers, and the next new id.

    It takes every event at its word, so histories that contradict themselves can be played too.
    One entry a token: not for ranges that no contract would mint.
    """

    owners: dict[int, bytes] = field(default_factory=dict)
    stakers: dict[int, bytes] = field(default_factory=dict)
    next_id: int = 1

    def play(self, events: Iterable[Event]) -> None:
        """Apply events in order."""
        for event in events:
            self._apply(event)

    def copy(self) -> "Holdings":
        """The same state, to be changed on its own."""
        return Holdings(self.owners.copy(), self.stakers.copy(), self.next_id)

    def owner(self, token: int) -> bytes:
        """The owner, or the zero address."""
        return self.owners.get(token, ZERO_ADDRESS)

    def staker(self, token: int) -> bytes:
        """The staker, or the zero address."""
        return self.stakers.get(token, ZERO_ADDRESS)

    def run_from(self, token: int, limit: int) -> int:
        """How many tokens from `token` on, at most `limit`, are owned and staked as it is."""
        owner, staker = self.owners.get(token), self.stakers.get(token)
        for length in range(1, limit):
            following = token + length
            if (self.owners.get(following), self.stakers.get(following)) != (owner, staker):
                return length
        return limit

    def _apply(self, event: Event) -> None:
        tokens = range(event.first, event.first + event.quantity)
        if event.kind in (Kind.MINT, Kind.TRANSFER):
            self.owners.update(dict.fromkeys(tokens, event.recipient))
            self.next_id = max(self.next_id, tokens.stop)
        if event.kind is Kind.BURN:
            _forget(self.owners, tokens)
        if event.kind is Kind.STAKE:
            self.stakers[event.first] = event.sender
        elif event.kind is not Kind.TRANSFER or event.sender != event.recipient:
            _forget(self.stakers, tokens)


def _forget(wallets: dict[int, bytes], tokens: Sequence[int]) -> None:
    for token in tokens:
        wallets.pop(token, None)
