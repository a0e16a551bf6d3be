"""Before images: what a step replaced, and how it is put back."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ngu_points.embedded import tables
from ngu_points.engine.events import blobs
from ngu_points.engine.fingerprint import words
from ngu_points.engine.runs import Runs
from ngu_points.engine.state import Wallets
from ngu_points.pipeline.interfaces import Change
from ngu_points.pipeline.pack import pack, unpack

if TYPE_CHECKING:
    from ngu_points.embedded.store import Store


def image_of(change: Change, position: Any, counters: Any) -> bytes:
    """Everything a step is about to replace, as bytes."""
    before, after = change.before.state, change.after
    head = {
        "position": position,
        "counters": counters,
        "days": [day.day for day in after.days],
        "uncertain": [wallet.hex() for wallet in change.uncertain],
    }
    arrays: dict[str, Any] = {"head": np.frombuffer(json.dumps(head).encode(), np.uint8)}
    arrays["new_first"] = words(after.state.runs.first)
    for f in fields(Runs):
        arrays[f"run_{f.name}"] = getattr(before.runs, f.name)
    for f in fields(Wallets):
        arrays[f"wallet_{f.name}"] = getattr(before.wallets, f.name)
    return pack(arrays)


def restored(store: Store, image: bytes, block: int) -> None:
    """Put a before image back and drop it; inside a commit."""
    arrays = unpack(image, f"the before image of block {block}")
    head = json.loads(arrays["head"].tobytes())
    runs = Runs(*(arrays[f"run_{f.name}"] for f in fields(Runs)))
    wallets = Wallets(*(arrays[f"wallet_{f.name}"] for f in fields(Wallets)))
    db = store.db
    db.executemany(
        "DELETE FROM tokens WHERE first = ?", zip(blobs(arrays["new_first"]), strict=True)
    )
    tables.write_runs(db, runs, np.arange(len(runs)), wallets.address)
    tables.write_wallets(db, wallets, np.arange(len(wallets)))
    new = wallets.address[wallets.updated == 0]  # nothing had happened to them before
    db.executemany("DELETE FROM points WHERE wallet = ?", zip(blobs(new), strict=True))
    db.executemany("DELETE FROM feast_pool WHERE day = ?", [(day,) for day in head["days"]])
    db.executemany(
        "DELETE FROM uncertain WHERE wallet = ? AND blockNumber = ?",
        [(bytes.fromhex(wallet), block) for wallet in head["uncertain"]],
    )
    db.execute(
        "DELETE FROM anomalies WHERE blockNumber > ?", ((head["position"] or {}).get("block", -1),)
    )
    db.execute("DELETE FROM changes WHERE toBlock = ?", (block,))
    previous = (head["position"] or {}).get("block", store.meta("start_block", 0) - 1)
    store.queue.reopen(previous)
    for key in ("position", "counters"):
        if head[key] is None:
            db.execute("DELETE FROM meta WHERE key = ?", (key,))
        else:
            db.execute("REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(head[key])))
    store.reload()
