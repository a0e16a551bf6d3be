"""Every command on a small chain gives what the oracle says, in every form it can be asked in."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import oracle
from cli.faulty import FaultyNode, serving
from cli.program import Ended, address, busy_chain, ngu
from cli.truth import events_on, shown, told

DAY = oracle.DAY
BORDER = 1_700_150_000
SETTINGS = """
[chain]
rpc = ["{url}"]
finality = 0
[contract]
address = "{contract}"
[store]
db = "{db}"
[points]
tiers = [{{ days = 1, multiplier = "1.5" }}, {{ days = 2, multiplier = 3 }}]
excluded = ["{excluded}"]
weights = [{{ first = 10, last = 400, weight = 5 }}, {{ first = 401, weight = 0 }}]
[[season]]
name = "first"
end = {border}
held = "1/3"
staked = 2.5
awards = {{ minted = 10, burned = "0.25" }}
[[season]]
name = "second"
start = {border}
held = 4
staked = 7
[feast]
emission = "777.000001"
burn = 2
"""


def weight(token: int) -> int:
    """The weights of the settings."""
    return 5 if 10 <= token <= 400 else 0 if token == 401 else 1


@dataclass(frozen=True)
class Scene:
    """A chain that has been read under the settings, and the same for the oracle."""

    served: FaultyNode
    folder: Path
    sync: Ended
    events: list[oracle.Event]
    rules: oracle.Rules

    def ngu(self, *words: object) -> Ended:
        ended = ngu(*words, "--config", self.folder / "ngu.toml", "--json")
        assert ended.code == 0, ended.err
        return ended

    def rows(self, table: str, *more: object, kind: str = "csv") -> list[dict[str, str]]:
        """An export, every value as text and "" where there is none."""
        file = self.folder / f"out.{kind}"
        told = self.ngu("export", table, "--format", kind, "-o", file, *more).json
        rows = read(file, kind)
        assert told["rows"] == len(rows)
        return [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]

    def view(self, timestamp: int | None = None) -> oracle.View:
        last = int(self.sync.json["timestamp"])
        return told(self.events, last if timestamp is None else timestamp, self.rules)


def read(file: Path, kind: str) -> list[dict[str, Any]]:
    if kind == "csv":
        with file.open(newline="") as text:
            return list(csv.DictReader(text))
    if kind == "json":
        found = json.loads(file.read_text())
        assert isinstance(found, list)
        return found
    parquet = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
    return rows


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Three days with two seasons, tiers, weights, awards, an excluded wallet and feasts."""
    folder = tmp_path_factory.mktemp("commands")
    node = busy_chain(120, per_block=5, seconds_per_block=2400, max_span=7)
    with serving(node) as served:
        events = events_on(served.url, address(node), node.head.number, span=7)
        excluded = max(event.recipient for event in events)
        (folder / "ngu.toml").write_text(SETTINGS.format(
            url=served.url, contract=address(node), db=folder / "ngu.db", border=BORDER,
            excluded=excluded,
        ))  # fmt: skip
        awards = {"minted": Fraction(10), "burned": Fraction(1, 4)}
        rules = oracle.Rules(
            seasons=[
                oracle.Season("first", None, BORDER, Fraction(1, 3), Fraction(5, 2), awards),
                oracle.Season("second", BORDER, None, Fraction(4), Fraction(7)),
            ],
            weights=weight,
            tiers=[(1, Fraction(3, 2)), (2, Fraction(3))],
            excluded={excluded},
            feast_emission=777_000_001,
            feast_burn=2 * oracle.MICRO,
        )
        sync = ngu("sync", "--config", folder / "ngu.toml", "--json")
        assert sync.code == 0, sync.err
        yield Scene(served, folder, sync, events, rules)


def test_sync_sums_up(scene: Scene) -> None:
    """The summary counts events, tokens and staked tokens as they are."""
    found, view = scene.sync.json, scene.view()
    assert found["events"] == found["eventsNow"] == len(scene.events)
    assert found["block"] == found["head"] == scene.served.node.head.number
    assert found["blockHash"] == "0x" + scene.served.node.head.hash.hex()
    assert found["timestamp"] == scene.served.node.head.timestamp
    assert (found["tokens"], found["staked"]) == (len(view.owners), len(view.stakers))
    assert (found["anomalies"], found["deadLetters"], found["final"]) == (0, 0, False)
    status = scene.ngu("status").json
    assert (status["block"], status["lag"], status["backlog"]) == (found["block"], 0, 0)
    assert (status["gaps"], status["alarms"]) == ([], [])


