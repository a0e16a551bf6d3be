"""Every block that is held gets the verdict it deserves, and every omission is found or told."""

from __future__ import annotations

from dataclasses import replace
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
    names,
    no_receipts,
    node,
    omits,
    short_receipts,
    truth,
    without,
)

from ngu_points.chain import audit as auditing
from ngu_points.chain.decode import Decoded
from ngu_points.chain.proof import Verdict
from ngu_points.demo.jsonrpc import RpcError
from ngu_points.engine.events import concat
from ngu_points.errors import TransientError

OPEN = {*LOGS, ALLOWED, BUSY}
ALONE = {block: "suspect" if block == ALLOWED else "consistent" for block in sorted(OPEN)}
"""Without receipts, of one endpoint: a sparse bloom against one voice is a reason for doubt."""


def short_of(block: int, *places: int) -> Any:
    """What is held is the truth without some logs of a block."""
    return lambda first, last: truth(first, last, without(block, *places))


def test_an_honest_node_proves_everything() -> None:
    """With receipts each block is proven, empty or not, and nothing differs."""
    found = audit(node())
    assert found.verdicts() == dict.fromkeys(sorted(OPEN), "proven")
    assert found.differing() == []
    assert found.scores == [(0, None)]
    (part,) = found.parts
    assert part.headers_doubt is None
    assert part.receipts == len(OPEN)
    assert (part.from_block, part.to_block) == (1, LAST)
    ends = (chain().blocks[1].header, chain().blocks[LAST])
    assert part.parent_hash == ends[0].parent_hash
    assert (part.last_hash, part.timestamp) == (ends[1].hash, ends[1].header.timestamp)
    assert [f.hash for f in part.findings] == [block.hash for block in chain().blocks[1:]]


