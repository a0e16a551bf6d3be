"""The NGU contract on a real node: its rules, its events and its views."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from localnode import local_anvil
from ngu_points.demo import contract
from ngu_points.demo.anvil import Anvil
from ngu_points.demo.blocks import Log
from ngu_points.demo.contract import Event
from ngu_points.demo.drive import Played, bulk_on_anvil, deploy_on_anvil
from ngu_points.demo.wire import Wire
from ngu_points.engine.events import ZERO_ADDRESS, Kind
from ngu_points.errors import NguError


@pytest.fixture(scope="module")
def anvil() -> Iterator[Anvil]:
    with local_anvil() as node:
        yield node


class Bench:
    """A fresh contract on the node, and two wallets that use it."""

    def __init__(self, wire: Wire, address: bytes, wallets: list[str]) -> None:
        self.wire = wire
        self.address = address
        self.alice, self.bob = (bytes.fromhex(wallet[2:]) for wallet in wallets[:2])

    async def send(self, sender: bytes, data: str) -> list[Event]:
        """Mine one transaction and return its events; NguError if it is refused."""
        transaction = {
            "from": "0x" + sender.hex(),
            "to": "0x" + self.address.hex(),
            "data": data,
            "gas": hex(30_000_000),
            "gasPrice": "0xf4240",
        }
        sent = await self.wire.call("eth_sendTransaction", transaction)
        await self.wire.call("evm_mine")
        receipt = await self.wire.call("eth_getTransactionReceipt", sent)
        if receipt["status"] != "0x1":
            raise NguError("refused")
        return [read_event(log) for log in receipt["logs"]]

    async def ask(self, data: str) -> str:
        """What a view answers."""
        answer: str = await self.wire.call(
            "eth_call", {"to": "0x" + self.address.hex(), "data": data}, "latest"
        )
        return answer

    async def owner(self, token: int) -> bytes:
        return contract.read_address(await self.ask(contract.owner_of(token)))

    async def staker(self, token: int) -> bytes:
        return contract.read_address(await self.ask(contract.staker_of(token)))

    async def supply(self) -> int:
        return contract.read_integer(await self.ask(contract.total_supply()))


def read_event(shown: dict[str, str]) -> Event:
    topics = tuple(bytes.fromhex(topic[2:]) for topic in shown["topics"])
    data = bytes.fromhex(shown["data"][2:])
    event = contract.event_of(Log(bytes.fromhex(shown["address"][2:]), topics, data))
    assert event is not None
    return event


def on(anvil: Anvil, script: Callable[[Bench], Awaitable[None]], name: str = "ngu") -> None:
    async def play() -> None:
        address = await deploy_on_anvil(anvil, name)
        async with Wire(anvil.url) as wire:
            await script(Bench(wire, address, await wire.call("eth_accounts")))

    asyncio.run(play())


def test_each_call_emits_its_events(anvil: Anvil) -> None:
    """Each of the five calls emits the event of its name, with the wallets and the range."""

    async def script(bench: Bench) -> None:
        a, b, zero = bench.alice, bench.bob, ZERO_ADDRESS
        assert await bench.send(a, contract.batch_mint(b, 400)) == [
            Event(Kind.MINT, zero, b, 1, 400)
        ]
        assert await bench.send(b, contract.batch_transfer(a, 11, 5)) == [
            Event(Kind.TRANSFER, b, a, 11, 5)
        ]
        assert await bench.send(a, contract.stake([12])) == [Event(Kind.STAKE, a, zero, 12)]
        assert await bench.send(b, contract.stake([300, 2])) == [
            Event(Kind.STAKE, b, zero, 300),
            Event(Kind.STAKE, b, zero, 2),
        ]
        assert await bench.send(b, contract.unstake([2, 300])) == [
            Event(Kind.UNSTAKE, b, zero, 2),
            Event(Kind.UNSTAKE, b, zero, 300),
        ]
        assert await bench.send(a, contract.batch_burn(11, 5)) == [Event(Kind.BURN, a, zero, 11, 5)]
        assert await bench.supply() == 395

    on(anvil, script)


def test_staking_is_not_custody(anvil: Anvil) -> None:
    """Staking keeps the owner, bars transfers until it ends, and ends when the token is burned."""

    async def script(bench: Bench) -> None:
        a, b = bench.alice, bench.bob
        await bench.send(a, contract.batch_mint(a, 3))
        await bench.send(a, contract.stake([2]))
        assert (await bench.owner(2), await bench.staker(2)) == (a, a)
        with pytest.raises(NguError, match="refused"):
            await bench.send(a, contract.batch_transfer(b, 1, 3))
        with pytest.raises(NguError, match="refused"):
            await bench.send(a, contract.stake([2]))
        await bench.send(a, contract.batch_burn(1, 2))
        assert await bench.staker(2) == ZERO_ADDRESS
        with pytest.raises(NguError, match="eth_call"):
            await bench.owner(2)
        assert await bench.owner(3) == a

    on(anvil, script)


def test_what_the_contract_refuses(anvil: Anvil) -> None:
    """Other people's tokens, tokens that do not exist, and quantities outside 1 to 400."""

    async def script(bench: Bench) -> None:
        a, b = bench.alice, bench.bob
        await bench.send(a, contract.batch_mint(a, 10))
        await bench.send(a, contract.batch_mint(b, 10))
        refused = (
            contract.batch_mint(a, 0),
            contract.batch_mint(a, 401),
            contract.batch_mint(ZERO_ADDRESS, 1),
            contract.batch_transfer(b, 8, 4),
            contract.batch_transfer(b, 1, 0),
            contract.batch_transfer(ZERO_ADDRESS, 1, 1),
            contract.batch_transfer(b, 0, 1),
            contract.batch_transfer(b, 1, 2**256 - 1),
            contract.batch_burn(11, 1),
            contract.batch_burn(20, 2),
            contract.stake([11]),
            contract.stake([]),
            contract.unstake([1]),
        )
        for data in refused:
            with pytest.raises(NguError, match="refused"):
                await bench.send(a, data)
        assert await bench.supply() == 20

    on(anvil, script)


