"""A token changes hands, is minted or burned."""

from collection.change import found, pay
from collection.models import Token
from collection.types.erc721.evm_events.transfer import Transfer
from dipdup.context import HandlerContext
from dipdup.models.evm_subsquid import SubsquidEvent

NOBODY = "0x" + "0" * 40


async def on_transfer(ctx: HandlerContext, event: SubsquidEvent[Transfer]) -> None:
    time = event.data.timestamp
    token = await found(Token, event.payload.tokenId, owner=None, since=time)
    if token.owner is not None:
        await pay(token.owner, time - token.since, 0)
    token.owner = None if event.payload.to == NOBODY else event.payload.to
    token.since = time
    await token.save()
