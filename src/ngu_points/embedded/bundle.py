"""Everything there is to know at one block, in one folder: tables, rules, position, fingerprint.

All of it is of one moment of the database. The manifest names every file with its hash, so that
whoever gets the folder can tell that it is whole, and with the fingerprint that it is right.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from ngu_points import __version__
from ngu_points.embedded.archive import sync_folder
from ngu_points.embedded.exports import TABLES, export_to
from ngu_points.embedded.history import History
from ngu_points.engine.rules import Rules
from ngu_points.errors import NguError, UsageError
from ngu_points.pipeline.query import View

FORMAT = 1
CHUNK = 1 << 20


def write_bundle(folder: Path, form: str, history: History) -> dict[str, Any]:
    """Write the folder, complete or not at all; its manifest."""
    if not folder.name or folder.exists():
        raise UsageError(f"-o {str(folder)!r}: name a folder that is not there yet")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        manifest = _written(temporary, form, history)
        sync_folder(temporary)
        temporary.rename(folder)
    except OSError as error:
        raise NguError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def _written(folder: Path, form: str, history: History) -> dict[str, Any]:
    store = history.store
    position, identity = store.position(), store.identity()
    view = View.of(store.state(), store.rules)
    rows = {}
    for table in TABLES:
        path = folder / f"{table}.{form}"
        rows[path.name] = export_to(path, table, form, view, store, history, ranges=True)
    (folder / "rules.json").write_text(_text(rules_told(store.rules)), encoding="utf-8")
    manifest = {
        "format": FORMAT,
        "version": __version__,
        "chainId": identity.chain_id,
        "contract": identity.contract,
        "kind": identity.kind,
        "startBlock": store.meta("start_block"),
        "block": position.block,
        "blockHash": "0x" + position.hash.hex(),
        "timestamp": position.timestamp,
        "final": position.block <= store.meta("final", -1),
        "fingerprint": store.fingerprint(),
        "files": {
            path.name: {
                "sha256": hash_of(path),
                "bytes": path.stat().st_size,
                **({"rows": rows[path.name]} if path.name in rows else {}),
            }
            for path in sorted(folder.iterdir())
        },
    }
    (folder / "manifest.json").write_text(_text(manifest), encoding="utf-8")
    return manifest


def hash_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(CHUNK):
            digest.update(part)
    return digest.hexdigest()


def rules_told(rules: Rules) -> dict[str, Any]:
    """Everything that decides what events are worth; numbers as exact rationals."""
    return {
        "seasons": [
            {
                "name": season.name,
                "start": season.start,
                "end": season.end,
                "held": str(season.held),
                "staked": str(season.staked),
                "awards": {name: str(rate) for name, rate in sorted(season.awards.items())},
            }
            for season in rules.seasons
        ],
        "tiers": [{"days": t.days, "multiplier": str(t.multiplier)} for t in rules.tiers],
        "defaultWeight": rules.weights.default,
        "weights": [
            {"first": str(first), "last": str(last), "weight": weight}
            for first, last, weight in rules.weights.ranges
        ],
        "excluded": sorted("0x" + address.hex() for address in rules.excluded),
        "stakingContracts": sorted("0x" + address.hex() for address in rules.staking_contracts),
        "custody": rules.custody,
        "feastEmissionMicro": str(rules.feast_emission),
        "feastBurnMicro": str(rules.feast_burn),
        "foldKey": rules.fold_key(),
    }


def _text(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"
