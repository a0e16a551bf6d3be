"""Templates are made offline, keep the rules, and are not deployed without what they run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from templates import ROOT, STACKS, STAGES, Deployment, needs_cdk, synthesize

needs_cdk()

from infra import package  # noqa: E402

GENERATED = {
    "W3005": "CDK names a dependency that a reference implies already",
    "W7001": "CDK brings a mapping that nothing uses",
}


def test_both_stages_are_written_with_the_stage_in_the_name(synthesized: Path) -> None:
    """One template for each stack of each stage."""
    found = {path.name for path in synthesized.glob("*.template.json")}
    assert found == {f"ngu-{name}-{stage}.template.json" for name in STACKS for stage in STAGES}


def test_the_rules_of_cdk_nag_are_kept(synthesized: Path) -> None:
    """Nothing is left that is not acknowledged, and what is acknowledged says why."""
    report = json.loads((synthesized / "validation-report.json").read_text())
    (solutions,) = report["pluginReports"]
    assert solutions["pluginName"] == "AwsSolutions"
    assert (solutions["conclusion"], solutions["violations"]) == ("success", [])
    acknowledged = solutions["suppressedViolations"]
    assert len(acknowledged) > 20
    for finding in acknowledged:
        assert len(finding["reason"]) > 30, finding["ruleName"]


def test_cfn_lint_finds_nothing(synthesized: Path) -> None:
    """Apart from two remarks on what CDK itself writes."""
    ignored = [option for rule in GENERATED for option in ("--ignore-checks", rule)]
    command = [Path(sys.executable).with_name("cfn-lint"), *ignored, "--"]
    files = sorted(map(str, synthesized.glob("*.template.json")))
    ended = subprocess.run([*command, *files], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout


def differences(one: Any, two: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Places where two templates differ."""
    if isinstance(one, dict) and isinstance(two, dict):
        return [
            found
            for key in sorted(one.keys() | two.keys())
            for found in differences(one.get(key), two.get(key), f"{path}/{key}")
        ]
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        pairs = zip(one, two, strict=True)
        return [f for i, (a, b) in enumerate(pairs) for f in differences(a, b, f"{path}/{i}")]
    return [] if one == two else [(path, one, two)]


MEANT = {
    "data": {
        "DeletionPolicy", "UpdateReplacePolicy", "DeletionProtectionEnabled",
        "PointInTimeRecoveryEnabled", "ExpirationInDays", "Transitions", "Metadata",
    },
    "events": {"RetentionInDays"},
    "monitor": {"RetentionInDays"},
    "alarms": set(),
}  # fmt: skip


@pytest.mark.parametrize("name", MEANT)
def test_stages_differ_only_where_it_is_meant(both: dict[str, Deployment], name: str) -> None:
    """Lasting data, retention; the network has its own test. Names differ by the stage."""
    prod = json.loads(json.dumps(both["prod"][name].content).replace("prod", "staging"))
    found = differences(both["staging"][name].content, prod)
    unmeant = [
        (path, one, two)
        for path, one, two in found
        if not MEANT[name] & set(path.split("/")) and not _of_an_id(path, one, two)
    ]
    assert not unmeant


def _of_an_id(path: str, one: Any, two: Any) -> bool:
    """Whether only the hash in an id that CDK makes of the stack's name differs."""
    texts = json.dumps(one), json.dumps(two)
    return "ExportsOutput" in path + "".join(texts) or "Fn::ImportValue" in path


def test_what_differs_is_there(both: dict[str, Deployment]) -> None:
    """The comparison sees what it should see."""
    stages = (both["staging"]["data"].content, both["prod"]["data"].content)
    seen = {part for path, _, _ in differences(*stages) for part in path.split("/")}
    assert {"DeletionProtectionEnabled", "PointInTimeRecoveryEnabled", "ExpirationInDays"} <= seen


def test_data_and_network_fit_in_a_request(both: dict[str, Deployment]) -> None:
    """51,200 bytes, as written by others than CDK; and no stack has over 500 resources."""
    for deployed in both.values():
        for name in ("data", "network", "monitor"):
            assert len(json.dumps(deployed[name].content)) < 51_200
        for stack in deployed.stacks.values():
            assert len(stack.content["Resources"]) < 500
            assert len(json.dumps(stack.content)) < 1_000_000


