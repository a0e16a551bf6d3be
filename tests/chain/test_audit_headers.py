"""A header that does not prove itself proves nothing; one endpoint's bad headers hide no block."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from audited_node import (
    ALLOWED,
    BUSY,
    LAST,
    LOGS,
    audit,
    chain,
    in_headers,
    names,
    no_receipts,
    node,
    omits,
    truth,
    without,
)

from ngu_points.chain import audit as auditing
from ngu_points.chain.decode import Decoded
from ngu_points.chain.proof import Verdict
from ngu_points.demo.methods import answer
from ngu_points.demo.node import SimNode
from ngu_points.engine.events import concat

PROVEN = dict.fromkeys(sorted({*LOGS, ALLOWED, BUSY}), "proven")
FORKED = 10


def bare(method: str, params: list[Any], result: Any) -> Any:
    """Headers without a field that their hash is made of, as some chains have them."""
    if method == "eth_getBlockByNumber":
        del result["mixHash"]
    return result


@cache
def branch() -> SimNode:
    """The same chain until block 9, another one from there on."""
    other = SimNode()
    for block in chain().blocks[1:FORKED]:
        other.append(block)
    for _ in range(FORKED, LAST + 1):
        other.mine(timestamp=other.head.timestamp + 3)
    return other


def forked(*blocks: int) -> Any:
    """The headers of these blocks come from the other branch."""

    def twist(method: str, params: list[Any], result: Any) -> Any:
        if method == "eth_getBlockByNumber" and int(params[0], 16) in blocks:
            return json.loads(answer(branch(), method, params))
        return result

    return twist


def test_a_chain_whose_headers_cannot_be_recomputed_is_compared_all_the_same() -> None:
    """No block is proven, not even silent ones; logs are compared, and the reason is given."""
    found = audit(node(bare))
    assert {finding.verdict for finding in found.findings.values()} == {Verdict.CONSISTENT}
    assert found.parts[0].headers_doubt == (
        "block 1: the hash cannot be recomputed: mixHash is missing"
    )
    assert found.parts[0].receipts == 0
    assert found.asked(0, "eth_getBlockReceipts") == 0
    assert found.scores == [(0, None)]


def test_an_omission_is_found_without_provable_headers() -> None:
    """The union of what is held and shown is all that can be had, and it is suspect."""
    found = audit(node(bare), held=lambda a, b: truth(a, b, without(7, 0)))
    assert found.findings[7].verdict is Verdict.SUSPECT
    assert names(found.findings[7].true) == names(truth(7, 7))
    assert found.differing() == [7]


def test_unprovable_headers_are_asked_for_twice_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After nobody could prove the first part, later parts cost no vain questions."""
    monkeypatch.setattr(auditing, "CHUNK", 5)
    nodes = [node(bare), node(bare)]
    audit(*nodes)
    batches = sum(isinstance(call, list) for one in nodes for call in one.asked)
    assert batches == 4 + 2


def test_headers_come_from_the_endpoint_that_can_prove_them() -> None:
    """One endpoint that leaves fields out does no harm, and is not said to be wrong."""
    found = audit(node(bare), node())
    assert found.verdicts() == PROVEN
    assert found.parts[0].headers_doubt is None
    assert found.scores == [(0, None), (0, None)]


@pytest.mark.parametrize(
    "field",
    [{"timestamp": "0x1"}, {"logsBloom": "0x" + "00" * 256}, {"receiptsRoot": "0x" + "11" * 32}],
    ids=lambda field: next(iter(field)),
)
def test_an_altered_header_is_counted_and_replaced(field: dict[str, str]) -> None:
    """Another endpoint's header proves itself, so the first one was wrong."""
    found = audit(node(in_headers(7, **field)), node())
    assert found.verdicts() == PROVEN
    assert found.differing() == []
    (lies, reason), honest = found.scores
    assert lies == 1
    assert str(reason).startswith("block 7: the header hashes to 0x")
    assert honest == (0, None)


def test_an_altered_header_alone_spoils_its_own_block() -> None:
    """A bloom that was emptied on the way hides nothing: the block is asked for, and in doubt."""
    emptied = in_headers(7, logsBloom="0x" + "00" * 256)
    found = audit(node(emptied), held=lambda a, b: truth(a, b, without(7)))
    assert found.findings[7].verdict is Verdict.SUSPECT
    assert names(found.findings[7].true) == names(truth(7, 7))
    assert found.verdicts() == {**PROVEN, 7: "suspect"}
    assert str(found.parts[0].headers_doubt).startswith("block 7: the header hashes to")
    assert found.scores == [(0, None)]


def test_a_header_altered_once_is_counted() -> None:
    """The same endpoint tells the truth when asked again: what it said first was wrong."""
    told: list[Any] = []

    def once(method: str, params: list[Any], result: Any) -> Any:
        if method == "eth_getBlockByNumber" and params[0] == hex(7) and not told:
            told.append(copy.deepcopy(result))
            result["gasUsed"] = "0x1"
        return result

    found = audit(node(once))
    assert found.verdicts() == PROVEN
    assert found.scores[0][0] == 1


