"""docs/cli.md is what the commands say, and completion works as it tells."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from cli_page import render
from pages import blocks, page

from cli.program import KEPT
from ngu_points.cli import MODULES, cli


def completed(shell: str, words: str) -> str:
    """What `ngu` offers to a shell for the last of some words."""
    told = {"_NGU_COMPLETE": f"{shell}_complete", "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" "))}  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "ngu_points"], env=KEPT | told,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.stderr == ""
    return done.stdout


def test_the_page_is_current() -> None:
    """Made anew, the page is what is there: else run tests/docs/cli_page.py."""
    assert page("docs/cli.md") == render()


def test_every_command_teaches() -> None:
    """Each command and each of its options has a help text."""
    for name, command in cli.commands.items():
        assert command.help, name
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert getattr(parameter, "help", None), (name, parameter.name)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shells_get_a_script(shell: str) -> None:
    """The line in the page makes `ngu` print the script of that shell."""
    told = {"_NGU_COMPLETE": f"{shell}_source"}
    done = subprocess.run([sys.executable, "-m", "ngu_points"], env=KEPT | told,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert "_NGU_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("shell", "question"),
    [
        ("bash", "source ~/.bashrc; COMP_WORDS=(ngu lead) COMP_CWORD=1; _ngu_completion ngu lead"
                 '; echo "${COMPREPLY[@]}"'),
        ("zsh", "source ~/.zshrc; export COMP_WORDS='ngu lead' COMP_CWORD=1;"
                " echo $_comps[ngu]; _NGU_COMPLETE=zsh_complete ngu"),
        ("fish", "complete -C 'ngu lead'"),
    ],
)  # fmt: skip
def test_the_pages_lines_work_in_the_shell(shell: str, question: str, tmp_path: Path) -> None:
    """Typed as they stand, in a new home; then the shell itself completes a command."""
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} here")
    lines = next(block for block in blocks(page("docs/cli.md"), "sh") if "_NGU_COMPLETE" in block)
    path = f"{Path(sys.executable).parent}:{KEPT['PATH']}"
    env = {**KEPT, "HOME": str(tmp_path), "PATH": path, "XDG_CONFIG_HOME": f"{tmp_path}/.config"}
    subprocess.run(["sh", "-ec", lines], env=env, check=True, timeout=60)
    words = [shell, "--no-rcs"] if shell == "zsh" else [shell]
    done = subprocess.run([*words, "-c", question], env=env, capture_output=True, text=True,
                          check=False, timeout=60)  # fmt: skip
    assert "leaderboard" in done.stdout, done.stderr
    assert "not found" not in done.stderr


def test_every_command_is_where_it_is_looked_for() -> None:
    """The table from which one module is imported has all commands of that module."""
    for module, names in MODULES.items():
        held = import_module(f"ngu_points.cli.{module}").COMMANDS
        assert tuple(command.name for command in held) == names
    assert cli.get_command(click.Context(cli), "nothing") is None


@pytest.mark.parametrize("module", ["work", "look"])
def test_a_command_on_a_file_starts_without_what_is_of_aws(module: str) -> None:
    """What only the tables on AWS or a progress bar need is not imported before it is needed."""
    said = f"import sys, ngu_points.cli.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], env=KEPT, capture_output=True, text=True,
                          check=True)  # fmt: skip
    unneeded = ("ngu_points.aws", "ngu_points.mirror", "rich.progress", "boto3")
    assert [name for name in done.stdout.split() if name.startswith(unneeded)] == []


def test_commands_options_and_choices_are_completed() -> None:
    """The beginning of a command, an option or a choice is enough."""
    assert "leaderboard" in completed("bash", "ngu lead")
    assert "--finality" in completed("bash", "ngu sync --fin")
    assert "erc721" in completed("bash", "ngu sync --kind er")