MOMENTS = [BORDER - 40_000, BORDER, BORDER + 1, BORDER + 70_001]


@pytest.mark.parametrize("moment", [None, *MOMENTS])
def test_points_of_every_wallet(scene: Scene, moment: int | None) -> None:
    """`ngu points` is the oracle's answer at the end and at moments in both seasons."""
    last = int(scene.sync.json["timestamp"])
    timestamp = last if moment is None else moment
    view = scene.view(timestamp)
    season = "first" if timestamp < BORDER else "second"
    midnight = scene.view(timestamp // DAY * DAY)
    wallets = {e.recipient for e in scene.events if e.recipient and e.timestamp <= timestamp}
    for wallet in wallets:
        at = [] if moment is None else ["--at", f"@{moment}"]
        found = scene.ngu("points", wallet, *at).json
        mine = view.points[season].get(wallet, Fraction(0))
        assert found["season"] == season
        assert found["points"] == shown(mine)
        total = sum(
            (points.get(wallet, Fraction(0)) for points in view.points.values()), Fraction()
        )
        assert found["totalPoints"] == shown(total)
        gained = mine - midnight.points[season].get(wallet, Fraction(0))
        assert found["dailyPoints"] == shown(gained)
        facts = view.facts[season].get(wallet)
        if facts is not None:
            assert found["facts"]["held_seconds"] == facts.held
            tiers = [found["facts"][f"staked_seconds_{tier}"] for tier in range(3)]
            assert tiers == facts.staked
            assert {name: found["facts"][name] for name in oracle.COUNTS} == facts.counts
        owned = [t for t, owner in view.owners.items() if owner == wallet]
        staked = [t for t, staker in view.stakers.items() if staker == wallet]
        assert found["currentStaked"] == len(staked)
        assert found["currentHeld"] == len([t for t in owned if t not in view.stakers])


@pytest.mark.parametrize("moment", [None, BORDER, BORDER + 70_001])
@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_export_of_tokens_and_points(scene: Scene, kind: str, moment: int | None) -> None:
    """Both tables hold exactly what the oracle knows, in every format, at any moment."""
    at = [] if moment is None else ["--at", f"@{moment}"]
    view = scene.view(moment)
    tokens = scene.rows("tokens", *at, kind=kind)
    assert [int(row["token_id"]) for row in tokens] == sorted(view.owners)
    for row in tokens:
        token = int(row["token_id"])
        assert (row["owner"], row["staker"]) == (view.owners[token], view.stakers.get(token, ""))
        since = (str(view.owned_since[token]), str(view.staked_since.get(token, "")))
        assert (row["owned_since"], row["staked_since"]) == since
    points = {row["wallet"]: row for row in scene.rows("points", *at, kind=kind)}
    assert list(points) == sorted(points)
    season = "first" if moment is not None and moment < BORDER else "second"
    for wallet, facts in view.facts[season].items():
        row = points[wallet]
        assert row["points"] == shown(view.points[season][wallet])
        assert int(row["held_token_seconds"]) == facts.held
        assert int(row["staked_token_seconds"]) == sum(facts.staked)
        assert [int(row[name]) for name in oracle.COUNTS] == list(facts.counts.values())


def test_export_of_ranges(scene: Scene) -> None:
    """--ranges holds the same tokens, joined as far as they are alike."""
    single = {row.pop("token_id"): row for row in scene.rows("tokens")}
    ranges = scene.rows("tokens", "--ranges")
    assert len(ranges) < len(single)
    spread: dict[str, dict[str, str]] = {}
    for row in ranges:
        start, end = int(row.pop("start")), int(row.pop("end"))
        spread |= {str(token): row for token in range(start, end + 1)}
    assert spread == single


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_export_of_events_and_feasts(scene: Scene, kind: str) -> None:
    """Every event in its order, and every share of every feast, as the oracle divided them."""
    found = [
        (row["type"], int(row["block"]), int(row["log_index"]), int(row["timestamp"]),
         int(row["start_token_id"]), int(row["quantity"]))
        for row in scene.rows("events", kind=kind)
    ]  # fmt: skip
    assert found == [
        (e.kind, e.block, e.log_index, e.timestamp, e.first, e.quantity) for e in scene.events
    ]
    early = scene.rows("events", "--at", 40, kind=kind)
    assert len(early) == len([e for e in scene.events if e.block <= 40])
    shares: dict[int, dict[str, int]] = {}
    for row in scene.rows("feast", kind=kind):
        mine = shares.setdefault(int(row["day"]), {})
        if row["wallet"]:
            mine[row["wallet"]] = int(row["share_micro"])
    feasts = scene.view().feasts
    assert shares == {day: feast.shares for day, feast in feasts.items()}
    assert len(feasts) >= 3


def test_the_leaderboard_is_ranked(scene: Scene) -> None:
    """Best first, ties by address, as many as asked for; another season on request."""
    view = scene.view()
    for name, options in (("second", ()), ("first", ("--season", "first"))):
        by_points = view.points[name]
        order = sorted((w for w in by_points if by_points[w]), key=lambda w: (-by_points[w], w))
        found = scene.ngu("leaderboard", "--limit", 5, *options).json["leaderboard"]
        assert [row["wallet"] for row in found] == order[:5]
        assert [row["points"] for row in found] == [shown(by_points[w]) for w in order[:5]]
        assert [row["rank"] for row in found] == [1, 2, 3, 4, 5]


def test_a_moment_can_be_named_in_three_ways(scene: Scene) -> None:
    """A block, its unix time and its ISO time are one moment."""
    block = scene.served.node.blocks[70]
    iso = datetime.fromtimestamp(block.timestamp, UTC).isoformat().replace("+00:00", "Z")
    view = scene.view(block.timestamp)
    token = max(view.stakers)
    answers = [
        scene.ngu("token", token, "--at", at).json for at in (70, f"@{block.timestamp}", iso)
    ]
    for found in answers:
        assert (found["owner"], found["staker"]) == (view.owners[token], view.stakers[token])
        assert found["stakedSince"] == view.staked_since[token]
        assert found["timestamp"] == block.timestamp
    assert [found["block"] for found in answers] == [70, 70, 70]


def test_a_moment_before_the_first_event_is_empty(scene: Scene) -> None:
    """Before anything happened nobody owns anything, and the answer is not valid any later."""
    found = scene.ngu("token", max(scene.view().owners), "--at", "@1700000001").json
    assert found["owner"] is None
    assert found["block"] <= 1
    assert scene.ngu("leaderboard", "--at", "@1700000001").json["leaderboard"] == []


def test_fingerprints_do_not_depend_on_the_steps(scene: Scene, tmp_path: Path) -> None:
    """Synced in steps, at once, as it was at a block, and rebuilt: one fingerprint a block."""
    config = ("--config", scene.folder / "ngu.toml", "--db", tmp_path / "steps.db", "--json")
    for block in (2, 3, 40, 41, 90):
        step = ngu("sync", "--to-block", block, *config)
        assert (step.code, step.json["block"]) == (0, block)
        then = scene.ngu("fingerprint", "--at", block).json
        assert (then["fingerprint"], then["block"]) == (step.json["fingerprint"], block)
    end = ngu("sync", *config).json
    assert end["fingerprint"] == scene.sync.json["fingerprint"]
    rebuilt = ngu("rebuild", *config)
    assert (rebuilt.code, rebuilt.json["fingerprint"]) == (0, end["fingerprint"])
    assert rebuilt.json["events"] == len(scene.events)


def test_recalc_ranks_and_finds_the_ledger_right(scene: Scene) -> None:
    """The ranked snapshot counts the wallets with points; the record agrees with itself."""
    found = scene.ngu("recalc").json
    assert found["block"] == scene.sync.json["block"]
    assert found["wallets"] == len([p for p in scene.view().points["second"].values() if p])


def test_people_get_words(scene: Scene) -> None:
    """Without --json every command prints something readable, and no JSON."""
    wallet = next(iter(scene.view().facts["second"]))
    commands = [("status",), ("points", wallet), ("token", max(scene.view().owners)),
                ("token", 2**255), ("leaderboard",), ("fingerprint",), ("recalc",), ("rebuild",),
                ("sync",)]  # fmt: skip
    for words in commands:
        ended = ngu(*words, "--config", scene.folder / "ngu.toml")
        assert (ended.code, ended.err) == (0, ""), words
        assert ended.out.strip()
        assert not ended.out.lstrip().startswith("{")
