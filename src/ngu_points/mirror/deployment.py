"""A deployed stage as a command sees it: its names, settings, tables, archive, parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from ngu_points.aws import environment as environments
from ngu_points.aws import wiring
from ngu_points.aws.archive import Archive
from ngu_points.aws.environment import Environment
from ngu_points.aws.parameters import SETTINGS, Parameters
from ngu_points.aws.store import Store
from ngu_points.aws.tables import table_name
from ngu_points.aws.trouble import naming
from ngu_points.config import Config, rules_of
from ngu_points.errors import NguError, UsageError

SERVICE = "ngu"
"""The service's name where none is given, as in the CDK app."""


@dataclass(frozen=True)
class Deployment:
    """One stage, and the settings that its commands go by. Made by `opened`."""

    env: Environment
    config: Config

    @cached_property
    def store(self) -> Store:
        """The tables; UsageError where they are not there."""
        return Store(wiring.dynamo(self.env), rules_of(self.config))

    @cached_property
    def archive(self) -> Archive:
        """The archive in S3, which the store knows from then on too."""
        archive = Archive(self.s3, self.bucket, self.store)
        self.store.archive = archive
        return archive

    @property
    def s3(self) -> Any:
        return wiring.client("s3", self.env.region)

    @cached_property
    def bucket(self) -> str:
        """ARCHIVE_BUCKET, or the name that the CDK app gives it in the account signed in to."""
        if self.env.archive:
            return self.env.archive
        with naming("the account that is signed in to"):
            account = wiring.client("sts", self.env.region).get_caller_identity()["Account"]
        name = table_name(self.env.service, "archive", self.env.stage)
        return f"{name}-{account}-{self.env.region}"

    @cached_property
    def parameters(self) -> Parameters:
        return _parameters(self.env)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.env.service} {self.env.stage} in {self.env.region}"

    def asking(self) -> Config:
        """The settings with the addresses of nodes: those given, else the stage's own."""
        chain = self.config.chain
        if chain.rpc:
            return self.config
        chain = msgspec.structs.replace(chain, rpc=self.parameters.rpc())
        return msgspec.structs.replace(self.config, chain=chain)

    def check(self) -> None:
        """Raise NguError where nothing has been processed yet, or under other rules."""
        if self.store.position().timestamp == 0:
            raise NguError(f"the tables of {self.name} cover no block yet: does the event monitor"
                           " run? See docs/deploy.md")  # fmt: skip
        self.store.check_rules()


def opened(
    given: Config, variables: Mapping[str, str], options: Mapping[str, Any], *, own: bool
) -> Deployment:
    """The stage that settings and environment name.

    Its settings are those in Parameter Store, with variables and `options` over them; or `given`
    itself, if these are the user's `own`.
    """
    env = environment(given, variables)
    if own:
        return Deployment(env, given)
    text = _parameters(env).settings()
    where = f"{env.parameters}/{SETTINGS}"
    config = wiring.parsed(text, where, variables, options)
    store = msgspec.structs.replace(config.store, kind=given.store.kind)
    return Deployment(env, msgspec.structs.replace(config, store=store))


def environment(given: Config, variables: Mapping[str, str]) -> Environment:
    """The names of a stage; UsageError where the stage or the region is not known."""
    service = given.store.service or variables.get("SERVICE") or SERVICE
    stage = given.store.stage or variables.get("NODE_ENV")
    if not stage:
        raise UsageError("which stage? give --stage prod or --stage staging")
    region = variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION") or _region()
    named = {"SERVICE": service, "NODE_ENV": stage, "AWS_REGION": region}
    found = environments.environment({**variables, **named, "LOG_LEVEL": "info"})
    return replace(found, service=service)


def _region() -> str:
    with naming("the AWS profile"):
        region = wiring.session().region_name
    if not region:
        raise UsageError("no AWS region: set AWS_REGION, or AWS_PROFILE to a profile that has one")
    return str(region)


def _parameters(env: Environment) -> Parameters:
    return Parameters(wiring.client("ssm", env.region), env.parameters)


def cache(deployment: Deployment, variables: Mapping[str, str]) -> Path:
    """Where the copy of a stage is kept on this machine.

    A bucket's name is the only one in the world, and no object in it is ever another.
    """
    base = Path(variables.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    env = deployment.env
    return base / "ngu-points" / deployment.bucket / f"{env.service}-{env.stage}.db"
