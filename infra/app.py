"""Both stages' stacks put together."""

from __future__ import annotations

from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_

from infra.acknowledged import acknowledge, checked
from infra.alarms import alarms
from infra.api import api
from infra.dashboard import dashboard
from infra.functions import functions, outside
from infra.host import host
from infra.network import network
from infra.package import BUILD, FUNCTIONS, MONITOR, packaged
from infra.roles import Arns, operators
from infra.schedules import schedules
from infra.settings import STAGES, Settings, settings
from infra.stores import data
from infra.streams import streams

NOT_PACKAGED = "what is to run is not packaged, or of older sources: run `make package` first"


def app(outdir: str | None = None, build: Path = BUILD) -> cdk.App:
    """The app; templates go to `outdir`, or where the CDK command line says.

    Without a package of the present sources there are templates, but `cdk deploy` refuses them.
    """
    context = {"@aws-cdk/core:defaultCrossStackReferences": "strong"}
    made = cdk.App(outdir=outdir, analytics_reporting=False, context=context)
    checked(made)
    code = packaged(build)
    for stage in STAGES:
        stacks(made, settings(stage, made.node.try_get_context), code)
    return made


def stacks(of: cdk.App, stage: Settings, code: Path | None) -> None:
    """One stage, in stacks that change at different times."""
    net = network(_stack(of, stage, "network"), stage)
    lasting = data(_stack(of, stage, "data"), stage)
    events = _stack(of, stage, "events")
    made = functions(events, stage, lasting, code / FUNCTIONS if code else None)
    streams(events, stage, lasting, made.urls)
    schedules(events, stage)
    operators(events, stage, outside(lasting))
    if made.api is not None:
        api(events, stage, made.api)
    _let_alarms_scale(events, stage, made.scale)
    monitor = _stack(of, stage, "monitor")
    host(monitor, stage, net, lasting, code / MONITOR if code else None)
    monitor.add_stack_dependency(
        events, "the monitor sends to the streams from its first minute on"
    )
    watch = _stack(of, stage, "alarms")
    dashboard(watch, stage, alarms(watch, stage, lasting))
    watch.add_stack_dependency(events, "alarms call the scale function")
    if code is None:
        for unfinished in (events, monitor):
            cdk.Annotations.of(unfinished).add_error(NOT_PACKAGED)


def _let_alarms_scale(stack: cdk.Stack, stage: Settings, scale: lambda_.Function) -> None:
    lambda_.CfnPermission(
        stack,
        "alarms-scale",
        action="lambda:InvokeFunction",
        function_name=scale.function_arn,
        principal="lambda.alarms.cloudwatch.amazonaws.com",
        source_account=cdk.Aws.ACCOUNT_ID,
        source_arn=Arns(stack, stage).alarm("*"),
    )


def _stack(of: cdk.App, stage: Settings, name: str) -> cdk.Stack:
    made = cdk.Stack(of, stage.name(name), stack_name=stage.name(name))
    cdk.Tags.of(made).add("service", stage.service)
    cdk.Tags.of(made).add("stage", stage.stage)
    cdk.Tags.of(made).add("component", name)
    acknowledge(made, name, stage)
    return made
