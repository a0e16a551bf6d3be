"""The benchmark measures what it says: valid histories, right pages, answers that are checked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench.__main__ import PARTS, main
from bench.expected import check, replay
from bench.render import render
from bench.stages import CONTRACTS
from bench.workloads import CONTRACT, FIRST_BLOCK, KINDS, addresses, workload

from ngu_points.chain.decode import decode
from ngu_points.config import Config, rules_of
from ngu_points.engine.rules import Rules
from ngu_points.engine.state import advance, no_state, no_wallets
from ngu_points.errors import NguError
from ngu_points.pipeline.process import moves_of

EVENTS = 3_000


def rules() -> Rules:
    return rules_of(Config())


@pytest.mark.parametrize("kind", KINDS)
def test_pages_decode_to_the_workload(kind: str) -> None:
    """What the node sends must be the events of the workload, all of them on the fast path."""
    work = workload(kind, EVENTS)
    rendered = render(work)
    raw = b"[" + b"".join(rendered.logs(FIRST_BLOCK, rendered.last_block)) + b"]"
    decoded = decode(raw, CONTRACTS[kind](CONTRACT), FIRST_BLOCK, rendered.last_block)
    assert not decoded.rejected
    assert decoded.slow_rows == 0
    events = decoded.events
    for column, wanted in (
        (events.kind, work.effect),
        (events.first, work.first),
        (events.quantity, work.quantity),
        (events.block, work.block),
        (events.timestamp, work.timestamp),
    ):
        np.testing.assert_array_equal(column, wanted)
    named = np.vstack([addresses(work.wallets), np.zeros((1, 20), np.uint8)])
    np.testing.assert_array_equal(events.sender, named[work.sender])
    np.testing.assert_array_equal(events.recipient, named[work.recipient])


def test_pages_of_blocks_add_up() -> None:
    """However a range is cut into pages, across chunks too, the logs are the same."""
    rendered = render(workload("erc721", 120_001))
    cuts = [FIRST_BLOCK, FIRST_BLOCK + 1, FIRST_BLOCK + 2_499, FIRST_BLOCK + 5_100]
    ends = [*(cut - 1 for cut in cuts[1:]), rendered.last_block]
    pages = [b"".join(rendered.logs(a, b)) for a, b in zip(cuts, ends, strict=True)]
    whole = b"".join(rendered.logs(FIRST_BLOCK, rendered.last_block))
    assert b",".join(pages) == whole
    assert whole.count(b'"removed"') == 120_001


@pytest.mark.parametrize("kind", KINDS)
def test_histories_contradict_nothing(kind: str) -> None:
    """Every event of a workload must be possible, so that only the ordinary path is measured."""
    work = workload(kind, EVENTS)
    rendered = render(work)
    raw = b"[" + b"".join(rendered.logs(FIRST_BLOCK, rendered.last_block)) + b"]"
    decoded = decode(raw, CONTRACTS[kind](CONTRACT), FIRST_BLOCK, rendered.last_block)
    address, moves = moves_of(decoded.events)
    start = replace(no_state(rules()), wallets=no_wallets(rules(), address))
    after = advance(start, moves, rules(), work.last_block, work.last_timestamp)
    assert len(after.anomalies) == 0
    assert set(np.unique(work.effect).tolist()) == (set(range(5)) if kind == "ngu" else {0, 1, 2})
    assert work.quantity.max() == 1 if kind == "erc721" else 300 < work.quantity.max() <= 400


def test_a_wrong_answer_is_found(tmp_path: Path) -> None:
    """The check must fail for one wrong owner, one second too many, one token too many."""
    work = workload("ngu", 200)
    answer = replay(work)
    names = ["0x" + row.tobytes().hex() for row in addresses(work.wallets)]
    tokens, points = tmp_path / "tokens.csv", tmp_path / "points.csv"

    def write(owner: list[int], held: list[int]) -> None:
        rows = [
            f"{token},{token},{names[wallet]},{names[staker] if staker >= 0 else ''}"
            for token, (wallet, staker) in enumerate(zip(owner, answer.staker, strict=False))
            if wallet >= 0
        ]
        tokens.write_text("\n".join(["start,end,owner,staker", *rows]))
        rows = [f"{n},{h},{s}" for n, h, s in zip(names, held, answer.staked, strict=True)]
        points.write_text("\n".join(["wallet,held_token_seconds,staked_token_seconds", *rows]))

    write(answer.owner, answer.held)
    check(work, answer, tokens, points)
    owned = next(token for token, wallet in enumerate(answer.owner) if wallet >= 0)
    other = [*answer.owner]
    other[owned] = (other[owned] + 1) % work.wallets
    write(other, answer.held)
    with pytest.raises(NguError, match=f"owner of token {owned}"):
        check(work, answer, tokens, points)
    write(answer.owner, [answer.held[0] + 1, *answer.held[1:]])
    with pytest.raises(NguError, match="held_token_seconds of wallet 0"):
        check(work, answer, tokens, points)


def test_one_command_measures_and_verifies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m bench` must sync for real, verify the answer, print a table and write JSON."""
    path = tmp_path / "results.json"
    words = ["--scale", "0.0004", "--runs", "1", "--part", "sync", "--json", str(path)]
    assert main(words) == 0, capsys.readouterr().err
    found = json.loads(path.read_text())
    assert [work["kind"] for work in found["workloads"]] == list(KINDS)
    rows = {row["name"]: row for row in found["workloads"][0]["rows"]}
    assert {"sync", "fetch", "fetch + decode", "decode alone", "fold alone", "rebuild"} == {*rows}
    assert all(row["rate"] > 0 for row in rows.values())
    assert found["machine"]["cores"] >= 1
    out = capsys.readouterr().out
    assert "ngu: 400 events" in out
    assert "no figure to quote" in out


def test_a_part_that_fails_does_not_take_the_others_along(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was measured before and after a wrong answer is kept; the exit code tells of it."""

    def wrong(*_: object) -> None:
        raise NguError("the owner of token 7 is 1, the replay says 2")

    monkeypatch.setitem(PARTS, "drop", wrong)
    path = tmp_path / "results.json"
    words = ["--scale", "0.0004", "--part", "drop", "--part", "sparse", "--json", str(path)]
    assert main(words) == 1
    assert [row["row"] for row in json.loads(path.read_text())["rows"]] == ["sparse"]
    assert "drop: the owner of token 7" in capsys.readouterr().err
