"""Compare what is held of a block range with the chain, block by block, and certify the result."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ngu_points.chain.audit import Examined, Finding, examine
from ngu_points.chain.decode import Decoded
from ngu_points.chain.proof import Verdict
from ngu_points.chain.reader import Reader
from ngu_points.embedded.history import History
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import named
from ngu_points.engine.events import event_id, ids
from ngu_points.errors import StoreError, UsageError

PROOFS = {Verdict.PROVEN, Verdict.PROVEN_EMPTY}
DOUBTFUL = {Verdict.SUSPECT, Verdict.MISMATCH, Verdict.UNPROVEN}
LISTED = 100
"""Differences that a report names one by one; the certificate has them all."""
Seen = Callable[[int], None]


@dataclass(slots=True, eq=False)
class Comparison:
    """What came of comparing the blocks from `first` to `last`."""

    first: int
    last: int
    voices: int = 0  # endpoints, where all receipts were wanted
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    runs: list[tuple[int, int, Verdict]] = field(default_factory=list)  # blocks of one verdict
    differences: list[Finding] = field(default_factory=list)
    doubts: list[Finding] = field(default_factory=list)  # neither proven nor consistent
    events: int = 0
    letters: int = 0
    receipts: int = 0
    headers_doubt: str | None = None
    parent_hash: bytes = b""
    last_hash: bytes = b""
    timestamp: int = 0
    held: Any = field(default_factory=hashlib.sha256)  # over `coverage.named` of everything held
    headers: Any = field(default_factory=hashlib.sha256)  # over all block hashes

    @property
    def doubtful(self) -> int:
        """Blocks that may not be as we hold them."""
        return sum(self.verdicts[v] for v in DOUBTFUL) + self.unsupported

    @property
    def unsupported(self) -> int:
        """Blocks for which one endpoint's word is all there is, although receipts were wanted."""
        return self.verdicts[Verdict.CONSISTENT] if self.voices == 1 else 0

    def summary(self) -> dict[str, Any]:
        """For people and machines; differences up to a number."""
        return {
            "from": self.first,
            "to": self.last,
            "blocks": self.last - self.first + 1,
            "events": self.events,
            "deadLetters": self.letters,
            "verdicts": {v.value: n for v, n in self.verdicts.items()},
            "receiptsRead": self.receipts,
            "headersDoubt": self.headers_doubt,
            "differing": len(self.differences),
            "doubtful": self.doubtful,
            "oneEndpointsWord": self.unsupported,
        }


def checked_range(store: Store, first: int, last: int) -> tuple[int, int]:
    """The part of a range that is covered; UsageError if there is none."""
    start, position = int(store.meta("start_block", 0)), store.position().block
    if first > last:
        raise UsageError(f"{first} {last}: the first block lies behind the last one")
    if last < start or first > position:
        raise UsageError(f"blocks {first}..{last} are not covered: that is {start}..{position}")
    return max(first, start), min(last, position)


async def compare(
    reader: Reader, history: History, first: int, last: int, receipts: int | None, seen: Seen
) -> Comparison:
    """Compare every block of a covered range; `receipts` as in `chain.audit.examine`.

    StoreError if the chain has another block where a range ended: then nothing above is ours.
    """
    found = Comparison(first, last, 0 if receipts is not None else len(reader.rpc.endpoints))
    ends = dict(_ends(history, first, last))

    def held(start: int, end: int) -> Decoded:
        mine = history.between(start, end)
        found.events += len(mine.events)
        found.letters += len(mine.rejected)
        found.held.update(named(mine.events, mine.rejected))
        return mine

    parts = examine(
        reader.rpc, reader.contract, history.store.chain_id, held, first, last, receipts=receipts
    )
    async with aclosing(parts):
        async for part in parts:
            _take(found, part, ends)
            seen(part.to_block)
    return found


def _take(found: Comparison, part: Examined, ends: dict[int, bytes]) -> None:
    if part.from_block == found.first:
        found.parent_hash = part.parent_hash
    found.last_hash, found.timestamp = part.last_hash, part.timestamp
    found.receipts += part.receipts
    found.headers_doubt = found.headers_doubt or part.headers_doubt
    for finding in part.findings:
        known = ends.get(finding.block)
        if known not in (None, finding.hash):
            raise StoreError(
                f"block {finding.block} is another block on the chain now: a fork below what was "
                f"read; `ngu rewind {finding.block - 1}`, then `ngu sync`"
            )
        found.headers.update(finding.hash)
        found.verdicts[finding.verdict] += 1
        if finding.true is not None:
            found.differences.append(finding)
        elif finding.verdict in DOUBTFUL:
            found.doubts.append(finding)
        if found.runs and found.runs[-1][2] is finding.verdict:
            found.runs[-1] = (found.runs[-1][0], finding.block, finding.verdict)
        else:
            found.runs.append((finding.block, finding.block, finding.verdict))


