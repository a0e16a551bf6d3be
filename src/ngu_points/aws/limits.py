"""What bounds a deployment, raised while something asks for it and put back afterwards.

Bounded are the on-demand maximum of tables and their indexes, and the processor's memory. What
asks is a *cause*: a drain, or an alarm. Causes and the settings from before the first of them are
kept in a row of the meta table, written before anything is raised; whoever comes next makes the
settings what that row says, so that a crash leaves nothing raised for good.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ngu_points.aws import lease as leases
from ngu_points.aws.dynamo import Dynamo, Where
from ngu_points.aws.lease import KEY as LEASE_KEY
from ngu_points.aws.tables import META
from ngu_points.aws.trouble import naming
from ngu_points.errors import NguError, TransientError

log = logging.getLogger("ngu")

KEY = {"key": "limits"}
DRAIN = "drain"
DRAIN_STEP = 10_000
"""Events of a drain's step: with more, one might outlast the lease."""
MOST_NOTCHES = 12
"""A notch doubles; limits end it long before."""
CLIMB = 300
"""Seconds that an alarm stays before the next notch."""
ATTEMPTS, PAUSE = 8, 5.0
"""A table whose settings were just changed takes no change for some seconds."""
FUNCTION = "function:"
TABLE = "table:"

Settings = dict[str, int]
"""Of a table: "write" and "read", those of an index with its name behind a slash. Of a function:
"memory"."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far things may be raised, and how long alarms must be quiet before they are put back."""

    writes: int = 10_000  # request units a second
    reads: int = 10_000
    memory: int = 3_008  # MB
    quiet: int = 1_800  # seconds

    def of(self, name: str) -> int:
        """The bound of one of `Settings`."""
        kinds = {"write": self.writes, "read": self.reads, "memory": self.memory}
        return kinds[name.partition("/")[0]]


class Cause(msgspec.Struct):
    """Why something is raised."""

    subjects: list[str]  # TABLE or FUNCTION, and a name
    notches: int
    at: int  # when the last notch was added
    since: str = ""  # of an alarm: when it went off, so that a repetition is known
    quiet: int | None = None  # of an alarm: since when it is over
    owner: str = ""  # of a drain: who holds the lease


class Raised(msgspec.Struct):
    """What is raised, why, and what it was before."""

    normal: dict[str, Settings] = msgspec.field(default_factory=dict)
    causes: dict[str, Cause] = msgspec.field(default_factory=dict)
    version: str = ""  # of the row, another one with every change; empty where there is none


@dataclass(frozen=True, slots=True)
class Alarm:
    """What an alarm says."""

    name: str
    on: bool
    since: str
    subjects: tuple[str, ...]


