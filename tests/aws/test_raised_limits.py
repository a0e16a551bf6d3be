"""Limits are raised within bounds, and always put back: after errors, kills, lost messages."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from bench.dynamo.client import Client, Refused

from ngu_points.aws import lease
from ngu_points.aws.dynamo import Dynamo
from ngu_points.aws.functions.scale import alarms
from ngu_points.aws.limits import (
    CLIMB,
    DRAIN_STEP,
    FUNCTION,
    KEY,
    MOST_NOTCHES,
    TABLE,
    Alarm,
    Bounds,
    Limits,
)
from ngu_points.aws.tables import BATCH_EVENTS, META, TABLES, TYPE_BLOCK, creation
from ngu_points.errors import StoreError, TransientError, UsageError

PROCESS = "ngu-process-test"
EVENTS = f"ngu-{BATCH_EVENTS}-test"
OWN = {"MaxReadRequestUnits": 500, "MaxWriteRequestUnits": 1_000}
BOUNDS = Bounds(writes=6_000, reads=10_000, memory=3_008, quiet=1_800)


class Killed(BaseException):
    """The process ends here: nothing catches it."""


@dataclass
class Functions:
    """Shaped like botocore's client of Lambda."""

    memory: int = 1_769
    told: list[int] = field(default_factory=list)
    fails: Callable[[], Exception | None] = lambda: None

    def get_function_configuration(self, *, FunctionName: str) -> dict[str, Any]:  # noqa: N803
        assert FunctionName == PROCESS
        return {"MemorySize": self.memory}

    def update_function_configuration(
        self,
        *,
        FunctionName: str,  # noqa: N803 -- botocore's names
        MemorySize: int,  # noqa: N803
    ) -> None:
        if error := self.fails():
            raise error
        self.memory = MemorySize
        self.told.append(MemorySize)


@dataclass
class Stage:
    """Tables, a function, time; and what limits them."""

    client: Client = field(default_factory=Client)
    functions: Functions = field(default_factory=Functions)
    now: int = 1_800_000_000
    slept: float = 0.0

    def __post_init__(self) -> None:
        self.dynamo = Dynamo(self.client, "ngu", "test", self.sleep, random.Random(1), threads=1)
        for table in TABLES:
            request = creation(table, self.dynamo.names[table.name])
            for index in request.get("GlobalSecondaryIndexes", ()):
                index["OnDemandThroughput"] = OWN
            self.client.create_table(**request, OnDemandThroughput=OWN)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def limits(self, owner: str = "me") -> Limits:
        return Limits(
            self.dynamo, self.functions, BOUNDS, PROCESS, owner, lambda: self.now, self.sleep
        )

    def settings(self) -> dict[str, Any]:
        """All that can be raised, as it is now."""
        found: dict[str, Any] = {"memory": self.functions.memory}
        for name in self.dynamo.names.values():
            table = self.client.describe_table(TableName=name)["Table"]
            found[name] = table["OnDemandThroughput"]
            for index in table["GlobalSecondaryIndexes"]:
                found[f"{name}/{index['IndexName']}"] = index["OnDemandThroughput"]
        return found

    def writes(self) -> int:
        return int(self.settings()[EVENTS]["MaxWriteRequestUnits"])


@pytest.fixture
def stage() -> Stage:
    """A stage at its own settings."""
    return Stage()


def alarm(since: str = "1", *, on: bool = True, name: str = "full", subject: str = "") -> Alarm:
    return Alarm(name, on, since, (subject or TABLE + EVENTS,))


def nothing(names: list[str]) -> set[str]:
    """No alarm is on."""
    return set()


def everything(names: list[str]) -> set[str]:
    """All alarms are on."""
    return set(names)


