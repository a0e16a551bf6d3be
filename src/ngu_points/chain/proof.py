"""Say what a block's header and receipts prove about our logs, and what they do not (pure).

A block hash commits to the whole header. So whoever trusts the hash (a finalized one, told by
several endpoints, and the parents it names) may trust every field that hashes to it: first the
bloom, which proves that a contract logged nothing; then the receipts root, which proves all logs.
Without that trust a proof only says that the parts of one answer agree with one another.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np

from ngu_points.chain.bloom import SIZE, false_hit, may_log, saturation
from ngu_points.chain.contract import keccak256
from ngu_points.chain.encoding import Unprovable, data, minimal, quantity, rlp, rlp_list
from ngu_points.chain.receipts import root_of

_NUMBER: Final = 0
_ANY: Final = None

# Name and size in bytes, in the order of the header (Yellow Paper, section 4.4).
_FIELDS: Final[tuple[tuple[str, int | None], ...]] = (
    ("parentHash", 32),
    ("sha3Uncles", 32),
    ("miner", 20),
    ("stateRoot", 32),
    ("transactionsRoot", 32),
    ("receiptsRoot", 32),
    ("logsBloom", SIZE),
    ("difficulty", _NUMBER),
    ("number", _NUMBER),
    ("gasLimit", _NUMBER),
    ("gasUsed", _NUMBER),
    ("timestamp", _NUMBER),
    ("extraData", _ANY),
    ("mixHash", 32),
    ("nonce", 8),
)
# What forks appended, each one field after the other; a header has the first few or all of them.
_LATER: Final[tuple[tuple[str, int | None], ...]] = (
    ("baseFeePerGas", _NUMBER),  # London, EIP-1559
    ("withdrawalsRoot", 32),  # Shanghai, EIP-4895
    ("blobGasUsed", _NUMBER),  # Cancun, EIP-4844
    ("excessBlobGas", _NUMBER),
    ("parentBeaconBlockRoot", 32),  # Cancun, EIP-4788
    ("requestsHash", 32),  # Prague, EIP-7685
)
_BESIDE: Final = {"hash", "size", "totalDifficulty", "transactions", "uncles", "withdrawals"}
"""What nodes show with a header and is no part of it."""
_KNOWN: Final = _BESIDE | {name for name, _ in _FIELDS + _LATER}

_STATE_SYNC: Final = "Polygon keeps logs of its bridge outside bloom and receipts root"
_OUTSIDE: Final = {137: _STATE_SYNC, 80002: _STATE_SYNC}


class Verdict(StrEnum):
    """What is known of a block's logs."""

    PROVEN_EMPTY = "proven empty"  # the bloom excludes us
    PROVEN = "proven"  # these receipts are all of the block's
    CONSISTENT = "consistent"  # the bloom allows for the logs that we hold; more may be missing
    SUSPECT = "suspect"  # ask again, ask another endpoint
    MISMATCH = "mismatch"  # the header does not hash to its hash: altered, or another kind of chain
    UNPROVEN = "unproven"  # the proof cannot be had from these fields


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and one line that says why."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Break:
    """Where a chain of headers stops being one: `at` counts from 0."""

    at: int
    verdict: Verdict  # UNPROVEN, MISMATCH, or SUSPECT where the parent is another block
    reason: str


def header_hash(fields: Mapping[str, Any]) -> bytes | None:
    """The hash of a block, recomputed from eth_getBlockByNumber's fields; None if that cannot be.

    Every Ethereum fork from Frontier to Prague, and every chain with the same header, is told by
    the optional fields that are present. Where fields stand beside those that are not known, only
    a result that equals the announced hash counts: others may hash more. `header_doubt` says why.
    """
    try:
        return _recomputed(fields)
    except Unprovable:
        return None


def header_doubt(fields: Mapping[str, Any]) -> Judgement | None:
    """Why a header does not prove itself (UNPROVEN, MISMATCH); None if its hash is its own."""
    try:
        announced, found = data(fields, "hash", 32), _recomputed(fields)
    except Unprovable as doubt:
        return Judgement(Verdict.UNPROVEN, f"the hash cannot be recomputed: {doubt}")
    if found == announced:
        return None
    return Judgement(
        Verdict.MISMATCH,
        f"the header hashes to {_short(found)}, announced is {_short(announced)}:"
        " altered on the way, or a chain that hashes in another way",
    )


