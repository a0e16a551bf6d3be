"""Records with and without faults, to be compared with the contract by `ngu verify`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from cli.faulty import Call, Fault, FaultyNode, Reply, serving
from cli.program import Ended, ngu, place
from ngu_points.demo.contract import Event
from ngu_points.demo.node import SimNode
from ngu_points.engine.events import ZERO_ADDRESS, Kind

ALICE, BOB, CAROL = bytes([0xA1] * 20), bytes([0xB0] * 20), bytes([0xCA] * 20)


def named(address: bytes | None) -> str | None:
    return None if address is None else "0x" + address.hex()


def small_chain() -> SimNode:
    """Alice mints 1 to 100 in block 2; 10 to 19 become Bob's in block 7; 40 blocks in all."""
    node = SimNode()
    story = {
        2: Event(Kind.MINT, ZERO_ADDRESS, ALICE, 1, 100),
        4: Event(Kind.STAKE, ALICE, ZERO_ADDRESS, 50),
        7: Event(Kind.TRANSFER, ALICE, BOB, 10, 10),
        9: Event(Kind.BURN, ALICE, ZERO_ADDRESS, 90, 11),
    }
    for block in range(1, 41):
        node.mine([story[block]] if block in story else [])
    return node


def omitting(*blocks: int, index: int | None = None) -> Fault:
    """Leave the logs of some blocks, or one of each, out of every answer."""

    def fault(calls: list[Call], right: bytes) -> Reply | None:
        if calls[0]["method"] != "eth_getLogs":
            return None
        answer = json.loads(right)
        answer["result"] = [log for log in answer["result"] if not lost(log)]
        return Reply(json.dumps(answer).encode())

    def lost(log: dict[str, str]) -> bool:
        place = int(log["blockNumber"], 16), int(log["logIndex"], 16)
        return place[0] in blocks and index in (None, place[1])

    return fault


def refusing(wanted: Callable[[Any], bool], message: str) -> Fault:
    """Answer eth_call at certain blocks by an error."""

    def fault(calls: list[Call], right: bytes) -> Reply | None:
        call = calls[0]
        if call["method"] != "eth_call" or not wanted(call["params"][1]):
            return None
        error = {"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32000, "message": message}}
        return Reply(json.dumps(error).encode())

    return fault


@contextmanager
def synced(node: SimNode, db: Path, fault: Fault | None = None) -> Iterator[FaultyNode]:
    """A node that has been read, through a fault that is over then."""
    with serving(node, fault) as served:
        ended = ngu("sync", *place(node, served.url, db), "--finality", 0)
        assert ended.code in (0, 3), ended.err
        served.fault = None
        yield served


def verify(served: FaultyNode, db: Path, *words: object) -> Ended:
    return ngu("verify", "--rpc", served.url, "--db", db, *words)


def noted(db: Path) -> Any:
    with closing(sqlite3.connect(db)) as store:
        found = store.execute("SELECT value FROM meta WHERE key = 'verified'").fetchone()
    return found and json.loads(found[0])


def uncertain(db: Path) -> set[bytes]:
    with closing(sqlite3.connect(db)) as store:
        return {wallet for (wallet,) in store.execute("SELECT wallet FROM uncertain")}
