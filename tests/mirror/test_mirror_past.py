"""A copy of a deployment: asked about the past it answers what a database of the chain answers."""

from __future__ import annotations

import json

from mirror.stage import Stage
from ngu_points.aws.tables import POINTS


def test_the_past_is_the_same(synced: Stage) -> None:
    """With --at, in the archive and behind it; exports of everything."""
    wallet = synced.beside("leaderboard", "--json").json["leaderboard"][0]["wallet"]
    commands: list[tuple[object, ...]] = [
        ("leaderboard", "--at", 17), ("leaderboard", "--at", 52, "--json"),
        ("points", wallet, "--at", "@1700080000", "--json"), ("token", 7, "--at", 40),
        ("fingerprint", "--at", 20), ("fingerprint", "--at", 57), ("retractions",),
        *(("export", table) for table in ("tokens", "points", "events", "feast")),
    ]  # fmt: skip
    for words in commands:
        mine, other = synced.ngu(*words), synced.beside(*words)
        assert (mine.code, mine.out) == (other.code, other.out), (words, mine.err)


def test_the_copy_for_analysis_is_the_same(synced: Stage) -> None:
    """The days of a deployment are written to the byte as those of a database."""
    folder = synced.folder
    mine = synced.ngu("analysis", "-o", folder / "mine", "--json")
    other = synced.beside("analysis", "-o", folder / "other", "--json")
    assert (mine.code, other.code) == (0, 0), mine.err + other.err
    assert mine.json["newDays"] == other.json["newDays"] > 0
    names = {path.relative_to(folder / "mine") for path in (folder / "mine").glob("*/day=*/*")}
    assert len(names) == 4 * mine.json["days"]
    for name in names:
        assert (folder / "mine" / name).read_bytes() == (folder / "other" / name).read_bytes()


def test_a_spoiled_state_is_rebuilt_over_http(synced: Stage) -> None:
    """The way back on the emulator itself: refused, rebuilt, the same again."""
    dynamo = synced.store.dynamo
    row = next(row for row in dynamo.scan(POINTS) if "gone" not in row)
    facts = json.loads(row["facts"])
    facts[0][0] += 1
    dynamo.put(POINTS, row | {"facts": json.dumps(facts)})
    refused = synced.ngu("leaderboard", "--at", 9)
    assert (refused.code, "ngu rebuild --store dynamodb" in refused.complaint) == (1, True)
    assert synced.ngu("rebuild", "--json").json["same"] is False
    assert synced.ngu("fingerprint").out == synced.beside("fingerprint").out
    assert synced.ngu("leaderboard", "--at", 9).out == synced.beside("leaderboard", "--at", 9).out
    found = synced.client("s3").list_objects_v2(Bucket=synced.env["ARCHIVE_BUCKET"])["Contents"]
    assert not [item for item in found if item["Key"].startswith("repairs/")]