def test_a_broken_link_leaves_nothing_proven() -> None:
    """Headers of two branches are no chain: no proof rests on them, and the place is named."""
    found = audit(node(forked(FORKED)))
    assert {"proven", "proven empty"}.isdisjoint(
        finding.verdict.value for finding in found.findings.values()
    )
    assert str(found.parts[0].headers_doubt).startswith("block 11: its parent is 0x")


def test_a_broken_link_between_parts_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first block of a part must follow on the last of the part before."""
    monkeypatch.setattr(auditing, "CHUNK", FORKED)
    found = audit(node(forked(*range(FORKED + 1, LAST + 1))))
    assert found.parts[0].headers_doubt is None
    assert found.parts[1].headers_doubt == "block 11 does not follow on the block before"


def test_a_broken_link_is_cured_by_another_endpoint() -> None:
    """An endpoint that mixes branches does no harm beside one that does not."""
    found = audit(node(forked(FORKED)), node())
    assert found.verdicts() == PROVEN
    assert found.parts[0].headers_doubt is None


def moved(block: int) -> Any:
    """What is held has a log of block 3 in another block, under a hash of no block."""

    def held(first: int, last: int) -> Decoded:
        found = truth(first, last)
        extra = truth(3, 3).events.take(slice(0, 1))
        extra = replace(extra, block=np.array([block], np.int64))
        return replace(found, events=concat([found.events, extra]).sorted())

    return held


def test_logs_held_of_another_block_are_wrong() -> None:
    """In a block that its bloom proves silent they go, without any question."""
    found = audit(node(no_receipts), held=moved(8))
    assert found.findings[8].verdict is Verdict.PROVEN_EMPTY
    assert found.findings[8].how == (
        "the bloom excludes the contracts; what is held belongs to another block"
    )
    assert names(found.findings[8].true) == []
    assert found.differing() == [8]


def test_logs_held_of_another_block_are_replaced_without_receipts() -> None:
    """What endpoints show under the header's hash takes their place, and stays suspect."""

    def held(first: int, last: int) -> Decoded:
        found = truth(first, last)
        hashes = found.events.block_hash.copy()
        hashes[found.events.block == 7] = 9
        return replace(found, events=replace(found.events, block_hash=hashes))

    found = audit(node(no_receipts), node(no_receipts), held=held)
    assert found.findings[7].verdict is Verdict.SUSPECT
    assert names(found.findings[7].true) == names(truth(7, 7))
    true = found.findings[7].true
    assert true is not None
    assert {row.tobytes() for row in true.events.block_hash} == {chain().blocks[7].hash}


def astray(method: str, params: list[Any], result: Any) -> Any:
    """The logs of block 7 under the hash of another block."""
    if method == "eth_getLogs":
        for log in result:
            if log["blockNumber"] == hex(7):
                log["blockHash"] = "0x" + "99" * 32
    return result


def test_nobody_is_blamed_where_headers_prove_nothing() -> None:
    """Whose hash is right cannot be told, so it counts against nobody."""
    found = audit(node(bare), node(bare, astray))
    assert found.findings[7].how == "asked again, the same answer"
    assert found.scores == [(0, None), (0, None)]


def test_an_endpoint_on_another_branch_is_no_witness() -> None:
    """Logs under another block's hash are counted against it and change nothing."""
    found = audit(node(), node(astray), receipts=0)
    assert found.findings[7].verdict is Verdict.CONSISTENT
    assert found.findings[7].how == "asked again, the same answer"
    assert found.findings[3].how == "2 endpoints agree"
    assert found.scores == [(0, None), (1, "the logs of block 7 name another block hash")]


def renamed(method: str, params: list[Any], result: Any) -> Any:
    """Receipts with a transaction hash that no root proves wrong."""
    if method == "eth_getBlockReceipts":
        for log in result[0]["logs"]:
            log["transactionHash"] = "0x" + "66" * 32
    return result


def test_transaction_hashes_of_receipts_are_only_a_word() -> None:
    """Where logs name the transactions that are held, receipts that name others change nothing."""
    found = audit(node(renamed), node(renamed))
    assert found.differing() == []
    assert found.findings[3].verdict is Verdict.PROVEN
    assert "2 endpoints name the transactions held" in found.findings[3].how


def test_transaction_hashes_that_everybody_names_are_true() -> None:
    """Held under a hash that neither receipts nor any endpoint names: the block differs."""

    def held(first: int, last: int) -> Decoded:
        found = truth(first, last)
        hashes = found.events.tx_hash.copy()
        hashes[found.events.block == 5] = 9
        return replace(found, events=replace(found.events, tx_hash=hashes))

    found = audit(node(), node(), held=held)
    assert found.differing() == [5]
    assert names(found.findings[5].true) == names(truth(5, 5))
    assert found.scores == [(0, None), (0, None)]


def test_an_omission_beside_an_unprovable_header_counts() -> None:
    """What one endpoint shows under the hash, another one left out, with or without a proof."""
    found = audit(node(bare, omits(7, 2)), node(bare))
    assert found.findings[7].verdict is Verdict.SUSPECT
    assert found.differing() == []
    assert found.scores == [(1, "left out 1 of 4 logs of block 7"), (0, None)]
