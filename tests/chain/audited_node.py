"""A small chain on nodes that bend the truth, and what an audit through them finds."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from aiohttp import web
from scripted_node import Node, play

from ngu_points.chain.audit import Examined, Finding, examine
from ngu_points.chain.contract import Contract, ngu
from ngu_points.chain.decode import Decoded, decode
from ngu_points.chain.rpc import Rpc
from ngu_points.demo.blocks import Log
from ngu_points.demo.contract import Event, log_of
from ngu_points.demo.jsonrpc import NO_METHOD, RpcError
from ngu_points.demo.methods import answer
from ngu_points.demo.node import SimNode
from ngu_points.engine.events import ZERO_ADDRESS, Kind, ids

ALICE = bytes.fromhex("a1" * 20)
LAST = 20
LOGS = {3: 2, 5: 1, 7: 4, 12: 1, 17: 3}
"""How many of our logs there are in which blocks; one of block 17's is a dead letter."""
ALLOWED = 9
"""A block whose bloom allows for our logs, and that has none."""

BUSY = 15
"""A block whose bloom is so full of others' logs that it allows for ours by chance."""

Twist = Callable[[str, list[Any], Any], Any]
"""From method, parameters and the true result to what the node says; may raise RpcError."""


def mint(first: int, quantity: int = 5) -> Event:
    return Event(Kind.MINT, ZERO_ADDRESS, ALICE, first, quantity)


@cache
def chain() -> SimNode:
    """The chain that every audit here is about; nobody may change it."""
    node = SimNode()
    real = log_of(mint(1), node.contract)
    foreign = Log(b"\x77" * 20, real.topics, real.data)
    other = Log(node.contract, (b"\x55" * 32,), b"")
    for number in range(1, LAST + 1):
        logs: list[Event | Log] = [
            mint(100 * number + 10 * at) for at in range(LOGS.get(number, 0))
        ]
        if number == 17:
            logs[-1] = mint(1, 0)
        if number == ALLOWED:
            logs = [foreign, other]
        if number == BUSY:
            words = (at.to_bytes(32) for at in range(1_200))
            logs = [Log(word[-20:], (word,), b"") for word in words]
        node.mine(logs)
    return node


def contract() -> Contract:
    return ngu(chain().contract)


def truth(first: int, last: int, keep: Callable[[dict[str, Any]], bool] | None = None) -> Decoded:
    """The logs of the chain, or those of them to `keep`."""
    where = {
        "address": "0x" + chain().contract.hex(),
        "fromBlock": hex(first),
        "toBlock": hex(last),
    }
    logs = json.loads(answer(chain(), "eth_getLogs", [where]))
    kept = [log for log in logs if keep is None or keep(log)]
    return decode(json.dumps(kept).encode(), contract(), first, last)


def without(block: int, *places: int) -> Callable[[dict[str, Any]], bool]:
    """All logs but those of a block at these log indices; none given: all of the block's."""
    return lambda log: (
        not (
            int(log["blockNumber"], 16) == block
            and (not places or int(log["logIndex"], 16) in places)
        )
    )


def omits(block: int, *places: int) -> Twist:
    """eth_getLogs leaves logs of a block out."""

    def twist(method: str, params: list[Any], result: Any) -> Any:
        return list(filter(without(block, *places), result)) if method == "eth_getLogs" else result

    return twist


def no_receipts(method: str, params: list[Any], result: Any) -> Any:
    """The method is not known."""
    if method == "eth_getBlockReceipts":
        raise RpcError(NO_METHOD, "the method eth_getBlockReceipts does not exist/is not available")
    return result


def short_receipts(method: str, params: list[Any], result: Any) -> Any:
    """Receipts without the first log."""
    if method == "eth_getBlockReceipts":
        result[0]["logs"].pop(0)
    return result


def in_headers(block: int, **changed: Any) -> Twist:
    """The header of a block with other fields."""

    def twist(method: str, params: list[Any], result: Any) -> Any:
        mine = method == "eth_getBlockByNumber" and int(params[0], 16) == block
        return result | changed if mine else result

    return twist


def node(*twists: Twist) -> Node:
    """A node that has the chain and tells of it what its twists leave."""

    def told(call: dict[str, Any]) -> dict[str, Any]:
        envelope = {"jsonrpc": "2.0", "id": call["id"]}
        try:
            result = json.loads(answer(chain(), call["method"], call["params"]))
            for twist in twists:
                result = twist(call["method"], call["params"], copy.deepcopy(result))
        except RpcError as error:
            return envelope | {"error": {"code": error.code, "message": str(error)}}
        return envelope | {"result": result}

    async def step(http: web.Request, asked: Any) -> web.StreamResponse:
        found = [told(call) for call in asked] if isinstance(asked, list) else told(asked)
        return web.json_response(found)

    return Node(then=step)


@dataclass
class Audited:
    """What an audit found: every block's finding, the parts, and each endpoint's score."""

    findings: dict[int, Finding]
    parts: list[Examined]
    scores: list[tuple[int, str | None]]
    nodes: list[Node] = field(default_factory=list)

    def verdicts(self) -> dict[int, str]:
        """The blocks that are not proven empty."""
        found = {block: finding.verdict.value for block, finding in self.findings.items()}
        return {block: verdict for block, verdict in found.items() if verdict != "proven empty"}

    def differing(self) -> list[int]:
        return [block for block, finding in self.findings.items() if finding.true is not None]

    def asked(self, place: int, method: str) -> int:
        """How often a node was asked for a method by itself."""
        return sum(
            isinstance(call, dict) and call["method"] == method for call in self.nodes[place].asked
        )


def audit(
    *nodes: Node,
    held: Callable[[int, int], Decoded] = truth,
    receipts: int | None = None,
    first: int = 1,
    last: int = LAST,
    chain_id: int = 31337,
    of: Contract | None = None,
) -> Audited:
    """Examine blocks of the chain through these nodes."""

    async def ask(client: Rpc) -> Audited:
        parts: list[Examined] = []
        found = examine(client, of or contract(), chain_id, held, first, last, receipts=receipts)
        async with aclosing(found):
            parts = [part async for part in found]
        findings = {finding.block: finding for part in parts for finding in part.findings}
        assert list(findings) == list(range(first, last + 1))
        assert sum(len(part.findings) for part in parts) == len(findings)
        scores = [(one.contradictions, one.last_contradiction) for one in client.endpoints]
        return Audited(findings, parts, scores, list(nodes))

    result: Audited = play(ask, *nodes, max_retries=2)
    return result


def names(found: Decoded | None) -> Sequence[str]:
    """Events by id, dead letters by reason."""
    assert found is not None
    return [*ids(found.events), *(letter.reason for letter in found.rejected)]
