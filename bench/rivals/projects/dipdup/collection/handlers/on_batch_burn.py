"""A range is burned."""

from collection.change import change
from collection.types.ngu.evm_events.batch_burn import BatchBurn
from dipdup.context import HandlerContext
from dipdup.models.evm_subsquid import SubsquidEvent


async def on_batch_burn(ctx: HandlerContext, event: SubsquidEvent[BatchBurn]) -> None:
    said = event.payload
    await change(event, "burn", None, said.startTokenId, said.quantity)
