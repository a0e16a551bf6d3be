"""The house rules that a machine can check."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    [
        *(ROOT / "src").rglob("*.py"),
        *(ROOT / "bench").rglob("*.py"),
        *(ROOT / "infra").glob("*.py"),
    ]
)
FORBIDDEN = {"utils", "helpers", "common", "misc", "base", "manager", "data"}
FILE_LINES, FUNCTION_LINES, PARAMETERS = 500, 60, 9


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_small_and_say_what_they_are_for(path: Path) -> None:
    """Every module has a docstring, at most 500 lines, and a name that means something."""
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "no module docstring"
    assert len(text.splitlines()) <= FILE_LINES
    assert path.stem not in FORBIDDEN


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_functions_fit_on_a_screen(path: Path) -> None:
    """No function has more than 60 lines or 9 parameters (click's options aside)."""
    for function in functions(path):
        lines = (function.end_lineno or 0) - function.body[0].lineno + 1
        assert lines <= FUNCTION_LINES, f"{function.name} has {lines} lines"
        count = len(function.args.args) + len(function.args.kwonlyargs)
        assert count <= PARAMETERS, f"{function.name} takes {count} parameters"


def test_every_test_says_what_must_hold() -> None:
    """Each test function has a docstring."""
    silent = [
        f"{path.relative_to(ROOT)}::{function.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for function in functions(path)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert not silent


def test_no_committed_file_names_a_registry_or_a_machine() -> None:
    """Locks and code hold hashes and names, never a host that serves packages or a home folder."""
    hosts = [
        "pypi" + ".org",
        "pythonhosted" + ".org",
        "registry." + "npmjs",
        "/ro" + "ot/",
        "/wo" + "rk/",
    ]
    found = []
    for path in ROOT.rglob("*"):
        made = ("node_modules", "results", "cdk.out", "__pycache__")
        hidden = any(part.startswith(".") or part in made for part in
                     path.relative_to(ROOT).parts[:-1])  # fmt: skip
        hidden |= path.name == ".git"  # of a worktree, where it is a file
        if path.is_file() and not hidden and path.stat().st_size < 5_000_000:
            text = path.read_text(encoding="utf-8", errors="ignore")
            found += [f"{path.relative_to(ROOT)}: {host}" for host in hosts if host in text]
    assert not found


def test_no_two_test_files_share_a_name() -> None:
    """Pytest imports them by name: of two with one name, the second cannot be collected."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")
             if not (path.parent / "__init__.py").exists()]  # fmt: skip
    assert sorted(names) == sorted(set(names))
