"""Every error answer that providers are known to give, and the traps around them."""

import random
import string
from typing import Any

import pytest

from ngu_points.chain.limits import Action, Verdict, understand

FIRST, LAST = 1_000_000, 1_099_999  # 100,000 blocks, more than any limit named below
RANGE, SPAN, HALVE = Action.RANGE, Action.SPAN, Action.HALVE
BACK_OFF, RETRY, FAIL = Action.BACK_OFF, Action.RETRY, Action.FAIL


def logs(
    message: object,
    code: int | None = -32000,
    status: int = 200,
    data: Any = None,
    first: int = FIRST,
    last: int = LAST,
) -> Verdict:
    return understand("eth_getLogs", status, code, message, data, first, last)


# row, HTTP status, code, text, data, what to do, the blocks allowed (SPAN only)
ROWS: list[tuple[str, int, int | None, str, Any, Action, int | None]] = [
    ("3", 200, None, "Log response size exceeded. Please reduce query block range.", None, HALVE,
     None),
    ("4", 200, -32602, "Log response size exceeded. this block range should work: "
     "[0xffffff, 0x10]", None, HALVE, None),
    ("5 status", 503, None, "503 Service Unavailable", None, HALVE, None),
    ("5 code", 200, -32000, "503 Service Unavailable", None, HALVE, None),
    ("6", 200, None, "Your app has exceeded its compute units per second capacity", None, BACK_OFF,
     None),
    ("8", 200, -32005, "query returned more than 10000 results", None, HALVE, None),
    ("9", 200, -32005, "query returned more than 1000 results", None, HALVE, None),
    ("10", 200, -32602, "range 1000000 exceeds limit of 10000", None, SPAN, 10_000),
    ("11", 200, -32005, "query timeout exceeded", None, HALVE, None),
    ("12", 429, -32005, "exceeded project rate limit",
     {"rate": {"allowed_rps": 5, "backoff_seconds": 30, "current_rps": 5.2}}, BACK_OFF, None),
    ("13", 200, -32005, "daily request count exceeded, request rate limited", None, BACK_OFF, None),
    ("14", 413, -32614, "eth_getLogs is limited to a 10,000 range", None, SPAN, 10_000),
    ("15", 200, -32000, "eth_getLogs is limited to a 1000 blocks range", None, SPAN, 1_000),
    ("16", 200, None, "response size should not greater than 10000000 bytes", None, HALVE, None),
    ("17", 400, None, "eth_getLogs is limited to a 10,000 range", None, SPAN, 10_000),
    ("18", 200, None, "exceeds the range allowed for your plan (5000 > 3000)", None, SPAN, 3_000),
    ("19", 200, -32602, "eth_getLogs is limited to 1024 block range", None, SPAN, 1_024),
    ("20", 200, -32602, "Block range limit exceeded.", None, HALVE, None),
    ("21", 200, None, "Max range: 800", None, SPAN, 800),
    ("22", 200, -32005, "please limit the query to at most 1000 blocks", None, SPAN, 1_000),
    ("23", 200, None, "no backend is currently healthy to serve traffic", None, HALVE, None),
    ("24", 200, None, "block range too large", None, HALVE, None),
    ("25", 200, -32000, '429 Too Many Requests: {"jsonrpc":"2.0","error":{"code":-32016,'
     '"message":"over rate limit"},"id":2239375}', None, BACK_OFF, None),
    ("26", 200, None, "Block range is too large", None, HALVE, None),
    ("27", 200, None, "backend response too large", None, HALVE, None),
    ("28", 200, -32000, "logs matched by query exceeds limit of 10000", None, HALVE, None),
    ("29", 200, -32000, "requested too many blocks from 1000000 to 1099999, maximum is set to 2048",
     None, SPAN, 2_048),
    ("30", 200, -32000, "requested to block is after last accepted block", None, RETRY, None),
    ("31", 200, -32600, "block range is too wide", None, HALVE, None),
    ("32-33", 200, -32602, "query exceeds max results 20000", None, HALVE, None),
    ("35", 200, None, "maximum [from, to] blocks distance: 10000", None, SPAN, 10_000),
    ("36", 403, None, "allowed block range threshold exceeded", None, HALVE, None),
    ("37", 200, None, "query exceeds max block range 50", None, SPAN, 50),
    ("38", 200, None, "exceed maximum block range: 50000", None, SPAN, 50_000),
    ("39", 200, -32005, "Log response size exceeded. Maximum allowed number of requested blocks is "
     "1000", None, SPAN, 1_000),
    ("41", 200, None, "query returned more than 10000 results", None, HALVE, None),
    ("42 10k", 200, None, "eth_getLogs range is too large, max is 10k blocks", None, SPAN, 10_000),
    ("42 1k", 200, None, "eth_getLogs range is too large, max is 1k blocks", None, SPAN, 1_000),
    ("43", 200, -32603, "block range is too wide (maximum 1024)", None, SPAN, 1_024),
    ("44", 200, -32000, "query must be smaller than size 1024", None, SPAN, 1_024),
    ("45", 200, -32005, "up to a 2000 block range", None, SPAN, 2_000),
    ("46", 200, None, "block range greater than 1000 max", None, SPAN, 1_000),
    ("47", 200, None, "block range exceeds 1000", None, SPAN, 1_000),
    ("48", 200, None, "exceed max block range: 5000", None, SPAN, 5_000),
    ("49", 200, None, "ranges over 10000 blocks are not supported on freetier", None, SPAN, 10_000),
    ("50 a", 200, None, "exceeded max allowed", None, HALVE, None),
    ("50 b", 200, None, "range threshold exceeded", None, HALVE, None),
    ("51", 200, None, "block range too large (2000), maximum allowed is 1000 blocks", None, SPAN,
     1_000),
    ("52", 200, -32005, "More than 50000 logs returned", None, HALVE, None),
    ("53", 200, None, "block range too large", None, HALVE, None),
    ("54", 200, -32602, "invalid params",
     {"payload": "range 9009594 is bigger than range limit 2000"}, SPAN, 2_000),
    ("54 plain", 200, -32602, "invalid params", "range 9009594 is bigger than range limit 2000",
     SPAN, 2_000),
    ("55", 429, -32005, "rate limit exceeded", None, BACK_OFF, None),
    ("56", 200, -32600, "block range too high", None, HALVE, None),
    ("57", 200, -32602, "invalid block range params", None, FAIL, None),
    ("58", 200, -32602, "block range extends beyond current head block", None, RETRY, None),
    ("59", 200, 4444, "pruned history unavailable", None, FAIL, None),
    ("60", 200, -32000, "failed to get logs for block", None, RETRY, None),
    ("61", 200, -32000, "block not found 11185311", None, RETRY, None),
    ("62", 200, -32000, "state transitaion failed: seek with txNum=1962853355 but data before "
     "txNum=2662500000 is not available: …", None, FAIL, None),
    ("63", 200, -32603, "hash 0xabc is not currently canonical", None, RETRY, None),
    ("64", 200, -32000, "unknown block", None, RETRY, None),
    ("65", 200, 1, "invalid epoch range", None, HALVE, None),
    ("66", 200, -32000, "internal server error", None, RETRY, None),
]  # fmt: skip


