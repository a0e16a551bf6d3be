"""Compile the contracts into the artifacts in the package: `python contracts/compile.py`.

Needs node and npm. The compiler is the one that package-lock.json pins by its integrity hash; it
is installed into .tools/solc once.
"""

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parent / ".tools"
PACKAGE = HERE.parent / "src" / "ngu_points"
LAYERS = {"NGU": "demo", "Emitter": "demo", "Multicall": "chain"}
"""The contracts, and where in the package each one's artifact lies."""
EVM = {"demo": "cancun", "chain": "london"}
"""What they are compiled for: one that reads a chain must run at its old blocks too."""

_INSTALL = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0")
_OUTPUT = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "metadata"]


class NoCompiler(Exception):  # noqa: N818 -- a reason to skip, not a defect
    """The pinned compiler cannot be had on this machine; the text says why."""


def artifacts() -> dict[Path, str]:
    """What the artifact files must hold, by path. Raises NoCompiler."""
    compiler = _compiler()
    found = {}
    for layer, evm in EVM.items():
        names = [name for name, place in LAYERS.items() if place == layer]
        settings = _settings(evm)
        output = _solc(compiler, names, settings)
        problems = [error["formattedMessage"] for error in output.get("errors", [])]
        if problems:
            raise SystemExit("".join(problems))
        for name in names:
            path = PACKAGE / layer / f"{name.lower()}.json"
            found[path] = _artifact(name, output["contracts"][f"{name}.sol"], settings)
    return found


def _settings(evm: str) -> dict[str, Any]:
    return {
        "optimizer": {"enabled": True, "runs": 200},
        "evmVersion": evm,
        # Without its own hash in it, the bytecode depends on the code alone, not on comments.
        "metadata": {"appendCBOR": False, "bytecodeHash": "none"},
    }


def _artifact(name: str, compiled: dict[str, Any], settings: dict[str, Any]) -> str:
    contract = compiled[name]
    content = {
        "contract": name,
        "compiler": "solc " + json.loads(contract["metadata"])["compiler"]["version"],
        "settings": settings,
        "abi": contract["abi"],
        "bytecode": "0x" + contract["evm"]["bytecode"]["object"],
        "runtime": "0x" + contract["evm"]["deployedBytecode"]["object"],
    }
    return json.dumps(content, indent=1) + "\n"


def _solc(compiler: Path, names: list[str], settings: dict[str, Any]) -> dict[str, Any]:
    request = {
        "language": "Solidity",
        "sources": {
            f"{name}.sol": {"content": (HERE / f"{name}.sol").read_text("utf-8")} for name in names
        },
        "settings": settings | {"outputSelection": {"*": {"*": _OUTPUT}}},
    }
    done = _run([_program("node"), str(compiler), "--standard-json"], text=json.dumps(request))
    start = done.stdout.find("{")
    if done.returncode != 0 or start < 0:
        raise NoCompiler(f"the Solidity compiler does not run: {_last_line(done.stderr)}")
    output: dict[str, Any] = json.loads(done.stdout[start:])
    return output


def _compiler() -> Path:
    """The pinned compiler's script, installed first if it is not there yet."""
    lock = (HERE / "package-lock.json").read_bytes()
    home = TOOLS / f"solc-{hashlib.sha256(lock).hexdigest()[:12]}"
    script = home / "node_modules" / "solc" / "solc.js"
    if not script.exists():
        _install(home)
    return script


def _install(home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="solc-") as name:
        fresh = Path(name) / "solc"
        fresh.mkdir()
        for file in ("package.json", "package-lock.json"):
            shutil.copyfile(HERE / file, fresh / file)
        command = [_program("npm"), *_INSTALL, "--cache", str(Path(name) / "cache")]
        done = _run(command, directory=fresh)
        if done.returncode != 0:
            raise NoCompiler("npm cannot install the Solidity compiler: see npm ci in contracts/")
        # Somebody else may have been faster: theirs is as good.
        with contextlib.suppress(OSError):
            fresh.replace(home)


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise NoCompiler(f"{name} is needed to compile the contracts and is not installed")
    return path


def _run(
    command: list[str], text: str = "", directory: Path | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            input=text,
            cwd=directory,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoCompiler(f"{Path(command[0]).name} does not work here") from error


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "no reason given"


def main() -> None:
    """Write the artifact files."""
    try:
        written = artifacts()
    except NoCompiler as reason:
        raise SystemExit(f"nothing compiled: {reason}") from None
    for path, text in written.items():
        path.write_text(text, "utf-8")
        sys.stdout.write(f"{path.name}: {len(text):,} characters\n")


if __name__ == "__main__":
    main()
