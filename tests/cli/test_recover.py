"""A node that leaves out logs: what is found, by whom, and how it comes back."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import oracle
from chains import Chain
from cli.faulty import Call, Fault, FaultyNode, Reply, serving
from cli.program import Ended, address, busy_chain, ngu, place, spawned
from ngu_points.config import Config, rules_of
from ngu_points.demo.node import SimNode
from ngu_points.embedded.store import Store
from ngu_points.engine.coverage import announce
from ngu_points.pipeline.persist import persist

SOME, SILENT = 12, 77
"""Of some 1,600 logs a few are left out here and there, and all of one block."""


def leaving_out(lost: set[tuple[str, str]], *, receipts: bool = True) -> Fault:
    """Logs at these (block, log index) never appear in eth_getLogs; headers stay honest.

    Without `receipts` the node says that it does not know eth_getBlockReceipts.
    """

    def fault(calls: list[Call], right: bytes) -> Reply | None:
        methods = {call["method"] for call in calls}
        if "eth_getBlockReceipts" in methods and not receipts:
            wrong = {"code": -32601, "message": "the method eth_getBlockReceipts does not exist"}
            said = {"jsonrpc": "2.0", "id": calls[0]["id"], "error": wrong}
            return Reply(json.dumps(said).encode())
        if "eth_getLogs" not in methods:
            return None
        told = json.loads(right)
        if isinstance(told.get("result"), list):
            told["result"] = [
                log for log in told["result"] if (log["blockNumber"], log["logIndex"]) not in lost
            ]
        return Reply(json.dumps(told).encode())

    return fault


@dataclass(frozen=True)
class Scene:
    """One chain, an honest node, a node that leaves out logs, what a true sync comes to."""

    node: SimNode
    honest: FaultyNode
    lying: FaultyNode
    lost: set[tuple[str, str]]
    right: dict[str, Any]

    def words(self, db: Path, *urls: str) -> tuple[object, ...]:
        more = [word for url in urls[1:] for word in ("--rpc", url)]
        return (*place(self.node, urls[0], db), *more, "--finality", 0, "--json")

    @property
    def blocks(self) -> set[int]:
        return {int(block, 16) for block, _ in self.lost}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """What is lost lies below finality, where a sync reads long ranges."""
    node = busy_chain(160, seconds_per_block=1800)
    with serving(node) as honest, serving(node) as lying:
        db = tmp_path_factory.mktemp("right") / "ngu.db"
        words = (*place(node, honest.url, db), "--finality", 0, "--json")
        right = ngu("sync", *words).json
        logs = json.loads(asked(honest, "eth_getLogs", {"fromBlock": "0x1", "toBlock": "0x80"}))
        chosen = random.Random(7).sample(logs["result"], SOME)
        chosen += [log for log in logs["result"] if log["blockNumber"] == hex(SILENT)]
        lost = {(log["blockNumber"], log["logIndex"]) for log in chosen}
        yield Scene(node, honest, lying, lost, right)


def asked(node: FaultyNode, method: str, *params: Any) -> bytes:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return node.reply(json.dumps(body).encode()).body


@pytest.fixture
def lossy(scene: Scene, tmp_path: Path) -> Path:
    """A database synced from the node that leaves out logs."""
    scene.lying.fault = leaving_out(scene.lost)
    ended = ngu("sync", *scene.words(tmp_path / "ngu.db", scene.lying.url))
    assert ended.json["events"] == scene.right["events"] - len(scene.lost)
    return tmp_path / "ngu.db"


def missing(report: dict[str, Any]) -> int:
    return sum(len(found["missing"]) for found in report["differences"])


def replayed(scene: Scene, db: Path, *urls: str) -> Ended:
    return ngu("replay", 0, scene.right["block"], *scene.words(db, *urls))


def test_receipts_show_what_one_endpoint_left_out(scene: Scene, lossy: Path) -> None:
    """With one endpoint: its own headers convict it, every log is found, named and put back."""
    certified = ngu("certify", 0, scene.right["block"], *scene.words(lossy, scene.lying.url))
    assert certified.code == 3
    made = json.loads(Path(certified.json["certificate"]).read_text(encoding="utf-8"))
    assert {found["block"] for found in made["differences"]} == scene.blocks
    assert missing(made) == len(scene.lost)
    gaps = ngu("gaps", "--db", lossy, "--json")
    assert (gaps.code, {gap["from"] for gap in gaps.json["gaps"]}) == (3, scene.blocks)
    alarms = ngu("status", "--db", lossy, "--json").json["alarms"]
    assert any("gaps: see `ngu gaps`" in alarm for alarm in alarms)
    dry = ngu("replay", 0, scene.right["block"], "--dry-run", *scene.words(lossy, scene.lying.url))
    assert (dry.code, missing(dry.json), dry.json["repaired"]) == (3, len(scene.lost), 0)
    ended = replayed(scene, lossy, scene.lying.url)
    assert (ended.code, ended.json["stillDiffering"]) == (0, [])
    assert ended.json["fingerprint"] == scene.right["fingerprint"]
    assert ended.json["metrics"]["gaps"] == 0
    assert ngu("gaps", "--db", lossy).code == 0
    status = ngu("status", "--db", lossy, "--json").json
    assert not [alarm for alarm in status["alarms"] if "gap" in alarm]
    again = ngu("certify", 0, scene.right["block"], *scene.words(lossy, scene.lying.url))
    assert again.code == 0
    assert ngu("status", "--db", lossy, "--json").json["certified"] == [
        f"1..{scene.right['block']}"
    ]


def test_without_receipts_a_second_endpoint_shows_it(scene: Scene, lossy: Path) -> None:
    """Where no node gives receipts, another endpoint's logs convict: all is found and put back."""
    scene.lying.fault = leaving_out(scene.lost, receipts=False)
    scene.honest.fault = leaving_out(set(), receipts=False)
    ended = replayed(scene, lossy, scene.lying.url, scene.honest.url)
    scene.honest.fault = None
    assert ended.json["fingerprint"] == scene.right["fingerprint"]
    assert missing(ended.json) == len(scene.lost)
    endpoints = {e["host"]: e for e in ngu("status", "--db", lossy, "--json").json["endpoints"]}
    host = scene.lying.url.removeprefix("http://")
    assert endpoints[host]["contradictions"] > 0
    assert endpoints[scene.honest.url.removeprefix("http://")]["contradictions"] == 0