def test_views_of_tokens_that_never_were(anvil: Anvil) -> None:
    """No token: `ownerOf` fails, `stakerOf` and `holdings` say zero; also past the last id."""

    async def script(bench: Bench) -> None:
        a = bench.alice
        await bench.send(a, contract.batch_mint(a, 2))
        for token in (0, 3, 2**256 - 1):
            with pytest.raises(NguError, match="eth_call"):
                await bench.owner(token)
            assert await bench.staker(token) == ZERO_ADDRESS
        owners, stakers = contract.read_holdings(await bench.ask(contract.holdings(0, 5)))
        assert owners == [ZERO_ADDRESS, a, a, ZERO_ADDRESS, ZERO_ADDRESS]
        assert stakers == [ZERO_ADDRESS] * 5

    on(anvil, script)


def test_thousand_transactions_agree_with_the_contract(anvil: Anvil) -> None:
    """After 1000 transactions the contract owns, stakes and counts what the model does."""

    async def script() -> None:
        played: Played = await bulk_on_anvil(anvil, 1000, seed=5)
        held = played.holdings
        async with Wire(anvil.url) as wire:
            bench = Bench(wire, played.contract, await wire.call("eth_accounts"))
            assert await bench.supply() == len(held.owners)
            tokens = range(held.next_id + 3)
            answer = await bench.ask(contract.holdings(0, len(tokens)))
            owners, stakers = contract.read_holdings(answer)
            assert owners == [held.owner(token) for token in tokens]
            assert stakers == [held.staker(token) for token in tokens]
            for token in (1, 400, held.next_id - 1):
                assert await bench.staker(token) == held.staker(token)

    asyncio.run(script())


def test_emitter_emits_what_it_is_told(anvil: Anvil) -> None:
    """The emitter turns rows into the five events, in order, thousands in one transaction."""

    async def script(bench: Bench) -> None:
        a, b, zero = bench.alice, bench.bob, ZERO_ADDRESS
        events = [
            Event(Kind.MINT, zero, a, 2**64 - 1, 2**32 - 1),
            Event(Kind.BURN, b, zero, 7, 400),
            Event(Kind.TRANSFER, a, b, 0, 1),
            Event(Kind.STAKE, b, zero, 5),
            Event(Kind.UNSTAKE, a, zero, 5),
        ] * 400
        assert await bench.send(a, contract.play(events)) == events

    on(anvil, script, "emitter")
