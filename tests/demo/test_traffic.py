"""Traffic: valid by the contract's rules, varied, and always the same for a seed."""

import pytest

from ngu_points.demo.contract import event_of, log_of
from ngu_points.demo.holdings import MAX_QUANTITY, Holdings
from ngu_points.demo.traffic import Action, Traffic, events_of, wallets
from ngu_points.engine.events import ZERO_ADDRESS, Kind


def actions(seed: int, count: int = 3000) -> list[Action]:
    return Traffic(seed, wallets(6)).take(count)


def allowed(held: Holdings, action: Action) -> bool:
    """Whether the contract would accept it: its rules, written down once more."""
    tokens = range(action.first, action.first + action.quantity)
    owners = {held.owner(token) for token in tokens}
    stakers = {held.staker(token) for token in tokens}
    match action.kind:
        case Kind.MINT:
            return action.first == held.next_id
        case Kind.BURN:
            return owners == {action.sender}
        case Kind.UNSTAKE:
            return stakers == {action.sender}
        case _:
            return owners == {action.sender} and stakers == {ZERO_ADDRESS}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_action_is_valid(seed: int) -> None:
    """Each action is one that the contract accepts in the state that those before it left."""
    held = Holdings()
    for action in actions(seed):
        assert 1 <= action.quantity <= MAX_QUANTITY
        assert allowed(held, action), action
        held.play(events_of(action))


def test_same_seed_same_actions() -> None:
    """A seed gives the same actions however they are taken; another seed gives others."""
    traffic = Traffic(7, wallets(6))
    by_pieces = [action for count in (1, 0, 99, 400) for action in traffic.take(count)]
    assert by_pieces == actions(7, 500)
    assert by_pieces != actions(8, 500)


def test_everything_happens() -> None:
    """All kinds, single tokens and ranges up to 400, self-transfers and burns of staked tokens."""
    held = Holdings()
    seen: set[str] = set()
    kinds: dict[Kind, int] = dict.fromkeys(Kind, 0)
    for action in actions(1):
        kinds[action.kind] += 1
        if action.kind is Kind.TRANSFER and action.sender == action.recipient:
            seen.add("self-transfer")
        if action.kind is Kind.BURN and action.first in held.stakers:
            seen.add("burn while staked")
        if action.kind is Kind.MINT and action.quantity == MAX_QUANTITY:
            seen.add("largest mint")
        held.play(events_of(action))
    assert min(kinds.values()) > 100
    assert seen == {"self-transfer", "burn while staked", "largest mint"}


def test_events_survive_their_logs() -> None:
    """An event written as a log and read back is the same event."""
    for action in actions(4, 200):
        for event in events_of(action):
            assert event_of(log_of(event, b"\x01" * 20)) == event
