"""docs/schema.md, made from the comments of the schema.

`.venv/bin/python tests/docs/schema_page.py` writes it.
"""

from __future__ import annotations

import re
from pathlib import Path

from ngu_points.embedded.database import SCHEMA, VERSION

PAGE = Path(__file__).resolve().parents[2] / "docs/schema.md"
_TABLE = re.compile(r"CREATE TABLE (\w+) \((.*?)\)(?: WITHOUT ROWID)?;([^\n]*)", re.S)
_INDEX = re.compile(r"CREATE INDEX (\w+) ON (\w+) \(([^)]*)\)( WHERE [^;]*)?;")


def render(schema: str = SCHEMA) -> str:
    """The page."""
    about = [line[3:] for line in schema.splitlines() if line.startswith("-- ")]
    parts = [
        "# The database",
        "One SQLite file (WAL). This page is made from the schema in"
        " `src/ngu_points/embedded/database.py`:\nafter a change there, run"
        " `.venv/bin/python tests/docs/schema_page.py`.",
        f"Schema version {VERSION}. " + "\n".join(about),
    ]
    for name, body, behind in _TABLE.findall(schema):
        parts.append(_described(name, body, behind, schema))
    return "\n\n".join(parts) + "\n"


def _described(name: str, body: str, behind: str, schema: str) -> str:
    first, _, rest = body.partition("\n")
    lines = [line.strip() for line in (rest if rest else first).splitlines()]
    about = _remark(first) if rest else _remark(behind)
    out = [f"## `{name}`", *([_sentence(about)] if about else [])]
    if rest:
        rows = [_row(line) for line in lines if line and not line.startswith("PRIMARY KEY")]
        keys = [line for line in lines if line.startswith("PRIMARY KEY")]
        out.append("\n".join(["| column | type | |", "| --- | --- | --- |", *rows]))
        out += [f"Primary key: {key[key.index('(') + 1 : -1]}." for key in keys]
    else:
        out.append(f"`{first.strip()}`")
    for index, table, columns, where in _INDEX.findall(schema):
        if table == name:
            out.append(f"Index `{index}` on ({columns}){where.lower()}.")
    return "\n\n".join(out)


def _row(line: str) -> str:
    code, _, _ = line.partition("--")
    column, _, kind = code.strip().rstrip(",").partition(" ")
    return f"| `{column.strip(chr(34))}` | {kind.lower()} | {_remark(line)} |"


def _remark(text: str) -> str:
    return text.partition("--")[2].strip()


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
