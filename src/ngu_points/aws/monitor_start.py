"""The event monitor put together: settings, nodes, tables, outbox, and where to go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ngu_points.aws import outbox, wiring
from ngu_points.aws.environment import Environment
from ngu_points.aws.monitor import Monitor, follow
from ngu_points.aws.monitor_health import NODE, POSITION, SETTINGS, Health, patiently, serving
from ngu_points.aws.monitor_report import prometheus
from ngu_points.aws.parameters import SETTINGS as SETTINGS_NAME
from ngu_points.aws.parameters import Parameters, naming_nodes
from ngu_points.aws.store import Store
from ngu_points.chain.reader import Reader, checked_chain, first_block
from ngu_points.chain.rpc import Rpc
from ngu_points.config import Config, contract_of, finality_of, rules_of
from ngu_points.errors import UsageError


@dataclass(slots=True)
class _Service:
    """What the server on loopback tells of; the monitor is None while it is put together."""

    health: Health
    monitor: Monitor | None = None

    def metrics(self) -> bytes:
        found = self.monitor.figures() if self.monitor else []
        return prometheus(found, ready=self.health.ready)


async def run(
    env: Environment, folder: Path, port: int, stop: asyncio.Event
) -> dict[str, int | None]:
    """Run the event monitor until `stop` is set; its outbox lies in a folder.

    Gives the last block that both streams have everything of, and the number of records left in
    the outbox; None and 0 if it was stopped before it had begun.

    Raises UsageError for settings that cannot do, ForkedBelow for a fork below what was sent.
    Trouble that may pass is waited out, at the start too.
    """
    service = _Service(Health())
    async with serving(service.health, service.metrics, port):
        work = asyncio.create_task(_work(env, folder, service, stop))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
            if service.monitor is None and not work.done():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
                return {"block": None, "unsent": 0}
            return await work
        finally:
            stopping.cancel()
            work.cancel()
            await asyncio.gather(work, stopping, return_exceptions=True)


async def _work(
    env: Environment, folder: Path, service: _Service, stop: asyncio.Event
) -> dict[str, int | None]:
    async with opened(env, folder, service.health) as monitor:
        service.monitor = monitor
        try:
            await follow(monitor, stop)
            accepted = monitor.outbox.accepted()
            block = accepted.block if accepted else None
            return {"block": block, "unsent": monitor.unsent}
        finally:
            service.monitor = None


@asynccontextmanager
async def opened(env: Environment, folder: Path, health: Health) -> AsyncIterator[Monitor]:
    """A monitor that knows where to go on, with the tables marked as this contract's."""
    parameters = Parameters(wiring.client("ssm", env.region), env.parameters)
    config, urls = await patiently(health, SETTINGS, partial(_settings, parameters))
    async with _client(config, urls, env.parameters) as rpc:
        reader = Reader(rpc, contract_of(config), _finality(config))
        store = await patiently(health, NODE, partial(_identified, env, config, reader))
        origin = wiring.origin(env, config, store.chain_id)
        of = f"{env.service} {env.stage} {store.chain_id} {reader.contract.digest()}"
        with outbox.opened(folder, of) as box:
            monitor = Monitor(
                env=env,
                reader=reader,
                origin=origin,
                outbox=box,
                parameters=parameters,
                store=store,
                clients={
                    n: wiring.client(n, env.region) for n in ("firehose", "cloudwatch", "sns")
                },
                health=health,
            )
            await patiently(health, POSITION, partial(_placed, monitor))
            yield monitor


async def _settings(parameters: Parameters) -> tuple[Config, list[str]]:
    text = await asyncio.to_thread(parameters.settings)
    config = wiring.parsed(text, f"{parameters.path}/{SETTINGS_NAME}")
    return config, await asyncio.to_thread(parameters.rpc)


def _client(config: Config, urls: list[str], path: str) -> Rpc:
    chain = config.chain
    with naming_nodes(path):
        return Rpc(
            urls,
            timeout=chain.timeout,
            requests_per_second=chain.requests_per_second,
            max_retries=chain.retries,
        )


def _finality(config: Config) -> str | int:
    """Confirmations that the settings ask for: what is sent cannot be taken back."""
    finality = finality_of(config)
    if finality == 0:
        raise UsageError(
            'chain.finality is 0, but only confirmed blocks may be sent: it takes "finalized",'
            ' "safe" or at least 1 confirmation'
        )
    return finality


async def _identified(env: Environment, config: Config, reader: Reader) -> Store:
    """The store of the stage, which knows by then what it is of."""
    store = await asyncio.to_thread(lambda: Store(wiring.dynamo(env), rules_of(config)))
    contract, wanted = reader.contract, config.contract.from_block
    if store.chain_id and wanted not in (None, store.start_block):
        raise UsageError(
            f"the tables begin at block {store.start_block}, but contract.from_block says {wanted}:"
            " take it out of the settings, or use another service name or stage"
        )
    known = store.start_block if store.chain_id else wanted
    with naming_nodes(env.parameters):
        chain_id = await checked_chain(reader.rpc, config.chain.chain_id)
        first = await first_block(reader.rpc, contract.token, known)
    token = "0x" + contract.token.hex()
    await asyncio.to_thread(store.identify, chain_id, token, contract.kind, first)
    return store


async def _placed(monitor: Monitor) -> None:
    monitor.heed(await asyncio.to_thread(monitor.parameters.position))