def test_alone_and_without_receipts_nothing_is_called_proven(scene: Scene, lossy: Path) -> None:
    """One endpoint that lies and gives no receipts: what cannot be known is said to be so."""
    scene.lying.fault = leaving_out(scene.lost, receipts=False)
    ended = ngu("certify", 0, scene.right["block"], *scene.words(lossy, scene.lying.url))
    made = json.loads(Path(ended.json["certificate"]).read_text(encoding="utf-8"))
    proven = [(a, b) for a, b, verdict in made["proof"] if verdict.startswith("proven")]
    assert not [block for block in scene.blocks for a, b in proven if a <= block <= b]
    assert ended.code == 3
    assert made["oneEndpointsWord"] == made["verdicts"]["consistent"] > 100
    doubted = {found["block"]: found["how"] for found in made["unproven"]}
    assert set(doubted) == {SILENT}
    assert "the bloom allows for logs" in doubted[SILENT]


def test_what_is_no_range_is_refused(scene: Scene, lossy: Path) -> None:
    """A reversed range and one beyond the last covered block: one line that says what there is."""
    words = scene.words(lossy, scene.honest.url)[:-1]
    reversed_ = ngu("replay", 9, 3, *words)
    assert (reversed_.code, "lies behind" in reversed_.complaint) == (2, True)
    beyond = ngu("certify", 9_000, 9_001, *words)
    assert (beyond.code, "not covered: that is 1..161" in beyond.complaint) == (2, True)
    nowhere = ngu("certify", 1, 2, "--db", lossy, "--contract", address(scene.node))
    assert (nowhere.code, "give --rpc" in nowhere.complaint) == (2, True)


