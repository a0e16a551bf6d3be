"""A stage's parts put together: clients of AWS, store, archive, settings.

Clients are made when they are first asked for and kept for the life of the process; settings are
read again every few minutes. boto3 is imported no earlier.
"""

from __future__ import annotations

import os
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from math import inf
from pathlib import Path
from random import Random
from typing import Any

from ngu_points import config
from ngu_points.aws.archive import Archive
from ngu_points.aws.dynamo import Dynamo
from ngu_points.aws.environment import Environment
from ngu_points.aws.limits import Bounds
from ngu_points.aws.records import Origin
from ngu_points.aws.store import Store
from ngu_points.aws.trouble import naming
from ngu_points.config import Config, contract_of
from ngu_points.engine.rules import Rules
from ngu_points.errors import TransientError, UsageError

SETTINGS_KEPT = 300  # seconds
CONNECTIONS = 32
ENDING = 5.0
"""Seconds that a process needs to say that it could not finish."""


@cache
def client(service: str, region: str) -> Any:
    """The process's client of one of AWS's services; AWS_ENDPOINT_URL leads it elsewhere.

    Calls to DynamoDB are repeated by `Dynamo` alone.
    """
    made = session()
    from botocore.config import Config as Calls  # type: ignore[import-untyped]

    attempts = 1 if service == "dynamodb" else 4
    calls = Calls(
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": attempts},
    )
    with naming(f"the service {service} in {region}"):
        return made.client(service, region_name=region, config=calls)


def session() -> Any:
    """What boto3 knows of the account, the region and the credentials."""
    try:
        import boto3  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError(
            "boto3, by which AWS is called, is not installed: pip install 'ngu-points[aws]'"
        ) from None
    with naming("the AWS profile"):
        return boto3.Session()


Left = Callable[[], float]
"""Seconds until this process is ended."""


def dynamo(env: Environment, left: Left = lambda: inf) -> Dynamo:
    """The tables of a stage; TransientError where waiting for them would outlast this process."""

    def wait(seconds: float) -> None:
        if left() < seconds + ENDING:
            raise TransientError("DynamoDB is busy and time is over: try again later")
        time.sleep(seconds)

    made = Dynamo(client("dynamodb", env.region), env.service, env.stage, wait, Random())
    made.names.update(env.tables)
    return made


def store(env: Environment, rules: Rules, left: Left = lambda: inf) -> Store:
    """The store of a stage, with its archive; nobody's to write until `lead`."""
    made = Store(dynamo(env, left), rules)
    if env.archive:
        made.archive = archive(env, made)
    return made


def archive(env: Environment, of: Store) -> Archive:
    """The archive of a stage; UsageError where it has none."""
    if not env.archive:
        raise UsageError("ARCHIVE_BUCKET is not set in the environment: the deployment sets it,"
                         " see docs/deploy.md")  # fmt: skip
    return Archive(client("s3", env.region), env.archive, of)


def settings(env: Environment, now: float) -> Config:
    """The stage's settings from Parameter Store, at most some minutes old.

    Raises UsageError where there are none or they are wrong. A CSV of weights that they name
    lies in `config/` beside the code.
    """
    return _settings(env.parameters, env.region, int(now // SETTINGS_KEPT))


@lru_cache(maxsize=1)
def _settings(path: str, region: str, period: int) -> Config:  # noqa: ARG001 -- ends the cache
    name = f"{path}/settings"
    with naming(f"the parameter {name}"):
        answer = client("ssm", region).get_parameter(Name=name)
    return parsed(answer["Parameter"]["Value"], name)


def parsed(
    text: str, where: str, variables: Mapping[str, str] = {}, given: Mapping[str, Any] = {}
) -> Config:
    """Settings from the text of an ngu.toml; UsageError naming `where` if they are wrong.

    `variables` and what is `given` go before them, as in `config.load`.
    """
    try:
        named = tomllib.loads(text).get("points", {}).get("weights_csv")
    except (tomllib.TOMLDecodeError, AttributeError) as error:
        raise UsageError(f"{where} is not valid TOML: {error}") from error
    folder = Path(os.environ.get("LAMBDA_TASK_ROOT", ".")) / "config"
    options = {"points.weights_csv": str((folder / named).resolve())} if named else {}
    options |= {name: value for name, value in given.items() if value is not None}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "ngu.toml"
        path.write_text(text, encoding="utf-8")
        try:
            return config.load(path, variables, options)
        except UsageError as error:
            said = str(error).replace(str(path), where)
            raise UsageError(said if where in said else f"{where}: {said}") from error


def origin(env: Environment, config: Config, chain_id: int) -> Origin:
    """What records of this stage say they are of.

    `chain_id` is the one that the tables are of, for settings that do not name it; TransientError
    while it is 0, as it is until the event monitor has begun.
    """
    known = config.chain.chain_id or chain_id
    if not known:
        raise TransientError(
            "it is not known yet which chain the tables are of: the event monitor says so when it"
            " starts, or chain.chain_id in the settings"
        )
    return Origin(env.stage, known, contract_of(config).addresses)


def variable(
    name: str, default: str | None = None, variables: Mapping[str, str] | None = None
) -> str:
    """A variable of the environment that only one unit of compute has; UsageError without it."""
    value = (os.environ if variables is None else variables).get(name) or default
    if value is None:
        raise UsageError(f"{name} is not set in the environment: the deployment sets it, see"
                         " docs/deploy.md")  # fmt: skip
    return value


def whole(name: str, default: int | None = None, variables: Mapping[str, str] | None = None) -> int:
    """A variable that is a whole number above 0."""
    text = variable(name, None if default is None else str(default), variables)
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise UsageError(f"{name} in the environment is {text!r}: it takes a whole number above 0")
    return int(text)


def bounds(variables: Mapping[str, str]) -> Bounds:
    """How far a stage's limits may be raised, as the scale function is told."""
    kept = Bounds()
    return Bounds(
        whole("WRITE_UNITS_MAX", kept.writes, variables),
        whole("READ_UNITS_MAX", kept.reads, variables),
        whole("PROCESS_MEMORY_MAX", kept.memory, variables),
        whole("QUIET_SECONDS", kept.quiet, variables),
    )