@pytest.mark.parametrize(("row", "status", "code", "text", "data", "action", "blocks"), ROWS)
def test_known_answers(
    row: str,
    status: int,
    code: int | None,
    text: str,
    data: Any,
    action: Action,
    blocks: int | None,
) -> None:
    """Each refusal that a provider is known to word is taken for what it means."""
    verdict = logs(text, code, status, data)
    assert verdict.action is action, row
    assert verdict.cap == blocks
    if action is SPAN:
        assert verdict.to_block == FIRST + (blocks or 0) - 1
    if action is HALVE:
        assert verdict.to_block == FIRST + 49_999


ALCHEMY = (
    "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range and "
    "no limit on the response size, or you can request any block range with a cap of 10K logs in "
    "the response. Based on your parameters and the response size limit, this block range should "
    "work: [0x0, 0xd043b8]"
)
ALCHEMY_FREE = (
    "You can make eth_getLogs requests with up to a 500 block range. Based on your parameters, "
    "this block range should work: [0x7e9b85, 0x7e9d78]"
)


@pytest.mark.parametrize(
    ("row", "text", "data", "first", "last", "end"),
    [
        ("1", ALCHEMY, None, 0, 0xFFFFFF, 0xD043B8),
        ("2", ALCHEMY_FREE, None, 0x7E9B85, 0x7F0000, 0x7E9D78),
        ("7", "query returned more than 10000 results. Try with this block range "
         "[0xBDE5F8, 0x102DBCC].", None, 0xBDE5F8, 0x2000000, 0x102DBCC),
        ("7 data", "query returned more than 10000 results",
         {"from": "0xBDE5F8", "to": "0x102DBCC", "limit": 10_000}, 0xBDE5F8, 0x2000000, 0x102DBCC),
        ("34", "query exceeds max results 20000, retry with the range 6000000-6000509", None,
         6_000_000, 6_100_000, 6_000_509),
        ("40", "Query returned more than 10000 results. Try with this block range "
         "[0x118dc91, 0x1198cc3].", None, 0x118DC91, 0x1200000, 0x1198CC3),
        ("starts below", "this block range should work: [0x10, 0x80]", None, 0x40, 0x100, 0x80),
        ("one block", "this block range should work: [0x40, 0x40]", None, 0x40, 0x100, 0x40),
    ],
)  # fmt: skip
def test_suggested_ranges(row: str, text: str, data: Any, first: int, last: int, end: int) -> None:
    """A range that the provider suggests is used up to its end, from where we asked."""
    verdict = logs(text, -32005, data=data, first=first, last=last)
    assert (verdict.action, verdict.to_block) == (RANGE, end), row


