"""The chain of the worked example in docs/points.md, to try `ngu` on.

`.venv/bin/python docs/example/node.py` serves it at http://127.0.0.1:8545 until Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from ngu_points.demo.contract import Event
from ngu_points.demo.node import SimNode
from ngu_points.demo.server import serving
from ngu_points.engine.events import ZERO_ADDRESS, Kind

PORT = 8545
HOUR = 3600
STARTS = 1_767_225_600  # 2026-01-01T00:00:00Z
BLOCKS = 81  # the eight newest are not final, so that block 73 is the last to be read

ALICE = bytes.fromhex("a11ce" + "0" * 35)
BOB = bytes.fromhex("b0b" + "0" * 37)

STORY = {  # hours after the start: what happens then
    0: Event(Kind.MINT, ZERO_ADDRESS, ALICE, 1, 100),
    12: Event(Kind.STAKE, ALICE, ZERO_ADDRESS, 1),
    24: Event(Kind.TRANSFER, ALICE, BOB, 51, 50),
    30: Event(Kind.STAKE, BOB, ZERO_ADDRESS, 51),
    42: Event(Kind.BURN, ALICE, ZERO_ADDRESS, 41, 10),
    60: Event(Kind.UNSTAKE, ALICE, ZERO_ADDRESS, 1),
}


def example_node() -> SimNode:
    """A block an hour; block 1 is the one at the start."""
    node = SimNode(timestamp=STARTS - HOUR, seconds_per_block=HOUR)
    for hour in range(BLOCKS):
        node.mine([STORY[hour]] if hour in STORY else [])
    return node


async def main() -> None:
    """Serve it until interrupted."""
    node = example_node()
    async with serving(node, PORT) as served:
        sys.stdout.write(f"contract 0x{node.contract.hex()} at {served.url}, Ctrl-C ends it\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
