"""The OpenAPI document, the page made of it, and the application agree."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from cli.program import busy_chain
from docs import api_page
from ngu_points.web import openapi
from web.api import Api, running

SCHEMA = schemathesis.openapi.from_dict(
    openapi.document(),
    config=schemathesis.Config.from_dict(
        {"checks": {"negative_data_rejection": {"expected-statuses": ["400", "404", "414"]}}}
    ),
).exclude(path="/api/live")  # it does not end
BEYOND_SCHEMA = {"cursor", "wallet", "around", "type", "token", "fromBlock", "day", "at", "from",
                 "to"}  # fmt: skip
"""Parameters of which a pattern does not say all: checksums, calendars, cursors, ends of ranges."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running(busy_chain(20), tmp_path_factory.mktemp("document")) as served:
        yield served


@SCHEMA.parametrize()
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_whatever_is_asked_the_answer_is_of_the_document(api: Api, case: schemathesis.Case) -> None:
    """Right questions get the answer of the document, wrong ones a problem of it; no question
    gets an error of the server (schemathesis)."""
    answered = case.call(base_url=api.url)
    case.validate_response(answered, excluded_checks=[positive_data_acceptance])
    if answered.status_code == 400 and case.meta and case.meta.generation.mode.is_positive:
        assert answered.json()["parameter"] in BEYOND_SCHEMA


def test_the_document_is_served_as_it_is_made(api: Api) -> None:
    """/openapi.json is the document, and names every path that answers."""
    assert api.get("/openapi.json") == openapi.document()


def test_the_page_is_made_of_the_document() -> None:
    """docs/api.md says what /openapi.json says."""
    said = api_page.PAGE.read_text(encoding="utf-8")
    assert said == api_page.page(), "run tests/docs/api_page.py"
