"""A bundle holds everything of one block, complete or not at all."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from cli.faulty import serving
from cli.program import busy_chain, ngu, place

HASHED = ("events", "feast", "points", "tokens")


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    node, path = busy_chain(60), tmp_path_factory.mktemp("bundle") / "ngu.db"
    with serving(node) as served:
        assert ngu("sync", *place(node, served.url, path), "--finality", 0).code == 0
    return path


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest, after every hash in it was checked."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    names = {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert names == manifest["files"].keys()
    for name, file in manifest["files"].items():
        data = (folder / name).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file["sha256"], file["bytes"])
    return manifest


def test_a_bundle_is_what_the_commands_say(db: Path, tmp_path: Path) -> None:
    """Every table is what `ngu export` writes, the fingerprint is that of the database."""
    folder = tmp_path / "bundle"
    ended = ngu("snapshot", "--db", db, "-o", folder, "--json")
    assert ended.code == 0, ended.err
    manifest = manifest_of(folder)
    assert ended.json == {"folder": str(folder), **manifest}
    status = ngu("status", "--db", db, "--json").json
    assert (manifest["block"], manifest["blockHash"]) == (status["block"], status["blockHash"])
    told = ngu("fingerprint", "--db", db, "--json").json
    assert manifest["fingerprint"] == told["fingerprint"]
    for table in HASHED:
        words = ["--ranges"] if table == "tokens" else []
        exported = ngu("export", table, "--db", db, *words).out
        assert (folder / f"{table}.csv").read_text() == exported
        rows = len(list(csv.reader(exported.splitlines()))) - 1
        assert manifest["files"][f"{table}.csv"]["rows"] == rows
    rules = json.loads((folder / "rules.json").read_text())
    assert rules["seasons"][0]["staked"] == "2"


def test_a_bundle_of_parquet_opens_in_duckdb(db: Path, tmp_path: Path) -> None:
    """The same rows in another format."""
    folder = tmp_path / "bundle"
    assert ngu("snapshot", "--db", db, "-o", folder, "--format", "parquet").code == 0
    manifest = manifest_of(folder)
    for table in HASHED:
        count = duckdb.sql(f"SELECT count(*) FROM '{folder}/{table}.parquet'").fetchall()
        assert count == [(manifest["files"][f"{table}.parquet"]["rows"],)]


def test_a_bundle_overwrites_nothing_and_leaves_nothing_half(db: Path, tmp_path: Path) -> None:
    """A folder that is there is refused; what cannot be written leaves no trace."""
    there = tmp_path / "there"
    there.mkdir()
    ended = ngu("snapshot", "--db", db, "-o", there)
    assert ended.code == 2
    assert "not there yet" in ended.complaint
    file = tmp_path / "file"
    file.write_text("")
    ended = ngu("snapshot", "--db", db, "-o", file / "bundle")
    assert ended.code == 1
    assert "cannot be written" in ended.complaint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]
