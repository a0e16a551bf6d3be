"""What a function needs to start: few packages, and no client of AWS before it is called."""

from __future__ import annotations

import subprocess
import sys

import pytest

SHIPPED = {"Crypto", "aws_lambda_powertools", "jmespath", "msgspec", "numpy"}
BLOCKED = ("boto3", "botocore", "aiohttp", "click", "rich", "pyarrow", "yarl", "multidict")
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


@pytest.mark.parametrize("name", ["persist", "process", "jobs", "scale"])
def test_a_function_starts_without_boto3_and_without_what_is_not_shipped(name: str) -> None:
    """Imported where boto3 and all HTTP, terminal and Parquet packages are absent."""
    module = f"ngu_points.aws.functions.{name}"
    call = [sys.executable, "-c", CODE, module]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = {root for root in done.stdout.split() if not root.startswith("__editable")}
    assert found - STARTING <= SHIPPED
