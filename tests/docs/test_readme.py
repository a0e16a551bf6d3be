"""What README, CONTRIBUTING and the other documents name exists, and does what they show."""

from __future__ import annotations

import re

import click
import pytest
from pages import ROOT, blocks, page
from readme_example import commands, outputs

from ngu_points.cli import cli

PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
)  # fmt: skip
PLACES = r"(?:src|docs|tests|contracts|bench|requirements|\.ci)/"
LOCAL_COMMAND = re.compile(r"(?:^\$ |`|^)ngu ([a-z][a-z-]*)([^`\n#]*)", re.M)
NAMED_PATH = re.compile(rf"(?<![\w/.-]){PLACES}[\w./-]*\w")
TARGET = re.compile(r"\bmake ([a-z]+)")
WRITTEN_LATER = "bench/results"  # git-ignored
NOT_YET = "docs/requirements.md"  # names what later issues will bring


def inventory(text: str) -> str:
    """A page without the blocks that show output."""
    return re.sub(r"^```text\n.*?^```$", "", text, flags=re.M | re.S)


@pytest.mark.parametrize("name", [p for p in PAGES if p != NOT_YET])
def test_every_command_and_option_named_exists(name: str) -> None:
    """Each `ngu …` is a command of ours, and each option behind it one of that command's."""
    for command, rest in LOCAL_COMMAND.findall(inventory(page(name))):
        assert command in cli.commands, f"ngu {command}"
        options = {o for p in cli.commands[command].params for o in p.opts} | {"--help"}
        for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest):
            assert option in options, f"ngu {command} {option}"


@pytest.mark.parametrize("name", PAGES)
def test_every_file_named_exists(name: str) -> None:
    """Paths into the repository lead somewhere."""
    for path in NAMED_PATH.findall(page(name)):
        assert (ROOT / path).exists() or path.startswith(WRITTEN_LATER), path


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    """Links to files are there, links into pages have their heading."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page(name)):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
            assert anchor in {_anchor(heading) for heading in headings}, link


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", PAGES)
def test_every_make_target_named_exists(name: str) -> None:
    """`make …` in a code span or block is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", page("Makefile"), re.M))
    code = re.findall(r"`([^`\n]*)`", page(name)) + blocks(page(name), "sh")
    for text in code:
        if name != NOT_YET:
            assert set(TARGET.findall(text)) <= targets, text


def test_the_readme_names_every_command() -> None:
    """The table of commands is complete, in the order of `ngu --help`."""
    named = re.findall(r"^\| `ngu ([a-z-]+)` \|", page("README.md"), re.M)
    assert sorted(named) == sorted(cli.list_commands(click.Context(cli)))


def test_the_worked_example_prints_what_the_readme_shows() -> None:
    """The commands of the README, run on the example chain, print the README's text."""
    told = list(commands(page("README.md")))
    assert len(told) >= 5
    printed = outputs([command for command, _ in told])
    for (command, shown), real in zip(told, printed, strict=True):
        assert _timeless(shown) == _timeless(real), command


def _timeless(text: str) -> str:
    """Without how long it took."""
    return re.sub(r"in [\d.,]+ s \([\d.,]+/s\)", "in a while", text)
