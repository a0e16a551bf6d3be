"""What is to be reached, and which figure of the results shows it (pure)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Results = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """A figure and its bound; `found` gives None where the part was not measured."""

    what: str
    unit: str
    bound: float
    found: Callable[[Results], float | None]
    at_most: bool = False

    def reached(self, results: Results) -> bool | None:
        """None where it was not measured."""
        figure = self.found(results)
        if figure is None:
            return None
        return figure <= self.bound if self.at_most else figure >= self.bound


def rate(results: Results, kind: str, name: str) -> float | None:
    """Events a second of a row of a workload."""
    rows = [row for work in results.get("workloads", []) if work["kind"] == kind
            for row in work["rows"] if row["name"] == name]  # fmt: skip
    return float(rows[0]["rate"]) if rows else None


def value(results: Results, field: str, **where: Any) -> float | None:
    """A field of the row whose other fields are these; the last one where there are several."""
    rows = [row for row in results.get("rows", []) if where.items() <= row.items()]
    return float(rows[-1][field]) if rows and rows[-1].get(field) is not None else None


def fastest(results: Results, *, tuned: bool, name: str | None = None) -> float | None:
    """Events a second of the fastest rival on single-token transfers."""
    rates = [row["rate"] for row in results.get("rivals", [])
             if row["tuned"] is tuned and row["kind"] == "erc721" and "rate" in row
             and name in (None, row["name"])]  # fmt: skip
    return max(rates, default=None)


def ratio(one: float | None, two: float | None) -> float | None:
    """None where one of them was not measured."""
    return None if one is None or two is None else one / two


def _sync(results: Results) -> float | None:
    return rate(results, "erc721", "sync")


def _read(what: str, bound: float) -> Target:
    asked, when = what.split()
    words = {"first": "first read after a block", "after": "read again"}[when]
    return Target(f"{asked} of 1,000,000 wallets, {words}, p99", "ms", bound,
                  lambda r: value(r, "p99", row="read", what=what), at_most=True)  # fmt: skip


def _live(quantile: str, bound: float) -> Target:
    what = f"head seen → points answered, 50 events a block, {quantile}"
    return Target(what, "ms", bound, lambda r: value(r, quantile, row="live", what="answer"),
                  at_most=True)  # fmt: skip


TARGETS = (
    Target("sync, 1,000,000 single-token transfers", "events/s", 150_000, _sync),
    Target("sync, 1,000,000 NGU events", "events/s", 120_000, lambda r: rate(r, "ngu", "sync")),
    Target("sync of transfers, of the fetch-only floor", "%", 30,
           lambda r: _percent(ratio(_sync(r), rate(r, "erc721", "fetch")))),
    Target("sync of transfers, against the fastest tuned rival", "times", 15,
           lambda r: ratio(_sync(r), fastest(r, tuned=True))),
    Target("sync of transfers, against Ponder as installed", "times", 150,
           lambda r: ratio(_sync(r), fastest(r, tuned=False, name="Ponder"))),
    Target("rebuild from the archive, 10,000,000 events", "events/s", 1_000_000,
           lambda r: value(r, "rate", row="rebuild")),
    Target("other rates, 1,000,000 wallets", "s", 1, lambda r: value(r, "seconds", row="rates"),
           at_most=True),
    Target("time per event, 10,000,000 against 100,000", "times", 1.3,
           lambda r: value(r, "times", row="growth"), at_most=True),
    Target("peak memory, 10,000,000 events", "MB", 1_000,
           lambda r: value(r, "rss", row="size", largest=True), at_most=True),
    Target("peak memory, 1,000,000 events", "MB", 300,
           lambda r: value(r, "rss", row="size", largest=False), at_most=True),
    Target("peak memory, 100,000,000 tokens in ranges", "MB", 500,
           lambda r: value(r, "rss", row="drop"), at_most=True),
    _live("p50", 15),
    _live("p99", 60),
    _read("leaderboard first", 20),
    _read("wallet first", 1),
    _read("token first", 1),
    _read("leaderboard after", 5),
    _read("wallet after", 1),
    _read("token after", 1),
)  # fmt: skip


def _percent(part: float | None) -> float | None:
    return None if part is None else 100 * part
