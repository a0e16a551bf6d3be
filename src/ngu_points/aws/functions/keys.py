"""The access keys that Firehose may present: the present one and, during rotation, the last."""

from __future__ import annotations

import json
from typing import Any

from ngu_points.aws.trouble import code_of, naming
from ngu_points.errors import UsageError

KEPT = 300  # seconds
REFETCHED = 60  # seconds between looks that refused keys may cause
CURRENT, PREVIOUS = "AWSCURRENT", "AWSPREVIOUS"


class Keys:
    """Keys as Secrets Manager has them, at most `KEPT` seconds old."""

    def __init__(self, secrets: Any, name: str) -> None:
        self._secrets = secrets
        self._name = name
        self._keys: list[bytes] = []
        self._looked = float("-inf")  # when they were had
        self._doubted = float("-inf")  # when a refused key made it look again

    def now(self, now: float) -> list[bytes]:
        """The keys that are accepted; NguError if they cannot be had."""
        if now - self._looked >= KEPT:
            self._look(now)
        return self._keys

    def again(self, now: float) -> bool:
        """Whether there are other keys than a moment ago, now that one was refused.

        It looks at most once a minute, so that a stranger can cause no more calls than that.
        """
        if now - max(self._looked, self._doubted) < REFETCHED:
            return False
        self._doubted, before = now, self._keys
        self._look(now)
        return self._keys != before

    def _look(self, now: float) -> None:
        found = [self._current(), self._previous()]
        self._keys = [key for key in found if key]
        self._looked = now

    def _current(self) -> bytes:
        what = f"the secret {self._name}"
        with naming(what):
            secret = self._version(CURRENT)
        key = _key_in(secret)
        if not key:
            raise UsageError(f'{what} is not what Firehose wants: a JSON object {{"api_key": "…"}}')
        return key

    def _previous(self) -> bytes:
        """Empty where the secret was never rotated, or was something else before."""
        with naming(f"the secret {self._name}"):
            try:
                return _key_in(self._version(PREVIOUS))
            except Exception as error:
                if code_of(error) == "ResourceNotFoundException":
                    return b""
                raise

    def _version(self, stage: str) -> str:
        answer = self._secrets.get_secret_value(SecretId=self._name, VersionStage=stage)
        return str(answer.get("SecretString", ""))


def _key_in(secret: str) -> bytes:
    try:
        return str(json.loads(secret)["api_key"]).encode()
    except (KeyError, TypeError, ValueError):
        return b""
