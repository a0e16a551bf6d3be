"""The simulated chain: hashes, forks, finality and state."""

import pytest

from ngu_points.demo.blocks import Log, child, logs_of
from ngu_points.demo.contract import Event
from ngu_points.demo.node import Change, SimNode
from ngu_points.engine.events import ZERO_ADDRESS, Kind

A, B = b"\xaa" * 20, b"\xbb" * 20


def mint(first: int, quantity: int = 10, to: bytes = A) -> Event:
    return Event(Kind.MINT, ZERO_ADDRESS, to, first, quantity)


def transfer(first: int, quantity: int = 1) -> Event:
    return Event(Kind.TRANSFER, A, B, first, quantity)


def chain_of(length: int) -> SimNode:
    node = SimNode()
    for number in range(length):
        node.mine([mint(1 + 10 * number)])
    return node


def test_same_content_same_hashes() -> None:
    """Two chains with the same content agree in every hash; another timestamp changes them."""
    one, two = chain_of(5), chain_of(5)
    assert [block.hash for block in one.blocks] == [block.hash for block in two.blocks]
    assert one.mine([], timestamp=10**10).hash != two.mine([]).hash


def test_blocks_are_linked() -> None:
    """Every block names its parent, is found by its hash and is later than its parent."""
    node = chain_of(5)
    for parent, block in zip(node.blocks, node.blocks[1:], strict=False):
        assert block.header.parent_hash == parent.hash
        assert node.by_hash[block.hash] is block
        assert block.timestamp == parent.timestamp + node.seconds_per_block


def test_logs_are_kept_exactly() -> None:
    """Logs of any shape come back as they went in: no topics, no data, large data."""
    node = SimNode()
    logs = [
        Log(A, (), b""),
        Log(B, (b"\x01" * 32,), b"\x00"),
        Log(A, tuple(bytes([number]) * 32 for number in range(4)), bytes(range(256)) * 4),
    ]
    assert logs_of(node.mine(logs)) == logs


def test_reorg_replaces_the_newest_blocks() -> None:
    """A reorg keeps the height below, changes every hash above and tells of both branches."""
    node = chain_of(6)
    told: list[Change] = []
    node.watch(told.append)
    before = list(node.blocks)
    added = node.reorg(3, [[transfer(1)], [], [mint(31)], [mint(41)]])
    assert node.blocks[:4] == before[:4]
    assert [block.number for block in node.blocks] == list(range(8))
    assert not {block.hash for block in added} & {block.hash for block in before}
    assert told == [Change(tuple(reversed(before[4:])), tuple(added))]
    assert all(block.hash not in node.by_hash for block in before[4:])


def test_empty_branches_differ() -> None:
    """Replacing empty blocks by empty blocks with the same times still changes their hashes."""
    node = SimNode()
    hashes = {node.mine().hash}
    for _ in range(3):
        hashes.add(node.reorg(1)[0].hash)
    assert len(hashes) == 4
    assert node.head.number == 1


def test_transaction_keeps_its_hash_on_another_branch() -> None:
    """A transaction at its old height and place has its old hash, in a block with a new one."""
    node = chain_of(2)
    old = node.mine([transfer(1), transfer(2)])
    (new,) = node.reorg(1, [[transfer(1), transfer(3)]])
    assert new.tx_hashes[0] == old.tx_hashes[0]
    assert new.tx_hashes[1] != old.tx_hashes[1]
    assert new.hash != old.hash


def test_equal_transactions_differ_in_their_hashes() -> None:
    """The same logs in another block, or at another place of one, are another transaction."""
    node = SimNode()
    for _ in range(3):
        node.mine([transfer(1), transfer(1)])
    hashes = [tx for block in node.blocks for tx in block.tx_hashes]
    assert len(set(hashes)) == len(hashes) == 6


def test_rollback_is_silent() -> None:
    """After a rollback the chain is shorter and nobody has been told."""
    node = chain_of(4)
    told: list[Change] = []
    node.watch(told.append)
    node.rollback(3)
    assert (node.head.number, told) == (1, [])
    with pytest.raises(ValueError, match="cannot drop 2 of 2"):
        node.rollback(2)


def test_append_wants_a_child_of_the_head() -> None:
    """A block that does not follow the head is refused and changes nothing."""
    node = chain_of(3)
    foreign = child(node.blocks[1], [], timestamp=node.head.timestamp + 2)
    with pytest.raises(ValueError, match="no child of the head"):
        node.append(foreign)
    assert node.head.number == 3


def test_finality_follows_the_head_until_it_is_set() -> None:
    """Final is 8 and safe 4 below the head, never below 0; a set one stays where it is."""
    node = chain_of(6)
    assert (node.safe, node.finalized) == (2, 0)
    for _ in range(6):
        node.mine()
    assert (node.safe, node.finalized) == (8, 4)
    node.set_finalized(11)
    node.mine()
    assert (node.safe, node.finalized) == (11, 11)


def test_state_follows_the_canonical_chain() -> None:
    """Holdings are those of the asked block, and of the winning branch after a reorg."""
    node = chain_of(1)
    node.mine([transfer(5)])
    assert (node.holdings(1).owner(5), node.holdings().owner(5)) == (A, B)
    node.reorg(1, [[transfer(6)]])
    held = node.holdings()
    assert (held.owner(5), held.owner(6)) == (A, B)
    assert node.holdings(0).next_id == 1


def test_an_old_state_stays_as_it_was() -> None:
    """Holdings that somebody still looks at do not change when the chain goes on."""
    node = chain_of(1)
    old = node.holdings()
    node.mine([transfer(5)])
    assert node.holdings().owner(5) == B
    assert old.owner(5) == A


def test_state_ignores_other_contracts() -> None:
    """Logs of another address, or unlike an event of ours, do not change holdings."""
    node = chain_of(1)
    ours = logs_of(node.head)[0]
    node.mine([ours._replace(address=B), ours._replace(data=b"\x01"), ours._replace(topics=())])
    assert len(node.holdings().owners) == 10