def test_parts_are_linked_and_cover_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long range comes in parts that join without a gap, each held only once."""
    monkeypatch.setattr(auditing, "CHUNK", 6)
    asked = []

    def held(first: int, last: int) -> Decoded:
        asked.append((first, last))
        return truth(first, last)

    found = audit(node(), held=held)
    assert asked == [(1, 6), (7, 12), (13, 18), (19, 20)]
    assert [(part.from_block, part.to_block) for part in found.parts] == asked
    assert found.parts[1].parent_hash == found.parts[0].last_hash
    assert found.verdicts() == dict.fromkeys(sorted(OPEN), "proven")


def test_without_receipts_one_endpoint_can_only_repeat_itself() -> None:
    """Blocks with logs are consistent, silent ones are still proven, and no receipts are read.

    Where nothing is shown or held, only a bloom that is too full to tell leaves no doubt.
    """
    found = audit(node(), receipts=0)
    assert found.verdicts() == ALONE
    assert found.findings[BUSY].how == "the bloom allows for logs; 1 endpoint has none"
    assert found.findings[3].how == "asked again, the same answer"
    assert found.findings[ALLOWED].how == "the bloom allows for logs; 1 endpoint has none"
    assert found.parts[0].receipts == 0
    assert found.asked(0, "eth_getBlockReceipts") == 0
    assert found.asked(0, "eth_getLogs") == 1


def test_two_endpoints_that_agree_are_counted() -> None:
    """How many endpoints agree is said."""
    found = audit(node(), node(), receipts=0)
    assert found.verdicts() == dict.fromkeys(sorted(OPEN), "consistent")
    assert found.findings[3].how == "2 endpoints agree"
    assert found.findings[ALLOWED].how == "the bloom allows for logs; 2 endpoints have none"


@pytest.mark.parametrize("most", [1, 2, 4])
def test_a_number_of_receipts_is_spread(most: int) -> None:
    """So many blocks have their receipts read, the same ones every time, and not all at one end."""
    found = audit(node(), receipts=most)
    again = audit(node(), receipts=most)
    proven = [block for block, verdict in found.verdicts().items() if verdict == "proven"]
    assert 1 <= len(proven) <= most
    assert found.parts[0].receipts == len(proven)
    assert found.verdicts() == again.verdicts()
    assert most < 4 or max(proven) - min(proven) > LAST // 3


@pytest.mark.parametrize("places", [(0,), ()], ids=["some logs", "all logs"])
@pytest.mark.parametrize("receipts", [None, 0])
def test_what_one_node_left_out_is_found_when_it_tells_now(
    places: tuple[int, ...], receipts: int | None
) -> None:
    """Logs that are not held and that the node shows now are found and proven, asked or not."""
    found = audit(node(), held=short_of(7, *places), receipts=receipts)
    assert found.differing() == [7]
    assert found.findings[7].verdict is Verdict.PROVEN
    assert names(found.findings[7].true) == names(truth(7, 7))
    assert found.scores == [(0, None)]


@pytest.mark.parametrize("places", [(0,), ()], ids=["some logs", "all logs"])
def test_a_node_that_keeps_leaving_out_is_found_by_receipts(places: tuple[int, ...]) -> None:
    """The same omission held and told: receipts of the same node prove it."""
    found = audit(node(omits(7, *places)), held=short_of(7, *places))
    assert found.differing() == [7]
    assert names(found.findings[7].true) == names(truth(7, 7))


@pytest.mark.parametrize("places", [(0,), ()], ids=["some logs", "all logs"])
def test_one_node_alone_can_hide_what_receipts_would_show(places: tuple[int, ...]) -> None:
    """Without any receipts an omission that is repeated is never proven; a whole one is suspect."""
    found = audit(node(omits(7, *places), no_receipts), held=short_of(7, *places))
    assert found.differing() == []
    assert found.findings[7].verdict is (Verdict.CONSISTENT if places else Verdict.SUSPECT)
    assert found.findings[3].verdict is Verdict.CONSISTENT
    assert "eth_getBlockReceipts" in found.findings[3].how


@pytest.mark.parametrize("places", [(0, 1), ()], ids=["some logs", "all logs"])
def test_a_second_node_shows_what_the_first_left_out(places: tuple[int, ...]) -> None:
    """No receipts anywhere: the union is right, the block is suspect, the first is counted."""
    liar, honest = node(omits(7, *places), no_receipts), node(no_receipts)
    found = audit(liar, honest, held=short_of(7, *places))
    assert found.differing() == [7]
    assert found.findings[7].verdict is Verdict.SUSPECT
    assert names(found.findings[7].true) == names(truth(7, 7))
    left = len(places) or LOGS[7]
    assert found.scores == [(1, f"left out {left} of 4 logs of block 7"), (0, None)]
    how = found.findings[7].how
    assert f"shows {4 - left}" in how
    assert "shows 4" in how
    assert f"held: {4 - left}" in how


def test_a_known_difference_has_its_receipts_read_whatever_was_asked() -> None:
    """Endpoints that differ are settled by receipts even where none were asked for."""
    liar, honest = node(omits(7, 1)), node()
    found = audit(liar, honest, receipts=0)
    assert found.findings[7].verdict is Verdict.PROVEN
    assert found.differing() == []
    assert found.parts[0].receipts == 1
    assert found.scores == [(1, "left out 1 of 4 logs of block 7"), (0, None)]


def test_two_halves_make_a_whole() -> None:
    """Two nodes that leave out different logs are both counted, and nothing is lost."""
    one, two = node(omits(7, 0), no_receipts), node(omits(7, 3), no_receipts)
    found = audit(one, two, held=short_of(7, 0, 3))
    assert names(found.findings[7].true) == names(truth(7, 7))
    assert [score for score, _ in found.scores] == [1, 1]


def test_many_omissions_in_one_answer_count_once() -> None:
    """An answer is wrong once, whatever it leaves out."""
    liar = node(omits(3), omits(7), omits(12), no_receipts)
    found = audit(liar, node(no_receipts))
    assert found.scores == [(1, "left out 2 of 2 logs of block 3"), (0, None)]


def test_a_dead_letter_that_was_left_out_is_found() -> None:
    """Logs that cannot be events are compared as well."""
    found = audit(node(), held=short_of(17, 2))
    assert found.differing() == [17]
    true = found.findings[17].true
    assert true is not None
    assert [letter.reason for letter in true.rejected] == ["BatchMint: quantity is 0"]


def test_lying_receipts_are_counted_and_another_endpoint_asked() -> None:
    """A root that is not the header's proves nothing but that the endpoint is wrong."""
    found = audit(node(short_receipts), node())
    assert found.verdicts() == dict.fromkeys(sorted(OPEN), "proven")
    (lies, reason), honest = found.scores
    assert lies > 0
    assert reason is not None
    assert reason.startswith("receipts of block")
    assert "the header" in reason
    assert honest == (0, None)


