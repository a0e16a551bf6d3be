"""What a stream leaves in S3: backups of its records, lines about what it could not deliver."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aws.firehose.protocol import Verdict

ERROR_TYPE = "http-endpoint-failed"
_JAVA = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H"}


@dataclass
class Bucket:
    """Objects by key, while the bucket can be written to."""

    objects: dict[str, bytes] = field(default_factory=dict)
    available: bool = True

    def under(self, prefix: str) -> Iterator[bytes]:
        """The content of each object below a prefix, uncompressed, in the order of the keys."""
        for key in sorted(self.objects):
            if key.startswith(prefix):
                content = self.objects[key]
                yield gzip.decompress(content) if key.endswith(".gz") else content


@dataclass(frozen=True, slots=True)
class Failed:
    """A record that was not delivered, as the error output has it."""

    attempts: int
    arrived: float
    ended: float
    verdict: Verdict
    data: bytes

    def line(self) -> bytes:
        """One line of JSON."""
        shown = {
            "attemptsMade": self.attempts,
            "arrivalTimestamp": int(self.arrived * 1000),
            "errorCode": self.verdict.code,
            "errorMessage": self.verdict.message,
            "attemptEndingTimestamp": int(self.ended * 1000),
            "rawData": base64.b64encode(self.data).decode(),
        }
        return json.dumps(shown).encode() + b"\n"


def failed_records(bucket: Bucket, prefix: str) -> list[bytes]:
    """The data of every record under an error prefix."""
    lines = [line for text in bucket.under(prefix) for line in text.splitlines()]
    return [base64.b64decode(json.loads(line)["rawData"]) for line in lines]


def key_of(prefix: str, stream: str, when: float, number: int, *, gzipped: bool) -> str:
    """An object's key: the prefix with its expressions filled in, the stream, the time, a number.

    A prefix without `!{timestamp:…}` gets year, month, day and hour (UTC) behind it.
    """
    moment = datetime.fromtimestamp(when, UTC)
    filled = prefix if "!{timestamp:" in prefix else prefix + "!{timestamp:yyyy/MM/dd/HH}/"
    filled = filled.replace("!{firehose:error-output-type}", ERROR_TYPE)
    filled = re.sub(r"!\{timestamp:([^}]*)\}", lambda m: _formatted(m[1], moment), filled)
    name = f"{stream}-1-{moment:%Y-%m-%d-%H-%M-%S}-{number:08d}"
    return filled + name + (".gz" if gzipped else "")


def content_of(parts: Sequence[bytes], *, gzipped: bool) -> bytes:
    """Parts one after the other with nothing between."""
    joined = b"".join(parts)
    return gzip.compress(joined, mtime=0) if gzipped else joined


def _formatted(pattern: str, moment: datetime) -> str:
    for java, python in _JAVA.items():
        pattern = pattern.replace(java, python)
    return moment.strftime(pattern)
