"""A rival's tables held against the replay that our own sync is held against (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.expected import Answer, differ
from bench.rivals.interfaces import Run
from bench.workloads import Workload, addresses
from ngu_points.engine.runs import NOBODY
from ngu_points.errors import NguError


def check(
    work: Workload, answer: Answer, runs: Iterable[Run], wallets: Mapping[str, tuple[int, int]]
) -> None:
    """Owners, stakers and seconds up to the last block. NguError names the first difference."""
    names = ["0x" + row.tobytes().hex() for row in addresses(work.wallets)]
    number = {name: wallet for wallet, name in enumerate(names)}
    if not wallets.keys() <= number.keys():
        raise NguError("there is a wallet that the workload does not have")
    owner, staker = [NOBODY] * len(answer.owner), [NOBODY] * len(answer.owner)
    held = [wallets.get(name, (0, 0))[0] for name in names]
    staked = [wallets.get(name, (0, 0))[1] for name in names]
    for first, last, who, by, since in runs:
        tokens = last - first + 1
        owner[first : last + 1] = [number[who]] * tokens
        open_for = tokens * (work.last_timestamp - since)
        if by is None:
            held[number[who]] += open_for
        else:
            staker[first : last + 1] = [number[by]] * tokens
            staked[number[by]] += open_for
    for what, found, wanted in (
        ("the owner of token", owner, answer.owner),
        ("the staker of token", staker, answer.staker),
        ("held seconds of wallet", held, answer.held),
        ("staked seconds of wallet", staked, answer.staked),
    ):
        if found != wanted:
            differ(what, found, wanted)
