"""Structured logs on stderr: one JSON object a line, or plain words on a terminal."""

from __future__ import annotations

import json
import logging
import sys
import time

from ngu_points.errors import UsageError

LEVELS = ("debug", "info", "warn", "error")


def configure_logging(level: str) -> None:
    """Send the log of `ngu` to stderr; `level` is the specification's LOG_LEVEL."""
    if level.lower() not in LEVELS:
        raise UsageError(f"LOG_LEVEL is {level!r}: it takes {', '.join(LEVELS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Words() if sys.stderr.isatty() else _Json())
    logger = logging.getLogger("ngu")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(level.upper().replace("WARN", "WARNING"))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class _Words(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{k}={v}" for k, v in getattr(record, "fields", {}).items())
        text = f"{record.levelname.lower():7} {record.getMessage()} {fields}".rstrip()
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text
