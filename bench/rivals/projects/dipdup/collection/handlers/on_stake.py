"""A token is staked."""

from collection.change import change
from collection.types.ngu.evm_events.stake import Stake
from dipdup.context import HandlerContext
from dipdup.models.evm_subsquid import SubsquidEvent


async def on_stake(ctx: HandlerContext, event: SubsquidEvent[Stake]) -> None:
    said = event.payload
    await change(event, "stake", said.account, said.tokenId, 1)