def linked(headers: Iterable[Mapping[str, Any]]) -> Break | None:
    """The first place where headers, lower blocks first, are no chain of proven hashes; or None.

    Each must hash to its announced hash and name the one before as its parent. None makes all of
    them as true as the last hash.
    """
    before: bytes | None = None
    for at, fields in enumerate(headers):
        doubt = header_doubt(fields)
        if doubt is not None:
            return Break(at, doubt.verdict, f"block {_number(fields)}: {doubt.reason}")
        parent = data(fields, "parentHash", 32)
        if before is not None and parent != before:
            reason = f"its parent is {_short(parent)}, the block before is {_short(before)}"
            return Break(at, Verdict.SUSPECT, f"block {_number(fields)}: {reason}")
        before = data(fields, "hash", 32)
    return None


def logs_outside_header(chain_id: int) -> str | None:
    """Why no header of this chain can prove what was logged, in one line; None if it can."""
    return _OUTSIDE.get(chain_id)


def judge(
    fields: Mapping[str, Any],
    held: int,
    addresses: Sequence[bytes],
    topics0: Sequence[bytes],
    chain_id: int,
) -> Judgement:
    """What a header says of the `held` logs that we have of its block.

    `addresses` (20 bytes) and `topics0` (32 bytes; none: any) are what we asked the node for.
    Never PROVEN: a bloom cannot tell whether the logs that we hold are all there are.
    """
    doubt = header_doubt(fields) or _outside(chain_id)
    if doubt is not None:
        return doubt
    bloom = data(fields, "logsBloom", SIZE)
    if any(may_log(bloom, address, topics0) for address in addresses):
        return _allowed(bloom, held, len(addresses))
    if held:
        reason = (
            f"{_logs(held)} held that the bloom excludes: of another block, or a chain"
            " without blooms"
        )
        return Judgement(Verdict.SUSPECT, reason)
    return Judgement(Verdict.PROVEN_EMPTY, "the bloom excludes the contracts")


def judge_receipts(fields: Mapping[str, Any], receipts: Any, chain_id: int) -> Judgement:
    """Whether `receipts` (eth_getBlockReceipts) are all of the block's: PROVEN if so.

    `logs_of(receipts)` is then what the block logged, complete and in order.
    """
    doubt = header_doubt(fields) or _outside(chain_id)
    if doubt is not None:
        return doubt
    try:
        found = root_of(receipts)
    except Unprovable as unknown:
        return Judgement(Verdict.UNPROVEN, f"the root cannot be recomputed: {unknown}")
    promised = data(fields, "receiptsRoot", 32)
    if found != promised:
        reason = f"the receipts have the root {_short(found)}, the header {_short(promised)}"
        return Judgement(Verdict.SUSPECT, f"{reason}: ask another endpoint")
    return Judgement(Verdict.PROVEN, f"the receipts root holds {len(receipts)} transactions")


def _recomputed(fields: Mapping[str, Any]) -> bytes:
    unknown = sorted(name for name in fields.keys() - _KNOWN if fields[name] is not None)
    present = [name for name, _ in _LATER if fields.get(name) is not None]
    # A gap shows as a missing field: the later one would have to stand in its place.
    names = _FIELDS + _LATER[: _length(present)]
    found = keccak256(rlp_list([rlp(_item(fields, name, size)) for name, size in names]))
    if unknown and "0x" + found.hex() != str(fields.get("hash")).lower():
        listed = ", ".join(ascii(name)[1:-1] for name in unknown[:5])
        raise Unprovable(f"the header has fields that are not known ({listed[:80]})")
    return found


def _length(present: Sequence[str]) -> int:
    """How many of the later fields there must be for the last of those present."""
    later = [name for name, _ in _LATER]
    return later.index(present[-1]) + 1 if present else 0


def _item(fields: Mapping[str, Any], name: str, size: int | None) -> bytes:
    return minimal(quantity(fields, name)) if size == _NUMBER else data(fields, name, size)


def _outside(chain_id: int) -> Judgement | None:
    reason = logs_outside_header(chain_id)
    return None if reason is None else Judgement(Verdict.UNPROVEN, reason)


def _allowed(bloom: bytes, held: int, addresses: int) -> Judgement:
    if held:
        return Judgement(Verdict.CONSISTENT, f"the bloom allows for the {_logs(held)} held")
    share = float(saturation(np.frombuffer(bloom, np.uint8)[None])[0])
    reason = f"the bloom allows for logs and none are held; it is {share:.0%} full,"
    reason += f" which alone gives that in {false_hit(share, addresses):.1%} of such blocks"
    return Judgement(Verdict.SUSPECT, reason)


def _logs(count: int) -> str:
    return f"{count} log" if count == 1 else f"{count} logs"


def _number(fields: Mapping[str, Any]) -> str:
    try:
        return str(quantity(fields, "number"))
    except Unprovable:
        return "without a number"


def _short(value: bytes) -> str:
    return f"0x{value.hex()[:12]}…"
