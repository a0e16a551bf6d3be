"""What AWS refuses for a moment is told apart from what it refuses for good."""

from __future__ import annotations

import pytest

from ngu_points.aws.trouble import naming
from ngu_points.errors import TransientError

errors = pytest.importorskip("botocore.exceptions", reason="boto3 is not installed (extra `aws`)")


@pytest.mark.parametrize(
    ("code", "status", "operation"),
    [
        ("TooManyUpdates", 400, "PutParameter"),  # the monitor and `ngu rewind` at once
        ("ConditionalRequestConflict", 409, "PutObject"),  # two write an object of one name
        ("TooManyRequestsException", 429, "Invoke"),
        ("SlowDown", 503, "GetObject"),
    ],
)
def test_somebody_else_was_quicker_passes(code: str, status: int, operation: str) -> None:
    """It may be tried again, so it ends no task and fails no job."""
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with (
        pytest.raises(TransientError, match=rf"a thing: AWS is busy \({code}\)"),
        naming("a thing"),
    ):
        raise errors.ClientError(answer, operation)
