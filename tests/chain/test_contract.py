"""Which logs count as whose events, and how a person's signature becomes a layout."""

from __future__ import annotations

from typing import Any

import pytest

from ngu_points.chain.contract import (
    STAKE,
    UNSTAKE,
    Contract,
    EventShape,
    EventText,
    Field,
    custom,
    erc721,
    keccak256,
    ngu,
)
from ngu_points.engine.events import Kind
from ngu_points.errors import UsageError

TOKEN, VAULT, FARM = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20
MOVE = EventText(
    "transfer",
    "Moved(address indexed a, address indexed b, uint256 indexed id)",
    {"from": "a", "to": "b", "tokenId": "id"},
)


def shape(contract: Contract, name: str) -> EventShape:
    """The layout of one of the contract's events."""
    return next(one for one in contract.shapes if one.name == name)


def staked(signature: str, **fields: str) -> EventShape:
    """The layout of a stake event with that signature."""
    text = EventText("stake", signature, fields)
    return shape(custom(TOKEN, {"move": MOVE, "stake": text}), "stake")


def test_first_topics_are_those_seen_on_chain() -> None:
    """The hashes by which nodes know the events of NGU, ERC-721 and ERC-2309."""
    assert {one.name: one.topic0.hex() for one in (*ngu(TOKEN).shapes, *erc721(TOKEN).shapes)} == {
        "BatchMint": "63232c37f2c1fdcb4fc657df1cef6cabc7181c5b604530242590ffe5fa91ab74",
        "BatchBurn": "c72888b04eef48850058b96e06db799bbca4b5511d5bd54d375af532446c7496",
        "BatchTransfer": "e33fa6b1dc0e64c45482249b300e8b7a8c335905802467c723315913c6ff3911",
        "Stake": "ebedb8b3c678666e7f36970bc8f57abf6d8fa2e828c0da91ea5b75bf68ed101a",
        "Unstake": "85082129d87b2fe11527cb1b3b7a520aeb5aa6913f88a3d8757fe40d1db02fdd",
        "Transfer": "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
        "ConsecutiveTransfer": "deaa91b6123d068f5821d0fb0678463d1a8a6079fe8af5de3ce5e896dcf9133d",
    }


def test_the_node_is_asked_for_what_is_read_and_no_more() -> None:
    """Staking contracts are asked for their events, but not where custody makes those needless."""
    assert ngu(TOKEN).addresses == (TOKEN,)
    assert ngu(TOKEN, [VAULT, FARM, VAULT]).addresses == (TOKEN, VAULT, FARM)
    assert len(ngu(TOKEN, [VAULT]).topics) == 5
    kept = erc721(TOKEN, staking=[VAULT], custody=True)
    assert (kept.addresses, kept.staking, kept.custody) == ((TOKEN,), (VAULT,), True)
    assert len(kept.topics) == 2
    told = erc721(TOKEN, staking=[VAULT], stake=STAKE, unstake=UNSTAKE)
    assert told.addresses == (TOKEN, VAULT)
    assert len(told.topics) == 4


def test_staking_events_are_believed_of_the_staking_contracts_alone() -> None:
    """With staking contracts the token contract's Stake counts no more, nor does their mint."""
    alone, apart = ngu(TOKEN).layouts(), ngu(TOKEN, [VAULT, FARM]).layouts()
    stake, mint = (
        keccak256(b"Stake(address,uint256)"),
        keccak256(b"BatchMint(address,uint256,uint256)"),
    )
    assert (TOKEN, stake) in alone
    assert (TOKEN, stake) not in apart
    assert apart[VAULT, stake] == apart[FARM, stake]
    assert (TOKEN, mint) in apart
    assert (VAULT, mint) not in apart


def test_indexed_parameters_are_topics_and_the_others_data() -> None:
    """Each field is found by counting topics and data words apart, in order of declaration."""
    found = staked(
        "Put(uint64 at, address indexed who, uint16 last, bytes32 indexed tag, uint128 first)",
        account="who", startTokenId="first", endTokenId="last",
    )  # fmt: skip
    assert (found.topics, found.data_words, found.exact) == (3, 3, True)
    assert found.sender == Field(1, 160)
    assert found.first == Field(5, 128)
    assert found.last == Field(4, 16)
    assert (found.quantity, found.recipient) == (None, None)
    assert found.topic0 == keccak256(b"Put(uint64,address,uint16,bytes32,uint128)")


