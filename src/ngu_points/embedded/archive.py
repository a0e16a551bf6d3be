"""The archive: every covered event for ever, in append-only, checksummed segment files.

A segment holds one block range whole. Rows name their block, wallets and contract by index into
the segment's own tables, so that what repeats is kept once. Files appear complete or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import numpy as np

from ngu_points.embedded.database import Identity
from ngu_points.embedded.pack import pack, unpack
from ngu_points.engine.coverage import Covered
from ngu_points.engine.events import U8, Events, Rejected
from ngu_points.errors import StoreError
from ngu_points.pipeline.process import distinct

HEAD = ("chainId", "contract", "kind", "fromBlock", "toBlock", "parentHash", "lastHash",
        "timestamp", "events")  # fmt: skip


def segment_name(from_block: int, to_block: int, revision: int = 0) -> str:
    """A segment that was mended has a revision, and is another file than the one before."""
    revised = f"-{revision}" if revision else ""
    return f"{from_block:012d}-{to_block:012d}{revised}.npz"


def named(path: Path) -> tuple[int, int, int]:
    """First block, last block and revision, from a segment's name."""
    first, last, revision = [*path.stem.split("-"), "0"][:3]
    return int(first), int(last), int(revision)


def segment_files(folder: Path) -> list[Path]:
    """All segments in the folder: by first block, the largest and latest first."""
    found = [(named(path), path) for path in folder.glob("[0-9]*-[0-9]*.npz")]
    found.sort(key=lambda f: (f[0][0], -f[0][1], -f[0][2]))
    return [path for _, path in found]


def write_segment(folder: Path, covered: Covered, identity: Identity) -> str:
    """Write a range's events; returns the file's name once it is on the disk.

    What holds these blocks already stays as it is: this is the next revision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ends = (covered.from_block, covered.to_block)
    there = [named(path)[2] for path in segment_files(folder) if named(path)[:2] == ends]
    name = segment_name(*ends, max(there, default=-1) + 1)
    temporary = folder / f".{name}.{os.getpid()}"
    try:
        with temporary.open("wb") as file:
            file.write(pack(_columns(covered, identity)))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / name)
        _sync_folder(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{folder} cannot take the segment {name}: {error.strerror}") from error
    return name


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def identity_of(path: Path) -> Identity:
    """What the segment's archive is of."""
    head = _head(_arrays(path))
    return Identity(head["chainId"], head["contract"], head["kind"])


def read_segment(path: Path) -> Covered:
    """A segment as it was written; StoreError if it is missing or a bit of it changed."""
    columns = _arrays(path)
    head = _head(columns)
    if named(path)[:2] != (head["fromBlock"], head["toBlock"]):
        raise StoreError(
            f"{path} holds blocks {head['fromBlock']}..{head['toBlock']}, not those of its name: "
            f"{_remedy(path)}"
        )
    try:
        return _covered(columns, head)
    except (LookupError, TypeError, ValueError) as error:
        raise StoreError(f"{path} is no segment that was written here: {_remedy(path)}") from error


def _covered(columns: dict[str, Any], head: dict[str, Any]) -> Covered:
    row = columns["block_row"]
    address = columns["address"]
    events = Events(
        kind=columns["kind"],
        block=columns["block"][row],
        tx_index=columns["tx_index"].astype(np.int64),
        log_index=columns["log_index"].astype(np.int64),
        timestamp=columns["timestamp"][row],
        sender=address[columns["sender"]],
        recipient=address[columns["recipient"]],
        first=columns["first"],
        quantity=columns["quantity"],
        contract=address[columns["contract"]],
        block_hash=columns["block_hash"][row],
        tx_hash=columns["tx_hash"],
    )
    return Covered(
        head["fromBlock"],
        head["toBlock"],
        bytes.fromhex(head["parentHash"]),
        bytes.fromhex(head["lastHash"]),
        head["timestamp"],
        events,
        _rejected(columns["letters"]) if "letters" in columns else (),
    )


def _arrays(path: Path) -> dict[str, Any]:
    try:
        return unpack(path.read_bytes(), str(path))
    except OSError as error:
        raise StoreError(
            f"{path}: {error.strerror}; the archive is incomplete: {_remedy(path)}"
        ) from error
    except StoreError as error:
        raise StoreError(f"{error}: {_remedy(path)}") from error


def _remedy(path: Path) -> str:
    first, last, _ = named(path)
    return f"bring the file back, or `ngu replay {first} {last}` makes it anew from the chain"


def _head(columns: dict[str, Any]) -> dict[str, Any]:
    try:
        head: dict[str, Any] = json.loads(columns["head"].tobytes())
        return {key: head[key] for key in HEAD}
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise StoreError("a segment without its head: bring the archive's file back") from error


def _columns(covered: Covered, identity: Identity) -> dict[str, object]:
    events = covered.events
    head = {
        "format": 1,
        "chainId": identity.chain_id,
        "contract": identity.contract,
        "kind": identity.kind,
        "fromBlock": covered.from_block,
        "toBlock": covered.to_block,
        "parentHash": covered.parent_hash.hex(),
        "lastHash": covered.last_hash.hex(),
        "timestamp": covered.timestamp,
        "events": len(events),
    }
    block, first_row, block_row = np.unique(events.block, return_index=True, return_inverse=True)
    address, at = distinct(np.concatenate([events.sender, events.recipient, events.contract]))
    sender, recipient, contract = np.split(at.astype(np.uint32), 3)
    letters = {"letters": _letters(covered.rejected)} if covered.rejected else {}
    return letters | {
        "head": np.frombuffer(json.dumps(head).encode(), np.uint8),
        "kind": events.kind,
        "block_row": block_row.astype(np.uint32),
        "block": block,
        "timestamp": events.timestamp[first_row],
        "block_hash": events.block_hash[first_row],
        "tx_index": events.tx_index.astype(np.uint32),
        "log_index": events.log_index.astype(np.uint32),
        "address": address,
        "sender": sender,
        "recipient": recipient,
        "contract": contract,
        "first": events.first,
        "quantity": events.quantity,
        "tx_hash": events.tx_hash,
    }


def _letters(rejected: Sequence[Rejected]) -> U8:
    """Dead letters as JSON, their bytes in hex."""
    rows = [[v.hex() if isinstance(v, bytes) else v for v in astuple(r)] for r in rejected]
    return np.frombuffer(json.dumps(rows).encode(), np.uint8)


def _rejected(letters: U8) -> tuple[Rejected, ...]:
    types = [field.type for field in fields(Rejected)]
    rows = json.loads(letters.tobytes())
    return tuple(Rejected(*map(_value, types, row)) for row in rows)


def _value(kind: Any, value: Any) -> Any:
    return bytes.fromhex(value) if kind == "bytes" else value
