"""Receipts prove all logs of a block, and nothing in them can be changed unnoticed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngu_points.chain.encoding import EMPTY_TRIE
from ngu_points.chain.proof import Verdict, judge_receipts
from ngu_points.chain.receipts import logs_of, receipts_doubt, receipts_root

DATA = Path(__file__).parent.parent / "data"
EXCHANGES = DATA / "execution-apis"
Fields = dict[str, Any]
UNICHAIN_SEPOLIA = 1301


def answer(name: str) -> Any:
    """The result in a reference exchange."""
    lines = (EXCHANGES / f"{name}.io").read_text().splitlines()
    return json.loads(next(line for line in lines if line.startswith("<<"))[3:])["result"]


def proofs(name: str) -> Any:
    return json.loads((DATA / "proofs" / name).read_text())


UNICHAIN = proofs("unichain-sepolia-35535698.json")
BLOCKS: dict[str, tuple[Fields, list[Fields]]] = {
    "reference block 1: state roots": (
        answer("eth_getBlockByHash/get-block-by-hash"),
        answer("eth_getBlockReceipts/get-block-receipts-n"),
    ),
    "reference block 54: 11 logs": (
        answer("eth_getBlockByNumber/get-latest"),
        answer("eth_getBlockReceipts/get-block-receipts-latest"),
    ),
    "OP stack: a deposit and 4 logs": (UNICHAIN["header"], UNICHAIN["receipts"]),
}
LOGGED = [name for name in BLOCKS if "logs" in name]


@pytest.mark.parametrize("name", BLOCKS)
def test_real_receipts(name: str) -> None:
    """The receipts of real blocks have the root that their header promises."""
    header, receipts = BLOCKS[name]
    judgement = judge_receipts(header, receipts, 1)
    assert judgement.verdict is Verdict.PROVEN
    assert judgement.reason == f"the receipts root holds {len(receipts)} transactions"


def test_an_empty_block() -> None:
    """The genesis block has no receipts, and that is proven too."""
    receipts = answer("eth_getBlockReceipts/get-block-receipts-0")
    header = answer("eth_getBlockByNumber/get-genesis")
    assert receipts_root(receipts) == EMPTY_TRIE
    assert judge_receipts(header, receipts, 1).verdict is Verdict.PROVEN
    assert logs_of(receipts) == []


def test_roots_of_a_filling_block() -> None:
    """Every step of an OP-stack block that its sequencer announced has the announced root."""
    for count, root in UNICHAIN["roots_of_first"].items():
        found = receipts_root(UNICHAIN["receipts"][: int(count)])
        assert found is not None
        assert "0x" + found.hex() == root


def test_deposits_between_regolith_and_canyon() -> None:
    """Deposits without a receipt version keep their nonce out of the root."""
    block = proofs("op-goerli-regolith.json")
    assert "0x" + (receipts_root(block["receipts"]) or b"").hex() == block["root"]
    for deposit in proofs("manta-sepolia-deposits.json"):
        root, _ = deposit.pop("root"), deposit.pop("block")
        receipt = {"type": "0x7e", "status": "0x1", "logs": [], "logsBloom": "0x" + "00" * 256}
        found = receipts_root([{**receipt, **deposit}])
        assert found is not None
        assert "0x" + found.hex() == root


def test_receipts_of_every_type() -> None:
    """Receipts of the types 0 to 4, alone and together, have the roots of the libraries."""
    vectors = proofs("vectors.json")
    for vector in vectors["receipts"]:
        assert "0x" + (receipts_root(vector["receipts"]) or b"").hex() == vector["root"]
    many = [
        {"type": hex(at % 5), "status": "0x1", "cumulativeGasUsed": hex(21000 * (at + 1)),
         "logsBloom": "0x" + "00" * 256, "logs": []}
        for at in range(300)
    ]  # fmt: skip
    assert "0x" + (receipts_root(many) or b"").hex() == vectors["three_hundred_receipts"]


def test_receipts_without_a_type_are_of_the_first() -> None:
    """A node that knows no transaction types gives the same root as one that does."""
    header, receipts = BLOCKS["reference block 1: state roots"]
    untyped = [{key: receipt[key] for key in receipt if key != "type"} for receipt in receipts]
    assert judge_receipts(header, untyped, 1).verdict is Verdict.PROVEN


def first_with_logs(receipts: list[Fields]) -> Fields:
    return next(receipt for receipt in receipts if receipt["logs"])


def drop_log(receipts: list[Fields]) -> None:
    first_with_logs(receipts)["logs"].pop()


def repeat_log(receipts: list[Fields]) -> None:
    logs = first_with_logs(receipts)["logs"]
    logs.append(copy.deepcopy(logs[-1]))


def change_data(receipts: list[Fields]) -> None:
    first_with_logs(receipts)["logs"][0]["data"] += "00"


def change_address(receipts: list[Fields]) -> None:
    first_with_logs(receipts)["logs"][0]["address"] = "0x" + "11" * 20


def drop_topic(receipts: list[Fields]) -> None:
    first_with_logs(receipts)["logs"][0]["topics"].pop()


def blank_bloom(receipts: list[Fields]) -> None:
    first_with_logs(receipts)["logsBloom"] = "0x" + "00" * 256


def fail_transaction(receipts: list[Fields]) -> None:
    receipts[-1]["status"] = "0x0"


def drop_receipt(receipts: list[Fields]) -> None:
    receipts.pop()


def swap_receipts(receipts: list[Fields]) -> None:
    receipts[0], receipts[1] = receipts[1], receipts[0]


def move_logs(receipts: list[Fields]) -> None:
    source = first_with_logs(receipts)
    target = next(receipt for receipt in receipts if receipt is not source)
    target["logs"], source["logs"] = source["logs"], target["logs"]


LIES = [drop_log, repeat_log, change_data, change_address, drop_topic, blank_bloom]
LIES += [fail_transaction, drop_receipt, swap_receipts, move_logs]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
@pytest.mark.parametrize("name", LOGGED)
def test_no_lie_passes(name: str, lie: Callable[[list[Fields]], None]) -> None:
    """Receipts that were tampered with, in whatever way, are suspect."""
    header, receipts = BLOCKS[name]
    tampered = copy.deepcopy(receipts)
    lie(tampered)
    assert judge_receipts(header, tampered, 1).verdict is Verdict.SUSPECT


@given(st.sampled_from(LOGGED), st.data())
def test_any_changed_digit_is_found(name: str, draw: st.DataObject) -> None:
    """One digit changed in anything that the root holds of a log or a receipt is found."""
    header, receipts = BLOCKS[name]
    tampered = copy.deepcopy(receipts)
    receipt = draw.draw(st.sampled_from(tampered))
    places: list[tuple[Any, Any]] = [(receipt, "cumulativeGasUsed"), (receipt, "logsBloom")]
    for log in receipt["logs"]:
        places += [(log, "address"), (log, "data")]
        places += [(log["topics"], at) for at in range(len(log["topics"]))]
    where, key = draw.draw(st.sampled_from([p for p in places if len(p[0][p[1]]) > 2]))
    text = where[key]
    at = draw.draw(st.integers(2, len(text) - 1))
    digit = draw.draw(st.sampled_from("0123456789abcdef").filter(lambda one: one != text[at]))
    where[key] = text[:at] + digit + text[at + 1 :]
    assert judge_receipts(header, tampered, 1).verdict is Verdict.SUSPECT


def test_the_header_is_checked_first() -> None:
    """Receipts that fit a header prove nothing if the header is not the block's, or no header."""
    header, receipts = BLOCKS["reference block 54: 11 logs"]
    altered = {**header, "timestamp": "0x1"}
    assert judge_receipts(altered, receipts, 1).verdict is Verdict.MISMATCH
    assert judge_receipts({}, receipts, 1).verdict is Verdict.UNPROVEN
    assert judge_receipts(header, receipts, 137).verdict is Verdict.UNPROVEN


