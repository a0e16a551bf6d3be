"""The answer that a sync must give, by a replay as plain as possible, and the comparison with it.

Token by token and event by event, in lists; nothing of the engine is used.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from bench.workloads import Workload, addresses
from ngu_points.engine.events import Kind
from ngu_points.engine.runs import NOBODY
from ngu_points.errors import NguError


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Owner and staker of every token id (a list from 0 on), token-seconds of every wallet."""

    owner: list[int]  # NOBODY where the token does not exist
    staker: list[int]
    held: list[int]
    staked: list[int]


def replay(work: Workload) -> Answer:
    """What the events come to at the time of the last block."""
    tokens = int((work.first + work.quantity).max())
    answer = Answer([NOBODY] * tokens, [NOBODY] * tokens, [0] * work.wallets, [0] * work.wallets)
    since = [0] * tokens
    columns = (work.effect, work.sender, work.recipient, work.first, work.quantity, work.timestamp)
    for event in zip(*(column.tolist() for column in columns), strict=True):
        effect, sender, recipient, first, quantity, time = event
        for token in range(first, first + quantity):
            _settle(answer, since, token, time)
            if effect == Kind.STAKE:
                answer.staker[token] = sender
            elif effect == Kind.UNSTAKE:
                answer.staker[token] = NOBODY
            else:
                answer.owner[token] = recipient
    for token in range(tokens):
        _settle(answer, since, token, work.last_timestamp)
    return answer


def _settle(answer: Answer, since: list[int], token: int, time: int) -> None:
    staker, owner = answer.staker[token], answer.owner[token]
    if staker != NOBODY:
        answer.staked[staker] += time - since[token]
    elif owner != NOBODY:
        answer.held[owner] += time - since[token]
    since[token] = time


def check(work: Workload, answer: Answer, tokens: Path, points: Path) -> None:
    """Compare `ngu export tokens --ranges` and `ngu export points` with the answer.

    NguError names the first difference.
    """
    names = ["0x" + row.tobytes().hex() for row in addresses(work.wallets)]
    number = {name: wallet for wallet, name in enumerate(names)} | {"": NOBODY}
    _check_tokens(answer, tokens, number)
    _check_points(answer, points, names)


def _check_tokens(answer: Answer, path: Path, number: dict[str, int]) -> None:
    owner, staker = [NOBODY] * len(answer.owner), [NOBODY] * len(answer.owner)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            first, last = int(row["start"]), int(row["end"])
            owner[first : last + 1] = [number[row["owner"]]] * (last + 1 - first)
            staker[first : last + 1] = [number[row["staker"]]] * (last + 1 - first)
    for what, found, wanted in (
        ("owner", owner, answer.owner),
        ("staker", staker, answer.staker),
    ):
        if found != wanted:
            differ(f"the {what} of token", found, wanted)


def _check_points(answer: Answer, path: Path, names: list[str]) -> None:
    with path.open(newline="") as file:
        found = {row["wallet"]: row for row in csv.DictReader(file)}
    if not found.keys() <= set(names):
        raise NguError(f"{path}: a wallet that the workload does not have")
    for column, wanted in (
        ("held_token_seconds", answer.held),
        ("staked_token_seconds", answer.staked),
    ):
        seconds = [int(found[name][column]) if name in found else 0 for name in names]
        if seconds != wanted:
            differ(f"{column} of wallet", seconds, wanted)


def differ(what: str, found: list[int], wanted: list[int]) -> None:
    """NguError that names the first place where two lists, which are not equal, differ."""
    if len(found) != len(wanted):
        raise NguError(f"{what} {min(len(found), len(wanted))} should not exist")
    at = next(i for i, (one, two) in enumerate(zip(found, wanted, strict=True)) if one != two)
    raise NguError(f"{what} {at} is {found[at]}, the replay says {wanted[at]}")