def test_a_drain_raises_everything_to_its_bounds_and_puts_it_back(stage: Stage) -> None:
    """Tables, indexes and memory, never beyond what is allowed; the row is gone afterwards."""
    before = stage.settings()
    with stage.limits().raised() as step:
        assert step == DRAIN_STEP
        during = stage.settings()
        assert during.pop("memory") == BOUNDS.memory
        most = {"MaxReadRequestUnits": BOUNDS.reads, "MaxWriteRequestUnits": BOUNDS.writes}
        assert set(map(str, during.values())) == {str(most)}
        assert f"{EVENTS}/{TYPE_BLOCK}" in during
    assert stage.settings() == before
    assert stage.dynamo.get(META, KEY) is None


def test_what_has_no_maximum_is_left_alone(stage: Stage) -> None:
    """A table without one takes all that AWS gives: there is nothing to raise."""
    free = {"MaxReadRequestUnits": -1, "MaxWriteRequestUnits": -1}
    stage.client.update_table(TableName=EVENTS, OnDemandThroughput=free)
    with stage.limits().raised():
        assert stage.settings()[EVENTS] == free
    assert stage.settings()[EVENTS] == free


def test_what_is_above_its_bound_already_is_not_lowered(stage: Stage) -> None:
    """The operator's own setting counts more than the bound of raising."""
    own = {"MaxReadRequestUnits": 500, "MaxWriteRequestUnits": 9_000}
    stage.client.update_table(TableName=EVENTS, OnDemandThroughput=own)
    with stage.limits().raised():
        assert stage.writes() == 9_000
    assert stage.settings()[EVENTS] == own


@pytest.mark.parametrize("error", [StoreError("out of order"), KeyboardInterrupt()])
def test_a_drain_that_fails_puts_everything_back(stage: Stage, error: BaseException) -> None:
    """Whatever ends it, as long as the process lives."""
    before = stage.settings()
    with pytest.raises(type(error)), stage.limits().raised():
        raise error
    assert stage.settings() == before


@pytest.mark.parametrize("repair", ["drain", "tick", "restore"])
@pytest.mark.parametrize("calls", [*range(1, 45, 4), 10_000])
def test_a_drain_killed_at_any_call_is_cleaned_up_after(
    stage: Stage, calls: int, repair: str
) -> None:
    """The next drain, the schedule or `restore` brings back what was before the first."""
    before = stage.settings()
    drain = stage.limits().raised()
    killed_after(stage, calls, drain.__enter__)
    if calls == 10_000:
        assert stage.writes() == BOUNDS.writes
    if repair == "drain":
        with stage.limits().raised():
            assert stage.writes() == BOUNDS.writes
    elif repair == "tick":
        stage.now += 10_000
        stage.limits().tick(nothing)
    else:
        stage.limits().restore()
    assert stage.settings() == before
    assert stage.dynamo.get(META, KEY) is None


def killed_after(stage: Stage, calls: int, work: Callable[[], Any]) -> None:
    """Do some work with a process that ends after so many calls to AWS."""
    made = 0

    class Mortal:
        def __init__(self, real: Any) -> None:
            self.real = real

        def __getattr__(self, name: str) -> Any:
            nonlocal made
            made += 1
            if made > calls:
                raise Killed
            return getattr(self.real, name)

    client, functions = stage.dynamo.client, stage.functions
    stage.dynamo.client, stage.functions = Mortal(client), Mortal(functions)  # type: ignore[assignment]
    try:
        work()
    except Killed:
        pass
    finally:
        stage.dynamo.client, stage.functions = client, functions


def test_a_living_drain_is_left_alone_by_the_schedule(stage: Stage) -> None:
    """It renews its lease; when it has not for a while, it is dead."""
    with stage.limits("drain#1").raised():
        for _ in range(5):
            lease.acquire(stage.dynamo, "drain#1", stage.now)
            stage.now += lease.SECONDS - 1
            stage.limits("other").tick(nothing)
            assert stage.writes() == BOUNDS.writes
        stage.now += lease.SECONDS
        stage.limits("other").tick(nothing)
        assert stage.writes() == 1_000


