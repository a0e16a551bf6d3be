"""What runs on AWS, ready to be shipped: `python -m infra.package` fills infra/.build.

The event monitor gets our code and the locked dependencies for arm64 as wheels, which it installs
without a package index, and the functions a folder of those that they import. A mark says of
which sources they were made, so that nothing older and nothing without dependencies is ever
deployed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
BUILD = ROOT / "infra" / ".build"
LOCK = ROOT / "requirements" / "aws.txt"
LEAN = ROOT / "requirements" / "functions.txt"
"""Of the same versions, but only what functions import: they start the sooner."""
HOST = ROOT / "infra" / "monitor"
WEIGHTS = ROOT / "infra" / "config"
"""CSV files of weights that the settings name; there need not be any."""
FUNCTIONS, MONITOR, MARK = "functions", "monitor", "sources.sha256"
PYTHON = "3.13"
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
LARGEST = 250 * 1000 * 1000  # bytes, unpacked
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def sources() -> str:
    """A hash of everything that is shipped."""
    digest = hashlib.sha256()
    for path in _shipped():
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def packaged(build: Path = BUILD) -> Path | None:
    """The folder that was built of the sources as they are now, if there is one."""
    mark = build / MARK
    return build if mark.is_file() and mark.read_text().strip() == sources() else None


def package(build: Path = BUILD) -> None:
    """Build anew; raises CalledProcessError if pip fails, ValueError if it becomes too large."""
    made_of = sources()
    shutil.rmtree(build, ignore_errors=True)
    wheels = build / MONITOR / "wheels"
    wheels.mkdir(parents=True)
    target = _target()
    download = ("download", "--require-hashes", *target, "-r", str(LOCK), "-d", str(wheels))
    subprocess.run([*PIP, *download], check=True)
    own = ("wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(ROOT))
    subprocess.run([*PIP, *own], check=True)
    shutil.copy(LOCK, build / MONITOR / "requirements.txt")
    shutil.copytree(HOST, build / MONITOR, dirs_exist_ok=True)
    functions = build / FUNCTIONS
    install = ("install", "--no-index", "--no-deps", "--no-compile", *target)
    into = ("--target", str(functions))
    locked = ("--require-hashes", "--find-links", str(wheels), "-r", str(LEAN))
    subprocess.run([*PIP, *install, *locked, *into], check=True)
    shutil.rmtree(functions / "bin", ignore_errors=True)  # commands, which nobody types there
    (ours,) = wheels.glob("ngu_points-*.whl")
    subprocess.run([*PIP, *install, *into, str(ours)], check=True)
    for folder in (functions, build / MONITOR):
        if WEIGHTS.is_dir():
            shutil.copytree(WEIGHTS, folder / "config")
    size = sum(path.stat().st_size for path in functions.rglob("*") if path.is_file())
    if size > LARGEST:
        raise ValueError(f"{functions} has {size:,} bytes: a function takes {LARGEST:,} at most")
    (build / MARK).write_text(made_of + "\n")
    print(f"{functions}: {size / 1e6:.0f} MB; {len(list(wheels.iterdir()))} wheels beside it")


def _shipped() -> Iterator[Path]:
    yield ROOT / "pyproject.toml"
    yield from (LOCK, LEAN)
    for folder in (SOURCE / "ngu_points", HOST, WEIGHTS):
        found = (path for path in folder.rglob("*") if path.is_file())
        yield from sorted(path for path in found if "__pycache__" not in path.parts)


def _target() -> list[str]:
    platforms = [part for name in PLATFORMS for part in ("--platform", name)]
    abis = [part for name in ("cp313", "abi3", "none") for part in ("--abi", name)]
    interpreter = ["--implementation", "cp", "--python-version", PYTHON]
    return ["--only-binary", ":all:", *interpreter, *abis, *platforms]


if __name__ == "__main__":
    try:
        package()
    except subprocess.CalledProcessError:
        sys.exit("infra.package: pip could not get or install the wheels, it says why above")
    except ValueError as error:
        sys.exit(f"infra.package: {error}")
