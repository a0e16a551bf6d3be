"""What a provider means by its error answer, so that the next request can be right (pure).

Providers word the same refusal in dozens of ways, and their codes contradict one another:
-32005 is "too many results" here and "too many requests" there. So the text is read first, then
its numbers, then the code and the HTTP status. Whatever the text says, a shrinking verdict always
ends earlier than what was asked, so that asking again can never go round in a circle.
"""

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

_TEXT_LIMIT = 2_000
_LINE_LIMIT = 200


class Action(enum.Enum):
    """What to do about an error answer."""

    RANGE = "ask for the range that the provider suggests"
    SPAN = "ask for as many blocks as the provider allows"
    HALVE = "ask for half as many blocks"
    BACK_OFF = "too many requests: wait, then ask the same again"
    RETRY = "ask the same again a little later"
    MISSING = "the node has no such block"
    REVERTED = "the contract refused the call: no endpoint can help"
    FAIL = "asking this endpoint again cannot help"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An error answer, understood.

    `to_block` is where the next request must end (RANGE, SPAN, HALVE: always at or past the
    first block asked for and before the last). `cap` is the largest number of blocks that the
    provider named. `seconds` is how long it told us to wait. `vague` marks a halving that is
    only a guess, so it must use up a retry.
    """

    action: Action
    reason: str
    advice: str = "try again later or add another --rpc"
    to_block: int | None = None
    cap: int | None = None
    seconds: float | None = None
    vague: bool = False


_RATE = re.compile(
    r"\brate\b|rate.?limit|too many requests|request count|requests? per|compute units"
    r"|per second|throttl|\bquota\b"
)
_PRUNED = re.compile(
    r"\bpruned?\b|missing trie node|historical state|archive node"
    r"|(?:state|history|data|receipts)\b.*(?:not available|unavailable)"
)
_REFUSED = re.compile(
    r"invalid block range params|invalid argument|cannot specify both"
    r"|method not found|(?:un|not )authori[sz]ed|authenticat|api key"
)
_NO_BLOCK = re.compile(
    r"\b(?:block|header)\b.*not found|unknown block|no such block|could not find block"
)
_LATER = re.compile(
    r"beyond (?:the )?current head|after last accepted|unknown block|block not found"
    r"|header not found|could not find block|not currently canonical|failed to get logs for block"
    r"|internal (?:server )?error"
)
_TOO_COSTLY = re.compile(
    r"out ?of ?gas|gas required exceeds|(?:code|initcode) size exceeded|contractsizelimit"
)
_GUESS = re.compile(r"no backend is currently healthy|service unavailable|no answer within")
_TOO_MUCH = re.compile(
    r"(?:block|epoch) ranges?\b|\branges? (?:is |are )?(?:too|over|allowed|threshold|exceed)"
    r"|too (?:large|big|wide|high|long)|too many (?:blocks|results|logs|events)"
    r"|(?:response|result|payload) size|max(?:imum)? (?:number of )?(?:results|logs|allowed)"
    r"|more than [\d,_]+k? (?:results|logs)|exceeds? (?:the )?(?:limit|max)|threshold exceeded"
    r"|larger than|query (?:timeout|timed out)|execution timeout|exceeds the range"
)

# A limit on blocks, from the most telling wording to the least. A number of results or bytes
# must match none of them.
_NUMBER = r"(\d[\d,_]{0,14}k?)(?![\w,.]*\d)"
_SPANS = tuple(
    re.compile(pattern.replace("#", _NUMBER))
    for pattern in (
        r"\d+ > #\)",
        r"(?:at most|up to|limited to|over|than) (?:an? )?#(?: blocks?)?(?: range| max|\b)",
        r"\b# blocks?\b",
        r"range limit #",
        r"range (?:of )?[\d,]+ exceeds limit of #",
        r"block range exceeds #",
        r"smaller than size #",
        r"max(?:imum)?\b(?! results| logs)[^.;\d(]*#(?! (?:results|logs|bytes))",
    )
)
_COUNTS_OTHERS = re.compile(r"\s*(?:results|logs|events|bytes|[km]i?b\b|s\b|seconds)")

_SUGGESTED = (
    re.compile(r"\[\s*(0x[0-9a-f]{1,16})\s*,\s*(0x[0-9a-f]{1,16})\s*\]"),
    re.compile(r"range\s+\[?\s*(\d{1,18})\s*(?:-|,|to)\s*(\d{1,18})"),
)
_WAIT = re.compile(r"(?:retry|try again) (?:in|after) (\d{1,6}(?:\.\d{1,6})?)\s*(ms|s\b|sec)")

_GUESS_STATUS = frozenset({503, 504, 522, 524})
_GUESS_CODES = frozenset({-32005, -32600, -32602, -32614})


@dataclass(frozen=True, slots=True)
class _Asked:
    """The block range of the refused eth_getLogs."""

    first: int
    last: int

    @property
    def blocks(self) -> int:
        return self.last - self.first + 1


def understand(
    method: str,
    status: int,
    code: int | None,
    message: object,
    data: Any,
    from_block: int | None,
    to_block: int | None,
) -> Verdict:
    """Say what to do about an error answer.

    `status` is the HTTP status, 0 where no HTTP answer came; `code`, `message` and `data` are the
    JSON-RPC error's, as far as it has them; the blocks (both inclusive) are those asked for, None
    where the method has no range. Never raises, whatever the provider sent.
    """
    text = _text(message, data)
    line = _line(status, code, message)
    asked = None
    if method == "eth_getLogs" and from_block is not None and to_block is not None:
        asked = _Asked(from_block, to_block)
    return (
        _reverted(method, code, text, line)
        or _rate_limited(text, line, data)
        or _hopeless(code, text, line)
        or _not_there(method, code, text, line)
        or _too_much(status, text, line, data, asked)
        or _by_number(status, code, line, data, asked)
    )


def _reverted(method: str, code: int | None, text: str, line: str) -> Verdict | None:
    # What follows is the contract's own text: it must be read as nothing else.
    if method == "eth_call" and (code == 3 or "execution reverted" in text):
        return Verdict(Action.REVERTED, line, "check the contract and its arguments")
    if method == "eth_call" and _TOO_COSTLY.search(text):
        return Verdict(Action.FAIL, line, "use another --rpc, or one with a higher gas cap")
    return None


def _rate_limited(text: str, line: str, data: Any) -> Verdict | None:
    return _back_off(text, line, data) if _RATE.search(text) else None


def _back_off(text: str, line: str, data: Any) -> Verdict:
    advice = "set chain.requests_per_second lower or add another --rpc"
    return Verdict(Action.BACK_OFF, line, advice, seconds=_seconds(text, data))


def _hopeless(code: int | None, text: str, line: str) -> Verdict | None:
    if code == 4444 or _PRUNED.search(text):
        return Verdict(
            Action.FAIL, f"the node no longer has this history: {line}", "use an archive node"
        )
    if code == -32601 or _REFUSED.search(text):
        return Verdict(Action.FAIL, line, "check the request and the --rpc endpoint")
    return None


def _not_there(method: str, code: int | None, text: str, line: str) -> Verdict | None:
    # Without a code it is the web server that speaks: 404 Not Found is about the address.
    if method == "eth_getBlockByNumber" and code is not None and _NO_BLOCK.search(text):
        return Verdict(Action.MISSING, line)
    if _LATER.search(text):
        return Verdict(Action.RETRY, line)
    return None


def _too_much(status: int, text: str, line: str, data: Any, asked: _Asked | None) -> Verdict | None:
    limits = []
    if asked is not None:
        suggested = _suggestion(text, data, asked)
        if suggested is not None:
            return Verdict(Action.RANGE, line, to_block=suggested)
        limits = _limits(text)
        cap = next((limit for limit in limits if 0 < limit < asked.blocks), None)
        if cap is not None:
            return Verdict(Action.SPAN, line, to_block=asked.first + cap - 1, cap=cap)
    too_large = status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    if too_large or limits or _TOO_MUCH.search(text):
        return _halve(line, asked)
    if _GUESS.search(text):
        return _guess(line, asked) or Verdict(Action.RETRY, line)
    return None


def _by_number(
    status: int, code: int | None, line: str, data: Any, asked: _Asked | None
) -> Verdict:
    """The last resort, when the text tells nothing: the HTTP status and the error code."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _back_off("", line, data)
    if status in _GUESS_STATUS or code in _GUESS_CODES:
        guess = _guess(line, asked)
        if guess is not None:
            return guess
    if code == -32005:
        return _back_off("", line, data)
    if 300 <= status < 500 and status != HTTPStatus.REQUEST_TIMEOUT:
        return Verdict(Action.FAIL, line, "check the --rpc address and its key")
    if code in (-32600, -32602, -32700):
        return Verdict(Action.FAIL, line, "check the request and the --rpc endpoint")
    return Verdict(Action.RETRY, line)


