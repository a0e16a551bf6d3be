"""What AWS refuses or does not answer, as one line for a person.

Errors are known by their shape and by the names of their classes, so that botocore need not be
imported here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ngu_points.errors import NguError, StoreError, TransientError, UsageError

_BUSY = 429
_PASSING = frozenset(
    {
        "ConditionalRequestConflict",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ResourceConflictException",
        "ResourceInUseException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TooManyUpdates",
    }
)
NO_ANSWER = frozenset(
    {
        "ChecksumError",
        "ConnectionError",
        "HTTPClientError",
        "IncompleteReadError",
        "ResponseParserError",
        "TimeoutError",
    }
)
"""Errors by which botocore says that no answer came, or none that can be read."""
_NO_KEYS = frozenset({"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"})


def code_of(error: Exception) -> str:
    """The code of a service's error; empty where no service has answered."""
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Raise what a call to AWS ran into as an NguError that names `what` was called for.

    TransientError where calling again may help, UsageError where something is not there or not
    allowed, StoreError for any other refusal. What is no error of AWS passes as it is.
    """
    try:
        yield
    except NguError:
        raise
    except Exception as error:
        known = _known(error, what)
        if known is None:
            raise
        raise known from error


def _known(error: Exception, what: str) -> NguError | None:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    code = code_of(error)
    if kinds & NO_ANSWER:
        return TransientError(f"{what}: AWS does not answer: try again later")
    if kinds & _NO_KEYS:
        return UsageError(f"{what}: no AWS credentials: sign in, or set AWS_PROFILE")
    if "ProfileNotFound" in kinds:
        return UsageError(f"{what}: AWS_PROFILE names one that is not there: see `aws configure`")
    if not code:
        refused = StoreError(f"{what}: the call cannot be made ({type(error).__name__})")
        return refused if "BotoCoreError" in kinds else None
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)  # type: ignore[attr-defined]
    if code in _PASSING or status == _BUSY or status >= 500:
        return TransientError(f"{what}: AWS is busy ({code}): try again later")
    if "NotFound" in code or code.startswith("NoSuch"):
        return UsageError(f"{what}: it does not exist ({code}): is the stage the right one, and is"
                          " it deployed?")  # fmt: skip
    if "AccessDenied" in code or "UnrecognizedClient" in code or status == 403:
        return UsageError(f"{what}: not allowed ({code}): see what the role may do")
    return StoreError(f"{what}: AWS refuses ({code})")
