"""What a machine is, and what was measured on it as a table."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench import targets
from bench.measure import ROOT

HEADINGS = ("what", "seconds", "spread", "events/s", "MB/s", "of fetch", "CPU s", "peak MB")


def machine(now: float) -> dict[str, Any]:
    """Processor, cores, memory, versions, load averages and date."""
    return {
        "date": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memoryMB": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "system": _system(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "sqlite": sqlite3.sqlite_version,
        "node": _said("node", "--version"),
        "postgres": _said("psql", "--version"),
        "commit": _said("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
    }


def _said(*words: str) -> str:
    """What a program says of its version; "none" where it is not installed."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "none"


def _system() -> str:
    """Kernel, architecture and C library; what a vendor adds to the release says nothing."""
    release = platform.release().partition("-")[0].rpartition(".")[0]
    libc = " ".join(platform.libc_ver()).strip()
    return ", ".join(filter(None, (f"{platform.system()} {release}", platform.machine(), libc)))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(workload: dict[str, Any]) -> str:
    """One workload's rows, aligned, under a line that names it."""
    lines = [HEADINGS, *cells(workload)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [f"{workload['kind']}: {workload['events']:,} events, medians of {workload['runs']}"]
    for line in lines:
        rest = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        text.append("  ".join([line[0].ljust(widths[0]), *rest]))
    return "\n".join(text)


def cells(workload: dict[str, Any]) -> list[tuple[str, ...]]:
    """One workload's rows as texts, a column for each of `HEADINGS`."""
    floor = next(row["rate"] for row in workload["rows"] if row["name"] == "fetch")
    return [_line(row, floor) for row in workload["rows"]]


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


def all_of(results: dict[str, Any]) -> str:
    """Everything but the workloads' tables: other rows, rivals, targets, notes."""
    parts = [notes(results["workloads"]), *map(_other, results["rows"])]
    parts += [_rival(row, results) for row in results["rivals"]]
    return "\n".join([*filter(None, parts), *_verdicts(results)])


def _other(row: dict[str, Any]) -> str:
    fields = (f"{k} {number(v)}" for k, v in row.items() if k != "row" and not _listed(v))
    return f"{row['row']}: " + ", ".join(fields)


def _listed(value: Any) -> bool:
    return isinstance(value, list | bool) or value is None


def number(value: Any) -> str:
    """As people read it: three digits, or all of what is large."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _rival(row: dict[str, Any], results: dict[str, Any]) -> str:
    """A rival, and how many times faster the sync of the same run is."""
    name = f"{row['kind']}: {row['name']} ({row['database']})"
    if "rate" not in row:
        return f"{name}: {row.get('failed') or 'not measured: ' + row['missing']}"
    ours = targets.ratio(targets.rate(results, row["kind"], "sync"), row["rate"])
    times = "" if ours is None else f", ngu sync is {ours:.0f} times as fast"
    return (f"{name}: {row['seconds']:.1f} s, {row['rate']:,.0f} events/s, {row['rss']:,.0f} MB, "
            f"{row['requests']:.0f} requests, {row['settings']}{times}")  # fmt: skip


def _verdicts(results: dict[str, Any]) -> list[str]:
    """A line for each target that was measured; at another scale they are not held against it."""
    if results["scale"] != 1:
        return [f"sizes are {results['scale']:g} of the full ones: no figure to quote"]
    lines = []
    for target in targets.TARGETS:
        figure = target.found(results)
        if figure is not None:
            sign = "at most" if target.at_most else "at least"
            word = "reached" if target.reached(results) else "MISSED "
            lines.append(f"{word} {target.what}: {number(figure)} {target.unit} "
                         f"({sign} {number(target.bound)})")  # fmt: skip
    return lines