def test_who_lied_once_is_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """After one lie the other endpoint comes first, and the liar is not needed any more."""
    monkeypatch.setattr(auditing, "AT_ONCE", 1)
    found = audit(node(short_receipts), node())
    assert found.asked(0, "eth_getBlockReceipts") == 1
    assert found.asked(1, "eth_getBlockReceipts") == len(OPEN)


@pytest.mark.parametrize("receipts", [None, 0])
def test_time_and_place_are_the_headers(receipts: int | None) -> None:
    """What a node says of a log's time does not count, nor of its place in receipts."""

    def vague(method: str, params: list[Any], result: Any) -> Any:
        if method == "eth_getLogs":
            return [{k: v for k, v in log.items() if k != "blockTimestamp"} for log in result]
        if method == "eth_getBlockReceipts":
            for log in (log for receipt in result for log in receipt["logs"]):
                log |= {"blockNumber": "0x1", "blockHash": "0x", "blockTimestamp": "0x7"}
        return result

    found = audit(node(vague), receipts=receipts)
    assert found.differing() == []
    assert found.verdicts() == (ALONE if receipts == 0 else dict.fromkeys(sorted(OPEN), "proven"))


def test_lying_receipts_alone_prove_nothing() -> None:
    """With nobody else to ask the logs are asked for again, and the lie is told."""
    found = audit(node(short_receipts))
    assert found.verdicts() == ALONE
    assert found.scores[0][0] > 0
    assert "the receipts have the root" in found.findings[3].how


def test_a_method_that_is_not_known_is_not_asked_for_every_time() -> None:
    """Another endpoint is asked for receipts at once, and the first ever less often."""
    found = audit(node(no_receipts), node())
    assert found.verdicts() == dict.fromkeys(sorted(OPEN), "proven")
    assert found.asked(0, "eth_getBlockReceipts") < found.asked(1, "eth_getBlockReceipts")
    assert found.asked(1, "eth_getBlockReceipts") == len(OPEN)
    assert found.scores == [(0, None), (0, None)]


def altered(block: int, **columns: Any) -> Any:
    """What is held is the truth with a block's events changed."""

    def held(first: int, last: int) -> Decoded:
        found = truth(first, last)
        rows = found.events.block == block
        changed = {}
        for name, value in columns.items():
            column = getattr(found.events, name).copy()
            column[rows] = value
            changed[name] = column
        return replace(found, events=replace(found.events, **changed))

    return held


@pytest.mark.parametrize(
    "column",
    [{"quantity": 6}, {"first": 1}, {"recipient": np.uint8(9)}, {"kind": 2}, {"timestamp": 5},
     {"tx_hash": np.uint8(9)}, {"block_hash": np.uint8(9)}, {"contract": np.uint8(9)}],
    ids=lambda column: next(iter(column)),
)  # fmt: skip
@pytest.mark.parametrize("receipts", [None, 0])
def test_an_altered_event_is_found(column: dict[str, Any], receipts: int | None) -> None:
    """Whatever field of a held event is wrong, the block as it should be is given."""
    found = audit(node(), held=altered(5, **column), receipts=receipts)
    assert found.differing() == [5]
    assert names(found.findings[5].true) == names(truth(5, 5))
    true = found.findings[5].true
    assert true is not None
    assert true.events.timestamp.tolist() == truth(5, 5).events.timestamp.tolist()


