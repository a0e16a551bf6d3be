"""The live view of `ngu demo` and `ngu top` as a picture in the terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ngu_points.embedded.store import Store
from ngu_points.engine.events import TYPES
from ngu_points.engine.facts import total
from ngu_points.engine.rules import MICRO, Rules
from ngu_points.pipeline import query
from ngu_points.pipeline.query import View

WIDTH = 80
BAR = 24


@dataclass(frozen=True, slots=True)
class Frame:
    """Everything that one picture shows."""

    title: str
    block: int
    head: int
    timestamp: int
    final: bool
    counts: tuple[int, ...]  # of each event type
    backlog: int
    dead_letters: int
    tokens: int
    staked: int
    days: int
    pool: int  # micro-points of today's feast so far
    leaders: list[dict[str, Any]]
    alarms: Sequence[str] = ()

    @property
    def events(self) -> int:
        return sum(self.counts)

    @property
    def share(self) -> float:
        """The part of all tokens that is staked."""
        return self.staked / self.tokens if self.tokens else 0.0


def frame(
    store: Store,
    rules: Rules,
    title: str,
    head: int | None,
    leaders: int = 8,
    alarms: Sequence[str] = (),
) -> Frame:
    """A look at a store as it is now."""
    state, position = store.state(), store.position()
    view = View.of(state, rules)
    staked = total(state.wallets.staked)
    counters = store.meta("counters") or {}
    return Frame(
        title=title,
        block=position.block,
        head=position.block if head is None else head,
        timestamp=position.timestamp,
        final=0 <= position.block <= store.meta("final", -1),
        counts=tuple(counters.get(str(kind), 0) for kind in range(len(TYPES))),
        backlog=store.queue.backlog(),
        dead_letters=store.queue.dead_letters(),
        tokens=staked + total(state.wallets.held),
        staked=staked,
        days=len(store.feasts.days()),
        pool=int((query.feast_today(view) or {}).get("poolMicro", 0)),
        leaders=query.leaderboard(view, leaders),
        alarms=alarms,
    )


def picture(frame: Frame, rate: float | None = None) -> RenderableType:
    """Chain, events, feast and leaderboard, at most 80 columns wide; `rate` in events a second."""
    filled = round(frame.share * BAR)
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(frame.timestamp))
    lag = max(frame.head - frame.block, 0)
    chain = _grid([
        ("head", f"{frame.head:,}"),
        ("processed", f"{frame.block:,} {'final' if frame.final else 'provisional'}"),
        ("lag", f"{lag:,} blocks, {frame.backlog:,} events wait"),
        ("block time", when),
        ("tokens", f"{frame.tokens:,}"),
        ("staked", f"{'█' * filled}{'░' * (BAR - filled)} {frame.share:.0%}"),
    ])  # fmt: skip
    counts = [*zip(TYPES, (f"{n:,}" for n in frame.counts), strict=True)]
    pace = "" if rate is None else f", {rate:,.1f}/s"
    events = _grid([*counts, ("all", f"{frame.events:,}{pace}")])
    panels = [Panel(chain, title=frame.title, width=50), Panel(events, title="events", width=29)]
    feasts = "feast" if frame.days == 1 else "feasts"
    feast = f"today's feast  {frame.pool / MICRO:,.2f} points  ·  {frame.days} {feasts} held"
    board = Panel(_board(frame.leaders), title=feast, width=WIDTH)
    doubts = [Text(alarm, style="bold red") for alarm in frame.alarms]
    return Group(Columns(panels, padding=(0, 1, 0, 0)), board, *doubts, "Ctrl-C ends it")


def _board(leaders: Sequence[dict[str, Any]]) -> Table:
    board = Table(box=None, expand=True, padding=(0, 1))
    for name in ("#", "wallet", "points", "held", "staked"):
        board.add_column(name, justify="left" if name == "wallet" else "right")
    for row in leaders:
        short = f"{row['wallet'][:8]}…{row['wallet'][-6:]}"
        board.add_row(str(row["rank"]), short, row["points"], f"{row['held']:,}",
                      f"{row['staked']:,}")  # fmt: skip
    return board


def _grid(rows: list[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(f"[dim]{name}[/dim]", value)
    return grid