def _ends(history: History, first: int, last: int) -> Iterator[tuple[int, bytes]]:
    """The blocks of a range of which we know the hash."""
    for group in history.checkpoints(last):
        yield from ((p.block, p.hash) for p in group if p.block >= first)
        if group and group[-1].block < first:
            return


def described(finding: Finding, held: Decoded) -> dict[str, Any]:
    """A difference: what is missing here, what is here and not on the chain, who says so."""
    assert finding.true is not None
    mine, theirs = _names(held), _names(finding.true)
    missing, extra = sorted(theirs - mine), sorted(mine - theirs)
    parts = [f"{len(missing)} of {len(theirs)} logs missing"] if missing else []
    parts += [f"{len(extra)} held that the chain does not have"] if extra else []
    return {
        "block": finding.block,
        "what": ", ".join(parts) or "what a log says differs",
        "missing": missing,
        "extra": extra,
        "verdict": finding.verdict.value,
        "how": finding.how,
    }


def _names(found: Decoded) -> set[str]:
    return {
        *ids(found.events),
        *(event_id(r.block, r.tx_hash, r.log_index) for r in found.rejected),
    }


def certificate(found: Comparison, history: History, now: int) -> dict[str, Any]:
    """All that was found, so that anybody with a node can find the same again."""
    identity = history.store.identity()
    return {
        "certificate": 1,
        "chainId": identity.chain_id,
        "contract": identity.contract,
        "kind": identity.kind,
        "at": now,
        **found.summary(),
        "parentHash": "0x" + found.parent_hash.hex(),
        "lastHash": "0x" + found.last_hash.hex(),
        "timestamp": found.timestamp,
        "headersDigest": found.headers.hexdigest(),
        "eventsDigest": found.held.hexdigest(),
        "proof": [[a, b, verdict.value] for a, b, verdict in found.runs],
        "unproven": [{"block": f.block, "verdict": f.verdict.value, "how": f.how}
                     for f in found.doubts],
        "differences": [described(f, history.between(f.block, f.block))
                        for f in found.differences],
    }  # fmt: skip


def write_certificate(path: Path, made: dict[str, Any]) -> None:
    """One JSON file; StoreError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror}; choose another -o"
        ) from error


def note(history: History, found: Comparison, now: int, repaired: Collection[int] = ()) -> None:
    """Keep what was found: the range if all of it is proven, else each block that is in doubt.

    A block leaves the ledger of gaps only when it is proven. What nothing had announced (see
    `Queue.put_aside`) is settled where its block is proven.
    """
    store = history.store
    left = _left(history, found, repaired)
    with store.commit():
        if not left and found.verdicts.keys() <= PROOFS:
            verdicts = {v.value: n for v, n in found.verdicts.items()}
            store.db.execute(
                "REPLACE INTO certificates VALUES (?, ?, ?, ?)",
                (found.first, found.last, now, json.dumps(verdicts)),
            )
        since = dict(store.db.execute("SELECT fromBlock, since FROM gaps WHERE stream = 'chain'"))
        store.db.executemany("DELETE FROM gaps WHERE stream = 'chain' AND fromBlock = ?",
                             [(block,) for block in left])  # fmt: skip
        for first, last, verdict in found.runs:
            if verdict in PROOFS:
                store.queue.settle_unannounced(first, last)
                store.db.execute(
                    "DELETE FROM gaps WHERE stream = 'chain' AND fromBlock BETWEEN ? AND ?",
                    (first, last),
                )
        store.db.executemany(
            "INSERT INTO gaps VALUES ('chain', ?, ?, ?, ?)",
            [(block, block, why, since.get(block, now)) for block, why in left.items()],
        )


def _left(history: History, found: Comparison, repaired: Collection[int]) -> dict[int, str]:
    """The blocks that differ still, or were repaired on somebody's word, and why."""
    left = {}
    for finding in found.differences:
        if finding.block not in repaired:
            told = described(finding, history.between(finding.block, finding.block))
            left[finding.block] = f"{told['what']} ({told['how']})"
        elif finding.verdict not in PROOFS:
            left[finding.block] = f"repaired, not proven ({finding.how})"
    return left
