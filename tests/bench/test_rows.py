"""Every row of the benchmark run tiny: real commands, real databases, answers compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.render import render
from bench.targets import TARGETS
from bench.workloads import FIRST_BLOCK, LOGS_PER_BLOCK, SPARSE, workload

from bench import live, reads, scale
from ngu_points.errors import NguError


def test_growth_reads_the_last_blocks_and_folds_the_archive(tmp_path: Path) -> None:
    """The largest database is finished block by block, asked, verified and folded once more."""

    def last(done: scale.Synced) -> list[scale.Row]:
        return [*reads.reads(done, 3), reads.rates(done, runs=1)]

    rows = scale.growth((400, 1_200), tmp_path, last, short_of=3)
    assert [row["row"] for row in rows if row["row"] != "read"] == [
        "size", "size", "rates", "rebuild", "growth",
    ]  # fmt: skip
    sizes = [row for row in rows if row["row"] == "size"]
    assert [row["events"] for row in sizes] == [400, 1_200 - 3 * LOGS_PER_BLOCK]
    assert [row["largest"] for row in sizes] == [False, True]
    asked = {row["what"]: row["n"] for row in rows if row["row"] == "read"}
    assert asked == dict.fromkeys(
        ("refresh", "leaderboard first", "wallet first", "token first",
         "leaderboard after", "wallet after", "token after"), 3,
    )  # fmt: skip


def test_a_drop_is_one_row_a_mint(tmp_path: Path) -> None:
    """Ten thousand tokens a mint, owners and seconds as the columns have them."""
    (row,) = scale.drop(40, tmp_path)
    assert row["tokens"] == 400_000


def test_a_drop_with_another_owner_is_found(tmp_path: Path) -> None:
    """The check of the drop must fail for a history that is not the one that was synced."""
    with scale.synced("drop", 40, tmp_path) as done:
        done.work.recipient[7] = (done.work.recipient[7] + 1) % done.work.wallets
        with pytest.raises(NguError, match="have another owner"):
            scale._verify_drop(done, tmp_path)


def test_a_sparse_chain_has_logs_in_few_blocks_and_needs_few_requests(tmp_path: Path) -> None:
    """One block of many has logs, whatever the range; catching up asks for ranges, not blocks."""
    rendered = render(workload("sparse", 100))
    assert rendered.last_block - FIRST_BLOCK + 1 == 100 // LOGS_PER_BLOCK * SPARSE
    whole = b"".join(rendered.logs(FIRST_BLOCK, rendered.last_block))
    assert whole.count(b'"removed"') == 100
    for low, high, logs in ((0, 0, 20), (1, SPARSE - 1, 0), (1, SPARSE, 20), (0, SPARSE, 40)):
        page = b"".join(rendered.logs(FIRST_BLOCK + low, FIRST_BLOCK + high))
        assert page.count(b'"removed"') == logs
    (row,) = scale.sparse(200, tmp_path)
    assert row["blocks"] == 200 // LOGS_PER_BLOCK * SPARSE
    assert 0 < row["logs"] < 10
    assert row["requests"] < 50


def test_following_answers_each_block_and_ends_like_a_fresh_sync(tmp_path: Path) -> None:
    """Every block is in the answer before the next is mined, both fingerprints are equal."""
    rows = live.live(4, 10, tmp_path)
    assert [row["what"] for row in rows] == ["commit", "answer"]
    assert all(0 < row["p50"] <= row["p99"] for row in rows)


def test_targets_know_reached_from_missed_and_not_measured() -> None:
    """A bound counts from both sides, and nothing is claimed of what was not measured."""
    results = {
        "workloads": [
            {
                "kind": "erc721",
                "rows": [{"name": "sync", "rate": 160_000.0}, {"name": "fetch", "rate": 1e6}],
            }
        ],
        "rows": [
            {"row": "live", "what": "answer", "p50": 14.0, "p99": 61.0},
            {"row": "size", "largest": True, "rss": 999.0},
            {"row": "size", "largest": False, "rss": 301.0},
        ],
        "rivals": [
            {"name": "SQD", "kind": "erc721", "tuned": True, "rate": 10_000.0},
            {"name": "DipDup", "kind": "erc721", "tuned": True, "missing": "no network"},
        ],
    }
    verdicts = {target.what: target.reached(results) for target in TARGETS}
    assert verdicts["sync, 1,000,000 single-token transfers"] is True
    assert verdicts["sync, 1,000,000 NGU events"] is None
    assert verdicts["sync of transfers, of the fetch-only floor"] is False
    assert verdicts["sync of transfers, against the fastest tuned rival"] is True
    assert verdicts["sync of transfers, against Ponder as installed"] is None
    assert verdicts["peak memory, 10,000,000 events"] is True
    assert verdicts["peak memory, 1,000,000 events"] is False
    assert verdicts["head seen → points answered, 50 events a block, p50"] is True
    assert verdicts["head seen → points answered, 50 events a block, p99"] is False
