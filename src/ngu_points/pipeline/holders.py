"""Which runs of tokens are whose: an index over a state's runs, kept up as blocks come in.

A run is known by its first id, which other runs' changes do not move. The index is made once; what
a block changes lies beside it, wallet by wallet, until that has become much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ngu_points.engine.events import I64, Ints
from ngu_points.engine.runs import NOBODY, Runs

CHANGED = 10_000
"""Wallets that lie beside the index before it is made anew."""


@dataclass(frozen=True, slots=True, eq=False)
class Holders:
    """The runs that each wallet owns or stakes; another state's index is another object.

    `first[starts[w]:starts[w + 1]]` are the first ids of wallet w's runs in id order, unless
    `changed` has them.
    """

    starts: I64
    first: Ints
    changed: Mapping[int, Ints]

    def rows(self, runs: Runs, wallet: int) -> I64:
        """Rows of a wallet's runs in the state that this is the index of, in id order."""
        firsts = self._firsts(wallet).astype(runs.first.dtype, copy=False)
        found: I64 = np.searchsorted(runs.first, firsts)
        return found

    def _firsts(self, wallet: int) -> Ints:
        firsts = self.changed.get(wallet)
        if firsts is not None:
            return firsts
        if wallet + 1 >= len(self.starts):
            return self.first[:0]
        return self.first[self.starts[wallet] : self.starts[wallet + 1]]

    def after(self, old: Runs, new: Runs) -> Holders:
        """The index once the runs `old` have become `new`; all others are what they were."""
        gone, come = _by_wallet(old), _by_wallet(new)
        changed = dict(self.changed)
        for wallet in {*gone, *come}:
            firsts = self._firsts(wallet)
            if wallet in gone:
                firsts = _without(firsts, gone[wallet])
            if wallet in come:
                firsts = _with(firsts, come[wallet])
            changed[wallet] = firsts
        return replace(self, changed=changed)


def holders_of(runs: Runs, wallets: int) -> Holders:
    """The index of a state's runs, of so many wallets."""
    wallet, rows = _parties(runs)
    order = np.argsort(wallet, kind="stable")
    starts = np.zeros(wallets + 1, np.int64)
    np.cumsum(np.bincount(wallet, minlength=wallets), out=starts[1:])
    return Holders(starts, runs.first[rows[order]], {})


def _parties(runs: Runs) -> tuple[I64, I64]:
    """Whoever owns or stakes a run, and the run's row, in order of rows."""
    both = np.stack([runs.owner, runs.staker], axis=1)
    both[both[:, 0] == both[:, 1], 1] = NOBODY  # who is both is named once
    wallet = both.ravel()
    named = np.flatnonzero(wallet != NOBODY)
    return wallet[named], named // 2


def _by_wallet(runs: Runs) -> dict[int, Ints]:
    """The first ids of (a few) runs by wallet, in id order."""
    wallet, rows = _parties(runs)
    return {w: runs.first[rows[wallet == w]] for w in set(wallet.tolist())}


def _without(firsts: Ints, gone: Ints) -> Ints:
    left: Ints = np.delete(firsts, np.searchsorted(firsts, gone))
    return left


def _with(firsts: Ints, come: Ints) -> Ints:
    if come.dtype == object or firsts.dtype == object:
        firsts, come = firsts.astype(object), come.astype(object)
    more: Ints = np.insert(firsts, np.searchsorted(firsts, come), come)
    return more
