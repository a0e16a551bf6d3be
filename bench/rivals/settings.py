"""What every rival's handlers are told, by environment."""

from __future__ import annotations

import json

from bench.render import signatures
from bench.rivals.interfaces import Task
from bench.workloads import CONTRACT, FIRST_BLOCK
from ngu_points.chain.contract import keccak256


def settings_of(task: Task) -> dict[str, str]:
    """BENCH_… names; BENCH_TUNED is empty where the rival runs as installed."""
    topics = {text.partition("(")[0]: "0x" + keccak256(text.encode()).hex()
              for text in signatures(task.work.kind)}  # fmt: skip
    return {
        "BENCH_URL": task.url,
        "BENCH_KIND": task.work.kind,
        "BENCH_CONTRACT": "0x" + CONTRACT.hex(),
        "BENCH_FROM": str(FIRST_BLOCK),
        "BENCH_TO": str(task.work.last_block),
        "BENCH_TOPICS": json.dumps(topics),
        "BENCH_TUNED": "yes" if task.tuned else "",
    }