def test_a_damaged_archive_file_is_found_and_made_anew(scene: Scene, tmp_path: Path) -> None:
    """A broken file is a gap that names its blocks; a replay of some of them writes all again."""
    db = tmp_path / "ngu.db"
    words = scene.words(db, scene.honest.url)
    assert ngu("sync", *words).json["fingerprint"] == scene.right["fingerprint"]
    (segment,) = Path(f"{db}.archive").glob("*.npz")
    spoiled = bytearray(segment.read_bytes())
    spoiled[len(spoiled) // 2] ^= 1
    segment.write_bytes(spoiled)
    assert ngu("recalc", "--db", db, "--json").json["damagedFiles"] == 1
    (gap,) = ngu("gaps", "--db", db, "--json").json["gaps"]
    assert (gap["stream"], gap["from"], gap["to"]) == ("archive", 1, 153)
    assert "`ngu replay 1 153`" in ngu("rebuild", "--db", db).complaint
    ended = ngu("replay", 100, 120, *words)
    assert (ended.code, ended.json["lostSegments"]) == (0, [segment.name])
    assert ended.json["fingerprint"] == scene.right["fingerprint"]
    again = ngu("rebuild", "--db", db, "--json").json
    assert (again["same"], again["events"]) == (True, scene.right["events"])
    assert ngu("gaps", "--db", db).code == 0
    (segment,) = [p for p in Path(f"{db}.archive").glob("*.npz") if p != segment]
    segment.unlink()
    ngu("recalc", "--db", db)
    assert ngu("replay", 1, 2, *words).json["fingerprint"] == scene.right["fingerprint"]
    assert ngu("gaps", "--db", db).code == 0


def test_what_nobody_announced_is_settled_by_the_chain(scene: Scene, tmp_path: Path) -> None:
    """An event that surfaces below the archive and that no block has goes, with its gap."""
    db = tmp_path / "ngu.db"
    words = scene.words(db, scene.honest.url)
    ngu("sync", *words)
    with closing(Store.open(db, rules_of(Config()), write=True)) as store:
        stray = oracle.Event("BatchTransfer", 70, 999, 1_700_000_000, "0x" + "a1" * 20,
                             "0x" + "b2" * 20, 9, 1)  # fmt: skip
        (delivery, _) = announce(Chain([stray], 70, 0).covered(70, 70), 10_000)
        persist(store, [replace(delivery, coverage=())], 1_800_000_000)
    drained = ngu("drain", "--db", db, "--json")
    assert (drained.code, drained.json["backlog"]) == (0, 0)
    status = ngu("status", "--db", db, "--json").json
    assert (status["deadLetters"], len(status["gaps"])) == (1, 1)
    ended = ngu("replay", 70, 70, *words)
    assert ended.json["fingerprint"] == scene.right["fingerprint"]
    assert ngu("status", "--db", db, "--json").json["alarms"] == []


def test_what_was_proven_of_another_branch_is_forgotten(scene: Scene, tmp_path: Path) -> None:
    """After a rewind nothing above it counts as certified or verified; a dry run says so first."""
    db = tmp_path / "ngu.db"
    words = scene.words(db, scene.honest.url)
    ngu("sync", *words)
    assert ngu("certify", 1, 100, *words).code == 0
    assert ngu("verify", "--sample", 5, *words).code == 0
    dry = ngu("rewind", 40, "--dry-run", "--db", db, "--json").json
    status = ngu("status", "--db", db, "--json").json
    assert (status["block"], status["certified"]) == (161, ["1..100"])
    back = ngu("rewind", 40, "--db", db, "--json").json
    assert (dry["block"], dry["eventsDropped"]) == (back["block"], back["eventsDropped"])
    for word in ("40", "41", "--dry-run 40"):
        again = ngu("rewind", *word.split(), "--db", db, "--json")
        assert (again.code, again.json["block"], again.json["eventsDropped"]) == (0, 40, 0)
    assert again.json["from"] == 40
    assert "nothing to take back" in ngu("rewind", 40, "--db", db).out
    status = ngu("status", "--db", db, "--json").json
    assert (status["certified"], status["verified"]) == ([], None)
    beyond = ngu("replay", 60, 161, "--dry-run", *words)
    assert (beyond.code, beyond.json["notCovered"]) == (3, 102)
    ended = ngu("replay", 60, 161, *words)
    assert (ended.code, ended.json["fingerprint"]) == (0, scene.right["fingerprint"])


def refusing(above: int) -> Fault:
    """No receipts, and no logs above a block."""

    def fault(calls: list[Call], right: bytes) -> Reply | None:
        refused = {"code": -32601, "message": "the method is not available"}
        for call in calls:
            where = call["params"][0] if call["params"] else None
            beyond = isinstance(where, dict) and int(where.get("toBlock", "0x0"), 16) > above
            if call["method"] == "eth_getBlockReceipts" or (
                call["method"] == "eth_getLogs" and beyond
            ):
                return Reply(
                    json.dumps({"jsonrpc": "2.0", "id": call["id"], "error": refused}).encode()
                )
        return None

    return fault


def test_a_file_is_not_made_anew_from_half_an_answer(scene: Scene, tmp_path: Path) -> None:
    """Where the chain does not tell all that a lost file held, file and state stay as they are."""
    db = tmp_path / "ngu.db"
    words = scene.words(db, scene.honest.url)
    ngu("sync", *words)
    (segment,) = Path(f"{db}.archive").glob("*.npz")
    segment.write_bytes(b"x")
    scene.honest.fault = refusing(60)
    try:
        ended = ngu("replay", 1, 161, *words, env={"NGU_CHAIN_RETRIES": "0"})
    finally:
        scene.honest.fault = None
    assert (ended.code, ended.json["notRemade"]) == (3, [segment.name])
    status = ngu("status", "--db", db, "--json").json
    assert (status["events"], status["certified"]) == (scene.right["events"], [])
    assert any("gaps" in alarm for alarm in status["alarms"])
    assert (
        ngu("fingerprint", "--db", db, "--json").json["fingerprint"] == scene.right["fingerprint"]
    )
    assert ngu("sync", *words).code == 0
    assert ngu("replay", 1, 161, *words).json["fingerprint"] == scene.right["fingerprint"]
    assert ngu("rebuild", "--db", db, "--json").json["same"]


def test_a_gap_stays_until_it_is_proven_filled(scene: Scene, lossy: Path) -> None:
    """A later look that proves nothing takes nothing back; one with proof does."""
    words = scene.words(lossy, scene.lying.url)
    assert ngu("certify", 1, 160, *words).code == 3
    before = ngu("gaps", "--db", lossy, "--json").json
    scene.lying.fault = leaving_out(scene.lost, receipts=False)
    assert ngu("certify", 1, 160, *words).code == 3
    assert ngu("gaps", "--db", lossy, "--json").json == before
    ngu("replay", 1, 160, *scene.words(lossy, scene.lying.url, scene.honest.url))
    assert ngu("gaps", "--db", lossy).code == 0


def test_a_repair_on_somebodys_word_stays_in_the_ledger(scene: Scene, lossy: Path) -> None:
    """What only another endpoint shows is taken, and named until receipts prove it."""
    scene.lying.fault = leaving_out(scene.lost, receipts=False)
    scene.honest.fault = leaving_out(set(), receipts=False)
    ended = ngu("replay", 1, 160, *scene.words(lossy, scene.lying.url, scene.honest.url))
    scene.honest.fault = None
    assert ended.code == 3
    found = ngu("gaps", "--db", lossy, "--json").json["gaps"]
    assert {gap["from"] for gap in found} == scene.blocks
    assert {gap["why"].partition(" (")[0] for gap in found} == {"repaired, not proven"}
    assert ngu("certify", 1, 160, *scene.words(lossy, scene.honest.url)).code == 0
    assert ngu("gaps", "--db", lossy).code == 0


def test_an_archive_file_without_events_is_made_anew(tmp_path: Path) -> None:
    """A quiet collection's file is as replaceable as any other."""
    node, db = SimNode(), tmp_path / "ngu.db"
    for _ in range(30):
        node.mine([])
    with serving(node) as served:
        words = (*place(node, served.url, db), "--finality", 0, "--json")
        mark = ngu("sync", *words).json["fingerprint"]
        (segment,) = Path(f"{db}.archive").glob("*.npz")
        segment.unlink()
        ended = ngu("replay", 1, 30, *words)
        assert (ended.code, ended.json["fingerprint"]) == (0, mark)
        beyond = ngu("replay", 1, 90, *words)
        assert (beyond.code, beyond.json["notCovered"]) == (3, 60)
        assert ngu("certify", 1, 90, *words).json["notCovered"] == 60
    assert ngu("rebuild", "--db", db, "--json").json["same"]


def test_a_record_that_changed_meanwhile_is_not_certified(scene: Scene, tmp_path: Path) -> None:
    """Somebody rewinds while certify reads: its result is of a record that is no more."""
    db = tmp_path / "ngu.db"
    words = scene.words(db, scene.honest.url)
    ngu("sync", *words)
    done: list[Ended] = []
    once = threading.Lock()

    def meddling(calls: list[Call], _: bytes) -> None:
        if calls[0]["method"] == "eth_getBlockReceipts" and once.acquire(blocking=False):
            done.append(spawned("rewind", 40, "--db", db))

    scene.honest.fault = meddling
    try:
        ended = ngu("certify", 1, 100, *words)
    finally:
        scene.honest.fault = None
    assert done[0].code == 0, done[0].err
    assert (ended.code, ended.json["noted"]) == (0, False)
    assert ngu("status", "--db", db, "--json").json["certified"] == []
