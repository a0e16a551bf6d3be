"""How a world ends: everybody is honest and in good health, and everything must be right."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ngu_points.embedded import jobs
from ngu_points.embedded.app import App, opened
from ngu_points.embedded.rebuild import rebuild
from ngu_points.embedded.repair import rewind
from ngu_points.embedded.replay import replay
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import Head
from ngu_points.errors import StoreError
from simulation.blocks import Block, branch
from simulation.truth import Truth, check_oracle, check_past, check_record, check_state, same
from simulation.verdicts import check_audit, with_holes

if TYPE_CHECKING:
    from simulation.world import World


async def settle(world: World) -> None:
    """Catch up with the chain as it ends, and compare everything."""
    async with opened(world.config) as app:
        tip = await _caught_up(world, app)
        if tip is None:
            return
        first, truth = world.first(tip), world.truth(tip)
        if world.knobs.silent:
            await _repaired(world, app, (first, tip.number))
        _check(app, tip, truth)
        earlier = world.chain.now.blocks[world.rng.randint(first, tip.number)]
        check_past(app.history, world.rules, world.truth(earlier))
        await app.on_worker(app.tidy)
        _check(app, tip, truth)
        if world.report.seed % 3 == 0:
            again = rebuild(app.store, app.history, world.rules, int(world.now()))
            same("rebuild", again["same"], True)
            _check(app, tip, truth)
        if world.report.seed % 8 == 1 or world.knobs.silent:
            await _audited(world, app, (first, tip.number))
    reader = Store.open(world.machine.db, world.rules)
    check_state(reader, truth)
    reader.close()
    if world.report.seed % 4 == 0:
        check_oracle(branch(tip, first), truth, world.programme.oracle, world.rules)
    if world.report.seed % 8 == 0:
        await _fresh(world, truth)


async def _caught_up(world: World, app: App) -> Block | None:
    """Read what there is; the last block read, None if the chain is shorter than that."""
    ingest = app._deliver
    world.prepare(app)
    world.look(app)
    await app.on_worker(world.stream.drain, ingest)
    for _ in range(5):
        head = await _rewound(world, app)
        if head is None:
            return None
        await app.on_worker(world.stream.drain, ingest)
        if app.store.position().block >= head.readable:
            break
    await app.on_worker(jobs.catch_up, app.history, int(app.now()))
    tip = world.chain.now.blocks[max(head.readable, 0)]
    if tip.number < world.begin:
        return None
    same("block reached", app.store.position().block, tip.number)
    return tip


async def _rewound(world: World, app: App) -> Head | None:
    """Catch up; where the archive holds a lost branch, do first what the message says.

    None where nothing is in common any more: that is the end of this database.
    """
    try:
        return await app.catch_up()
    except StoreError as error:
        if not world.network.dead_branches:
            raise  # then nothing that is archived can have been on a branch that lost
        if "no block in common" in str(error):
            world.report.faults["databases without a block in common"] += 1
            return None
        advice = re.search(r"`ngu rewind (\d+)`", str(error))
        if advice is None:
            raise
        world.report.faults["forks below the archive"] += 1
        world.stream.forget()
        now = int(world.now())
        await app.on_worker(rewind, app.store, app.history, world.rules, int(advice[1]), now)
        app.mended()
        return await app.catch_up()


async def _audited(world: World, app: App, ends: tuple[int, int]) -> None:
    """Ask liars, then honest nodes, about a record with holes: what do they prove, what not?"""
    network, faults = world.network, world.report.faults
    holes = with_holes(world.rng, app.history, ends[1])
    network.calm = False
    async with world.client() as rpc:
        told = await check_audit(rpc, holes, network, ends, honest=False)
    network.calm = True
    faults["audits of lying nodes"] += 1
    faults["audits that lying nodes did not let end"] += told < 0
    await check_audit(app.reader.rpc, holes, network, ends, honest=True)


async def _repaired(world: World, app: App, ends: tuple[int, int]) -> None:
    """Let honest nodes say what is missing of the record as it is, and put it right."""
    held, rpc = app.history.between, app.reader.rpc
    differing = await check_audit(rpc, held, world.network, ends, honest=True)
    world.report.faults["blocks in which the audit found something missing"] += differing
    if differing:
        report: dict[str, Any] = await replay(
            app, *ends, receipts=None, dry=False, seen=lambda _: None
        )
        same("blocks repaired by replay", report["repaired"], differing)
        same("blocks still differing after replay", report["stillDiffering"], [])


def _check(app: App, tip: Block, truth: Truth) -> None:
    same("hash reached", app.store.position().hash.hex(), tip.hash.hex())
    check_state(app.store, truth)
    check_record(app.store, app.history, truth)


async def _fresh(world: World, truth: Truth) -> None:
    """A sync into an empty folder ends in the same fingerprint."""
    world.machine.folder = world.machine.root / "fresh"
    world.machine.folder.mkdir()
    async with opened(world.config) as app:
        await app.catch_up(truth.block)
        same("fingerprint of a fresh sync", app.store.fingerprint(), truth.fingerprint)
