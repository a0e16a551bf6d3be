"""What a world may hold beyond its seed, and what is told of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Knobs:
    """What a world may hold beyond its seed.

    `omissions`: nodes leave logs out of answers that are otherwise right. Off by default: of a
    block that shows some of its logs, or in a range of many blocks, `Reader` misses none. What it
    did not see the audit must find at the end, and replay must repair.
    `second_opinion`: a stand-in for what would see that. It refuses what `Reader` believes
    although logs of the branch it names are missing. Turn it on with `omissions`, to see that the
    rest recovers from them; off by default, so that nothing `Reader` could know is hidden.
    """

    omissions: bool = False
    second_opinion: bool = False

    @property
    def silent(self) -> bool:
        """Whether logs may be missing without anybody knowing, until the audit."""
        return self.omissions and not self.second_opinion


DEFAULT = Knobs()


@dataclass
class Report:
    """What became of a world."""

    seed: int
    violation: str | None = None
    faults: Counter[str] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)  # lives that ended with a message
