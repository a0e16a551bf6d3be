"""What a function needs to start: few packages, and no client of AWS before it is called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LOCK = Path(__file__).parents[2] / "requirements" / "functions.txt"
SHIPPED = {"Crypto", "aws_lambda_powertools", "jmespath", "msgspec", "numpy"}
WEB = {"anyio", "idna", "mangum", "prometheus_client", "starlette"}
"""What the API function needs beside."""
ON_CALL = {"boto3", "botocore", "s3transfer", "urllib3", "dateutil", "six"}
"""What comes with the first client of AWS."""
DISTRIBUTIONS = {"Crypto": "pycryptodome", "dateutil": "python-dateutil"}
BLOCKED = (
    "boto3", "botocore", "aiohttp", "click", "rich", "pyarrow", "yarl", "multidict", "uvicorn",
)  # fmt: skip
CODE = f"""
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ImportError(f"{{name}} is not there")

sys.meta_path.insert(0, Blocked())
importlib.import_module(sys.argv[1])
files = ((n, getattr(m, "__file__", None) or "") for n, m in list(sys.modules.items()))
print(*{{n.partition(".")[0] for n, file in files if "site-packages" in file}})
from ngu_points.aws import wiring
assert wiring.client.cache_info().currsize == 0
"""
STARTING = {"_distutils_hack", "typing_extensions"}
"""What the interpreter and the packages above bring along."""


OURS = [f"ngu_points.aws.functions.{name}" for name in ("persist", "process", "jobs", "scale")]
API = "ngu_points.mirror.function"


@pytest.mark.parametrize("module", [*OURS, API])
def test_a_function_starts_without_boto3_and_without_what_is_not_shipped(module: str) -> None:
    """Imported where boto3 and all HTTP, terminal and Parquet packages are absent."""
    call = [sys.executable, "-c", CODE, module]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = {root for root in done.stdout.split() if not root.startswith("__editable")}
    assert found - STARTING <= (SHIPPED | WEB if module == API else SHIPPED)


def test_functions_are_shipped_what_they_import_and_no_more() -> None:
    """Their lock has the packages above: nothing is missing, nothing makes them start later."""
    locked = {
        line.partition("==")[0] for line in LOCK.read_text().splitlines() if line[:1].isalpha()
    }
    imported = SHIPPED | WEB | ON_CALL | {"typing_extensions"}
    assert locked == {DISTRIBUTIONS.get(n, n.replace("_", "-")) for n in imported}
