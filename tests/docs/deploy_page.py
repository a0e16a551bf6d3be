"""The tables of costs in docs/deploy.md.

`.venv/bin/python tests/docs/deploy_page.py` writes them, from what `python -m infra.costs` knows.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/deploy.md"
_COSTS = re.compile(r"(<!-- costs -->\n).*?(<!-- /costs -->)", re.S)


def render(page: str) -> str:
    """The page with its tables made anew."""
    from infra import costs

    prices, units = costs.prices(), costs.units()
    idle = {
        stage: list(costs.monthly(costs.told(stage), prices, units["idle"]))
        for stage in costs.STAGES
    }
    busy = {
        name: list(costs.per_million(one, prices)) for name, one in units["traffic"].items()
    }  # fmt: skip
    parts = [
        f"A month in which nothing happens, in USD, at the prices of {prices['date']}:",
        costs.table(idle),
        f"In prod: {costs.largest(idle['prod'])}",
        "A million events, by what they are (mints of 400 tokens each; transfers of single tokens"
        " at random; staking\nand unstaking):",
        costs.table(busy),
        "The API, if it is asked a million times in a month, and at least every minute:",
        costs.table({"USD": list(costs.asking(units["api"], prices))}),
        "What makes it cheaper:",
        costs.choices(prices),
        "And what would make it dearer: an index that held `processed` would be written once more"
        f" for each event,\n{prices['dynamodb']['write_million']:.2f} USD a million and index.",
    ]
    return _COSTS.sub(lambda found: found[1] + "\n\n".join(parts) + "\n" + found[2], page)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
