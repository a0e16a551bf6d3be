"""The API of a stage: open to all, held back by a throttle, logged, and gone where not wanted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from infra.api import BURST, LOGGED, PATIENCE
from templates import Deployment, deployment, needs_cdk, synthesize

needs_cdk()

KIND = "AWS::ApiGatewayV2::"


def test_every_request_goes_to_the_function(deployed: Deployment) -> None:
    """One route for all, without CORS of the gateway's; payloads are those the tests make."""
    stack = deployed["events"]
    made = stack.one(KIND + "Api")
    assert (made["ProtocolType"], made["Name"]) == ("HTTP", deployed.name("api"))
    assert "CorsConfiguration" not in made
    assert stack.one(KIND + "Route")["RouteKey"] == "$default"
    integration = stack.one(KIND + "Integration")
    assert integration["PayloadFormatVersion"] == "2.0"
    assert integration["TimeoutInMillis"] == 1_000 * PATIENCE <= 30_000
    (logical,) = stack.all(KIND + "Api")
    function = stack.one("AWS::Lambda::Function", FunctionName=deployed.name("api"))
    assert stack.plain(integration["IntegrationUri"]) == f"<{logical_of(deployed)}.Arn>"
    permission = stack.one("AWS::Lambda::Permission", Principal="apigateway.amazonaws.com")
    assert permission["Action"] == "lambda:InvokeFunction"
    assert f":<{logical}>/*" in stack.plain(permission["SourceArn"])
    assert function["EphemeralStorage"] == {"Size": 4_096}


def logical_of(deployed: Deployment) -> str:
    """The logical id of the function."""
    (found,) = (
        name
        for name, made in deployed["events"].all("AWS::Lambda::Function").items()
        if made["FunctionName"] == deployed.name("api")
    )
    return found


def test_callers_are_held_back(deployed: Deployment) -> None:
    """At the gateway, whatever the account can reserve; and the function at its concurrency."""
    stage = deployed["events"].one(KIND + "Stage")
    assert (stage["StageName"], stage["AutoDeploy"]) == ("$default", True)
    assert stage["DefaultRouteSettings"] == {
        "ThrottlingRateLimit": 20, "ThrottlingBurstLimit": 20 * BURST,
    }  # fmt: skip
    function = deployed["events"].one("AWS::Lambda::Function", FunctionName=deployed.name("api"))
    assert 1 <= function["ReservedConcurrentExecutions"] < 20 * BURST


def test_requests_are_logged_for_a_while(deployed: Deployment) -> None:
    """One line of JSON each, in a group that ends; no query and no header is in it."""
    stack = deployed["events"]
    settings = stack.one(KIND + "Stage")["AccessLogSettings"]
    assert json.loads(settings["Format"]) == LOGGED
    assert not any(word in settings["Format"] for word in ("query", "authorizer", "header"))
    (group,) = (
        made
        for name, made in stack.all("AWS::Logs::LogGroup").items()
        if stack.plain(settings["DestinationArn"]) == f"<{name}.Arn>"
    )
    assert group["LogGroupName"] == f"/aws/vendedlogs/{deployed.name('api')}"
    assert group["RetentionInDays"] in (14, 90)


def test_the_address_is_told_after_a_deployment(deployed: Deployment) -> None:
    """As an output of the stack."""
    stack = deployed["events"]
    (logical,) = stack.all(KIND + "Api")
    told = stack.plain(stack.content["Outputs"]["ApiUrl"]["Value"])
    assert told == f"<{logical}.ApiEndpoint>"


def test_what_goes_wrong_with_it_is_an_alarm(deployed: Deployment) -> None:
    """Errors, throttles, and answers for which nobody waits; found by the function's name."""
    wanted = {
        "api-errors": ("Errors", "Sum", 0),
        "api-throttles": ("Throttles", "Sum", 0),
        "api-slow": ("Duration", "Maximum", 1_000 * PATIENCE),
    }
    for name, (metric, statistic, threshold) in wanted.items():
        alarm = deployed.alarm(name)
        (looked,) = alarm["Metrics"]
        stat = looked["MetricStat"]
        assert (stat["Metric"]["MetricName"], stat["Stat"]) == (metric, statistic)
        assert stat["Metric"]["Dimensions"] == [
            {"Name": "FunctionName", "Value": deployed.name("api")}
        ]
        assert alarm["Threshold"] == threshold
    assert deployed.name("api") in json.dumps(
        deployed["alarms"].one("AWS::CloudWatch::Dashboard")["DashboardBody"]
    )


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Templates where only staging is to have an API, and one of its own pace."""
    folder = tmp_path_factory.mktemp("without")
    ended = synthesize(folder, "api=staging", "apiRate=7")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


def test_a_stage_can_do_without(without: Path) -> None:
    """Nothing of it is left: no function, role, log, alarm; the other stage has its own pace."""
    prod = deployment(without, "prod")
    assert "api-prod" not in json.dumps([s.content for s in prod.stacks.values()])
    assert not any(r["Type"].startswith(KIND) for _, _, r in prod.resources())
    settings = deployment(without, "staging")["events"].one(KIND + "Stage")["DefaultRouteSettings"]
    assert settings == {"ThrottlingRateLimit": 7, "ThrottlingBurstLimit": 35}
