"""docs/operations.md: its commands can be typed, its story comes out so, each alarm has a row."""

from __future__ import annotations

import ast
import re
import shlex

import pytest
from infra.permissions import OPERATOR, TABLE_ACTIONS
from operations_example import commands, outputs
from pages import blocks, page, table

from ngu_points.cli import cli, recover, verify

PAGE = page("docs/operations.md")
TYPED = [
    line[len("$ ngu ") :]
    for language in ("console", "text")
    for block in blocks(PAGE, language)
    for line in block.splitlines()
    if line.startswith("$ ngu ")
]
STATUS = "src/ngu_points/embedded/status.py"


@pytest.mark.parametrize("line", sorted(set(TYPED)))
def test_every_line_shown_can_be_typed(line: str) -> None:
    """Command, arguments and options are what the program takes."""
    name, *words = shlex.split(line)
    cli.commands[name].make_context(name, words)


def test_every_command_of_recovery_is_on_the_page() -> None:
    """What finds or repairs something is named where the engineer on call looks for it."""
    named = set(re.findall(r"(?:`|^\$ )ngu ([a-z-]+)", PAGE, re.M))
    assert {command.name for command in (*recover.COMMANDS, *verify.COMMANDS)} <= named


def alarm_texts() -> list[str]:
    """The longest fixed part of each alarm that status can raise, from its source."""
    (function,) = (
        node
        for node in ast.parse(page(STATUS)).body
        if isinstance(node, ast.FunctionDef) and node.name == "_alarms"
    )
    pairs = [node for node in ast.walk(function) if isinstance(node, ast.Tuple)]
    found = []
    for text, _ in (pair.elts for pair in pairs if len(pair.elts) == 2):
        parts = [n.value for n in ast.walk(text) if isinstance(n, ast.Constant)]
        fixed = [part for part in parts if isinstance(part, str) and " " in part.strip()]
        fixed += [part for part in parts if isinstance(part, str) and part.endswith(": ")]
        if fixed:
            found.append(max(fixed, key=len).strip())
    return found


def test_every_alarm_has_a_row() -> None:
    """Whatever `ngu status` complains of, the table says what it means and what to type."""
    rows = table(PAGE, "what you see", "what it means")
    seen = [row["what you see"] for row in rows]
    texts = alarm_texts()
    assert len(texts) >= 9
    for text in texts:
        assert any(text in cell for cell in seen), text
    assert all(all(row.values()) for row in rows)


def test_the_operators_policy_is_what_the_page_says() -> None:
    """Action by action, both ways; where no service is named it is that of the one before."""
    paragraph = PAGE.split("needs what the policy `ngu-operator-STAGE`")[1].split("\n\n")[0]
    service, told = "", set()
    for named, action in re.findall(r"`(?:(\w+):)?([A-Z][A-Za-z]+)`", paragraph):
        service = named or service
        told.add(f"{service}:{action}")
    does = {f"dynamodb:{TABLE_ACTIONS[v]}" for vs in OPERATOR.tables.values() for v in vs.split()}
    others = (
        ("s3", OPERATOR.objects),
        ("ssm", OPERATOR.parameters),
        ("lambda", OPERATOR.functions),
    )
    for kind, places in others:
        does |= {f"{kind}:{v}" for vs in places.values() for v in vs.split()}
    assert told == does | {"s3:ListBucket", "cloudwatch:DescribeAlarms"}


def test_the_story_of_the_page_comes_out_so() -> None:
    """Beside a node that leaves out logs, the commands shown print what is shown."""
    told = list(commands(PAGE))
    assert len(told) >= 5
    printed = outputs([command for command, _ in told])
    for (command, shown), real in zip(told, printed, strict=True):
        assert _timeless(shown) == _timeless(real), command


def _timeless(text: str) -> str:
    """Without when something was noticed or corrected."""
    return re.sub(r"(since|on) \d{4}-\d\d-\d\d [\d:]{8} UTC", r"\1 then", text)
