"""One endpoint: what it has done lately, and how much and how often to ask of it (pure).

Times are monotonic seconds that the caller passes in.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from ngu_points.errors import UsageError

MAX_SPAN = 100_000
BATCH = 100
_DISTRUST = 60.0
_SECRET = 8  # characters at least: "v3" is no key
_URL = re.compile(r"\b((?:https?|wss?)://)(?:[^\s/@]*@)?([^\s/?#@]*)[^\s\"'<>]*")


@dataclass(slots=True)
class Span:
    """How many blocks to ask one endpoint for: shrinks when refused, grows when all goes well.

    After a refusal growth has to wait for more and more good answers, so a limit that the
    provider does not name costs one vain request in sixty-four at worst.
    """

    blocks: int
    ceiling: int = MAX_SPAN
    patience: int = 1
    good: int = 0

    def cap(self, blocks: int) -> None:
        """The provider named its limit: never ask for more."""
        self.ceiling = max(1, min(self.ceiling, blocks))
        self.blocks = min(self.blocks, self.ceiling)

    def refused(self, tried: int, blocks: int) -> None:
        """`tried` blocks were too many; ask for `blocks` until further notice."""
        if tried == self.ceiling:
            # The provider's own number was refused: it counts differently.
            self.ceiling = max(1, tried - 1)
        self.blocks = max(1, min(self.blocks, blocks))
        self.patience = min(64, self.patience * 4)
        self.good = 0

    def worked(self, asked: int, size: int) -> None:
        """A page of `asked` blocks came back with `size` bytes."""
        if size > 16 << 20:
            self.blocks = max(1, min(self.blocks, asked // 2))
        if asked < self.blocks or size > 4 << 20:
            return
        self.good += 1
        if self.good < self.patience:
            return
        wider = self.blocks * 2 if size < 512 << 10 else self.blocks + self.blocks // 4 + 1
        self.blocks = max(self.blocks, min(wider, self.ceiling))
        self.patience = max(1, self.patience // 2)
        self.good = 0


@dataclass(slots=True, eq=False)
class Endpoint:
    """One HTTP endpoint, its statistics and how it has behaved lately."""

    url: str = field(repr=False)
    host: str
    span: Span
    requests: int = 0
    failures: int = 0
    contradictions: int = 0  # answers that were shown to be wrong
    last_error: str | None = None
    last_contradiction: str | None = None
    batch: int = BATCH
    _streak: int = 0
    _avoid_until: float = 0.0
    _banned_until: float = 0.0
    _slot: float = 0.0

    def heat(self, now: float) -> float:
        """0 when ready; else the time until which it is better left alone."""
        until = max(self._avoid_until, self._banned_until)
        return until if until > now else 0.0

    def banned(self, now: float) -> float:
        """Seconds that the endpoint itself told us to stay away."""
        return max(0.0, self._banned_until - now)

    def succeeded(self) -> None:
        """Forget past failures."""
        self._streak = 0
        self._avoid_until = 0.0

    def failed(self, now: float, reason: str, seconds: float | None) -> None:
        """Leave the endpoint alone, for longer each time it fails again."""
        self.failures += 1
        self.last_error = reason
        if now >= self._avoid_until:
            self._streak += 1
        self._avoid_until = now + min(120.0, 2.0 ** min(self._streak, 7))
        if seconds is not None:
            self._banned_until = now + seconds

    def distrusted(self, now: float, reason: str) -> None:
        """Its answers contradict themselves."""
        self.failures += 1
        self.contradictions += 1
        self.last_contradiction = self.last_error = self.redacted(reason)
        self.avoided(now)

    def avoided(self, now: float) -> None:
        """Prefer others for the next minute; nothing is wrong with it."""
        self._avoid_until = now + _DISTRUST

    def redacted(self, text: str) -> str:
        """The text without this URL's key, which some nodes repeat in what they answer."""
        parts = urlsplit(self.url)
        pieces = {*parts.path.split("/"), *re.split("[=&]", parts.query)}
        pieces |= {parts.username or "", parts.password or ""}
        for secret in {form for piece in pieces for form in (piece, unquote(piece))}:
            if len(secret) >= _SECRET:
                text = re.sub(re.escape(secret), "…", text, flags=re.IGNORECASE)
        return _URL.sub(r"\1\2", text)

    def reserve(self, now: float, rate: float, calls: int) -> float:
        """Take the next place in the token bucket (one second deep): how long to wait for it."""
        self._slot = max(self._slot, now - 1.0)
        wait = max(0.0, self._slot - now)
        self._slot += calls / rate
        return wait


def scheme(url: str) -> str:
    """The scheme of a URL, in lower case."""
    return url.partition(":")[0].lower()


def host_of(url: str, place: int) -> str:
    """Host and port, the only part of a URL that may be shown.

    Raises UsageError, without showing more, where it is not a URL that a node can have.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:  # UnicodeError is one
        host, port = None, None
    if host is None or scheme(url) not in ("http", "https", "ws", "wss"):
        raise UsageError(f"--rpc: URL number {place} is no http(s):// or ws(s):// URL; correct it")
    return host if port is None else f"{host}:{port}"