def invented(block: int) -> Any:
    """What is held has a log more than the chain, under the block's right hash."""

    def held(first: int, last: int) -> Decoded:
        found = truth(first, last)
        extra = truth(3, 3).events.take(slice(0, 1))
        there = chain().blocks[block]
        extra = replace(
            extra,
            block=extra.block * 0 + block,
            log_index=extra.log_index + 50,
            timestamp=extra.timestamp * 0 + there.header.timestamp,
            block_hash=np.frombuffer(there.hash, np.uint8)[None].copy(),
        )
        return replace(found, events=concat([found.events, extra]).sorted())

    return held


@pytest.mark.parametrize("block", [7, 8], ids=["beside others", "in a silent block"])
def test_a_held_log_that_is_not_on_the_chain(block: int) -> None:
    """Receipts prove that it is not there."""
    found = audit(node(), held=invented(block))
    assert found.differing() == [block]
    assert found.findings[block].verdict is Verdict.PROVEN
    assert names(found.findings[block].true) == names(truth(block, block))
    assert found.scores == [(0, None)]


def test_a_held_log_that_nobody_shows_is_kept_without_proof() -> None:
    """Nobody can say whether it was there: it is kept, suspect, and no endpoint is counted."""
    found = audit(node(no_receipts), node(no_receipts), held=invented(7))
    assert found.findings[7].verdict is Verdict.SUSPECT
    assert found.differing() == []
    assert found.scores == [(0, None), (0, None)]


def test_a_held_log_that_the_bloom_excludes_goes() -> None:
    """Without receipts, bloom and endpoints together prove a block silent."""
    found = audit(node(no_receipts), held=invented(8))
    assert found.findings[8].verdict is Verdict.PROVEN_EMPTY
    assert names(found.findings[8].true) == []


def test_an_endpoint_that_does_not_answer_is_no_witness() -> None:
    """Those who answer are counted, the others are not, and it is no contradiction."""

    def deaf(method: str, params: list[Any], result: Any) -> Any:
        if method == "eth_getLogs":
            raise RpcError(-32601, "method not found")
        return result

    found = audit(node(deaf), node(), receipts=0)
    assert found.findings[3].how == "asked again, the same answer"
    assert found.scores == [(0, None), (0, None)]
    alone = audit(node(deaf, no_receipts), receipts=0)
    assert alone.findings[3].verdict is Verdict.UNPROVEN
    assert "method not found" in alone.findings[3].how
    assert alone.differing() == []


def test_malformed_logs_are_a_contradiction() -> None:
    """An answer that cannot be read is counted, and the other endpoint decides."""

    def spoils(method: str, params: list[Any], result: Any) -> Any:
        if method == "eth_getLogs":
            result[0]["blockHash"] = "0x12"
        return result

    found = audit(node(spoils), node(), receipts=0)
    assert found.findings[3].verdict is Verdict.CONSISTENT
    assert found.scores[0][0] == 1
    assert "blockHash has 1 bytes" in str(found.scores[0][1])


def test_a_range_limit_is_respected() -> None:
    """Endpoints that serve only a few blocks at a time are asked in shorter ranges."""

    def limited(method: str, params: list[Any], result: Any) -> Any:
        if method == "eth_getLogs":
            first, last = (int(params[0][name], 16) for name in ("fromBlock", "toBlock"))
            if last - first >= 4:
                raise RpcError(-32602, "exceed maximum block range: 4")
        return result

    found = audit(node(limited), receipts=0)
    assert found.verdicts() == ALONE


def test_chains_with_logs_outside_headers_are_never_proven() -> None:
    """On Polygon neither bloom nor receipts are a proof; the reason is given."""
    found = audit(node(), chain_id=137)
    assert set(found.findings) == set(range(1, LAST + 1))
    assert {finding.verdict for finding in found.findings.values()} == {Verdict.CONSISTENT}
    assert "Polygon" in str(found.parts[0].headers_doubt)


def test_blocks_that_are_not_there_are_no_finding() -> None:
    """A range past the head ends in one line."""
    with pytest.raises(TransientError, match="the node has no block 21"):
        audit(node(), first=15, last=25)


def test_a_reversed_range_is_refused() -> None:
    """A range whose end lies before its start is a mistake of the caller."""
    with pytest.raises(ValueError, match="no block range"):
        audit(node(), first=5, last=4)