def test_a_drain_and_an_alarm_do_not_disturb_each_other(stage: Stage) -> None:
    """What is wanted is the most that anything asks for; the last one puts back."""
    stage.limits().alarmed(alarm())
    with stage.limits().raised():
        stage.limits().alarmed(alarm("2", name="other"))
        assert stage.writes() == BOUNDS.writes
    assert stage.writes() == 2_000
    stage.limits().restore()
    assert stage.writes() == 1_000


def test_an_alarm_raises_what_it_is_about_by_a_notch(stage: Stage) -> None:
    """The same message again changes nothing; when it goes off once more, another notch."""
    before = stage.settings()
    for _ in range(3):
        stage.limits().alarmed(alarm("1"))
    after = stage.settings()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {EVENTS, f"{EVENTS}/{TYPE_BLOCK}"}
    assert stage.writes() == 2_000
    stage.limits().alarmed(alarm("2"))
    assert stage.writes() == 4_000
    stage.limits().alarmed(alarm("3"))
    assert stage.writes() == BOUNDS.writes


def test_an_alarm_that_stays_climbs_notch_by_notch(stage: Stage) -> None:
    """CloudWatch tells a change once: the schedule goes on, within bounds, at its own pace."""
    stage.limits().alarmed(alarm(subject=FUNCTION + PROCESS))
    stage.now += CLIMB - 1
    stage.limits().tick(everything)
    assert stage.functions.told == [3_008]
    stage.limits().alarmed(alarm(name="full"))
    seen = []
    for _ in range(30):
        stage.now += CLIMB
        stage.limits().tick(everything)
        seen.append(stage.writes())
    assert (seen[0], seen[-1]) == (1_000, 1_000)
    causes = stage.limits().load().causes
    assert causes["full"].notches == MOST_NOTCHES
    assert stage.functions.told == [3_008]


def test_what_was_raised_is_put_back_after_a_quiet_time(stage: Stage) -> None:
    """Quiet counts from when the alarm was over, and begins anew if it comes back."""
    before = stage.settings()
    stage.limits().alarmed(alarm("1"))
    stage.limits().alarmed(alarm("2", on=False))
    stage.now += BOUNDS.quiet - 1
    stage.limits().tick(nothing)
    assert stage.writes() == 2_000
    stage.limits().tick(everything)
    stage.now += 1
    stage.limits().tick(nothing)
    stage.now += BOUNDS.quiet - 1
    stage.limits().tick(nothing)
    assert stage.settings() != before
    stage.now += 1
    stage.limits().tick(nothing)
    assert stage.settings() == before
    assert stage.dynamo.get(META, KEY) is None


def test_an_alarm_whose_end_was_not_heard_is_over_all_the_same(stage: Stage) -> None:
    """The schedule asks CloudWatch itself."""
    stage.limits().alarmed(alarm("1"))
    stage.limits().tick(nothing)
    stage.now += BOUNDS.quiet
    stage.limits().tick(nothing)
    assert stage.writes() == 1_000


def test_an_alarm_that_is_over_and_was_never_heard_of_raises_nothing(stage: Stage) -> None:
    """OK without ALARM leaves no row."""
    stage.limits().alarmed(alarm(on=False))
    stage.limits().tick(nothing)
    assert stage.dynamo.get(META, KEY) is None
    assert stage.functions.told == []


def refused(code: str) -> Exception:
    return Refused(code, "as ordered")


def test_a_setting_that_is_just_being_changed_is_waited_for(stage: Stage) -> None:
    """A table or function in the middle of an update is asked again some seconds later."""
    busy = [refused("ResourceConflictException")] * 3
    stage.functions.fails = lambda: busy.pop() if busy else None
    stage.limits().alarmed(alarm(subject=FUNCTION + PROCESS))
    assert stage.functions.memory == 3_008
    assert stage.slept == 15


