"""What the oracle says about a chain, from eth_getLogs answers that are decoded here by hand."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from Crypto.Hash import keccak

import oracle

SIGNATURES = {
    "BatchMint": "BatchMint(address,uint256,uint256)",
    "BatchBurn": "BatchBurn(address,uint256,uint256)",
    "BatchTransfer": "BatchTransfer(address,address,uint256,uint256)",
    "Stake": "Stake(address,uint256)",
    "Unstake": "Unstake(address,uint256)",
}
NAMES = {
    "0x" + keccak.new(digest_bits=256, data=text.encode()).hexdigest(): name
    for name, text in SIGNATURES.items()
}
RULES = oracle.Rules(
    seasons=[oracle.Season("1", None, None, Fraction(1), Fraction(2))],
    feast_emission=1000 * oracle.MICRO,
    feast_burn=oracle.MICRO,
)
"""The rules that hold where nothing is configured."""


def asked(url: str, method: str, *params: Any) -> Any:
    """One JSON-RPC call, without any of our own code."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    assert "error" not in answer, answer
    return answer["result"]


def events_on(url: str, contract: str, last: int, span: int = 1000) -> list[oracle.Event]:
    """Every event of the contract up to a block, in position order."""
    logs = []
    for first in range(0, last + 1, span):
        end = min(first + span - 1, last)
        where = {"address": contract, "fromBlock": hex(first), "toBlock": hex(end)}
        logs += asked(url, "eth_getLogs", where)
    blocks = {log["blockNumber"] for log in logs}
    times = {
        block: int(asked(url, "eth_getBlockByNumber", block, False)["timestamp"], 16)
        for block in blocks
    }
    events = [_event(log, times[log["blockNumber"]]) for log in logs]
    return sorted(events, key=lambda e: (e.block, e.log_index))


def _event(log: dict[str, Any], timestamp: int) -> oracle.Event:
    kind = NAMES[log["topics"][0]]
    wallets = ["0x" + topic[26:] for topic in log["topics"][1:]]
    numbers = [int(log["data"][at : at + 64], 16) for at in range(2, len(log["data"]), 64)]
    sender = "" if kind == "BatchMint" else wallets[0]
    recipient = {"BatchMint": wallets[0], "BatchTransfer": wallets[-1]}.get(kind, "")
    first, quantity = (numbers[0], 1) if len(numbers) == 1 else numbers
    block, index = int(log["blockNumber"], 16), int(log["logIndex"], 16)
    return oracle.Event(kind, block, index, timestamp, sender, recipient, first, quantity)


def told(
    events: Sequence[oracle.Event], timestamp: int, rules: oracle.Rules = RULES
) -> oracle.View:
    """What the oracle says once the events up to a time are covered."""
    truth = oracle.Oracle(rules)
    for event in events:
        if event.timestamp <= timestamp:
            truth.apply(event)
    return truth.at(timestamp)


def shown(points: Fraction) -> str:
    """Points as they are printed: rounded down to 6 decimals."""
    whole, part = divmod(points.numerator * 10**6 // points.denominator, 10**6)
    return f"{whole}.{part:06d}"
