"""A range is minted."""

from collection.change import change
from collection.types.ngu.evm_events.batch_mint import BatchMint
from dipdup.context import HandlerContext
from dipdup.models.evm_subsquid import SubsquidEvent


async def on_batch_mint(ctx: HandlerContext, event: SubsquidEvent[BatchMint]) -> None:
    said = event.payload
    await change(event, "mint", said.to, said.startTokenId, said.quantity)