@pytest.mark.parametrize(
    "signature",
    [
        "event Put(address indexed who, uint256 id);",
        " Put ( address  indexed\twho ,\n uint id ) ",
        "Put(address who, uint256 id)",
    ],
)
def test_the_topic_is_that_of_the_canonical_signature(signature: str) -> None:
    """Names, blanks, `event`, `indexed` and the short form of uint256 do not change an event."""
    assert staked(signature, account="who", tokenId="id").topic0 == keccak256(
        b"Put(address,uint256)"
    )


def test_what_has_no_fixed_size_may_follow_our_fields() -> None:
    """A string, bytes or an array after our fields leaves them readable and the length open."""
    for rest in ("string note", "bytes", "uint256[] ids", "uint8[3] x", "string a, uint256 b"):
        found = staked(f"Put(address who, uint256 id, {rest})", account="who", tokenId="id")
        assert (found.sender, found.first) == (Field(1, 160), Field(2, 256))
        assert (found.data_words, found.exact) == (2, False)
    hashed = staked("Put(string indexed s, address who, uint256 id)", account="who", tokenId="id")
    assert (hashed.sender, hashed.exact) == (Field(2, 160), True)


def test_only_the_shared_name_of_transfer_is_excused() -> None:
    """Three topics under Transfer's name are an ERC-20's; no other event has such a twin."""
    assert shape(erc721(TOKEN), "Transfer").foreign_topics == 3
    assert shape(erc721(TOKEN), "ConsecutiveTransfer").foreign_topics is None
    assert all(one.foreign_topics is None for one in ngu(TOKEN).shapes)
    plain = EventText(
        "transfer",
        "Transfer(address indexed a, address indexed b, uint256 id)",
        {"from": "a", "to": "b", "tokenId": "id"},
    )
    assert shape(custom(TOKEN, {"move": plain}), "move").foreign_topics is None


def test_one_event_may_stand_for_mint_transfer_and_burn() -> None:
    """A custom transfer keeps its kind open until the addresses are known."""
    contract = custom(TOKEN, {"move": MOVE})
    assert [one.kind for one in contract.shapes] == [Kind.TRANSFER]
    assert [one.stream for one in contract.shapes] == ["batch"]
    assert {one.stream for one in ngu(TOKEN).shapes[3:]} == {"staking"}


def test_equal_settings_make_equal_contracts() -> None:
    """Contracts can be compared and hashed, so that a changed configuration is noticed."""
    assert ngu(TOKEN, [VAULT]) == ngu(TOKEN, [VAULT])
    assert len({ngu(TOKEN), ngu(TOKEN), ngu(VAULT), erc721(TOKEN)}) == 3


WHO = {"account": "who", "tokenId": "id"}
GOOD = "Put(address who, uint256 id)"