def test_unknown_transaction_types_are_unproven() -> None:
    """A type of another chain, or of a later fork, is named and not guessed."""
    header, receipts = BLOCKS["reference block 54: 11 logs"]
    for kind in ("0x5", "0x6a", "0x7f", "0xff"):
        foreign = [*receipts[:-1], {**receipts[-1], "type": kind}]
        assert receipts_root(foreign) is None
        judgement = judge_receipts(header, foreign, 1)
        assert judgement.verdict is Verdict.UNPROVEN
        assert judgement.reason.endswith(f"receipt 3: transaction type {kind} is not known")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "0x2"}, "status is 2, neither 0 nor 1"),
        ({"status": None}, "root is missing"),
        ({"status": True}, "status is not a hex number: True"),
        ({"cumulativeGasUsed": None}, "cumulativeGasUsed is missing"),
        ({"logsBloom": "0x00"}, "logsBloom has 1 bytes, not 256"),
        ({"logs": None}, "logs are not a list of objects"),
        ({"logs": ["0x"]}, "logs are not a list of objects"),
        ({"logs": [{}]}, "the topics of a log are not a list of up to 4"),
        ({"logs": [{"topics": ["0x"]}]}, "topic has 0 bytes, not 32"),
        ({"logs": [{"topics": ["0x" + "00" * 32] * 5}]}, "the topics of a log are not a list"),
        ({"logs": [{"topics": [], "address": "0x00"}]}, "address has 1 bytes, not 20"),
        ({"type": "0x7e", "depositReceiptVersion": "0x1"}, "depositNonce is missing"),
    ],
)
def test_what_is_missing_is_named(change: Fields, reason: str) -> None:
    """A receipt that cannot be encoded is named with its place and what is wrong with it."""
    receipt = {"status": "0x1", "cumulativeGasUsed": "0x1", "logsBloom": "0x" + "00" * 256}
    receipts = [{**receipt, "logs": []}, {**receipt, "logs": [], **change}]
    assert receipts_root(receipts) is None
    assert (receipts_doubt(receipts) or "").startswith(f"receipt 1: {reason}")


garbage = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "status", "logs", "topics", "address", "logsBloom"]), inner
    ),
    max_leaves=12,
)  # fmt: skip


@given(garbage)
def test_garbage_has_no_root(receipts: Any) -> None:
    """Whatever a node answers, there is a root or one line that says why there is none."""
    root, doubt = receipts_root(receipts), receipts_doubt(receipts)
    assert (root is None) == (doubt is not None)
    assert root is None or receipts == []
    assert "\n" not in (doubt or "")


def test_logs_have_their_place_in_the_block() -> None:
    """Logs are numbered through the block as the root proves, whatever numbers the node gives."""
    for name in LOGGED:
        receipts = BLOCKS[name][1]
        told = [log for receipt in receipts for log in receipt["logs"]]
        assert logs_of(receipts) == told
        misnumbered = copy.deepcopy(receipts)
        for receipt in misnumbered:
            for at, log in enumerate(receipt["logs"]):
                log |= {"logIndex": hex(at), "transactionIndex": "0x0"}
        assert judge_receipts(BLOCKS[name][0], misnumbered, 1).verdict is Verdict.PROVEN
        assert logs_of(misnumbered) == told
