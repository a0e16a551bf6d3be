"""Write the templates: `python -m infra`, or `cdk deploy` by way of cdk.json."""

from __future__ import annotations

from infra.app import app

app().synth()
