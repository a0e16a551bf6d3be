"""One event on a range of ids, kept in rows of pages and wallets."""

from collection.models import Page, Wallet
from collection.runs import advance, parts


async def found(model, key, **new):
    """The row of a key, from memory if it was there before; a new one where there is none."""
    row = await model.cached_get_or_none(key)
    if row is None:
        row = model(id=key, **new)
        model._cache[key] = row
    return row


async def pay(wallet, held, staked):
    """Add seconds to what a wallet has."""
    row = await found(Wallet, wallet, held=0, staked=0)
    row.held += held
    row.staked += staked
    await row.save()


async def change(event, effect, who, first, quantity):
    """Move the runs of all ids concerned, and pay whoever had them."""
    earned = {}

    def earn(wallet, staked, seconds):
        sums = earned.setdefault(wallet, [0, 0])
        sums[staked] += seconds

    for page, low, high in parts(first, quantity):
        row = await found(Page, page, runs=[])
        row.runs = advance(row.runs, low, high, effect, who, event.data.timestamp, earn)
        await row.save()
    for wallet, (held, staked) in earned.items():
        await pay(wallet, held, staked)
