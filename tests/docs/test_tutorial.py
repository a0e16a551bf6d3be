"""docs/tutorial.md leads from a contract address to a running leaderboard."""

from __future__ import annotations

import re

from pages import blocks, page
from readme_example import commands, outputs
from tutorial_example import CHAIN, settings


def test_the_settings_are_those_of_the_file() -> None:
    """The settings that the page shows are docs/example/erc721.toml."""
    assert blocks(page("docs/tutorial.md"), "toml") == [settings()]


def test_the_commands_print_what_the_page_shows() -> None:
    """Every command of the tutorial, run in its order, prints the page's text."""
    told = list(commands(page("docs/tutorial.md")))
    assert len(told) >= 6
    printed = outputs([command for command, _ in told], **CHAIN)
    for (command, shown), real in zip(told, printed, strict=True):
        assert _timeless(shown) == _timeless(real), command


def _timeless(text: str) -> str:
    """Without how long it took."""
    return re.sub(r"in [\d.,]+ s \([\d.,]+/s\)", "in a while", text)
