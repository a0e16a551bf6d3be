"""When the simulated stream delivers, how it retries, and what it keeps: exactly as AWS says."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from aws.firehose.protocol import Answer, HttpRequest, NoAnswer, waits
from aws.firehose.setup import NAME, START, Scene, accepting, endpoint_in_process, saying
from aws.firehose.stream import MOST_RECORDS, Faults, Settings, drive
from ngu_points.aws.endpoint import handle

KIB = bytes(1024)
DAY = 24 * 3600.0


def refusing(request: HttpRequest) -> Answer:
    """An endpoint that is there and takes nothing."""
    name = request.headers["X-Amz-Firehose-Request-Id"]
    return saying(503, {"requestId": name, "timestamp": 1, "errorMessage": "later"})


def test_a_batch_leaves_when_it_has_1_mib() -> None:
    """1,023 KiB wait; with the last KiB all of them leave at once, in order."""
    scene = Scene()
    records = [n.to_bytes(2, "big") * 512 for n in range(1024)]
    scene.put(*records[:-1])
    scene.wait(1)
    assert scene.times() == []
    scene.put(records[-1])
    scene.wait(0)
    assert (scene.times(), scene.batches()) == ([1.0], [records])
    assert scene.delivered() == records


def test_a_batch_leaves_after_60_seconds() -> None:
    """A single record waits a minute from its arrival, not a moment more or less."""
    scene = Scene()
    scene.wait(7)
    scene.put(b"one")
    scene.wait(30)
    scene.put(b"two")
    scene.wait(29.999)
    assert scene.times() == []
    scene.wait(0.001)
    assert (scene.times(), scene.batches()) == ([67.0], [[b"one", b"two"]])


def test_the_minute_begins_anew_with_each_batch() -> None:
    """A batch that left because of its size leaves no timer behind for the next."""
    scene = Scene()
    scene.put(*[KIB] * 1024)
    scene.wait(30)
    scene.put(b"next")
    scene.wait(59)
    assert scene.times() == [0.0]
    scene.wait(1)
    assert scene.times() == [0.0, 90.0]


def test_nothing_is_delivered_where_nothing_came() -> None:
    """A silent stream makes no request and writes no object."""
    scene = Scene()
    scene.wait(DAY)
    assert scene.times() == []
    assert not scene.bucket.objects


def test_a_request_has_ten_thousand_records_at_most() -> None:
    """Small records leave when there are as many as a request may hold."""
    scene = Scene()
    scene.put(*[b"x"] * (MOST_RECORDS + 1))
    scene.wait(60)
    assert [len(batch) for batch in scene.batches()] == [10_000, 1]


def test_sizes_are_hints_when_a_stream_is_behind() -> None:
    """While an earlier batch is not delivered, batches may become larger, if so configured."""
    scene = Scene(Settings(NAME, enlarge=3), endpoint=refusing)
    scene.put(*[KIB] * 1024)
    scene.wait(5)
    scene.put(*[KIB] * 3072)
    scene.endpoint = accepting
    scene.wait(60)
    assert sorted({len(batch) for batch in scene.batches()}) == [1024, 3072]
    scene.put(*[KIB] * 1024)
    scene.wait(0)
    assert len(scene.batches()[-1]) == 1024


@pytest.mark.parametrize("seed", range(5))
def test_waits_double_to_two_minutes(seed: int) -> None:
    """1, 2, 4 … 64, 120, 120 seconds, each within 15 %, none above 120."""
    got = waits(random.Random(seed))
    for wanted in [1, 2, 4, 8, 16, 32, 64, 120, 120, 120]:
        wait = next(got)
        assert 0.85 * wanted <= wait <= min(120, 1.15 * wanted)


def test_a_refused_batch_is_tried_for_the_retry_duration() -> None:
    """The same records under the same id, waits growing, until another would pass the duration."""
    scene = Scene(endpoint=refusing)
    scene.put(b"a", b"b")
    scene.wait(2 * 3600)
    assert set(map(tuple, scene.batches())) == {(b"a", b"b")}
    assert len({a.batch.request_id for a in scene.stream.attempts}) == 1
    times = scene.times()
    pauses = [b - a for a, b in pairwise(times)]
    wanted = [1, 2, 4, 8, 16, 32, 64] + [120] * (len(pauses) - 7)
    assert all(0.84 * w <= p <= 1.16 * w for w, p in zip(wanted, pauses, strict=True))
    assert 3600 - 120 < sum(pauses) <= 3600
    assert scene.delivered() == []
    assert scene.failed() == [b"a", b"b"]


def test_waiting_for_answers_does_not_count() -> None:
    """The retry duration is that of the pauses: slow refusals leave as many attempts as fast."""
    counts = []
    for seconds in (0.0, 100.0):
        scene = Scene(endpoint=lambda r, s=seconds: replace(refusing(r), seconds=s))  # type: ignore[misc]
        scene.put(b"a")
        scene.wait(6 * 3600)
        assert scene.failed() == [b"a"]
        counts.append(len(scene.times()))
    assert counts[0] == counts[1]


def test_a_retry_duration_of_zero_is_one_attempt() -> None:
    """Without retries a refused batch is among the failed records at once."""
    scene = Scene(Settings(NAME, retry=0.0), endpoint=refusing)
    scene.put(b"a")
    scene.wait(61)
    assert scene.times() == [60.0]
    assert scene.failed() == [b"a"]


def good(request: HttpRequest) -> dict[str, Any]:
    return {"requestId": request.headers["X-Amz-Firehose-Request-Id"], "timestamp": 1}


MALFORMED: dict[str, Any] = {
    "another id": lambda r: saying(200, good(r) | {"requestId": "x"}),
    "no id, as AWS has seen it": lambda r: saying(200, b'{"requestId": null}'),
    "a time as text": lambda r: saying(200, good(r) | {"timestamp": "1"}),
    "no time": lambda r: saying(200, {"requestId": good(r)["requestId"]}),
    "a time that is true": lambda r: saying(200, good(r) | {"timestamp": True}),
    "a field too many": lambda r: saying(200, good(r) | {"stored": 1}),
    "a message that is none": lambda r: saying(200, good(r) | {"errorMessage": 1}),
    "a long message": lambda r: saying(200, good(r) | {"errorMessage": "x" * 8193}),
    "a list": lambda r: saying(200, []),
    "no JSON": lambda r: saying(200, b"OK"),
    "nothing": lambda r: saying(200, b""),
    "another content type": lambda r: saying(200, good(r), Content_Type="text/plain"),
    "a content type with more": lambda r: saying(
        200, good(r), Content_Type="application/json; charset=utf-8"
    ),
    "an encoding": lambda r: saying(200, good(r), Content_Encoding="gzip"),
    "a wrong length": lambda r: saying(200, good(r), Content_Length="1"),
    "more than 1 MiB": lambda r: saying(200, json.dumps(good(r)).encode() + b" " * (1 << 20)),
    "another 2xx": lambda r: saying(202, good(r)),
    "elsewhere": lambda r: saying(302, good(r), Location="https://x/"),
    "the wrong key": lambda r: saying(401, good(r) | {"errorMessage": "key"}),
    "too many": lambda r: saying(429, good(r)),
    "later than three minutes": lambda r: saying(200, good(r), seconds=180.1),
    "no connection": lambda r: NoAnswer("refused"),
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
def test_an_answer_that_is_not_exactly_right_is_no_delivery(answer: Any) -> None:
    """Whatever the endpoint has done: the batch comes again, until the answer is right."""
    scene = Scene(endpoint=answer)
    scene.put(b"a")
    scene.wait(61)
    assert scene.delivered() == []
    scene.endpoint = accepting
    scene.wait(200)
    assert scene.delivered() == [b"a"]
    assert len(set(map(tuple, scene.batches()))) == 1


def test_an_answer_within_three_minutes_is_in_time() -> None:
    """A delivery is made when its answer comes, up to 180 seconds after the request."""
    scene = Scene(endpoint=lambda r: replace(accepting(r), seconds=180.0))
    scene.put(b"a")
    scene.wait(239)
    assert scene.delivered() == []
    scene.wait(1)
    assert scene.delivered() == [b"a"]
    assert scene.times() == [60.0]


@pytest.mark.parametrize("backup_all", [True, False])
def test_413_is_final_and_kept_by_the_full_backup_only(backup_all: bool) -> None:
    """A batch answered with 413 is not tried again and not among the failed records."""
    scene = Scene(Settings(NAME, backup_all=backup_all), endpoint=lambda r: saying(413, good(r)))
    scene.put(b"a\n", b"b\n")
    scene.wait(3600)
    assert scene.times() == [60.0]
    assert scene.failed() == []
    assert [held.data for held in scene.stream.dropped] == [b"a\n", b"b\n"]
    assert scene.saved() == (b"a\nb\n" if backup_all else b"")


def test_the_full_backup_is_the_records_one_after_the_other() -> None:
    """Objects are gzip, named by time, and hold every record once, delivered or not."""
    settings = Settings(NAME, prefix="backup/batch/!{timestamp:yyyy-MM-dd}/")
    scene = Scene(settings, endpoint=refusing)
    scene.put(b'{"n":1}\n', b'{"n":2}\n')
    scene.wait(60)
    scene.put(b'{"n":3}\n')
    scene.wait(60)
    names = sorted(scene.bucket.objects)
    assert names[0] == f"backup/batch/2023-11-14/{NAME}-1-2023-11-14-22-13-20-00000001.gz"
    assert len(names) == 2
    assert scene.saved() == b'{"n":1}\n{"n":2}\n{"n":3}\n'


def test_failed_records_are_lines_with_all_that_a_redrive_needs() -> None:
    """Each has its data, when it came, how often it was tried and what the endpoint said last."""
    settings = Settings(NAME, retry=10.0, s3_gzipped=False, backup_all=False,
                        failed_prefix="failed/batch/!{firehose:error-output-type}/")  # fmt: skip
    scene = Scene(settings, endpoint=refusing)
    scene.put(b"hello")
    scene.wait(100)
    [(name, content)] = scene.bucket.objects.items()
    assert name == (
        f"failed/batch/http-endpoint-failed/2023/11/14/22/{NAME}-1-2023-11-14-22-13-20-00000001"
    )
    [line] = content.splitlines()
    shown = json.loads(line)
    assert shown.pop("attemptEndingTimestamp") / 1000 == pytest.approx(
        START + scene.times()[-1], abs=1
    )
    assert "503" in shown["errorMessage"]
    assert "later" in shown.pop("errorMessage")
    assert shown == {
        "attemptsMade": len(scene.times()),
        "arrivalTimestamp": int(START * 1000),
        "errorCode": "HttpEndpoint.DestinationException",
        "rawData": "aGVsbG8=",
    }


def test_failed_records_are_kept_with_the_full_backup_too() -> None:
    """AllData does not replace the failed prefix: what was not delivered is in both."""
    scene = Scene(endpoint=refusing)
    scene.put(b"a\n")
    scene.wait(2 * 3600)
    assert scene.failed() == [b"a\n"]
    assert scene.saved() == b"a\n"


def test_a_lost_answer_brings_a_batch_twice() -> None:
    """The endpoint has stored it, nobody has heard so: after three minutes it comes again."""
    stored: list[bytes] = []

    def storing(request: HttpRequest) -> Answer:
        stored.append(request.headers["X-Amz-Firehose-Request-Id"].encode())
        return accepting(request)

    scene = Scene(faults=Faults(lose_answer=1.0), endpoint=storing)
    scene.put(b"a")
    scene.wait(60)
    scene.faults.lose_answer = 0.0
    scene.wait(179)
    assert len(stored) == 1
    scene.wait(3)
    assert len(stored) == 2
    assert len(set(stored)) == 1
    assert scene.delivered() == [b"a"]


def test_a_rotated_key_is_used_after_ten_minutes_at_most() -> None:
    """With the old key accepted meanwhile every delivery is made at the first attempt."""
    got: list[bytes] = []
    keys = [b"key"]
    scene = Scene(endpoint=endpoint_in_process(lambda r: handle(r, keys, got.extend, 1)))
    for minute in range(30):
        if minute == 3:
            scene.secret.value = "new"
            keys[:] = [b"new", b"key"]
        if minute == 15:
            keys[:] = [b"new"]
        scene.put(b"%d" % minute)
        scene.wait(60)
    assert got == [b"%d" % minute for minute in range(30)]
    used = [a.request.headers["X-Amz-Firehose-Access-Key"] for a in scene.stream.attempts]
    assert used == ["key"] * 10 + ["new"] * 20
    assert scene.stream.delivered[-1].data == b"29"


def test_a_key_that_is_withdrawn_too_early_delays_and_loses_nothing() -> None:
    """Refusals are retried until the stream reads the secret anew; then all arrives."""
    got: list[bytes] = []
    keys = [b"key"]
    scene = Scene(endpoint=endpoint_in_process(lambda r: handle(r, keys, got.extend, 1)))
    scene.put(b"0")
    scene.wait(60)
    scene.secret.value = "new"
    keys[:] = [b"new"]
    scene.put(b"1")
    scene.wait(500)
    assert got == [b"0"]
    scene.wait(400)
    assert got == [b"0", b"1"]
    assert scene.failed() == []


def test_while_nothing_can_be_written_the_stream_pauses_and_goes_on() -> None:
    """No endpoint and no S3: deliveries stop; with S3 back nothing is lost and the rest arrive."""
    scene = Scene(endpoint=refusing)
    scene.bucket.available = False
    scene.put(b"a\n")
    scene.wait(2 * 3600)
    before = len(scene.times())
    scene.put(b"b\n")
    scene.wait(3600)
    assert len(scene.times()) == before
    scene.bucket.available = True
    scene.endpoint = accepting
    scene.wait(3600)
    assert scene.failed() == [b"a\n"]
    assert scene.delivered() == [b"b\n"]
    assert scene.stream.expired == []


def test_after_24_hours_what_could_not_be_kept_is_gone() -> None:
    """Retention is a day: what neither endpoint nor S3 has taken by then is lost."""
    scene = Scene(endpoint=refusing)
    scene.bucket.available = False
    scene.put(b"a\n")
    scene.wait(DAY - 200)
    assert scene.stream.expired == []
    scene.put(b"b\n")
    scene.wait(DAY / 2)
    scene.bucket.available = True
    scene.endpoint = accepting
    scene.wait(3600)
    assert {held.data for held in scene.stream.expired} == {b"a\n"}
    assert scene.failed() == [b"b\n"]


def test_two_streams_share_a_clock() -> None:
    """Requests of all streams are made in the order of their times."""
    one = Scene()
    two = Scene(Settings("ngu-staking-events-staging"), clock=one.clock)
    seen: list[str] = []

    def endpoint(request: HttpRequest) -> Answer:
        seen.append(request.headers["X-Amz-Firehose-Source-Arn"].rsplit("/", 1)[1])
        return accepting(request)

    for scene in (two, one, two, one):
        scene.put(b"x")
        drive([one.stream, two.stream], 45, endpoint)
    drive([one.stream, two.stream], 45, endpoint)
    assert seen == [two.settings.name, one.settings.name] * 2
    assert (two.times(), one.times()) == ([60.0, 150.0], [105.0, 195.0])


def test_faults_reorder_and_repeat() -> None:
    """Shuffled, repeated and delayed batches hold the same records, in another order, twice."""
    faults = Faults(random.Random(1), shuffle=True, repeat=1.0, delay=500.0)
    scene = Scene(faults=faults)
    records = [b"%d" % n for n in range(50)]
    scene.put(*records[:25])
    scene.wait(60)
    scene.put(*records[25:])
    scene.wait(1000)
    assert sorted(scene.delivered()) == sorted(records * 2)
    assert scene.delivered()[:25] != records[:25]
    assert len(scene.times()) == 4
