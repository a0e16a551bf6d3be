"""Read the documents: their tables, code blocks and commands."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def page(path: str) -> str:
    """A document's text, by its path from the root of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def tables(text: str) -> list[list[dict[str, str]]]:
    """Every table of a page, as rows by column name."""
    found: list[list[dict[str, str]]] = []
    header: list[str] | None = None
    for line in text.splitlines():
        if not line.startswith("|"):
            header = None
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split(" |")]
        if header is None:
            header = cells
            found.append([])
        elif not set(line) <= set("|- "):
            found[-1].append(dict(zip(header, cells, strict=True)))
    return found


def table(text: str, *columns: str) -> list[dict[str, str]]:
    """The only table of a page whose columns begin so."""
    fitting = [t for t in tables(text) if t and tuple(t[0])[: len(columns)] == columns]
    assert len(fitting) == 1, f"{len(fitting)} tables begin with {columns}"
    return fitting[0]


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return [body for tag, body in _BLOCK.findall(text) if tag == language]
