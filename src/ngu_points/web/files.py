"""Exports as answers: sent while they are made, or whole where nothing can be streamed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from contextlib import closing

from starlette.responses import Response, StreamingResponse

from ngu_points.web.interfaces import Export
from ngu_points.web.problems import Problem

GZIP = 16 + zlib.MAX_WBITS


def streamed(export: Export) -> Response:
    """In parts, each made when the one before it has been sent."""
    return StreamingResponse(export.parts, 200, _headers(export), export.media_type)


def whole(export: Export, most: int, accepted: str) -> Response:
    """At once, compressed if the client takes that; a Problem beyond `most` bytes."""
    squeeze = zlib.compressobj(wbits=GZIP) if _takes_gzip(accepted) else None
    body = bytearray()
    with closing(export.parts):
        for part in export.parts:
            body += part if squeeze is None else squeeze.compress(part)
            if len(body) > most:
                raise _too_long(most, squeezed=squeeze is not None)
    if squeeze is None:
        return Response(bytes(body), 200, _headers(export), export.media_type)
    body += squeeze.flush()
    headers = {**_headers(export), "content-encoding": "gzip", "vary": "accept-encoding"}
    return Response(bytes(body), 200, headers, export.media_type)


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding names gzip, and not with a weight of 0, which refuses it."""
    named = (coding.replace(" ", "").partition(";") for coding in accepted.lower().split(","))
    return any(name == "gzip" and weight.rstrip("0.") != "q=" for name, _, weight in named)


def _too_long(most: int, *, squeezed: bool) -> Problem:
    hint = "`ngu export` writes it, from any store"
    if not squeezed:
        hint = f"with Accept-Encoding: gzip more fits; {hint}"
    detail = f"the file is longer than the {most // 1_000_000} MB that an answer here can have"
    return Problem(501, "too-long", detail, hint=hint)


def _headers(export: Export) -> Mapping[str, str]:
    return {
        "content-disposition": f'attachment; filename="{export.name}"',
        "cache-control": "no-store",
    }
