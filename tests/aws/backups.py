"""Backups for tests: a chain's records as two simulated streams leave them in S3."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import oracle
from aws.firehose.backup import Bucket
from aws.firehose.protocol import NoAnswer
from aws.firehose.setup import accepting
from aws.firehose.stream import Clock, Faults, Secret, Settings, Stream, drive
from chains import CONTRACT, Chain
from ngu_points.aws.records import Origin, write
from ngu_points.engine.coverage import STREAMS, Delivery, announce
from ngu_points.engine.rules import DAY

STAGE, CHAIN_ID = "staging", 1
ORIGIN = Origin(STAGE, CHAIN_ID, (CONTRACT,))
TABLES = {stream: f"ngu-{stream}-events-{STAGE}" for stream in STREAMS}
START = 20_000 * DAY
ALICE, BOB, CAROL = ("0x" + two * 20 for two in ("a1", "b2", "c3"))


def story(blocks: int = 60) -> Chain:
    """Mints, transfers, stakes and unstakes over some days, one or two events a block."""
    events: list[oracle.Event] = []
    rng = random.Random(7)

    def add(kind: str, block: int, log: int, sender: str, to: str, first: int, n: int) -> None:
        events.append(oracle.Event(kind, block, log, START + block * 7_001, sender, to, first, n))

    for block in range(1, blocks):
        who = rng.choice([ALICE, BOB, CAROL])
        add("BatchMint", block, 0, "", who, block * 100, rng.randrange(1, 60))
        token = rng.randrange(1, block + 1) * 100
        kind = rng.choice(["Stake", "Unstake", "BatchTransfer"])
        add(kind, block, 1, who, rng.choice([ALICE, BOB]) if kind[0] == "B" else "", token, 1)
    return Chain(events, blocks + 2, START + (blocks + 2) * 7_001)


def deliveries(chain: Chain, span: int = 5, sequence: int = 1) -> list[Delivery]:
    """The chain announced in ranges of `span` blocks, from block 1."""
    cuts = [*range(1, chain.last_block + 1, span), chain.last_block + 1]
    ranges = enumerate(pairwise(cuts), sequence)
    return [d for n, (a, b) in ranges for d in announce(chain.covered(a, b - 1), n)]


def bucket_of(
    sent: list[Delivery], *, gzipped: bool = True, fails: bool = False, apart: float = 61
) -> Bucket:
    """What the bucket holds after the deliveries were sent, some seconds apart."""
    bucket, clock, secret = Bucket(), Clock(), Secret("key")
    streams = {
        stream: Stream(
            Settings(
                table,
                prefix=f"backup/{table}/",
                failed_prefix=f"failed/{table}/!{{firehose:error-output-type}}/",
                s3_gzipped=gzipped,
                retry=30,
                backup_all=not fails,
            ),
            clock, bucket, secret, Faults(),
        )
        for stream, table in TABLES.items()
    }  # fmt: skip
    endpoint = (lambda _: NoAnswer("down")) if fails else accepting
    for delivery in sent:
        for record in write(delivery, ORIGIN):
            streams[delivery.stream].put(record)
        drive(list(streams.values()), apart, endpoint)
    drive(list(streams.values()), 10_000, endpoint)
    return bucket


def copied(bucket: Bucket, folder: Path) -> Path:
    """The bucket as a folder."""
    for key, content in bucket.objects.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
