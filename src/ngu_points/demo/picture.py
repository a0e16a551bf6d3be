"""The demo's live view as a picture in the terminal."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table

from ngu_points.engine.events import TYPES
from ngu_points.engine.rules import MICRO

BAR = 24


@dataclass(frozen=True, slots=True)
class Frame:
    """Everything that one picture shows."""

    chain: str
    block: int
    head: int
    timestamp: int
    events: int
    counts: list[int]
    tokens: int
    staked: int
    days: int
    pool: int
    leaders: list[dict[str, Any]]

    @property
    def share(self) -> float:
        """The part of all tokens that is staked."""
        return self.staked / self.tokens if self.tokens else 0.0


def picture(frame: Frame) -> RenderableType:
    """Chain, events, feast and leaderboard, at most 80 columns wide."""
    filled = round(frame.share * BAR)
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(frame.timestamp))
    chain = _grid([
        ("head", f"{frame.head:,}"),
        ("processed", f"{frame.block:,}"),
        ("lag", f"{max(frame.head - frame.block, 0)} blocks"),
        ("block time", when),
        ("tokens", f"{frame.tokens:,}"),
        ("staked", f"{'█' * filled}{'░' * (BAR - filled)} {frame.share:.0%}"),
    ])  # fmt: skip
    counts = [*zip(TYPES, (f"{n:,}" for n in frame.counts), strict=True)]
    events = _grid([*counts, ("all", f"{frame.events:,}")])
    feast = f"today's feast  {frame.pool / MICRO:,.2f} points  ·  {frame.days} feasts held"
    board = Table(box=None, expand=True, padding=(0, 1))
    for name in ("#", "wallet", "points", "held", "staked"):
        board.add_column(name, justify="left" if name == "wallet" else "right")
    for row in frame.leaders:
        short = f"{row['wallet'][:8]}…{row['wallet'][-6:]}"
        board.add_row(str(row["rank"]), short, f"{row['points']}", f"{row['held']:,}",
                      f"{row['staked']:,}")  # fmt: skip
    top = Columns([Panel(chain, title=frame.chain), Panel(events, title="events")])
    return Group(top, Panel(board, title=feast, width=80), "Ctrl-C ends it")


def _grid(rows: list[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(f"[dim]{name}[/dim]", value)
    return grid
