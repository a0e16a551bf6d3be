"""`ngu top`: a live view of a database, whoever writes it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict

import click
from rich.console import Console
from rich.live import Live

from ngu_points.cli.options import Given, shared
from ngu_points.cli.stores import looking
from ngu_points.embedded.picture import Frame, frame, picture
from ngu_points.embedded.status import status
from ngu_points.errors import UsageError

EVERY = 1.0  # seconds between looks
REST = 4  # a look that took long is followed by a pause of so many times that
RATE_OVER = 30.0  # seconds that the shown rate is of


@click.command()
@shared
def top(given: Given) -> int:
    """Watch a database live, in a terminal.

    Position, lag, events, staking, the feast, the leaderboard, alarms. Looks at what `ngu run` or
    `ngu sync` writes, from a terminal of its own, and changes nothing. Ctrl-C ends it. With --json:
    one look.

    Exit code 3: something is in doubt (see `ngu status`).
    """
    given.on_file("ngu top", "look at `ngu status`, or at the dashboard")
    if given.json:
        seen = _look(given)
        given.answer({_camel(name): value for name, value in asdict(seen).items()})
        return 3 if seen.alarms else 0
    console = Console(highlight=False)
    if not console.is_terminal:
        raise UsageError("top draws on a terminal: `ngu status` prints once, --json looks once")
    return 3 if _watch(given, console).alarms else 0


def _watch(given: Given, console: Console) -> Frame:
    """Draw until Ctrl-C; the last look."""
    looks: list[tuple[float, int]] = []
    seen = _look(given)
    with (
        Live(console=console, auto_refresh=False, screen=True) as live,
        suppress(KeyboardInterrupt),
    ):
        while True:
            started = time.monotonic()
            looks = [(at, n) for at, n in looks if started - at < RATE_OVER]
            looks.append((started, seen.events))
            live.update(picture(seen, _rate(looks)), refresh=True)
            time.sleep(max(EVERY, REST * (time.monotonic() - started)))
            seen = _look(given)
    return seen


def _rate(looks: list[tuple[float, int]]) -> float | None:
    (first, before), (last, now) = looks[0], looks[-1]
    return (now - before) / (last - first) if last > first else None


def _look(given: Given) -> Frame:
    with looking(given) as store:
        alarms = status(store)["alarms"]
        return frame(store, store.rules, given.config.db.name, store.meta("head"), 10, alarms)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


COMMANDS = (top,)
