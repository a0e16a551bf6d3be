"""A token's staking ends."""

from collection.change import change
from collection.types.ngu.evm_events.unstake import Unstake
from dipdup.context import HandlerContext
from dipdup.models.evm_subsquid import SubsquidEvent


async def on_unstake(ctx: HandlerContext, event: SubsquidEvent[Unstake]) -> None:
    said = event.payload
    await change(event, "unstake", None, said.tokenId, 1)
