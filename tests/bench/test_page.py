"""docs/performance.md has a place for every table, and is what its results make of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bench.page import PAGE, RESULTS, made, tables
from bench.report import HEADINGS

from ngu_points.errors import NguError

SPREAD = {"p50": 1.0, "p99": 2.0}


def results() -> dict[str, Any]:
    """What a full run gives, in small."""
    names = ("sync", "fetch", "fetch + decode", "decode alone", "fold alone", "rebuild")
    lines = [{"name": name, "seconds": 2.0, "rate": 5e5, "all": [2.0], "cpu": None, "rss": None}
             for name in names]  # fmt: skip
    rival = {"name": "SQD", "version": "1", "database": "PostgreSQL", "settings": "tuned",
             "tuned": True, "kind": "erc721", "events": 10}  # fmt: skip
    return {
        "machine": {"date": "today", "load": [0.1, 0.2]},
        "scale": 1.0,
        "workloads": [{"kind": kind, "rows": lines} for kind in ("erc721", "ngu")],
        "rows": [
            {"row": "size", "events": 9, "seconds": 2.0, "rate": 4.5, "perEvent": 0.2,
             "rss": 99.0, "largest": True},
            {"row": "rebuild", "events": 9, "seconds": 3.0, "rate": 3.0, "rss": 88.0},
            {"row": "read", "what": "token after", "wallets": 9, "n": 5, **SPREAD},
            {"row": "live", "what": "answer", "blocks": 4, "events": 50, **SPREAD},
            {"row": "growth", "from": 1, "to": 9, "times": 1.2},
            {"row": "rates", "wallets": 9, "seconds": 0.5, "all": [0.5]},
        ],
        "rivals": [
            {**rival, "seconds": 5.0, "rate": 5e4, "rss": 170.0, "requests": 1_012.0},
            {**rival, "missing": "PostgreSQL is not installed"},
        ],
    }  # fmt: skip


def test_the_page_has_a_place_for_every_table() -> None:
    """A full run's tables are put where the page wants them, with ratios and verdicts."""
    page = made(PAGE.read_text(encoding="utf-8"), results())
    assert f"| {' | '.join(HEADINGS)} |" in page
    assert "| 10 times as fast |" in page
    assert "not measured: PostgreSQL is not installed" in page
    assert "| sync, 1,000,000 NGU events | at least 120,000 events/s | 500,000 events/s |" in page
    assert "next `make bench`" not in page
    assert page.count("(images/") == 2
    assert made(page, results()) == page


def test_results_that_are_not_a_full_run_make_no_page() -> None:
    """Figures of a smaller scale or with parts left out must not be published."""
    with pytest.raises(NguError, match=r"at 0\.01 of the full sizes"):
        tables({**results(), "scale": 0.01})
    with pytest.raises(NguError, match="lack rivals"):
        tables({**results(), "rivals": []})
    with pytest.raises(NguError, match="lack a workload"):
        tables({**results(), "workloads": results()["workloads"][:1]})


@pytest.mark.skipif(not RESULTS.exists(), reason="no run has been published yet")
def test_the_page_is_what_its_results_make_of_it() -> None:
    """Nobody edits a figure by hand."""
    page = PAGE.read_text(encoding="utf-8")
    assert made(page, json.loads(RESULTS.read_text(encoding="utf-8"))) == page
