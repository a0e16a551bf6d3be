"""docs/deploy.md: every name in it exists, every link is alive, its costs are computed."""

from __future__ import annotations

import re
import shlex

import botocore.session
import jmespath
import pytest
from botocore import xform_name
from deploy_page import render
from infra.settings import STAGES, settings
from pages import ROOT, blocks, page, table
from test_requirements import symbols

from ngu_points.aws import metrics
from ngu_points.aws.environment import environment
from ngu_points.aws.parameters import POSITION, RPC, SETTINGS
from ngu_points.aws.tables import TABLES

PAGE = page("docs/deploy.md")
AWS_METRICS = {
    "IncomingBytes", "BytesPerSecondLimit", "DeliveryToHttpEndpoint.DataFreshness",
    "DeliveryToHttpEndpoint.Records", "WriteThrottleEvents", "ThrottledRequests",
    "ConsumedWriteCapacityUnits", "OnDemandMaxWriteRequestUnits",
}  # fmt: skip
BY_HAND = {  # commands of the AWS command line that are no operation of a service
    ("logs", "tail"): {"since", "filter-pattern"},
    ("s3", "rb"): set[str](),
    ("s3", "sync"): {"exclude", "delete"},
}
OTHERS = {"aws", "ngu", "make", "npx", "git", "export", "read", "curl", "journalctl", "openssl",
          "date", "MACHINE", "API", "POLICY"}  # fmt: skip
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"`((?:src|tests|infra)/[\w/.-]+\.py)(?:::([\w.]+))?`")


def test_the_costs_are_those_that_are_computed() -> None:
    """After a change of prices or units: `.venv/bin/python tests/docs/deploy_page.py`."""
    assert render(PAGE) == PAGE


@pytest.mark.parametrize(("path", "symbol"), sorted(set(LINK.findall(PAGE))))
def test_every_link_is_alive(path: str, symbol: str) -> None:
    """Files are there and define what is said."""
    assert (ROOT / path).is_file()
    assert not symbol or symbol in symbols(path)


def test_every_pitfall_has_its_line() -> None:
    """All 23, in order."""
    rows = table(PAGE, "", "pitfall")
    assert [row[""] for row in rows] == [str(n) for n in range(1, 24)]


def test_every_metric_exists() -> None:
    """Names in the style of a metric are ours or AWS's, and alarms and dashboard use the latter."""
    ours = {metric.name for metric in metrics.METRICS}
    looks = {c for c in CODE.findall(PAGE) if re.fullmatch(r"[A-Z][a-z]+[A-Z][\w.]+", c)}
    others = {"TypeBlockIndex"}
    assert looks - ours - AWS_METRICS == others
    used = "".join(path.read_text() for path in (ROOT / "infra").glob("*.py"))
    assert all(f'"{name}"' in used for name in looks & AWS_METRICS)


def test_the_operators_choices_are_those_of_the_app() -> None:
    """The table of -c names what settings look up, with the defaults."""
    asked: dict[str, object] = {}

    def given(name: str) -> None:
        asked[name] = None

    settings("staging", given)
    named = [
        n for row in table(PAGE, "`-c name=value`") for n in CODE.findall(row["`-c name=value`"])
    ]
    assert sorted(named) == sorted(asked)


def test_the_named_parts_of_a_stage_exist() -> None:
    """Tables, parameters, variables and functions are called so."""
    chosen = settings("staging", lambda _: None)
    assert STAGES == ("staging", "prod")
    tables = {f"ngu-{t.name}-{stage}" for t in TABLES for stage in STAGES}
    made = ("persist-batch", "persist-staking", "process", "jobs", "scale", "api")
    functions = {f"ngu-{name}-{stage}" for stage in STAGES for name in made}
    stacks = {f"ngu-{name}-{stage}" for stage in STAGES for name in
              ("network", "data", "events", "monitor", "alarms")}  # fmt: skip
    others = {
        f"ngu-{name}-{stage}" for name in ("access-key", "operator", "points") for stage in STAGES
    }
    for name in re.findall(r"ngu-[a-z-]+-(?:staging|prod)\b", PAGE):
        assert name in tables | functions | stacks | others, name
    for name in re.findall(r"`ngu-([a-z-]+)-…`", PAGE):
        assert any(n.startswith(f"ngu-{name}-") for n in tables | functions | stacks) or (
            name in ("archive", "operator")
        )
    for path in set(re.findall(r"(?<!\w)/ngu/(?:staging|prod)/(\w+)", PAGE)):
        assert path in {SETTINGS, RPC, POSITION, "monitor"}
    assert chosen.parameters == "/ngu/staging"
    told = environment({"SERVICE": "s", "NODE_ENV": "prod", "AWS_REGION": "r",
                        "ARCHIVE_BUCKET": "b"})  # fmt: skip
    assert (told.stage, told.region, told.archive) == ("prod", "r", "b")
    for name in ("SERVICE", "NODE_ENV", "ARCHIVE_BUCKET", "AWS_REGION"):
        assert f"`{name}`" in PAGE


def commands(text: str) -> list[list[str]]:
    """The words of each command in the blocks, those in $(…) too."""
    lines = [
        line for kind in ("sh", "console") for b in blocks(text, kind) for line in b.splitlines()
    ]
    inner = [found for line in lines for found in re.findall(r"\$\(([^()]*)\)", line)]
    return [shlex.split(line, comments=True) for line in [*lines, *inner]]


@pytest.mark.parametrize("name", ["docs/deploy.md", "docs/analysis.md"])
def test_every_command_of_aws_exists(name: str) -> None:
    """Services, operations and options are those of AWS's own models; queries are JMESPath."""
    found = [words for words in commands(page(name)) if "aws" in words]
    assert len(found) > 3
    loaded = botocore.session.get_session()
    for words in found:
        service, operation, *rest = words[words.index("aws") + 1 :]
        options = {word[2:] for word in rest if word.startswith("--")}
        if (service, operation) in BY_HAND:
            assert options <= BY_HAND[service, operation], words
            continue
        model = loaded.get_service_model("s3" if service == "s3api" else service)
        names = {xform_name(name, "-"): name for name in model.operation_names}
        assert operation in names, words
        shape = model.operation_model(names[operation]).input_shape
        known = {xform_name(member, "-") for member in shape.members} if shape else set()
        assert {o.removeprefix("no-") for o in options} - {"query", "output", "max-items"} <= known
        if "query" in options:
            jmespath.compile(rest[rest.index("--query") + 1])


def test_the_other_commands_exist() -> None:
    """What is typed is ours, AWS's, CDK's or everybody's."""
    typed = {words[0].partition("=")[0] for words in commands(PAGE) if words}
    assert typed <= OTHERS
    for words in commands(PAGE):
        if words[:1] == ["npx"]:
            assert words[1] == "aws-cdk@2"
            assert words[2] in ("bootstrap", "deploy", "diff", "destroy")
            stacks = [word for word in words[3:] if word.startswith("ngu-")]
            assert stacks == (["ngu-*-staging"] if words[2] != "bootstrap" else [])
