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
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each `ngu` command of the README's console blocks, with the output that follows it."""
    for block in _CONSOLE.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            if command.startswith("ngu "):
                yield command, output


def outputs(lines: list[str]) -> list[str]:
    """What the commands print, one after the other, in a folder that holds docs/example only."""
    sys.path.insert(0, str(ROOT / "tests"))
    from localnode import served

    node = runpy.run_path(str(ROOT / "docs/example/node.py"))["example_node"]()
    with tempfile.TemporaryDirectory() as folder, served(node) as where:
        shutil.copytree(ROOT / "docs/example", Path(folder) / "docs/example")
        plain = {k: v for k, v in os.environ.items() if not k.startswith("NGU_")}
        env = plain | {"NGU_CHAIN_RPC": where.url, "COLUMNS": WIDTH, "LOG_LEVEL": "error"}
        return [_printed(line, folder, env) for line in lines]


def _printed(line: str, folder: str, env: dict[str, str]) -> str:
    words = [sys.executable, "-m", "ngu_points", *shlex.split(line)[1:]]
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return "".join(row.rstrip() + "\n" for row in done.stdout.splitlines())


def main() -> None:
    """Write the outputs into the README."""
    text = README.read_text(encoding="utf-8")
    told = list(commands(text))
    for (command, old), new in zip(told, outputs([c for c, _ in told]), strict=True):
        text = text.replace(f"$ {command}\n{old}", f"$ {command}\n{new}")
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
