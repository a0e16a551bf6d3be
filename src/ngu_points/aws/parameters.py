"""What lies in Parameter Store under the path of a stage: settings, RPC addresses, the position.

Nothing is kept here: the settings and the addresses are read once at start, and the position is
read before it is written, because `ngu rewind` may have set it back meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from ngu_points.aws.trouble import code_of, naming
from ngu_points.errors import BadInput, NguError, UsageError
from ngu_points.pipeline.interfaces import Position
from ngu_points.pipeline.persist import HIGHEST

SETTINGS, RPC, POSITION = "settings", "rpc", "position"
_HASH = 2 + 64  # characters


@dataclass(frozen=True, slots=True)
class Sent:
    """The end of a block range, and the sequence number under which it was announced."""

    block: int
    hash: bytes  # 32 bytes; zeros where nothing lies behind yet
    timestamp: int
    sequence: int

    @property
    def position(self) -> Position:
        return Position(self.block, self.hash, self.timestamp)

    def text(self) -> str:
        """As the parameter holds it: a JSON object."""
        return msgspec.json.encode(
            {
                "block": self.block,
                "hash": "0x" + self.hash.hex(),
                "timestamp": self.timestamp,
                "sequence": self.sequence,
            }
        ).decode()


class _Written(msgspec.Struct, forbid_unknown_fields=True):
    block: int
    hash: str
    timestamp: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of one stage; `client` is botocore's for SSM, which blocks."""

    client: Any
    path: str  # /service/stage

    def settings(self) -> str:
        """The text of an ngu.toml. UsageError where there is none."""
        found = self._value(SETTINGS)
        if not found:
            raise UsageError(f"{self.path}/{SETTINGS} is not there: put the text of an ngu.toml"
                             " into it, see docs/deploy.md")  # fmt: skip
        return found

    def rpc(self) -> list[str]:
        """The addresses of Ethereum nodes, decrypted. UsageError where there are none."""
        urls = [url.strip() for url in (self._value(RPC, secret=True) or "").split(",")]
        found = [url for url in urls if url]
        if not found:
            raise UsageError(f"{self.path}/{RPC} names no node: put one or several URLs into it,"
                             " separated by commas, as a SecureString")  # fmt: skip
        return found

    def position(self) -> Sent | None:
        """The last range that both streams have accepted; None before any. BadInput if garbled."""
        text = self._value(POSITION)
        return None if text is None else sent_of(text, f"{self.path}/{POSITION}")

    def put_position(self, sent: Sent) -> Sent | None:
        """Say from where a monitor without memory has to go on; gives what stood there before.

        Parameter Store knows no conditions: only afterwards it shows what was overwritten.
        """
        name = f"{self.path}/{POSITION}"
        with naming(f"the parameter {name}"):
            answer = self.client.put_parameter(
                Name=name, Value=sent.text(), Type="String", Overwrite=True
            )
        before = f"{POSITION}:{int(answer['Version']) - 1}"
        text = None if before.endswith(":0") else self._value(before)
        return None if text is None else sent_of(text, f"{self.path}/{before}")

    def _value(self, what: str, *, secret: bool = False) -> str | None:
        name = f"{self.path}/{what}"
        with naming(f"the parameter {name}"):
            try:
                answer = self.client.get_parameter(Name=name, WithDecryption=secret)
            except Exception as error:
                if code_of(error) in ("ParameterNotFound", "ParameterVersionNotFound"):
                    return None
                raise
        return str(answer["Parameter"]["Value"])


@contextmanager
def naming_nodes(path: str) -> Iterator[None]:
    """Raise what a client of nodes says so that it names the parameter in place of an option."""
    try:
        yield
    except NguError as error:
        if "--rpc" not in str(error):
            raise
        raise type(error)(str(error).replace("--rpc", f"{path}/{RPC}")) from error


def sent_of(text: str, where: str) -> Sent:
    """A position from its text; BadInput naming `where` it stands if it is none."""
    try:
        found = msgspec.json.decode(text, type=_Written)
        block_hash = bytes.fromhex(found.hash.removeprefix("0x"))
    except (msgspec.DecodeError, ValueError) as error:
        raise _no_position(where, str(error)) from error
    numbers = (found.block + 1, found.timestamp, found.sequence)
    if len(found.hash) != _HASH or not all(0 <= n < HIGHEST for n in numbers):
        raise _no_position(where, text)
    return Sent(found.block, block_hash, found.timestamp, found.sequence)


def _no_position(where: str, why: str) -> BadInput:
    return BadInput(f"{where} holds no position ({why}): write one like"
                    f" {Sent(1, bytes(32), 0, 1).text()}, or delete it to begin anew")  # fmt: skip
