"""The README's worked example: its commands run for real, on the chain of docs/example.

`.venv/bin/python tests/docs/readme_example.py` writes the outputs into the README.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
WIDTH = "100"
WRITTEN = "http://127.0.0.1:8545"  # where the documents say that the node is
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each `ngu` command of the README's console blocks, with the output that follows it."""
    for block in _CONSOLE.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            if command.startswith("ngu "):
                yield command, output


def outputs(lines: list[str], chain: str = "node.py", maker: str = "example_node") -> list[str]:
    """What the commands print, one after the other, in a folder that holds docs/example only."""
    sys.path.insert(0, str(ROOT / "tests"))
    from localnode import served

    node = runpy.run_path(str(ROOT / "docs/example" / chain))[maker]()
    with tempfile.TemporaryDirectory() as folder, served(node) as where:
        shutil.copytree(ROOT / "docs/example", Path(folder) / "docs/example")
        return [_printed(line.replace(WRITTEN, where.url), folder, where.url) for line in lines]


def environment(url: str) -> dict[str, str]:
    """The environment of a command: a node, and nothing that whoever runs the tests may have."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("NGU_")}
    return plain | {"NGU_CHAIN_RPC": url, "COLUMNS": WIDTH, "LOG_LEVEL": "error"}


def _printed(line: str, folder: str, url: str) -> str:
    words = [sys.executable, "-m", "ngu_points", *shlex.split(line)[1:]]
    done = subprocess.run(words, cwd=folder, env=environment(url), capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return "".join(row.rstrip() + "\n" for row in done.stdout.splitlines())


def write(page: Path, **chain: str) -> None:
    """Write the outputs into a page."""
    text = page.read_text(encoding="utf-8")
    told = list(commands(text))
    for (command, old), new in zip(told, outputs([c for c, _ in told], **chain), strict=True):
        text = text.replace(f"$ {command}\n{old}", f"$ {command}\n{new}", 1)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(README)
