"""Both stages' stacks put together."""

from __future__ import annotations

import aws_cdk as cdk

from infra.data import data
from infra.network import network
from infra.settings import STAGES, Settings, settings


def app(outdir: str | None = None) -> cdk.App:
    """The app; templates go to `outdir`, or where the CDK command line says."""
    made = cdk.App(outdir=outdir, analytics_reporting=False)
    for stage in STAGES:
        stacks(made, settings(stage, made.node.try_get_context))
    return made


def stacks(of: cdk.App, stage: Settings) -> None:
    """One stage, in stacks that change at different times."""
    network(_stack(of, stage, "network"), stage)
    data(_stack(of, stage, "data"), stage)


def _stack(of: cdk.App, stage: Settings, name: str) -> cdk.Stack:
    made = cdk.Stack(of, stage.name(name), stack_name=stage.name(name))
    cdk.Tags.of(made).add("service", stage.service)
    cdk.Tags.of(made).add("stage", stage.stage)
    cdk.Tags.of(made).add("component", name)
    return made
