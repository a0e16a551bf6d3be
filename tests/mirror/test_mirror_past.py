"""A copy of a deployment: asked about the past it answers what a database of the chain answers."""

from __future__ import annotations

from mirror.stage import Stage

LAST = 60


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
