"""Tokens as runs: [first id, last id, owner, staker or None, since], sorted, in pages of ids."""

PAGE = 64


def parts(first, quantity):
    """Each page that ids from `first` on touch, with the part of them in it."""
    end = first + quantity - 1
    for page in range(first // PAGE, end // PAGE + 1):
        yield page, max(first, page * PAGE), min(end, page * PAGE + PAGE - 1)


def advance(runs, first, last, effect, who, time, earn):
    """The runs of a page after one event; `earn(wallet, staked, seconds)` hears whose clock stops.

    An effect is mint or transfer (to `who`), burn, stake (by `who`) or unstake.
    """
    if effect == "mint":
        at = next((n for n, run in enumerate(runs) if run[0] > last), len(runs))
        return [*runs[:at], [first, last, who, None, time], *runs[at:]]
    after = []
    for run in runs:
        low, high, owner, staker, since = run
        if high < first or low > last:
            after.append(run)
            continue
        if low < first:
            after.append([low, first - 1, owner, staker, since])
        start, end = max(low, first), min(high, last)
        earn(staker or owner, staker is not None, (end - start + 1) * (time - since))
        if effect == "transfer":
            after.append([start, end, who, staker, time])
        elif effect != "burn":
            after.append([start, end, owner, who if effect == "stake" else None, time])
        if high > last:
            after.append([last + 1, high, owner, staker, since])
    return after
