"""Write the templates: `python -m infra`, or `cdk deploy` by way of cdk.json."""

from __future__ import annotations

import sys

from infra.app import app

try:
    made = app()
except ValueError as error:  # of what the operator chose
    sys.exit(f"infra: {error}")
made.synth()
