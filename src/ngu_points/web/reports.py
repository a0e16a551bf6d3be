"""What the API says of the pipeline: its status, its figures over time, live events."""

from __future__ import annotations

from typing import Any, Literal

from ngu_points.web.answers import Address, Answer, Big, Clock, Row, Valid, Whole


class Programme(Answer, frozen=True):
    """What is served."""

    chain_id: int | None
    contract: Address | None
    kind: str | None
    start_block: int | None
    season: str | None
    seasons: list[str]
    version: str


class Finality(Answer, frozen=True):
    """The newest final block, and whether it is at or above the position."""

    final: int | None
    reached: bool


class Gap(Answer, frozen=True):
    """Blocks that something is missing of."""

    stream: str
    from_: int
    to: int
    why: str
    since: Clock | None


class Coverage(Answer, frozen=True):
    """Which blocks are known complete."""

    from_: int | None
    to: int | None
    gaps: list[Gap]
    archived_through: int
    certified: list[str]


class Totals(Answer, frozen=True):
    """How much there is."""

    tokens: Big
    staked: Big
    wallets: Whole
    runs: Whole


class Rates(Answer, frozen=True):
    """How fast it goes, over the last while."""

    events_per_second: float
    blocks_per_second: float
    over_seconds: Whole


StageState = Literal["ok", "warning", "alarm", "idle"]


class Stage(Answer, frozen=True):
    """One stage of the pipeline."""

    name: Literal["monitor", "stream", "tables", "process", "state"]
    state: StageState
    text: str


class Endpoint(Answer, frozen=True):
    """How a node has behaved."""

    host: str
    requests: Whole
    failures: Whole
    contradictions: Whole


class Job(Answer, frozen=True):
    """A job of the schedule, and how its last run ended."""

    name: str
    last_run: Clock
    ok: bool
    error: str | None


class Status(Answer, frozen=True):
    """Where the pipeline stands."""

    valid: Valid | None
    programme: Programme
    head: int | None
    lag: Whole | None
    delay: Whole | None
    finality: Finality
    coverage: Coverage
    backlog: Whole
    dead_letters: Whole
    anomalies: Whole
    uncertain_wallets: Whole
    retractions: Whole
    events: dict[str, int]
    totals: Totals
    rates: Rates
    stages: list[Stage]
    endpoints: list[Endpoint]
    jobs: list[Job]
    alarms: list[str]
    running: bool
    at: Clock


class Window(Answer, frozen=True):
    """Figures at the end of a window of time, and what came within it."""

    at: Clock
    block: int
    lag: Whole
    delay: Whole
    events: Whole
    new_events: Whole
    events_per_second: float
    backlog: Whole
    dead_letters: Whole
    anomalies: Whole
    gaps: Whole
    tokens: Big
    staked: Big
    staked_share: float
    wallets: Whole


class Series(Answer, frozen=True):
    """Windows in order of time; the last one is still running."""

    valid: Valid | None
    window: Literal["live", "5m", "hour", "day"]
    seconds: Whole
    series: list[Window]


class Live(Answer, frozen=True):
    """What a `position` event of the live stream says."""

    valid: Valid | None
    head: int | None
    lag: int | None
    delay: int | None
    backlog: Whole
    dead_letters: Whole
    anomalies: Whole
    alarms: Whole
    events: Whole
    new_events: Whole
    events_per_second: float
    totals: Totals
    top: list[Row]
    moved: list[dict[str, Any]]
    changed: list[Address]
    many_changed: bool
    feast_day: int | None


class Health(Answer, frozen=True):
    """The server lives."""

    status: Literal["ok"]


class Ready(Answer, frozen=True):
    """Whether answers are as they should be, else why not."""

    ready: bool
    why: list[str]
