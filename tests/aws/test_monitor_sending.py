"""The event monitor against a node, Firehose over HTTP and the emulator: what arrives, and when
the position is saved."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pytest

from aws.firehose.service import Service, ServiceError
from aws.firehose.stream import Faults
from aws.monitored import Deployment, arrived, everything, followed, on_chain, sent_through
from cli.program import busy_chain
from ngu_points.aws import outbox
from ngu_points.aws.monitor import BEYOND, Monitor
from ngu_points.aws.monitor_health import Health
from ngu_points.aws.monitor_start import opened
from ngu_points.aws.parameters import Sent
from ngu_points.demo.node import SimNode
from ngu_points.engine.coverage import BATCH, STAKING, Head

Make = Callable[..., AbstractContextManager[Deployment]]


@pytest.fixture
def chain() -> SimNode:
    """Some blocks with events of all types, read in ranges of ten."""
    return busy_chain(60, per_block=6, max_span=10)


def refusing(service: Service, streams: set[str]) -> None:
    """Have a service throttle every call to some streams; the set may change later."""
    put = service.put_record_batch

    def answer(name: str, data: Sequence[bytes]) -> dict[str, Any]:
        if name in streams:
            raise ServiceError(503, "ServiceUnavailableException", "Slow down.")
        return put(name, data)

    service.put_record_batch = answer  # type: ignore[method-assign]


def test_everything_that_is_sent_is_what_the_chain_has(make: Make, chain: SimNode) -> None:
    """Through refused records, throttled calls and lost answers: nothing is missing or foreign."""
    faults = Faults(random.Random(4), refuse=0.1, throttle=0.1, lose_put=0.1)
    with make(chain, faults=faults) as deployment:
        last = chain.head.number - 1
        monitor = asyncio.run(followed(deployment, sent_through(last)))
        everything(deployment, last)
        assert arrived(deployment).records > len(on_chain(chain, last))
        assert sum(monitor.seen.resent.values()) > 0


@pytest.mark.parametrize(("finality", "behind"), [("finalized", 8), ("safe", 4), (12, 12)], ids=str)
def test_only_confirmed_blocks_are_sent(
    make: Make, chain: SimNode, finality: object, behind: int
) -> None:
    """Nothing above what finality allows leaves the monitor, and all below does."""
    with make(chain, finality=finality) as deployment:
        last = chain.head.number - behind
        asyncio.run(followed(deployment, sent_through(last)))
        everything(deployment, last)


def test_new_blocks_follow_on_those_before(make: Make, chain: SimNode) -> None:
    """Stopped and started again it sends the new blocks and nothing of the old ones."""
    with make(chain) as deployment:
        asyncio.run(followed(deployment, sent_through(chain.head.number - 1)))
        before = arrived(deployment).records
        last = chain.head.number
        for _ in range(5):
            chain.mine()
        asyncio.run(followed(deployment, sent_through(last + 4)))
        everything(deployment, last + 4)
        again = arrived(deployment)
        newer = {c.from_block for c in again.coverage if c.to_block >= last}
        assert min(newer) == last
        assert again.records - before == 2 * len(newer) + sum(
            int(name.split("-")[0]) >= last for name in on_chain(chain, last + 4)
        )


@pytest.mark.usefixtures("impatient")
def test_the_position_waits_for_both_streams(make: Make, chain: SimNode) -> None:
    """While one stream accepts nothing, nothing of a range counts as sent."""
    with make(chain) as deployment:
        refused = {deployment.env.streams[STAKING]}
        refusing(deployment.service, refused)
        last = chain.head.number - 1

        def batch_is_through(monitor: Monitor) -> bool:
            end = monitor.outbox.end()
            return end is not None and end.block == last and not monitor.outbox.records(BATCH)

        monitor = asyncio.run(followed(deployment, batch_is_through))
        assert monitor.unsent
        assert deployment.position() == Sent(0, bytes(32), 0, 0)
        assert deployment.accepted(BATCH)
        assert not deployment.accepted(STAKING)
        refused.clear()
        asyncio.run(followed(deployment, sent_through(last)))
        everything(deployment, last)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop does not wait for what the streams do not accept; the position is saved all along."""
    monkeypatch.setattr("ngu_points.aws.monitor.STOPS_WITHIN", 0.2)
    monkeypatch.setattr("ngu_points.aws.monitor.SAVED_EVERY", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_full_outbox_holds_the_reading_back(
    make: Make, chain: SimNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more is read than fits, whatever the chain has; once there is room it goes on."""
    limit = 20_000
    monkeypatch.setattr(outbox, "opened", partial(outbox.opened, limit=limit))
    with make(chain) as deployment:
        refused = set(deployment.env.streams.values())
        refusing(deployment.service, refused)
        last = chain.head.number - 1
        ends: list[int] = []

        def is_full(monitor: Monitor) -> bool:
            end = monitor.outbox.end()
            if monitor.outbox.full and end:
                ends.append(end.block)
            return len(ends) == 30

        asyncio.run(followed(deployment, is_full))
        assert len(set(ends)) == 1
        assert ends[0] < last
        refused.clear()
        asyncio.run(followed(deployment, sent_through(last)))
        everything(deployment, last)


def set_back(deployment: Deployment, block: int, sequence: int) -> None:
    """Set the position as `ngu rewind` does."""
    found = deployment.node.block(block)
    assert found
    deployment.put("position", Sent(block, found.hash, found.timestamp, sequence).text())


def read_again(deployment: Deployment, block: int, sequence: int, last: int) -> None:
    """All above a block came once more, under higher numbers than ever before."""
    found = arrived(deployment)
    later = [c for c in found.coverage if c.sequence > sequence]
    assert min(c.from_block for c in later) == block + 1
    assert max(c.to_block for c in later) == last
    everything(deployment, last)


def test_a_position_set_back_is_noticed_while_it_runs(
    make: Make, chain: SimNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads from there again, numbered behind what the rewind has said."""
    monkeypatch.setattr("ngu_points.aws.monitor.SAVED_EVERY", 0.02)
    with make(chain) as deployment:
        last = chain.head.number - 1
        moved: list[int] = []

        def done(monitor: Monitor) -> bool:
            position = deployment.position()
            if not moved and position and position.block == last:
                moved.append(position.sequence + 1000)
                set_back(deployment, 20, moved[0])
            end = monitor.outbox.end()
            if not moved or end is None or end.sequence <= moved[0]:
                return False
            return sent_through(last)(monitor)

        asyncio.run(followed(deployment, done))
        read_again(deployment, 20, moved[0], last)


def test_a_position_set_back_while_it_was_stopped_counts(make: Make, chain: SimNode) -> None:
    """The outbox of before does not win over it, even where the numbers set were too low."""
    with make(chain) as deployment:
        last = chain.head.number - 1
        asyncio.run(followed(deployment, sent_through(last)))
        before = deployment.position()
        assert before
        set_back(deployment, 30, 1)
        asyncio.run(followed(deployment, sent_through(last)))
        read_again(deployment, 30, before.sequence, last)


def test_a_position_set_in_the_same_moment_is_not_lost(make: Make, chain: SimNode) -> None:
    """Overwritten between reading and writing the parameter, it is heeded all the same."""
    with make(chain) as deployment:
        last = chain.head.number - 1
        real = deployment.parameters.put_position
        once: list[Sent] = []

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "ngu_points.aws.parameters.Parameters.put_position",
                lambda parameters, sent: interfering(deployment, real, once, last, sent),
            )
            asyncio.run(followed(deployment, sent_through(last)))
        assert once
        asyncio.run(followed(deployment, sent_through(last)))
        read_again(deployment, 40, once[0].sequence + 7, last)


def interfering(
    deployment: Deployment, real: Any, once: list[Sent], last: int, sent: Sent
) -> Sent | None:
    """Set the position back right before it is saved, the first time."""
    if not once and sent.block == last:
        once.append(sent)
        set_back(deployment, 40, sent.sequence + 7)
    return real(sent)


def test_a_new_machine_goes_on_from_the_parameter(make: Make, chain: SimNode) -> None:
    """Without outbox nothing is lost and only what was not saved comes again, numbered higher."""
    with make(chain) as deployment:
        asyncio.run(followed(deployment, sent_through(chain.head.number - 1)))
        before, found = deployment.position(), arrived(deployment)
        assert before
        for _ in range(3):
            chain.mine()
        deployment.folder = deployment.folder.with_name("other")
        last = chain.head.number - 1
        asyncio.run(followed(deployment, sent_through(last)))
        everything(deployment, last)
        newer = [c for c in arrived(deployment).coverage if c not in found.coverage]
        assert min(c.from_block for c in newer) == before.block + 1
        assert min(c.sequence for c in newer) == before.sequence + BEYOND + 1


def test_a_damaged_outbox_is_set_aside(make: Make, chain: SimNode) -> None:
    """The position in Parameter Store counts then; nothing is lost."""
    with make(chain) as deployment:
        asyncio.run(followed(deployment, sent_through(20)))
        for name in ("outbox.db-wal", "outbox.db-shm"):
            (deployment.folder / name).unlink(missing_ok=True)
        (deployment.folder / "outbox.db").write_bytes(b"not a database" * 1000)
        last = chain.head.number - 1
        asyncio.run(followed(deployment, sent_through(last)))
        everything(deployment, last)
        assert list(deployment.folder.glob("outbox.damaged-*"))


def test_the_tables_know_what_they_are_of(
    make: Make, chain: SimNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Identity and head are in the tables, for functions and commands that have no node."""
    monkeypatch.setattr("ngu_points.aws.monitor.REPORTED_EVERY", 0.01)
    with make(chain) as deployment:
        monitor = asyncio.run(followed(deployment, lambda m: len(m.reported) == 12))
        assert monitor.store.chain_id == chain.chain_id
        assert monitor.store.start_block == 1
        row = monitor.store.dynamo.get("meta", {"key": "identity"})
        assert row
        assert row["contract"] == "0x" + chain.contract.hex()
        assert row["fold"] == monitor.store.rules.fold_key()
        head = monitor.store.dynamo.get("meta", {"key": "head"})
        assert head
        assert head["newest"] == chain.head.number


def test_the_head_is_looked_at_during_a_long_catch_up(
    make: Make, chain: SimNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is published as the newest block moves while old blocks are still being read."""
    monkeypatch.setattr("ngu_points.aws.monitor.LOOKED_EVERY", 0.0)
    heads: list[int] = []

    async def scene(deployment: Deployment) -> Monitor:
        async with opened(deployment.env, deployment.folder, Health()) as monitor:
            real = monitor.reader.head

            async def head() -> Head:
                chain.mine()
                found = await real()
                heads.append(found.newest)
                return found

            monkeypatch.setattr(monitor.reader, "head", head)
            await monitor.catch_up()
        return monitor

    ranges = (chain.head.number + 9) // 10
    with make(chain) as deployment:
        monitor = asyncio.run(scene(deployment))
    assert len(heads) == 1 + ranges
    assert monitor.seen.head
    assert monitor.seen.head.newest == heads[-1]