@dataclass
class Limits:
    """Implements `pipeline.recover.Limits` for a stage, and what alarms ask for.

    `owner` is the name under which a drain holds the lease; `function` that of the processor,
    empty where its memory is left alone.
    """

    dynamo: Dynamo
    functions: Any  # botocore's client of Lambda
    bounds: Bounds
    function: str
    owner: str
    now: Callable[[], int]
    sleep: Callable[[float], None]
    changes: list[str] = field(default_factory=list)  # what was changed, in words

    @contextmanager
    def raised(self) -> Iterator[int]:
        """Everything as far up as it may go, for a drain; gives the events of a step."""
        subjects = [TABLE + name for name in sorted(self.dynamo.names.values())]
        subjects += [FUNCTION + self.function] if self.function else []
        cause = Cause(subjects, MOST_NOTCHES, self.now(), owner=self.owner)
        try:
            self.change(lambda causes: {**causes, DRAIN: cause})
            yield DRAIN_STEP
        finally:
            self.change(lambda causes: without(causes, DRAIN))

    def alarmed(self, alarm: Alarm) -> None:
        """A notch more for what an alarm is about, or the beginning of its quiet time."""
        self.change(lambda causes: after_alarm(causes, alarm, self.now()))

    def tick(self, on: Callable[[list[str]], set[str]]) -> None:
        """Go on: another notch where an alarm stays, back where all is quiet or a drain is dead.

        `on` tells which of some alarms are on.
        """
        causes = self.load().causes
        alarms = [name for name in causes if name != DRAIN]
        going = on(alarms) if alarms else set()
        if DRAIN in causes and self._draining(causes[DRAIN]):
            going.add(DRAIN)
        quiet, now = self.bounds.quiet, self.now()
        self.change(lambda causes: after_tick(causes, going, now, quiet))

    def restore(self) -> None:
        """Put everything back, whatever asked for it."""
        self.change(lambda _: {})

    def load(self) -> Raised:
        """What is raised, as the row says."""
        row = self.dynamo.get(META, KEY)
        if row is None:
            return Raised()
        found = msgspec.json.decode(row["raised"], type=Raised)
        return msgspec.structs.replace(found, version=row["version"])

    def change(self, change: Callable[[dict[str, Cause]], dict[str, Cause]]) -> None:
        """Change the causes, then make all settings what they ask for.

        NguError if a setting cannot be changed: all others are, and the row says what is open.
        """
        while True:
            known = self.load()
            causes = change(dict(known.causes))
            if not known.version and not causes:
                return
            normal = self._normal(known.normal, causes)
            wanted = Raised(normal, causes, self.dynamo.nonce())
            if self._save(wanted, known.version):
                break
        self._settle(wanted)

    def _normal(self, known: dict[str, Settings], causes: dict[str, Cause]) -> dict[str, Settings]:
        """The settings from before of all that was ever raised and is not put back yet."""
        normal = dict(known)
        for subject in {s for cause in causes.values() for s in cause.subjects} - normal.keys():
            found = self._get(subject)
            if found:
                normal[subject] = found
        return normal

    def _save(self, raised: Raised, version: str) -> bool:
        fresh = Where("attribute_not_exists(#key)", {})
        same = Where("#version = :was", {"was": version})
        row = {**KEY, "raised": msgspec.json.encode(raised).decode(), "version": raised.version}
        return self.dynamo.put(META, row, same if version else fresh)

    def _settle(self, wanted: Raised) -> None:
        """Make the settings what the row says, until it has stayed the same meanwhile."""
        while True:
            self._apply(wanted)
            newest = self.load()
            if newest.version == wanted.version and self._done(wanted):
                return
            newest = self.load()
            normal = {**wanted.normal, **newest.normal}
            wanted = Raised(normal, newest.causes, newest.version)

    def _done(self, raised: Raised) -> bool:
        """Whether nothing is left to do; the row goes with the last cause."""
        if raised.causes or not raised.version:
            return True
        return self.dynamo.delete(META, KEY, Where("#version = :was", {"was": raised.version}))

    def _apply(self, wanted: Raised) -> None:
        failed: NguError | None = None
        for subject, normal in sorted(wanted.normal.items()):
            try:
                self._make(subject, raised_by(normal, subject, wanted.causes, self.bounds))
            except NguError as error:
                log.warning("a limit could not be changed: %s", error)
                failed = failed or error
        if failed:
            raise failed

    def _make(self, subject: str, target: Settings) -> None:
        """Change a setting where it is another; waits while another change is under way."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                before = self._get(subject)
                if all(before.get(name) == value for name, value in target.items()):
                    return
                self._set(subject, target)
                break
            except TransientError:
                if attempt == ATTEMPTS:
                    raise
                self.sleep(PAUSE)
        told = ", ".join(f"{n} {before.get(n)} to {v}" for n, v in target.items()
                         if before.get(n) != v)  # fmt: skip
        self.changes.append(f"{subject.partition(':')[2]}: {told}")
        log.info("limits: %s", self.changes[-1])

    def _draining(self, cause: Cause) -> bool:
        """Whether a drain still lives: it renews its lease with every step."""
        now = self.now()
        if now - cause.at < 2 * leases.SECONDS:
            return True
        held = self.dynamo.get(META, LEASE_KEY)
        return bool(held and held["owner"] == cause.owner and held["expires"] > now)

    # The settings of AWS ------------------------------------------------------------------

    def _get(self, subject: str) -> Settings:
        kind, _, name = subject.partition(":")
        with naming(f"the settings of {name}"):
            if kind + ":" == FUNCTION:
                found = self.functions.get_function_configuration(FunctionName=name)
                return {"memory": int(found["MemorySize"])}
            table = self.dynamo.client.describe_table(TableName=name)["Table"]
        settings = _maxima("", table)
        for index in table.get("GlobalSecondaryIndexes", []):
            settings |= _maxima(f"/{index['IndexName']}", index)
        return settings

    def _set(self, subject: str, target: Settings) -> None:
        kind, _, name = subject.partition(":")
        with naming(f"the settings of {name}"):
            if kind + ":" == FUNCTION:
                self.functions.update_function_configuration(
                    FunctionName=name, MemorySize=target["memory"]
                )
            else:
                self.dynamo.client.update_table(TableName=name, **_update(target))


def after_alarm(causes: dict[str, Cause], alarm: Alarm, now: int) -> dict[str, Cause]:
    """The causes after what an alarm said; saying it again changes nothing (pure)."""
    known = causes.get(alarm.name)
    if not alarm.on:
        if known and known.quiet is None:
            causes[alarm.name] = _with(known, quiet=now)
        return causes
    if known and known.since == alarm.since:
        return causes
    notches = min(known.notches + 1, MOST_NOTCHES) if known else 1
    subjects = sorted({*alarm.subjects, *(known.subjects if known else ())})
    causes[alarm.name] = Cause(subjects, notches, now, alarm.since)
    return causes


def after_tick(causes: dict[str, Cause], going: set[str], now: int, quiet: int) -> dict[str, Cause]:
    """The causes some minutes later: `going` are those that still are (pure)."""
    left = {}
    for name, cause in causes.items():
        if name in going:
            climbs = name != DRAIN and now - cause.at >= CLIMB and cause.notches < MOST_NOTCHES
            more = {"notches": cause.notches + 1, "at": now} if climbs else {}
            left[name] = _with(cause, quiet=None, **more)
        elif name != DRAIN:
            over = now if cause.quiet is None else cause.quiet
            if now - over < quiet:
                left[name] = _with(cause, quiet=over)
    return left


def raised_by(
    normal: Settings, subject: str, causes: Mapping[str, Cause], bounds: Bounds
) -> Settings:
    """What a subject's settings shall be: doubled for each notch, within bounds (pure)."""
    asked = [cause.notches for cause in causes.values() if subject in cause.subjects]
    factor = 2 ** max(asked, default=0)
    return {name: max(value, min(value * factor, bounds.of(name)))
            for name, value in normal.items()}  # fmt: skip


