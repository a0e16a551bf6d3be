"""The same over real HTTP on loopback: records put, deliveries made, answers read by Firehose."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from aws.firehose.backup import Bucket
from aws.firehose.service import Service
from aws.firehose.setup import NAME, START
from aws.firehose.stream import Clock, Faults, Secret, Settings, Stream
from aws.firehose.wire import HttpClient, api_of, drive_over_http, endpoint_of, serving
from ngu_points.aws.endpoint import handle
from ngu_points.aws.sender import send
from ngu_points.errors import UsageError

RECORDS = [b'{"n":%d}\n' % n for n in range(1_100)]


async def carried(
    settings: Settings, faults: Faults, key: str, make_client: Any = HttpClient
) -> tuple[Stream, list[bytes]]:
    """Send `RECORDS` over HTTP, deliver them over HTTP; gives the stream and what arrived."""
    stream = Stream(settings, Clock(START), Bucket(), Secret(key), faults)
    got: list[bytes] = []
    endpoint = endpoint_of(lambda request: handle(request, [b"key"], got.extend, 1))

    async def sleep(seconds: float) -> None:
        pass

    async with serving(api_of(Service({NAME: stream}, faults))) as api, serving(endpoint) as port:
        client = make_client(api)
        await send(client, NAME, RECORDS, rng=random.Random(1), sleep=sleep)
        await drive_over_http([stream], 600, f"http://127.0.0.1:{port}/?stream=batch")
    return stream, got


@pytest.mark.parametrize("gzipped", [True, False])
def test_records_are_carried_from_put_to_handler(gzipped: bool) -> None:
    """All arrive in order, in one delivery, packed or not."""
    stream, got = asyncio.run(carried(Settings(NAME, gzipped=gzipped), Faults(), "key"))
    assert got == RECORDS
    assert len(stream.attempts) == 1
    assert [held.data for held in stream.delivered] == RECORDS


def test_records_survive_unkindness_over_http() -> None:
    """Refused entries, throttled calls, connections that break, lost answers: all arrive."""
    faults = Faults(random.Random(2), refuse=0.2, throttle=0.2, lose_put=0.3, lose_answer=0.5)
    stream, got = asyncio.run(carried(Settings(NAME, size=9_000), faults, "key"))
    assert set(got) == set(RECORDS)
    assert len(got) > len(RECORDS)
    assert len(stream.accepted) > len(RECORDS)


def test_a_wrong_key_is_refused_over_http() -> None:
    """Nothing arrives; after the retry duration all is among the failed records."""
    stream, got = asyncio.run(carried(Settings(NAME, retry=60.0), Faults(), "kez"))
    assert got == []
    assert stream.delivered == []
    assert any("http-endpoint-failed" in name for name in stream.bucket.objects)


def test_a_stream_that_is_not_there_is_said_over_http() -> None:
    """The service's error reaches the sender as botocore would give it."""

    async def scene() -> None:
        async with serving(api_of(Service({}))) as api:
            await send(HttpClient(api), NAME, RECORDS, rng=random.Random(1))

    with pytest.raises(UsageError, match="ResourceNotFoundException"):
        asyncio.run(scene())


def botocore_client(port: int) -> Any:
    """The real client, pointed at the simulator."""
    session = pytest.importorskip("botocore.session", reason="botocore is not installed")
    config = pytest.importorskip("botocore.config")
    return session.get_session().create_client(
        "firehose",
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=config.Config(retries={"total_max_attempts": 1}, read_timeout=10),
    )


@pytest.mark.parametrize("seed", [None, 3])
def test_botocore_itself_can_talk_to_the_simulator(seed: int | None) -> None:
    """The client that runs on AWS sends the same records, with and without trouble."""
    botocore_client(1).close()
    faults = Faults() if seed is None else Faults(
        random.Random(seed), refuse=0.2, throttle=0.3, lose_put=0.3
    )  # fmt: skip
    stream, got = asyncio.run(carried(Settings(NAME), faults, "key", botocore_client))
    assert set(got) == set(RECORDS)
    assert (got == RECORDS) == (seed is None)
    assert len(stream.accepted) >= len(RECORDS)