def test_what_the_operator_chooses_arrives(tmp_path: Path) -> None:
    """Buffer, encoding, service, ports, mail address and limits; nothing reserved where told."""
    chosen = [
        "service=moon", "bufferMb=4", "bufferSeconds=300", "contentEncoding=NONE", "reserve=false",
        "rpcPorts=443,8545", "alarmEmail=ops@example.org", "logLevel=debug", "mostWrites=20000",
    ]  # fmt: skip
    ended = synthesize(tmp_path, *chosen)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    events = (tmp_path / "moon-events-prod.template.json").read_text()
    for text in (
        '"SizeInMBs": 4', '"IntervalInSeconds": 300', '"ContentEncoding": "NONE"',
        '"BUFFER_BYTES": "4194304"', '"LOG_LEVEL": "debug"', '"WRITE_UNITS_MAX": "20000"',
    ):  # fmt: skip
        assert text in events
    assert "ReservedConcurrentExecutions" not in events
    assert '"FromPort": 8545' in (tmp_path / "moon-network-prod.template.json").read_text()
    assert "ops@example.org" in (tmp_path / "moon-data-prod.template.json").read_text()


def test_a_wrong_choice_is_one_line(tmp_path: Path) -> None:
    """What is wrong and what it takes, without a traceback."""
    ended = synthesize(tmp_path, "bufferMb=5")
    assert ended.returncode == 1
    assert ended.stderr.strip() == "infra: -c bufferMb=5: it takes a whole number from 1 to 4"


def test_only_a_package_of_the_present_sources_counts(tmp_path: Path) -> None:
    """What was made of other sources counts as little as no package at all."""
    made_of = {"none": None, "old": "0" * 64, "present": package.sources()}
    found = {}
    for name, mark in made_of.items():
        build = tmp_path / name
        if mark:
            for folder in (package.FUNCTIONS, package.MONITOR):
                (build / folder).mkdir(parents=True)
                (build / folder / "file").touch()
            (build / package.MARK).write_text(mark)
        found[name] = package.packaged(build) is not None
    assert found == {"none": False, "old": False, "present": True}


def test_an_unpackaged_stage_says_so_to_the_deployer(synthesized: Path) -> None:
    """Without a package, the stacks that run code carry an error: `cdk deploy` stops at it."""
    manifest = json.loads((synthesized / "manifest.json").read_text())
    packaged = package.packaged() is not None
    for stage in STAGES:
        for name in STACKS:
            artifact = manifest["artifacts"][f"ngu-{name}-{stage}"]
            text = (synthesized / artifact["additionalMetadataFile"]).read_text()
            refused = "aws:cdk:error" in text and "make package" in text
            assert refused is (name in ("events", "monitor") and not packaged)


def test_the_command_line_of_cdk_finds_the_app() -> None:
    """cdk.json runs what `make synth` runs."""
    told = json.loads((ROOT / "cdk.json").read_text())
    assert told["app"].split()[1:] == ["-m", "infra"]
    assert told["output"] == "infra/cdk.out"
    assert "CDK_OUTDIR=infra/cdk.out" in (ROOT / "Makefile").read_text()


def test_what_runs_is_locked_for_its_platform() -> None:
    """Every requirement of the package has hashes, and each wheel must be for arm64 or any."""
    lock = package.LOCK.read_text()
    pinned = [line for line in lock.splitlines() if "==" in line and not line.startswith(" ")]
    assert len(pinned) > 20
    assert lock.count("--hash=sha256:") >= len(pinned)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for wanted in (*project["dependencies"], *project["optional-dependencies"]["aws"]):
        name = re.split(r"[^\w-]", wanted)[0]
        assert any(line.startswith(f"{name}==") for line in pinned), f"{name}: run `make lock`"
    assert all("aarch64" in platform for platform in package.PLATFORMS)
    lean = [line for line in package.LEAN.read_text().splitlines() if "==" in line]
    assert {line for line in lean if not line.startswith(" ")} < set(pinned)