def without(causes: dict[str, Cause], name: str) -> dict[str, Cause]:
    return {other: cause for other, cause in causes.items() if other != name}


def _with(cause: Cause, **changed: Any) -> Cause:
    return msgspec.structs.replace(cause, **changed)


def _maxima(suffix: str, of: Mapping[str, Any]) -> Settings:
    """The on-demand maxima of a table or an index that has any."""
    maxima = of.get("OnDemandThroughput", {})
    found = {
        f"write{suffix}": maxima.get("MaxWriteRequestUnits", -1),
        f"read{suffix}": maxima.get("MaxReadRequestUnits", -1),
    }
    return {name: int(value) for name, value in found.items() if value > 0}


def _update(target: Settings) -> dict[str, Any]:
    """The arguments of UpdateTable."""
    words = {"write": "MaxWriteRequestUnits", "read": "MaxReadRequestUnits"}
    by_place: dict[str, dict[str, int]] = {}
    for name, value in target.items():
        kind, _, index = name.partition("/")
        by_place.setdefault(index, {})[words[kind]] = value
    own = by_place.pop("", None)
    request: dict[str, Any] = {"OnDemandThroughput": own} if own else {}
    if by_place:
        request["GlobalSecondaryIndexUpdates"] = [
            {"Update": {"IndexName": index, "OnDemandThroughput": maxima}}
            for index, maxima in by_place.items()
        ]
    return request
