"""The Firehose simulator of the tests, for benches."""

from __future__ import annotations

import sys

from bench.measure import ROOT

sys.path.append(str(ROOT / "tests"))

from aws.firehose.backup import Bucket
from aws.firehose.setup import endpoint_in_process
from aws.firehose.stream import Clock, Faults, Secret, Settings, Stream, drive

__all__ = [
    "Bucket", "Clock", "Faults", "Secret", "Settings", "Stream", "drive", "endpoint_in_process",
]  # fmt: skip
