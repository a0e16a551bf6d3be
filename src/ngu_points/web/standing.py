"""Answers about the pipeline: where it stands, its figures over time, whether it is ready."""

from __future__ import annotations

import time
from typing import Any

from ngu_points import __version__
from ngu_points.engine.events import TYPES
from ngu_points.web import questions, reports
from ngu_points.web.interfaces import Seen, Source, Standing
from ngu_points.web.problems import wrong
from ngu_points.web.questions import LATEST, moment_asked
from ngu_points.web.shaping import season_name, valid_of

WINDOWS = {"live": 5, "5m": 300, "hour": 3_600, "day": 86_400}


def status(source: Source, _: questions.Nothing) -> reports.Status:
    """Position, head, lag, finality, coverage, backlog, gaps, dead letters, alarms."""
    seen, standing = source.newest(), source.standing()
    now = int(time.time())
    if standing is None:
        standing = Standing({}, {}, (), -1, (), False)
    figures = standing.figures
    identity = figures.get("identity") or [None, None, None]
    block = figures.get("block", -1)
    return reports.Status(
        valid=None if seen is None else valid_of(seen),
        programme=reports.Programme(
            chain_id=identity[0],
            contract=identity[1],
            kind=identity[2],
            start_block=figures.get("startBlock"),
            season=None if seen is None else season_name(seen, seen.view.season),
            seasons=[season.name for season in source.rules.seasons],
            version=__version__,
        ),
        head=figures.get("head"),
        lag=figures.get("lag"),
        delay=delay(seen, now),
        finality=reports.Finality(
            final=figures.get("finalBlock"), reached=bool(figures.get("final"))
        ),
        coverage=reports.Coverage(
            from_=figures.get("startBlock"),
            to=None if seen is None else block,
            gaps=[_gap(gap) for gap in standing.gaps],
            archived_through=figures.get("archivedThrough", -1),
            certified=figures.get("certified", []),
        ),
        backlog=figures.get("backlog", 0),
        dead_letters=figures.get("deadLetters", 0),
        anomalies=figures.get("anomalies", 0),
        uncertain_wallets=figures.get("uncertainWallets", 0),
        retractions=figures.get("retractions", 0),
        events=_events(standing),
        totals=totals(seen),
        rates=reports.Rates(
            events_per_second=round(standing.events_per_second, 3),
            blocks_per_second=round(standing.blocks_per_second, 3),
            over_seconds=standing.over_seconds,
        ),
        stages=_stages(standing, seen),
        endpoints=[
            reports.Endpoint(
                host=e["host"], requests=e["requests"], failures=e["failures"],
                contradictions=e["contradictions"],
            )
            for e in figures.get("endpoints", [])
        ],
        jobs=[_job(job) for job in standing.jobs],
        alarms=list(figures.get("alarms", [])),
        running=standing.running,
        at=now,
    )  # fmt: skip


def delay(seen: Seen | None, now: int) -> int | None:
    """Seconds that the newest state is behind the clock."""
    return None if seen is None else max(now - seen.view.timestamp, 0)


def totals(seen: Seen | None) -> reports.Totals:
    if seen is None:
        return reports.Totals(tokens="0", staked="0", wallets=0, runs=0)
    held, staked = seen.view.tokens
    return reports.Totals(
        tokens=str(held + staked),
        staked=str(staked),
        wallets=len(seen.view.state.wallets),
        runs=len(seen.view.state.runs),
    )


def event_total(standing: Standing) -> int:
    return sum(n for name, n in standing.counters.items() if name.isdigit())


def _events(standing: Standing) -> dict[str, int]:
    counts = {name: standing.counters.get(str(kind), 0) for kind, name in enumerate(TYPES)}
    return {"total": sum(counts.values()), **counts}


def _gap(gap: Any) -> reports.Gap:
    return reports.Gap(
        stream=gap["stream"], from_=gap["from"], to=gap["to"], why=gap["why"],
        since=gap.get("since"),
    )  # fmt: skip