def test_one_that_cannot_be_changed_does_not_hold_up_the_others(stage: Stage) -> None:
    """The error is told when all else is done, and the next call tries again."""
    stage.functions.fails = lambda: refused("AccessDeniedException")
    with pytest.raises(UsageError, match="not allowed"), stage.limits().raised():
        raise AssertionError("begun although nothing could be raised")
    assert stage.writes() == 1_000
    stage.functions.fails = lambda: refused("ResourceConflictException")
    with pytest.raises(TransientError):
        stage.limits().alarmed(Alarm("both", True, "1", (FUNCTION + PROCESS, TABLE + EVENTS)))
    assert (stage.writes(), stage.functions.memory) == (2_000, 1_769)
    stage.functions.fails = lambda: None
    stage.limits().tick(everything)
    assert (stage.writes(), stage.functions.memory) == (2_000, 3_008)


def test_two_that_change_limits_at_once_end_in_what_the_last_row_says(stage: Stage) -> None:
    """While one raises, another puts back: whoever wrote the row last is right."""
    before = stage.settings()
    limits, other = stage.limits(), stage.limits()
    limits.alarmed(alarm("1"))
    real, interfered = stage.client.update_table, []

    def meanwhile(**request: Any) -> Any:
        if not interfered:
            interfered.append(1)
            other.restore()
        return real(**request)

    stage.client.update_table = meanwhile  # type: ignore[method-assign]
    limits.alarmed(alarm("2"))
    assert stage.settings() == before
    assert stage.dynamo.get(META, KEY) is None


# What alarms look like --------------------------------------------------------------------


def metric(name: str, dimensions: Mapping[str, str]) -> dict[str, Any]:
    return {"metricStat": {"metric": {"name": name, "dimensions": dimensions}}}


def test_an_alarm_that_calls_the_function_is_understood() -> None:
    """Lambda's payload of an alarm action, here of a metric-math alarm on a table."""
    payload = {
        "source": "aws.cloudwatch",
        "alarmArn": "arn:aws:cloudwatch:us-east-1:000000000000:alarm:capacity",
        "alarmData": {
            "alarmName": "capacity",
            "state": {"value": "ALARM", "timestamp": "2026-11-30T10:00:00.000+0000"},
            "configuration": {
                "metrics": [
                    {"id": "used", "expression": "100 * consumed / most"},
                    {"id": "consumed", **metric("ConsumedWriteCapacityUnits", {
                        "TableName": EVENTS})},
                ]
            },
        },
    }  # fmt: skip
    [said] = alarms(payload, PROCESS)
    assert said == Alarm("capacity", True, "2026-11-30T10:00:00.000+0000", (TABLE + EVENTS,))


def test_an_alarm_that_comes_through_a_topic_is_understood() -> None:
    """The message of SNS, of a plain alarm and of one with metric math."""
    plain = {"MetricName": "EventProcessingDelay", "Namespace": "NGU/Points", "Dimensions": []}
    dimension = {"name": "TableName", "value": EVENTS}
    stat = {"Metric": {"MetricName": "WriteThrottleEvents", "Dimensions": [dimension]}}
    math = {"Metrics": [{"Id": "e", "Expression": "a"}, {"Id": "a", "MetricStat": stat}]}
    payload = {"Records": [
        {"Sns": {"Message": json.dumps({"AlarmName": name, "NewStateValue": state,
                                        "StateChangeTime": "t", "Trigger": trigger})}}
        for name, state, trigger in (("delay", "ALARM", plain), ("throttled", "OK", math))
    ]}  # fmt: skip
    assert list(alarms(payload, PROCESS)) == [
        Alarm("delay", True, "t", (FUNCTION + PROCESS,)),
        Alarm("throttled", False, "t", (TABLE + EVENTS,)),
    ]


def test_an_alarm_about_something_else_and_a_tick_raise_nothing() -> None:
    """A payload of the schedule has no alarms; other metrics have no subjects."""
    assert list(alarms({"tick": True}, PROCESS)) == []
    state = {"value": "ALARM", "timestamp": "t"}
    used = {"metrics": [metric("Errors", {"Stage": "x"})]}
    other = {"alarmData": {"alarmName": "a", "state": state, "configuration": used}}
    assert list(alarms(other, PROCESS)) == [Alarm("a", True, "t", ())]
