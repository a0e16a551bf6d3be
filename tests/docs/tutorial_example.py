"""docs/tutorial.md: its commands run for real, on the collection of docs/example/erc721.py.

`.venv/bin/python tests/docs/tutorial_example.py` writes settings and outputs into the page.
"""

from __future__ import annotations

import re
from pathlib import Path

from readme_example import write

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/tutorial.md"
SETTINGS = ROOT / "docs/example/erc721.toml"
CHAIN = {"chain": "erc721.py", "maker": "collection_node"}


def settings() -> str:
    """The settings file, below its first comment."""
    return SETTINGS.read_text(encoding="utf-8").partition("\n\n")[2]


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    block = f"```toml\n{settings()}```\n"
    PAGE.write_text(re.sub(r"```toml\n.*?```\n", lambda _: block, text, flags=re.S), "utf-8")
    write(PAGE, **CHAIN)
