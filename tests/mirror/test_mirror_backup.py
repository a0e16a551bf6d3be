"""`ngu replay --from-archive`: a backup in S3 becomes tables again, or a database."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.program import Ended, address, busy_chain, ngu
from mirror.stage import Stage, backed_up, emptied, filled, stage_of

LAST = 30


@pytest.fixture(scope="module")
def stage(emulator_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage of 30 blocks, with all that was sent in its bucket."""
    folder: Path = tmp_path_factory.mktemp("stage")
    with stage_of(busy_chain(LAST, 3), emulator_url, folder) as made:
        filled(made, LAST)
        backed_up(made)
        assert made.beside("sync", "--to-block", LAST).code == 0
        yield made


def right(stage: Stage) -> str:
    return stage.beside("fingerprint").out.strip()


def test_tables_come_back_from_nothing(stage: Stage) -> None:
    """Emptied tables get the fingerprint that they had; a second time nothing is written."""
    emptied(stage)
    dry = stage.ngu("replay", "--from-archive", "--dry-run", "--json")
    assert (dry.code, dry.json["processed"]) == (0, 0), dry.err
    first = stage.ngu("replay", "--from-archive", "--json")
    assert (first.code, first.json["fingerprint"]) == (0, right(stage)), first.err
    assert dry.json["written"] == first.json["written"] > 0
    again = stage.ngu("replay", "--from-archive", "--json")
    assert (again.code, again.json["written"]) == (0, 0)
    assert again.json["known"] == first.json["written"]
    assert stage.ngu("fingerprint").out.strip() == right(stage)


def test_a_database_is_made_of_the_backup_alone(stage: Stage, tmp_path: Path) -> None:
    """From the bucket and from a copy of it, without any node."""
    for number, more in enumerate([(), ("--folder", downloaded(stage, tmp_path / "copy"))]):
        made = restored(stage, tmp_path / f"{number}.db", *more)
        assert (made.code, made.json["fingerprint"]) == (0, right(stage)), made.err
    assert restored(stage, tmp_path / "0.db").json["written"] == 0


def test_damaged_objects_are_named_and_the_rest_is_used(stage: Stage, tmp_path: Path) -> None:
    """One cut off, one that is no gzip: exit code 3; with them repaired all is there."""
    folder = downloaded(stage, tmp_path / "copy")
    cut, other = sorted(folder.rglob("*.gz"))[3:5]
    whole = cut.read_bytes(), other.read_bytes()
    cut.write_bytes(whole[0][:-9])
    other.write_bytes(gzip.compress(gzip.decompress(whole[1])[:-5]))
    ended = restored(stage, tmp_path / "ngu.db", "--folder", folder)
    assert (ended.code, ended.json["damagedObjects"]) == (3, 2)
    assert {str(cut) in text or str(other) in text for text in ended.json["damaged"]} == {True}
    cut.write_bytes(whole[0])
    other.write_bytes(whole[1])
    assert restored(stage, tmp_path / "ngu.db", "--folder", folder).json["incomplete"] == 0
    assert ngu("fingerprint", "--db", tmp_path / "ngu.db").out.strip() == right(stage)


def test_what_does_not_go_together_is_refused(stage: Stage, tmp_path: Path) -> None:
    """Blocks with a backup, hours without one, no backup at all, an hour that is none."""
    cases = [
        ((1, 2, "--from-archive"), "takes --since and --until"),
        ((1, 2, "--folder", tmp_path), "go with --from-archive"),
        ((), "takes FROM and TO, or --from-archive"),
        (("--from-archive", "--since", "noon"), "--since: 'noon' is not a time"),
        (("--from-archive", "--folder", tmp_path), "holds no backup"),
    ]
    for words, said in cases:
        ended = stage.ngu("replay", *words)
        assert (ended.code, said in ended.complaint) == (2, True), ended.err
    nothing = stage.ngu("replay", "--from-archive", "--since", "2026-02-01T00")
    assert (nothing.code, "no record" in nothing.complaint) == (1, True)


def restored(stage: Stage, db: Path, *more: object) -> Ended:
    env = dict(stage.env)
    place = ("--contract", address(stage.node), "--db", db)
    return ngu("replay", "--from-archive", *place, *more, "--json", env=env)


def downloaded(stage: Stage, folder: Path) -> Path:
    """The bucket's backup as files."""
    s3, bucket = stage.client("s3"), stage.environment.archive
    for item in s3.list_objects_v2(Bucket=bucket, Prefix="backup/")["Contents"]:
        path = folder / item["Key"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())
    return folder
