"""What a rival is to the runner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.workloads import Workload

Run = tuple[int, int, str, str | None, int]
"""First id, last id, owner, staker, since when: a rival's tokens."""


@dataclass(frozen=True, slots=True)
class Task:
    """One measurement: this workload from this node into this empty folder."""

    work: Workload
    url: str
    folder: Path
    database: str | None  # PostgreSQL's address where the rival is to use it
    tuned: bool  # at its best settings; else as it is installed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rival took and what it found."""

    seconds: float  # from the start of its process until everything is indexed
    rss: int  # bytes, the largest sum over its processes; PostgreSQL is not in it
    runs: list[Run]
    wallets: dict[str, tuple[int, int]]  # held and staked seconds of intervals that are over


@dataclass(frozen=True, slots=True)
class Rival:
    """An indexer at a version, with one of its databases."""

    name: str
    version: str
    database: str
    settings: str  # what makes it fast, for the reader
    install: Callable[[], None]
    measure: Callable[[Task], Outcome]