@pytest.mark.parametrize(
    "suggested",
    [
        "[0x180, 0x100]",  # reversed
        "[0x100, 0x1ff]",  # the same again
        "[0x100, 0x300]",  # wider
        "[0x0, 0x80]",  # ends before the start
        "[0x120, 0x180]",  # starts later: blocks would be skipped
    ],
)
def test_useless_suggestions(suggested: str) -> None:
    """A suggested range that does not make the request smaller is ignored, and halved instead."""
    text = f"query returned more than 10000 results. Try with this block range {suggested}."
    verdict = logs(text, -32005, first=0x100, last=0x1FF)
    assert (verdict.action, verdict.to_block) == (HALVE, 0x17F)


@pytest.mark.parametrize("blocks", [800, 799, 500])
def test_refused_below_the_named_limit(blocks: int) -> None:
    """A provider that refuses what it says it allows is asked for half, never for the same."""
    verdict = logs("Max range: 800", first=0, last=blocks - 1)
    assert (verdict.action, verdict.to_block) == (HALVE, blocks // 2 - 1)


def test_named_limit_fits_either_way_of_counting() -> None:
    """A limit of 1000 asks for 1000 blocks, a difference of 999: right for both ways to count."""
    assert logs("Max range: 1000", first=0, last=1_000).to_block == 999
    assert logs("block range exceeds 1000", first=5, last=5_000).to_block == 1_004


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_never_asks_the_same_or_more(row: tuple[Any, ...]) -> None:
    """However often an answer comes again, the range shrinks to one block and then ends."""
    _, status, code, text, data, _, _ = row
    first, last = 1_000, 1_000 + 4_999
    for _ in range(20):
        verdict = logs(text, code, status, data, first, last)
        if verdict.to_block is None:
            break
        assert first <= verdict.to_block < last
        last = verdict.to_block
    assert verdict.to_block is None


@pytest.mark.parametrize(
    "text",
    ["query returned more than 10000 results", "Max range: 800", "backend response too large"],
)
def test_one_block_too_large(text: str) -> None:
    """A single block that is still too large ends in a line that names the block."""
    verdict = logs(text, first=77, last=77)
    assert verdict.action is FAIL
    assert "block 77 alone is too large" in verdict.reason
    assert text in verdict.reason


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("query returned more than 10000 results", HALVE),
        ("rate limit exceeded", BACK_OFF),
        ("limit exceeded", HALVE),
    ],
)
def test_the_code_alone_decides_nothing(text: str, action: Action) -> None:
    """-32005 means too many results or too many requests: the text says which."""
    assert logs(text, -32005).action is action