@pytest.mark.parametrize(
    ("effect", "signature", "fields", "said"),
    [
        ("hold", GOOD, WHO, "unknown effect 'hold': allowed are mint, burn, transfer, stake"),
        ("stake", "Put address who", WHO, "is not an event signature: write it like Staked("),
        ("stake", "", WHO, "is not an event signature"),
        ("stake", "Put(address who, uint256 id) anonymous", WHO, "is not an event signature"),
        ("stake", "Put(address who, uint256 id,)", WHO, "cannot read the parameter ''"),
        ("stake", "Put(address who, (uint8,uint8) id)", WHO, "tuples are not supported"),
        ("stake", "Put(address who, uint id now)", WHO, "cannot read the parameter 'uint id now'"),
        ("stake", "Put(address who, uint257 id)", WHO, "unknown type 'uint257': allowed are"),
        ("stake", "Put(address who, uint08 id)", WHO, "unknown type 'uint08'"),
        ("stake", "Put(address who, uint12 id)", WHO, "unknown type 'uint12'"),
        ("stake", "Put(address who, bytes33 id)", WHO, "unknown type 'bytes33'"),
        ("stake", "Put(address who, token id)", WHO, "unknown type 'token'"),
        ("stake", "Put(address who, int256 id)", WHO, "it must be an unsigned integer"),
        ("stake", "Put(address who, bytes32 id)", WHO, "it must be an unsigned integer"),
        ("stake", "Put(address who, uint256[] id)", WHO, "it must be an unsigned integer"),
        ("stake", "Put(address who, address id)", WHO, "it must be an unsigned integer"),
        ("stake", "Put(uint160 who, uint256 id)", WHO, "'who' of type uint160: it must be an add"),
        ("stake", "Put(address[2] who, uint256 id)", WHO, "it must be an address"),
        ("stake", "Put(address Who, uint256 id)", WHO, "no parameter 'who' for the field account"),
        ("stake", "Put(address, uint256)", WHO, "there are none"),
        ("stake", "Put(address who, uint256 id, uint8 id)", WHO, "more than one parameter 'id'"),
        ("stake", "Put(string note, address who, uint256 id)", WHO, "lies behind a string"),
        ("stake", "Put(address who, uint256[2] x, uint256 id)", WHO, "lies behind a string"),
        (
            "stake",
            "Put(uint8 indexed a, uint8 indexed b, address indexed who, uint8 indexed id)",
            WHO,
            "4 indexed parameters; an event has at most 3",
        ),
        ("stake", GOOD, {"account": "who"}, "needs the fields account and tokenId"),
        ("stake", GOOD, {"to": "who", "tokenId": "id"}, "it has to, tokenId"),
        ("mint", GOOD, WHO, "a mint needs the fields to and tokenId"),
        ("stake", GOOD, {}, "it has none"),
        ("stake", GOOD, {"account": "who", "startTokenId": "id"}, "startTokenId with quantity"),
        ("stake", GOOD, WHO | {"quantity": "id"}, "it has account, tokenId, quantity"),
        (
            "stake",
            GOOD,
            {"account": "who", "startTokenId": "id", "quantity": "id"},
            "one parameter cannot be two of our fields",
        ),
        ("stake", "Put(address who, uint256 id)", {"account": "", "tokenId": "id"}, "no parameter"),
    ],
)
def test_a_wrong_event_is_named_with_what_is_allowed(
    effect: str, signature: str, fields: dict[str, str], said: str
) -> None:
    """Every mistake in an event's text gets one line with the event's name and the reason."""
    with pytest.raises(UsageError) as caught:
        custom(TOKEN, {"move": MOVE, "Put": EventText(effect, signature, fields)})
    message = str(caught.value)
    assert message.startswith("event Put: ")
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ngu(b"\x11" * 19), "not 20 bytes"),
        (lambda: ngu(TOKEN, [b""]), "not 20 bytes"),
        (lambda: erc721(TOKEN, stake=STAKE), "both a stake and an unstake event"),
        (lambda: erc721(TOKEN, custody=True), "needs the address of a staking contract"),
        (lambda: erc721(TOKEN, staking=[VAULT]), "staking contracts need custody, or"),
        (
            lambda: erc721(TOKEN, staking=[VAULT], stake=STAKE, unstake=UNSTAKE, custody=True),
            "either custody or",
        ),
        (lambda: custom(TOKEN, {}), "no event says who owns a token"),
        (lambda: custom(TOKEN, {"stake": STAKE}), "no event says who owns a token"),
        (lambda: custom(TOKEN, {"a": MOVE, "b": MOVE}), "events a and b have the same signature"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(make: Any, said: str) -> None:
    """What cannot be meant is said at once, before any block is read."""
    with pytest.raises(UsageError, match=said):
        make()


def test_one_signature_may_be_used_on_both_sides() -> None:
    """A staking contract may emit an event of the token's name; each is read where it belongs."""
    deposit = EventText("stake", MOVE.signature, {"account": "a", "tokenId": "id"})
    contract = custom(TOKEN, {"move": MOVE, "deposit": deposit}, staking=[VAULT])
    kinds = {source: one.kind for (source, _), one in contract.layouts().items()}
    assert kinds == {TOKEN: Kind.TRANSFER, VAULT: Kind.STAKE}
    assert len(contract.topics) == 1