def _halve(line: str, asked: _Asked | None) -> Verdict:
    if asked is None:
        return Verdict(Action.FAIL, line, "use another --rpc")
    if asked.blocks < 2:
        reason = f"block {asked.first} alone is too large for this endpoint: {line}"
        return Verdict(Action.FAIL, reason, "use an --rpc with a higher limit")
    return Verdict(Action.HALVE, line, to_block=asked.first + asked.blocks // 2 - 1)


def _guess(line: str, asked: _Asked | None) -> Verdict | None:
    """Halve, not knowing that the size is the cause; None where there is nothing to halve."""
    if asked is None or asked.blocks < 2:
        return None
    middle = asked.first + asked.blocks // 2 - 1
    return Verdict(Action.HALVE, line, to_block=middle, vague=True)


def _suggestion(text: str, data: Any, asked: _Asked) -> int | None:
    """The last block of a suggested range, if that range covers our start and ends earlier.

    One that is reversed, starts later, or is no narrower than what was asked helps nobody.
    """
    for first, last in _ranges(text, data):
        if first <= asked.first <= last < asked.last:
            return last
    return None


def _ranges(text: str, data: Any) -> Iterator[tuple[int, int]]:
    for pattern in _SUGGESTED:
        for match in pattern.finditer(text):
            base = 16 if match[1].startswith("0x") else 10
            yield int(match[1], base), int(match[2], base)
    if isinstance(data, dict):
        ends = (data.get("from"), data.get("to"))
        if all(isinstance(end, str) and re.fullmatch(r"0x[0-9a-fA-F]{1,16}", end) for end in ends):
            yield int(str(ends[0]), 16), int(str(ends[1]), 16)


def _limits(text: str) -> list[int]:
    """The numbers of blocks that the provider names as its limit, the most telling one first.

    Some limits count blocks, others the difference between the two ends, which is one block
    more; reading every limit as a number of blocks is right for both.
    """
    return [
        _number(match[1])
        for pattern in _SPANS
        for match in pattern.finditer(text)
        if not _COUNTS_OTHERS.match(text, match.end(1))
    ]


def _number(digits: str) -> int:
    plain = digits.replace(",", "").replace("_", "")
    return int(plain[:-1]) * 1_000 if plain.endswith("k") else int(plain)


def _seconds(text: str, data: Any) -> float | None:
    rate = data.get("rate", data) if isinstance(data, dict) else None
    told = rate.get("backoff_seconds") if isinstance(rate, dict) else None
    if isinstance(told, int | float) and not isinstance(told, bool) and 0 < told < 1e6:
        return float(told)
    match = _WAIT.search(text)
    if match is None:
        return None
    return float(match[1]) / (1_000 if match[2] == "ms" else 1)


def _text(message: object, data: Any) -> str:
    """Everything readable in the error, in lower case: some providers hide the cause in `data`."""
    parts = [message, *data.values()] if isinstance(data, dict) else [message, data]
    return " ".join(part for part in parts if isinstance(part, str))[:_TEXT_LIMIT].lower()


def _line(status: int, code: int | None, message: object) -> str:
    """The provider's words as one short line, with the HTTP status or code that came along."""
    said = " ".join(message.split()) if isinstance(message, str) else ""
    said = "".join(letter for letter in said if letter.isprintable())
    if len(said) > _LINE_LIMIT:
        said = said[: _LINE_LIMIT - 1] + "…"
    if not said and status >= 300:
        return f"{status} {_phrase(status)}".rstrip()
    if not said:
        return f"error {code} without a message" if code is not None else "an error without words"
    if status >= 300 and str(status) not in said:
        return f"{status} {said}"
    return said


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.lower()
    except ValueError:
        return ""