def test_guesses_are_marked() -> None:
    """A halving that is only a guess says so, and on one block becomes a wait or a retry."""
    assert logs("limit exceeded", -32005).vague
    assert logs("", None, status=503).vague
    assert not logs("query returned more than 10000 results", -32005).vague
    assert logs("limit exceeded", -32005, first=5, last=5).action is BACK_OFF
    assert logs("", None, status=503, first=5, last=5).action is RETRY


def test_waiting_time_is_read() -> None:
    """How long to wait is taken from the error's data or its text, in seconds."""
    rate = {"rate": {"backoff_seconds": 30}}
    assert logs("exceeded project rate limit", -32005, data=rate).seconds == 30
    assert logs("rate limited, retry in 1500ms").seconds == 1.5
    assert logs("too many requests, try again after 7 seconds").seconds == 7
    for nonsense in (-1, float("nan"), True, "30", 1e300, None, []):
        told = {"rate": {"backoff_seconds": nonsense}}
        assert logs("rate limit", data=told).seconds is None


@pytest.mark.parametrize(
    ("method", "status", "code", "text", "action"),
    [
        ("eth_getBlockByNumber", 200, -39001, "unknown block", Action.MISSING),
        ("eth_getBlockByNumber", 200, -32000, "finalized block not found", Action.MISSING),
        ("eth_getBlockByNumber", 200, -32601, "method not found", FAIL),
        ("eth_getBlockByNumber", 404, None, "404: Not Found", FAIL),
        ("eth_getBlockByNumber", 404, -32000, "project not found", FAIL),
        ("eth_call", 200, 3, "execution reverted: rate not found", Action.REVERTED),
        ("eth_call", 200, -32000, "header not found", RETRY),
        ("eth_call", 200, -32000, "out of gas", FAIL),
        ("eth_call", 200, -32000, "gas required exceeds allowance (50000000)", FAIL),
        ("eth_call", 200, -32003, "EVM error CreateContractSizeLimit", FAIL),
        ("eth_call", 200, -32000, "max initcode size exceeded: code size 50000", FAIL),
        ("eth_getCode", 200, -32000, "missing trie node 1234 (path )", FAIL),
        ("eth_blockNumber", 401, -32600, "Must be authenticated!", FAIL),
        ("eth_blockNumber", 403, None, "", FAIL),
        ("eth_blockNumber", 301, None, "", FAIL),
        ("eth_blockNumber", 429, None, "", BACK_OFF),
        ("eth_blockNumber", 500, None, "", RETRY),
        ("eth_blockNumber", 503, None, "Service Unavailable", RETRY),
        ("eth_blockNumber", 0, None, "no answer within 30 s", RETRY),
        ("eth_blockNumber", 200, -32005, "limit exceeded", BACK_OFF),
        ("eth_blockNumber", 413, None, "", FAIL),
    ],
)
def test_other_methods(
    method: str, status: int, code: int | None, text: str, action: Action
) -> None:
    """Methods without a block range are never told to shrink one."""
    assert understand(method, status, code, text, None, None, None).action is action


def test_reason_is_one_short_line() -> None:
    """What a person reads is one printable line of bounded length that keeps the status."""
    verdict = logs("too many\n\x1b[31mrequests " + "x" * 5_000, status=429)
    assert verdict.reason.startswith("429 too many [31mrequests")
    assert len(verdict.reason) < 220
    assert verdict.reason.isprintable()
    assert logs(None, None, status=429).reason == "429 too many requests"
    assert logs(None, None, status=599).reason == "599"
    assert logs({"odd": 1}, -32000).reason == "error -32000 without a message"


def test_survives_anything() -> None:
    """Random text, types and numbers never raise, and never widen the request."""
    rng = random.Random(7)
    words = [
        "block",
        "range",
        "max",
        "[0x1,",
        "0x9]",
        "1,,0",
        "10k",
        "limit",
        "results",
        "(",
        "9" * 30,
    ]
    for _ in range(3_000):
        text = " ".join(rng.choice([*words, rng.choice(string.printable)]) for _ in range(12))
        data = rng.choice([None, text, 5, [text], {"from": text, "to": 7, "rate": text}, {1: text}])
        code = rng.choice([None, -32005, -32602, 10**40])
        verdict = logs(
            rng.choice([text, None, 3, [text]]), code, rng.choice([0, 200, 999, -5]), data
        )
        assert verdict.to_block is None or FIRST <= verdict.to_block < LAST
