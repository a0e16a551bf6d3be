"""What a machine is, and what was measured on it as a table."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

HEADINGS = ("what", "seconds", "spread", "events/s", "MB/s", "of fetch", "CPU s", "peak MB")


def machine(now: float) -> dict[str, Any]:
    """Processor, cores, memory, versions, load averages and date."""
    return {
        "date": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memoryMB": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "system": platform.platform(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "sqlite": sqlite3.sqlite_version,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(workload: dict[str, Any]) -> str:
    """One workload's rows, aligned, under a line that names it."""
    floor = next(row["rate"] for row in workload["rows"] if row["name"] == "fetch")
    lines = [HEADINGS, *(_line(row, floor) for row in workload["rows"])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [f"{workload['kind']}: {workload['events']:,} events, medians of {workload['runs']}"]
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        text.append("  ".join(cells))
    return "\n".join(text)


def _line(row: dict[str, Any], floor: float) -> tuple[str, ...]:
    low, high = min(row["all"]), max(row["all"])
    return (
        row["name"],
        f"{row['seconds']:.3f}",
        f"{low:.2f}-{high:.2f}",
        f"{row['rate']:,.0f}",
        _shown(row.get("megabytes"), ".0f"),
        f"{100 * row['rate'] / floor:.1f}%",
        _shown(row.get("cpu"), ".2f"),
        _shown(row.get("rss"), ".0f"),
    )


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def notes(workloads: Iterable[dict[str, Any]]) -> str:
    """What stands beside the tables: the node's share, what starting costs, what was verified."""
    lines = []
    for work in workloads:
        node = work["node"]
        lines.append(
            f"{work['kind']}: the node spent {node['cpu']:.2f} s of CPU on each sync "
            f"({node['requests']:.0f} requests, {node['bytes'] / 1e6:.0f} MB); starting `ngu` "
            f"alone takes {work['startup']:.2f} s; {work['verified']}"
        )
    return "\n".join(lines)
