"""The plots of docs/performance.md as SVG, with matplotlib, which only `make bench` installs."""

from __future__ import annotations

import io
import re
from typing import Any

from bench.targets import Results, rate

OURS, FLOOR, OTHER = "#2f7d4f", "#9aa5b1", "#b4573a"
GROUND, INK = "#ffffff", "#1f2933"


def plots(results: Results) -> dict[str, str]:
    """Each plot by its name: rates of all, growth of time and memory."""
    return {"rates": _rates(results), "growth": _growth(results)}


def _rates(results: Results) -> str:
    """Events a second on a logarithmic axis, a panel for each workload."""
    figure, panels = _figure(len(results["workloads"]), height=3.4)
    for axes, work in zip(panels, results["workloads"], strict=True):
        kind = work["kind"]
        bars = [(f"{row['name']} ({row['database']})" + ("" if row["tuned"] else ", as installed"),
                 row["rate"], OTHER)
                for row in results["rivals"] if row["kind"] == kind and "rate" in row]  # fmt: skip
        bars.sort(key=lambda bar: bar[1])
        bars += [("ngu sync", rate(results, kind, "sync"), OURS)]
        bars += [(name, rate(results, kind, name), FLOOR) for name in ("fetch + decode", "fetch")]
        names, rates, colours = zip(*bars, strict=True)
        drawn = axes.barh(names, rates, color=colours)
        axes.bar_label(drawn, [f"{value:,.0f}" for value in rates], padding=3, color=INK)
        axes.set_xscale("log")
        axes.set_xlim(right=max(rates) * 8)
        axes.set_title(f"{kind}: events a second, logarithmic", loc="left", color=INK)
    return _svg(figure)


def _growth(results: Results) -> str:
    """Time per event and peak memory over the size of the history."""
    rows = [row for row in results["rows"] if row["row"] == "size"]
    events = [row["events"] for row in rows]
    figure, panels = _figure(2, height=2.4)
    for axes, (name, title) in zip(
        panels, (("perEvent", "µs an event"), ("rss", "peak memory, MB")), strict=True
    ):
        axes.plot(events, [row[name] for row in rows], marker="o", color=OURS)
        axes.set_xscale("log")
        axes.set_ylim(0, 1.15 * max(row[name] for row in rows))
        axes.set_xlabel("events", color=INK)
        axes.set_title(title, loc="left", color=INK)
    return _svg(figure)


def _figure(panels: int, height: float) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("svg")
    # The same results give the same bytes; letters stay letters.
    matplotlib.rcParams.update({"svg.hashsalt": "ngu-points", "svg.fonttype": "none"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(panels, 1, figsize=(8, height * panels), facecolor=GROUND,
                                   layout="constrained")  # fmt: skip
    for one in figure.axes:
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(colors=INK)
    return figure, axes if panels > 1 else [axes]


def _svg(figure: Any) -> str:
    from matplotlib import pyplot

    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    return re.sub(r"[ \t]+$", "", out.getvalue(), flags=re.M)
