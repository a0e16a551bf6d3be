"""What runs when: one table of jobs, for the timer here and the rules on AWS alike."""

from __future__ import annotations

from dataclasses import dataclass

from ngu_points.engine.rules import DAY


@dataclass(frozen=True, slots=True)
class Job:
    """Runs whenever `now` enters a new multiple of `every` seconds; 86400 is 00:00 UTC."""

    name: str
    every: int
    what: str


JOBS = (
    Job("points-recalc", DAY, "the day's close: ranked snapshot, ledger and totals compared"),
    Job("metrics-aggregation", 300, "running counters become a row of metrics"),
    Job("gap-check", 300, "block ranges that are not covered"),
    Job("heartbeat", 60, "a sign of life with the position"),
    Job("tidy", 3600, "final events to the archive, expired rows away"),
)


def due(job: Job, last_run: int | None, now: int) -> bool:
    """Whether the job has not run since its last moment; missed moments are one run."""
    return last_run is None or last_run // job.every < now // job.every


def next_moment(now: float) -> float:
    """Seconds until any job can become due."""
    step = min(job.every for job in JOBS)
    return step - now % step
