"""The simulated node and anvil answer alike, and both are right about hashes and blooms."""

import asyncio
import itertools
from typing import Any

import pytest
from Crypto.Hash import keccak

from localnode import local_anvil, served
from ngu_points.demo import contract
from ngu_points.demo.drive import bulk_on_anvil, bulk_on_node
from ngu_points.demo.node import SimNode
from ngu_points.demo.wire import Call, Wire
from ngu_points.errors import NguError

HEADER = (
    "parentHash",
    "sha3Uncles",
    "miner",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "mixHash",
    "nonce",
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
)
INTEGERS = {"difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas"} | {
    "blobGasUsed",
    "excessBlobGas",
}


def digest(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()


def rlp(item: bytes | list[bytes]) -> bytes:
    """RLP of a string, or of a list of strings."""
    body = item if isinstance(item, bytes) else b"".join(map(rlp, item))
    base = 0x80 if isinstance(item, bytes) else 0xC0
    if body == item and len(body) == 1 and body < b"\x80":
        return body
    if len(body) <= 55:
        return bytes([base + len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([base + 55 + len(size)]) + size + body


def header_hash(block: dict[str, Any]) -> str:
    items = []
    for name in HEADER:
        text = block[name][2:]
        if name in INTEGERS:
            text = "" if text == "0" else text.rjust(len(text) + len(text) % 2, "0")
        items.append(bytes.fromhex(text))
    return "0x" + digest(rlp(items)).hex()


def bloom(logs: list[dict[str, Any]]) -> str:
    bits = 0
    for value in {value for log in logs for value in (log["address"], *log["topics"])}:
        hashed = digest(bytes.fromhex(value[2:]))
        for place in (0, 2, 4):
            bits |= 1 << int.from_bytes(hashed[place : place + 2], "big") % 2048
    return f"0x{bits:0512x}"


async def look(wire: Wire, address: bytes) -> dict[str, Any]:
    """The same questions to any node."""
    log = {"fromBlock": "0x1", "toBlock": "latest", "address": "0x" + address.hex()}
    blocks = [await wire.call("eth_getBlockByNumber", hex(number), False) for number in range(5)]
    supply = {"to": "0x" + address.hex(), "data": contract.total_supply()}
    return {
        "blocks": blocks,
        "logs": await wire.call("eth_getLogs", log),
        "by hash": await wire.call("eth_getBlockByHash", blocks[2]["hash"], False),
        "future": await wire.call("eth_getBlockByNumber", "0xffff", False),
        "chain": await wire.call("eth_chainId"),
        "network": await wire.call("net_version"),
        "supply": await wire.call("eth_call", supply, "latest"),
        "code": await wire.call("eth_getCode", "0x" + address.hex(), "latest"),
        "no code": await wire.call("eth_getCode", "0x" + "11" * 20, "latest"),
        "batch": await wire.batch([Call("eth_chainId"), Call("eth_blockNumber")]),
        "finalized": (await wire.call("eth_getBlockByNumber", "finalized", False))["number"],
    }


REFUSED: tuple[tuple[str, list[Any]], ...] = (
    ("eth_getLogs", [{"blockHash": "0x" + "22" * 32}]),
    ("eth_getLogs", [{"blockHash": "0x" + "22" * 32, "fromBlock": "0x1"}]),
    ("eth_getLogs", []),
    ("eth_nothing", []),
)


async def look_for_errors(wire: Wire) -> None:
    for method, params in REFUSED:
        with pytest.raises(NguError, match=method):
            await wire.call(method, *params)


async def on_node(url: str, address: bytes) -> dict[str, Any]:
    async with Wire(url) as wire:
        await look_for_errors(wire)
        return await look(wire, address)


def shape(answer: Any) -> Any:
    """Keys in their order, types of values, and whether hex is a quantity or of a fixed length."""
    if isinstance(answer, dict):
        return {name: shape(value) for name, value in answer.items()}
    if isinstance(answer, list):
        return [shape(answer[0])] if answer else []
    if isinstance(answer, str) and answer.startswith("0x"):
        return "hash" if len(answer) == 66 else "address" if len(answer) == 42 else "hex"
    return answer if isinstance(answer, bool) else type(answer).__name__


@pytest.fixture(scope="module")
def simulated() -> dict[str, Any]:
    node = SimNode(timestamp=1_700_000_000)
    bulk_on_node(node, 1000)
    with served(node) as where:
        return asyncio.run(on_node(where.url, node.contract))


@pytest.fixture(scope="module")
def real() -> dict[str, Any]:
    with local_anvil() as anvil:
        played = asyncio.run(bulk_on_anvil(anvil, 1000))
        return asyncio.run(on_node(anvil.url, played.contract))


def test_answers_have_the_same_shape(simulated: dict[str, Any], real: dict[str, Any]) -> None:
    """For the same requests both nodes give the same keys in the same order, and like values."""
    assert list(simulated) == list(real)
    for question in simulated:
        assert shape(simulated[question]) == shape(real[question]), question
        if question == "blocks":
            assert list(simulated["blocks"][0]) == list(real["blocks"][0])
    assert list(simulated["logs"][0]) == list(real["logs"][0])
    assert simulated["code"] == real["code"]


def check_chain(answers: dict[str, Any]) -> None:
    blocks = answers["blocks"]
    for parent, block in itertools.pairwise(blocks):
        assert block["parentHash"] == parent["hash"]
    for block in blocks:
        assert header_hash(block) == block["hash"]
        logs = [log for log in answers["logs"] if log["blockNumber"] == block["number"]]
        assert bloom(logs) == block["logsBloom"]


def test_simulated_hashes_and_blooms_are_real(simulated: dict[str, Any]) -> None:
    """Each simulated block's hash is that of its RLP header, its bloom that of its logs."""
    check_chain(simulated)


def test_anvil_passes_the_same_check(real: dict[str, Any]) -> None:
    """A real node's blocks pass the check of hashes and blooms, so that the check is right."""
    check_chain(real)