def _job(job: Any) -> reports.Job:
    error = job.get("error")
    return reports.Job(name=job["name"], last_run=job["lastRun"], ok=error is None, error=error)


def _stages(standing: Standing, seen: Seen | None) -> list[reports.Stage]:
    """The way of an event, stage by stage, as a person would ask after it."""
    figures, running = standing.figures, standing.running
    block, lag, head = figures.get("block", -1), figures.get("lag"), figures.get("head")
    trouble = next((a for a in figures.get("alarms", []) if "cannot be read" in a), None)
    backlog, letters = figures.get("backlog", 0), figures.get("deadLetters", 0)
    behind = "no block" if lag is None else f"{lag:,} blocks behind" if lag else "at the head"
    monitor = "stopped" if not running else trouble or f"head {head or 0:,}, {behind}"
    read = f"read through block {standing.read_through:,}"
    if standing.gaps:
        read += f", {len(standing.gaps)} gaps"
    count = totals(seen)
    state = f"{int(count.tokens):,} tokens of {count.wallets:,} wallets"
    if uncertain := figures.get("uncertainWallets", 0):
        state += f", {uncertain:,} uncertain"
    waiting = standing.read_through > block
    idle: reports.StageState = "idle" if seen is None else "ok"
    return [
        reports.Stage(
            name="monitor",
            state="alarm" if trouble else "ok" if running else "warning",
            text=monitor,
        ),
        reports.Stage(name="stream", state="alarm" if standing.gaps else idle, text=read),
        reports.Stage(
            name="tables",
            state="warning" if letters or backlog else idle,
            text=f"{backlog:,} events wait, {letters:,} dead letters",
        ),
        reports.Stage(
            name="process",
            state="warning" if waiting else idle,
            text=f"processed through block {block:,}" if seen else "nothing processed yet",
        ),
        reports.Stage(name="state", state="warning" if uncertain else idle, text=state),
    ]


def series(source: Source, asked: questions.SeriesQuestion) -> reports.Series:
    """Figures of the pipeline over time, in windows."""
    seconds, seen = WINDOWS[asked.window], source.newest()
    since = _clock(asked.since, "from", 0)
    until = _clock(asked.until, "to", LATEST)
    return reports.Series(
        valid=None if seen is None else valid_of(seen),
        window=asked.window,
        seconds=seconds,
        series=[_window(w, seconds) for w in source.windows(seconds, since, until, asked.limit)],
    )


def _clock(text: str | None, name: str, default: int) -> int:
    moment = moment_asked(text, name)
    if moment is None:
        return default
    if moment.timestamp is None:
        raise wrong(name, "is a block, and windows are of the clock", "give @seconds or a time")
    return moment.timestamp


def _window(window: dict[str, Any], seconds: int) -> reports.Window:
    tokens, staked = int(window["tokens"]), int(window["staked"])
    return reports.Window(
        at=window["at"],
        block=window["block"],
        lag=window["lag"],
        delay=window["delay"],
        events=window["events"],
        new_events=window["newEvents"],
        events_per_second=round(window["newEvents"] / seconds, 4),
        backlog=window["backlog"],
        dead_letters=window["deadLetters"],
        anomalies=window["anomalies"],
        gaps=window["gaps"],
        tokens=str(tokens),
        staked=str(staked),
        staked_share=round(staked / tokens, 4) if tokens else 0.0,
        wallets=window["wallets"],
    )


def health(_source: Source, _: questions.Nothing) -> reports.Health:
    """The server lives."""
    return reports.Health(status="ok")


def ready(source: Source, _: questions.Nothing) -> reports.Ready:
    """Whether there are answers and the pipeline behind them is well."""
    standing = source.standing()
    why = []
    if source.newest() is None:
        why.append("nothing is covered yet")
    if standing is None or not standing.running:
        why.append("no pipeline is running")
    elif trouble := next(
        (a for a in standing.figures.get("alarms", []) if "cannot be read" in a), None
    ):
        why.append(trouble)
    return reports.Ready(ready=not why, why=why)
