"""The story of docs/operations.md: its commands run for real, beside a node that leaves out logs.

`.venv/bin/python tests/docs/operations_example.py` writes the outputs into the page.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/operations.md"
LOST = {("0x1f", "0x2"), *(("0x4d", hex(index)) for index in range(99))}
"""One log of block 31 and all of block 77, by block and log index."""
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of the page's console blocks, with the output that follows it."""
    for block in _CONSOLE.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def outputs(lines: list[str]) -> list[str]:
    """What the commands print, one after the other, on what a lossy sync has left."""
    sys.path.insert(0, str(ROOT / "tests"))
    from cli.faulty import serving
    from cli.program import address, busy_chain, ngu
    from cli.test_recover import leaving_out

    node = busy_chain(160)
    with tempfile.TemporaryDirectory() as folder, chdir(folder), serving(node) as served:
        served.fault = leaving_out(LOST)
        Path("ngu.toml").write_text(
            f'[chain]\nrpc = ["{served.url}"]\n[contract]\naddress = "{address(node)}"\n'
            'kind = "ngu"\n[store]\ndb = "ngu.db"\n',
            encoding="utf-8",
        )
        ngu("sync")
        return [ngu(*shlex.split(line)[1:]).out for line in lines]


def main() -> None:
    """Write the outputs into the page."""
    text = PAGE.read_text(encoding="utf-8")
    told = list(commands(text))
    printed = iter(outputs([command for command, _ in told]))

    def written(block: re.Match[str]) -> str:
        lines = [f"$ {command}\n{next(printed)}" for command, _ in commands(block[0])]
        return "```console\n" + "".join(lines) + "```"

    PAGE.write_text(_CONSOLE.sub(written, text), encoding="utf-8")


if __name__ == "__main__":
    os.environ.pop("NGU_TEST_PROFILE", None)
    main()
