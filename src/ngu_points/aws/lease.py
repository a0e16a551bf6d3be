"""The right to write the state: one holder at a time, and a number that only ever grows.

A lease that ran out may be taken while its holder still believes in it. So the clock decides who
tries, and the fence who succeeds: every write of state carries it, and one with a higher fence
shuts out those with a lower one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ngu_points.aws.dynamo import Dynamo, Where
from ngu_points.aws.tables import META
from ngu_points.errors import StoreError, TransientError

KEY = {"key": "lease"}
SECONDS = 120
TIDYING = {"key": "tidying"}
TIDIED_WITHIN = 900
"""Seconds: the function that tidies runs no longer."""


class LeaseLostError(StoreError):
    """Another process has the right to write by now, and goes on from here."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A held lease."""

    owner: str
    fence: int
    at: int  # wall clock when it was taken
    since: float = field(compare=False)  # the monotonic clock then

    @property
    def holds(self) -> Where:
        """The condition on the lease's row that this is still the newest."""
        return Where("#fence = :fence", {"fence": self.fence})

    @property
    def unfenced(self) -> Where:
        """The condition on a row of state that nobody newer has written it."""
        return Where("attribute_not_exists(#fence) OR #fence <= :fence", {"fence": self.fence})


def acquire(dynamo: Dynamo, owner: str, now: int, *, repair: bool = False) -> Lease:
    """Take the lease; TransientError while another holds it. `now` is seconds of wall clock.

    `repair` is told to whoever asks for it, see `repairing`.
    """
    held = dynamo.get(META, KEY)
    if held and held["owner"] != owner and held["expires"] > now:
        raise _held(held["owner"])
    fence = held["fence"] + 1 if held else 1
    row = {**KEY, "owner": owner, "fence": fence, "expires": now + SECONDS, "repair": repair}
    same = Where("#fence = :was", {"was": fence - 1})
    fresh = Where("attribute_not_exists(#key)", {})
    if not dynamo.put(META, row, same if held else fresh):
        raise _held("another process")
    return Lease(owner, fence, now, time.monotonic())


def repairing(dynamo: Dynamo, now: int) -> bool:
    """Whether somebody has the lease in order to repair: then the archive is not to change."""
    held = dynamo.get(META, KEY)
    return bool(held and held.get("repair") and held["expires"] > now)


@contextmanager
def tidying(dynamo: Dynamo, owner: str, now: int) -> Iterator[bool]:
    """Keep repairs, and others who tidy, away from the archive; gives whether it may change.

    Whoever tidies and whoever repairs says so first and then looks for the other: at least one
    of them sees it.
    """
    row = {**TIDYING, "owner": owner, "until": now + TIDIED_WITHIN}
    free = Where("attribute_not_exists(#key) OR #until <= :now", {"now": now})
    if not dynamo.put(META, row, free):
        yield False
        return
    try:
        yield not repairing(dynamo, now)
    finally:
        dynamo.delete(META, TIDYING, Where("#owner = :owner", {"owner": owner}))


def is_tidied(dynamo: Dynamo, now: int) -> bool:
    """Whether the archive is just being changed by the job that does so."""
    held = dynamo.get(META, TIDYING)
    return bool(held and held["until"] > now)


def renew(dynamo: Dynamo, lease: Lease, now: int) -> None:
    """Hold on for another while; LeaseLostError if another has it by now."""
    if not dynamo.update(META, KEY, {"expires": now + SECONDS}, lease.holds):
        raise lost(lease)


def keeping(dynamo: Dynamo, lease: Lease) -> Callable[[], None]:
    """What long work calls now and then, so that it is not taken for dead."""
    renewed = time.monotonic()

    def keep() -> None:
        nonlocal renewed
        moment = time.monotonic()
        if moment - renewed > SECONDS / 4:
            renew(dynamo, lease, lease.at + int(moment - lease.since))
            renewed = moment

    return keep


def release(dynamo: Dynamo, lease: Lease) -> None:
    """Let the next one have it at once; nothing happens if another has it already."""
    dynamo.update(META, KEY, {"expires": 0}, lease.holds)


def lost(lease: Lease) -> LeaseLostError:
    return LeaseLostError(
        f"{lease.owner} lost the right to write the tables to another process: it stops here, and"
        " the other one goes on"
    )


def _held(owner: str) -> TransientError:
    return TransientError(
        f"the tables are being written by {owner}: wait until it is done, or at most"
        f" {SECONDS} seconds after it has stopped"
    )
