"""Errors as application/problem+json (RFC 9457): what, where, what to do. Never a traceback."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from ngu_points.errors import NguError, TransientError, UsageError, one_line

LONGEST = 300
"""Characters of a request that an error repeats at most."""


class ProblemDetails(msgspec.Struct, frozen=True):
    """What went wrong, for a person and for a program."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    parameter: str | None = None
    hint: str | None = None


class Problem(Exception):  # noqa: N818 -- the standard's word
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        parameter: str | None = None,
        hint: str | None = None,
        retry: int | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(detail)
        title = HTTPStatus(status).phrase
        text = one_line(detail)[:LONGEST]
        self.details = ProblemDetails("about:blank", title, status, text, code, parameter, hint)
        told = {"retry-after": None if retry is None else str(retry),
                "connection": "close" if close else None}  # fmt: skip
        self.headers: Mapping[str, str] = {n: v for n, v in told.items() if v is not None}

    def response(self) -> Response:
        return Response(
            msgspec.json.encode(self.details),
            self.details.status,
            {**self.headers, "cache-control": "no-store"},
            "application/problem+json",
        )


def wrong(parameter: str, detail: str, hint: str | None = None) -> Problem:
    """A parameter that cannot be."""
    return Problem(400, "bad-parameter", f"{parameter}: {detail}", parameter=parameter, hint=hint)


def unknown(parameter: str, detail: str, hint: str | None = None) -> Problem:
    """A parameter that names something that is not there."""
    return Problem(404, "not-found", f"{parameter}: {detail}", parameter=parameter, hint=hint)


def nothing_yet() -> Problem:
    """Before any block is covered."""
    hint = "wait until `ngu run` has read the first blocks, see /api/status"
    return Problem(503, "no-data", "nothing is covered yet", hint=hint, retry=2)


def busy(what: str) -> Problem:
    """Too much at once."""
    return Problem(503, "busy", what, hint="try again in a few seconds", retry=5)


def of_error(error: NguError) -> Problem:
    """What a store or a parser refuses; texts of a store may name files, so they stay here."""
    if isinstance(error, UsageError):
        parameter, _, text = str(error).partition(": ")
        if text and parameter.isidentifier():
            return wrong(parameter, text)
        return Problem(400, "bad-parameter", str(error))
    if isinstance(error, TransientError):
        return busy(str(error))
    hint = "the server's log and `ngu status` say why"
    return Problem(503, "store", "the record cannot be read now", hint=hint, retry=10)
