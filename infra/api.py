"""The API of a stage, open to the world: a function behind an HTTP API that holds callers back."""

from __future__ import annotations

import json

from aws_cdk import CfnOutput, Duration, RemovalPolicy, Stack
from aws_cdk import aws_apigatewayv2 as gateway
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs

from infra.functions import retention
from infra.settings import Settings

PATIENCE = 29
"""Seconds until a caller is told 503; API Gateway allows no more than 30."""
BURST = 5
"""Seconds' worth of requests that may come at once: a page is some 40 of them."""
LOGGED = {
    "at": "$context.requestTime",
    "request": "$context.requestId",
    "ip": "$context.identity.sourceIp",
    "method": "$context.httpMethod",
    "path": "$context.path",
    "status": "$context.status",
    "bytes": "$context.responseLength",
    "milliseconds": "$context.responseLatency",
    "error": "$context.error.message",
}
"""Of every request, also those that were held back: whoever floods the API shows here."""


def api(stack: Stack, settings: Settings, function: lambda_.Function) -> None:
    """Build it. It answers no other origin's pages unless the settings' `web.cors` says so."""
    made = gateway.HttpApi(
        stack,
        "Api",
        api_name=settings.name("api"),
        description=f"Points of {settings.service} {settings.stage}, read-only",
        create_default_stage=False,
        default_integration=integrations.HttpLambdaIntegration(
            "function", function, timeout=Duration.seconds(PATIENCE)
        ),
    )
    log = logs.LogGroup(
        stack,
        "api-access",
        log_group_name=f"/aws/vendedlogs/{settings.name('api')}",
        retention=retention(settings),
        removal_policy=RemovalPolicy.DESTROY,
    )
    gateway.CfnStage(
        stack,
        "ApiStage",
        api_id=made.api_id,
        stage_name="$default",
        auto_deploy=True,
        default_route_settings=gateway.CfnStage.RouteSettingsProperty(
            throttling_rate_limit=settings.api_rate,
            throttling_burst_limit=settings.api_rate * BURST,
        ),
        access_log_settings=gateway.CfnStage.AccessLogSettingsProperty(
            destination_arn=log.log_group_arn, format=json.dumps(LOGGED)
        ),
    )
    CfnOutput(stack, "ApiUrl", value=made.api_endpoint, description="Where the API answers")
