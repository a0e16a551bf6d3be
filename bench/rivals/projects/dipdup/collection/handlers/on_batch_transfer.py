"""A range changes hands."""

from collection.change import change
from collection.types.ngu.evm_events.batch_transfer import BatchTransfer
from dipdup.context import HandlerContext
from dipdup.models.evm_subsquid import SubsquidEvent


async def on_batch_transfer(ctx: HandlerContext, event: SubsquidEvent[BatchTransfer]) -> None:
    said = event.payload
    await change(event, "transfer", said.to, said.startTokenId, said.quantity)
