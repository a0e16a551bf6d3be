"""Drive traffic onto a chain: anvil with real transactions, a simulated node with their events."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from ngu_points.demo.anvil import Anvil
from ngu_points.demo.contract import artifact, next_token_id, read_integer
from ngu_points.demo.holdings import Holdings
from ngu_points.demo.node import SimNode
from ngu_points.demo.traffic import Action, Traffic, call_of, events_of, wallets
from ngu_points.demo.wire import Call, Wire
from ngu_points.engine.events import Kind
from ngu_points.errors import NguError

_WALLETS = 8
_BLOCKS_PER_SECOND = 4.0
_PER_BLOCK = 250
_DEPLOY_GAS = 5_000_000
_GAS_PRICE = 1_000_000
_GAS = 400_000
_GAS_PER_TOKEN = 120_000


@dataclass(frozen=True, slots=True)
class Played:
    """What has been put on a chain: the contract, its first and last block, the state it is in."""

    contract: bytes
    first_block: int
    last_block: int
    transactions: int
    holdings: Holdings


async def deploy_on_anvil(anvil: Anvil, name: str = "ngu") -> bytes:
    """The address of a new contract, `ngu` or `emitter`, in a block of its own."""
    async with Wire(anvil.url) as wire:
        return await _deploy(wire, name)


async def run_on_anvil(
    anvil: Anvil, contract: bytes, rate: float, stop: asyncio.Event, seed: int = 1
) -> Played:
    """Send `rate` transactions a second to a fresh NGU, in a few blocks a second, until `stop`.

    anvil must mine only when told. Raises NguError if a transaction fails: then somebody else is
    using the contract.
    """
    async with Wire(anvil.url) as wire:
        sender = await _Sender.open(wire, contract)
        traffic = Traffic(seed, sender.wallets)
        first = last = await _height(wire)
        sent = 0
        async for count in _paced(rate, stop):
            last = await sender.send(traffic.take(count))
            sent += count
    return Played(contract, first, last, sent, traffic.holdings)


async def run_on_node(node: SimNode, rate: float, stop: asyncio.Event, seed: int = 1) -> Played:
    """The same for a simulated node: the events of `rate` transactions a second."""
    _require_fresh(node.holdings().next_id)
    traffic = Traffic(seed, wallets(_WALLETS))
    first, sent = node.head.number, 0
    async for count in _paced(rate, stop):
        _mine(node, traffic.take(count))
        sent += count
    return Played(node.contract, first, node.head.number, sent, traffic.holdings)


async def bulk_on_anvil(anvil: Anvil, transactions: int = 3000, seed: int = 1) -> Played:
    """Deploy an NGU and send it so many transactions as fast as may be, 250 a block."""
    async with Wire(anvil.url) as wire:
        contract = await _deploy(wire, "ngu")
        sender = await _Sender.open(wire, contract)
        traffic = Traffic(seed, sender.wallets)
        first = last = await _height(wire)
        for count in _portions(transactions):
            last = await sender.send(traffic.take(count))
    return Played(contract, first, last, transactions, traffic.holdings)


def bulk_on_node(node: SimNode, transactions: int = 3000, seed: int = 1) -> Played:
    """The same for a simulated node."""
    _require_fresh(node.holdings().next_id)
    traffic = Traffic(seed, wallets(_WALLETS))
    first = node.head.number
    for count in _portions(transactions):
        _mine(node, traffic.take(count))
    return Played(node.contract, first, node.head.number, transactions, traffic.holdings)


def _require_fresh(next_id: int) -> None:
    if next_id != 1:
        raise NguError("the traffic needs a contract without tokens: start with a new one")


def _mine(node: SimNode, actions: Sequence[Action]) -> None:
    node.mine_transactions([events_of(action) for action in actions])


def _portions(transactions: int) -> list[int]:
    full, rest = divmod(transactions, _PER_BLOCK)
    return [_PER_BLOCK] * full + ([rest] if rest else [])


async def _paced(rate: float, stop: asyncio.Event) -> AsyncIterator[int]:
    """How many transactions are due, several times a second (0: an empty block), until `stop`."""
    loop = asyncio.get_running_loop()
    started, sent = loop.time(), 0
    while not stop.is_set():
        due = max(0, min(_PER_BLOCK, int((loop.time() - started) * rate) + 1 - sent))
        yield due
        sent += due
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1 / _BLOCKS_PER_SECOND):
                await stop.wait()


@dataclass(slots=True)
class _Sender:
    """Sends actions so that a block has them in the order in which they are given."""

    wire: Wire
    contract: bytes
    wallets: tuple[bytes, ...]
    nonces: dict[bytes, int]

    @classmethod
    async def open(cls, wire: Wire, contract: bytes) -> "_Sender":
        """Use the node's unlocked accounts. Raises NguError if the contract is not fresh."""
        call = {"to": _hex(contract), "data": next_token_id()}
        _require_fresh(read_integer(await wire.call("eth_call", call, "latest")))
        accounts: list[str] = (await wire.call("eth_accounts"))[:_WALLETS]
        counts = await wire.batch(
            [Call("eth_getTransactionCount", (account, "latest")) for account in accounts]
        )
        addresses = tuple(bytes.fromhex(account[2:]) for account in accounts)
        return cls(wire, contract, addresses, dict(zip(addresses, map(_int, counts), strict=True)))

    async def send(self, actions: Sequence[Action]) -> int:
        """Mine the actions in one block and return its number. Raises NguError if one fails."""
        prices = range(len(actions), 0, -1)
        await self.wire.batch(
            [
                Call("eth_sendTransaction", (self._transaction(action, price),))
                for action, price in zip(actions, prices, strict=True)
            ]
        )
        await self.wire.call("evm_mine")
        number = await _height(self.wire)
        receipts = await self.wire.call("eth_getBlockReceipts", hex(number))
        done = sum(receipt["status"] == "0x1" for receipt in receipts)
        if done != len(actions):
            failed = f"{len(actions) - done} of {len(actions)} transactions failed"
            raise NguError(f"{failed} in block {number} of the local chain: start it again")
        return number

    def _transaction(self, action: Action, price: int) -> dict[str, str]:
        nonce = self.nonces[action.sender]
        self.nonces[action.sender] = nonce + 1
        per_token = action.quantity if action.kind >= Kind.STAKE else 0
        return {
            "from": _hex(action.sender),
            "to": _hex(self.contract),
            "data": call_of(action),
            "nonce": hex(nonce),
            "gas": hex(_GAS + _GAS_PER_TOKEN * per_token),
            # The members of a batch arrive in any order; the dearer transaction is mined first.
            "gasPrice": hex(_GAS_PRICE + price),
        }


async def _deploy(wire: Wire, name: str) -> bytes:
    account = (await wire.call("eth_accounts"))[0]
    creation = {
        "from": account,
        "data": artifact(name).bytecode,
        "gas": hex(_DEPLOY_GAS),
        "gasPrice": hex(_GAS_PRICE),
    }
    transaction = await wire.call("eth_sendTransaction", creation)
    await wire.call("evm_mine")
    receipt = await wire.call("eth_getTransactionReceipt", transaction)
    if receipt is None or receipt["status"] != "0x1":
        raise NguError(f"the local chain does not accept the {name} contract: start it again")
    return bytes.fromhex(receipt["contractAddress"][2:])


async def _height(wire: Wire) -> int:
    return _int(await wire.call("eth_blockNumber"))


def _hex(address: bytes) -> str:
    return "0x" + address.hex()


def _int(quantity: str) -> int:
    return int(quantity, 16)
