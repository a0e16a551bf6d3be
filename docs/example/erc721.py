"""A small ERC-721 collection with a staking vault, for the tutorial.

`.venv/bin/python docs/example/erc721.py` serves its chain at http://127.0.0.1:8545 until Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from ngu_points.chain.contract import keccak256
from ngu_points.demo.blocks import Log
from ngu_points.demo.node import SimNode
from ngu_points.demo.server import serving

PORT = 8545
HOUR = 3600
STARTS = 1_767_225_600  # 2026-01-01T00:00:00Z
CREATED = 3  # the block that created the collection's contract
BLOCKS = 105  # the eight newest are not final

COLLECTION = bytes.fromhex("c0113c" + "0" * 34)
VAULT = bytes.fromhex("7a017" + "0" * 35)
NOBODY = bytes(20)
ANN, BEN, CLEO = (bytes.fromhex(name.ljust(40, "0")) for name in ("a11", "be2", "c1e0"))
TRANSFER = keccak256(b"Transfer(address,address,uint256)")

STORY = {  # hours after the start: from, to, token ids
    4: (NOBODY, ANN, range(1, 21)),
    6: (NOBODY, BEN, range(21, 26)),
    10: (ANN, VAULT, range(1, 4)),
    24: (ANN, CLEO, range(11, 16)),
    30: (CLEO, VAULT, [11]),
    52: (VAULT, ANN, [1]),
    60: (BEN, NOBODY, [25]),
    75: (BEN, CLEO, [21, 22]),
}


def transfer(sender: bytes, recipient: bytes, token: int) -> Log:
    """The log of an ERC-721 transfer; from nobody it is a mint, to nobody a burn."""
    topics = (TRANSFER, sender.rjust(32, b"\0"), recipient.rjust(32, b"\0"), token.to_bytes(32))
    return Log(COLLECTION, topics, b"")


def collection_node() -> SimNode:
    """A block an hour; block 1 is the one at the start."""
    node = SimNode(timestamp=STARTS - HOUR, seconds_per_block=HOUR, contract=COLLECTION)
    node.deployed[COLLECTION] = CREATED
    for hour in range(BLOCKS):
        sender, recipient, tokens = STORY.get(hour, (NOBODY, NOBODY, ()))
        node.mine([transfer(sender, recipient, token) for token in tokens])
    return node


async def main() -> None:
    """Serve it until interrupted."""
    async with serving(collection_node(), PORT) as served:
        sys.stdout.write(f"collection 0x{COLLECTION.hex()} at {served.url}, Ctrl-C ends it\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
