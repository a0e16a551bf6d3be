"""`ngu verify`: what agrees, what differs and since when, and what stands in the way."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from cli.faulty import Call, Fault, Reply, serving
from cli.program import busy_chain, ngu, place
from cli.verified import ALICE, BOB, named, noted, omitting, refusing, small_chain, synced, verify
from ngu_points.chain.contract import keccak256
from ngu_points.chain.multicall import ANSWERED, REVERTED, read_request
from ngu_points.demo.blocks import Log
from ngu_points.demo.contract import Event
from ngu_points.demo.node import SimNode
from ngu_points.engine.events import ZERO_ADDRESS, Kind
from ngu_points.pipeline.verify import Holder

VAULT = bytes([0xFA] * 20)


@pytest.mark.parametrize(
    ("words", "living"), [((), 1000), (("--sample", 7), 7), (("--all",), None)]
)
def test_a_right_record_agrees(words: Sequence[object], living: int | None, tmp_path: Path) -> None:
    """Owners, stakers and supply of a busy collection agree, by sample and in full; the outcome
    is noted with its block."""
    db = tmp_path / "ngu.db"
    with synced(busy_chain(), db) as served:
        ended = verify(served, db, *words, "--json")
    found = ended.json
    assert ended.code == 0, ended.err
    assert (found["owners"], found["stakers"]) == ("compared", "compared")
    assert found["tokens"] - found["absent"] == (living or found["living"])
    assert found["absent"] > 20
    assert found["supply"]["ours"] == found["supply"]["chain"] == found["living"] > 10_000
    assert (found["differences"], found["differing"], found["agrees"]) == (0, [], True)
    kept = noted(db)
    assert (kept["block"], kept["tokens"], kept["differences"]) == (151, found["tokens"], 0)
    assert kept["at"] > 1_700_000_000
    told = next(line for line in ngu("status", "--db", db).out.splitlines() if "verified" in line)
    words = rf"verified +block 151, {found['tokens']:,} tokens, 0 differences, on 20\d\d-.* UTC"
    assert re.fullmatch(words, told)


def test_the_sample_is_the_blocks(tmp_path: Path) -> None:
    """The block's hash chooses, so two looks at one block ask for the same tokens."""
    db = tmp_path / "ngu.db"
    seen = []
    with synced(busy_chain(40), db) as served:
        right = served._answer

        def heard(call: Call) -> bytes:
            data = call["params"][0].get("data", "") if call["method"] == "eth_call" else ""
            request = read_request(bytes.fromhex(data[2:]))
            if request and request.pairs > 100:
                seen.append(request.ids)
            return right(call)

        served._answer = heard  # type: ignore[method-assign]
        for _ in range(2):
            assert verify(served, db, "--sample", 90).code == 0
    half = len(seen) // 2
    assert half >= 1
    assert seen[:half] == seen[half:]


def test_a_missed_transfer_is_found_with_its_block(tmp_path: Path) -> None:
    """Each token that a left-out event moved is named, with both owners, the very block, and what
    to do; the exit code is 3."""
    db = tmp_path / "ngu.db"
    with synced(small_chain(), db, omitting(7)) as served:
        ended = verify(served, db, "--all", "--json")
        shown = verify(served, db, "--all")
    assert (ended.code, shown.code) == (3, 3)
    found = ended.json
    assert (found["differences"], found["agrees"]) == (10, False)
    assert found["supply"] == {"ours": 89, "chain": 89}
    assert [one["tokenId"] for one in found["differing"]] == [str(n) for n in range(10, 20)]
    for one in found["differing"]:
        assert one["ours"] == {"owner": named(ALICE), "staker": None}
        assert one["chain"] == {"owner": named(BOB), "staker": None}
        assert (one["firstBlock"], one["hint"], one["note"]) == (7, "ngu replay 7 7", "")
    assert f"owner {named(ALICE)}; the contract says {named(BOB)}, since block 7" in shown.out
    assert noted(db)["differences"] == 10


@pytest.mark.parametrize(
    ("block", "token", "ours", "chain", "supply"),
    [
        (2, 9, Holder(), Holder(ALICE), 10),
        (4, 50, Holder(ALICE), Holder(ALICE, ALICE), 89),
        (9, 90, Holder(ALICE), Holder(), 100),
    ],
)
def test_other_missed_events(
    block: int, token: int, ours: Holder, chain: Holder, supply: int, tmp_path: Path
) -> None:
    """A missed mint, stake or burn shows in owner, staker and supply, with its block."""
    db = tmp_path / "ngu.db"
    with synced(small_chain(), db, omitting(block)) as served:
        ended = verify(served, db, "--all", "--json")
    found = ended.json
    assert (ended.code, found["supply"]) == (3, {"ours": supply, "chain": 89})
    one = next(d for d in found["differing"] if d["tokenId"] == str(token))
    assert one["ours"] == {"owner": named(ours.owner), "staker": named(ours.staker)}
    assert one["chain"] == {"owner": named(chain.owner), "staker": named(chain.staker)}
    assert (one["firstBlock"], one["hint"]) == (block, f"ngu replay {block} {block}")


def test_a_damaged_state_is_told_from_missed_events(tmp_path: Path) -> None:
    """Where our own events agree with the contract and only the stored state does not, the advice
    is to rebuild."""
    db, node = tmp_path / "ngu.db", SimNode()
    node.mine([])
    node.mine(
        [Event(Kind.MINT, ZERO_ADDRESS, ALICE, 1, 5), Event(Kind.MINT, ZERO_ADDRESS, BOB, 6, 5)]
    )
    with synced(node, db) as served:
        with closing(sqlite3.connect(db)) as store:
            runs = store.execute("SELECT first, owner FROM tokens ORDER BY first").fetchall()
            for (first, _), (_, owner) in zip(runs, reversed(runs), strict=True):
                store.execute("UPDATE tokens SET owner = ? WHERE first = ?", (owner, first))
            store.commit()
        ended = verify(served, db, "--json")
    assert (ended.code, ended.json["differences"]) == (3, 10)
    one = ended.json["differing"][0]
    assert (one["firstBlock"], one["hint"]) == (None, "ngu rebuild")
    assert "the stored state is damaged" in one["note"]


def test_a_collection_read_too_late(tmp_path: Path) -> None:
    """A difference from before the first block that was read is said to be one."""
    db, node = tmp_path / "ngu.db", small_chain()
    with serving(node) as served:
        words = (*place(node, served.url, db), "--finality", 0, "--from-block", 8)
        assert ngu("sync", *words).code == 3
        ended = verify(served, db, "--all", "--json")
    one = next(d for d in ended.json["differing"] if d["tokenId"] == "1")
    assert (ended.code, one["firstBlock"], one["hint"]) == (3, None, "")
    assert one["note"] == "it differs at block 7 already, before the first block that was read"


# Custody and views ------------------------------------------------------------------------


TRANSFER = keccak256(b"Transfer(address,address,uint256)")


def vault_chain() -> SimNode:
    """An ERC-721: Alice has tokens 1 to 3, and 2 lies in the vault."""
    node = SimNode()
    node.mine([])

    def moved(sender: bytes, recipient: bytes, token: int) -> Log:
        topics = (sender.rjust(32, b"\0"), recipient.rjust(32, b"\0"), token.to_bytes(32, "big"))
        return Log(node.contract, (TRANSFER, *topics), b"")

    node.mine([moved(ZERO_ADDRESS, ALICE, token) for token in (1, 2, 3)])
    node.mine([moved(ALICE, VAULT, 2)])
    return node


def contracts(node: SimNode, stakers: dict[int, bytes]) -> Fault:
    """Answer eth_call as an ERC-721 and a vault would; the vault knows `stakerOf` only."""
    owners = {1: ALICE, 2: VAULT, 3: ALICE}
    views = {
        (node.contract, keccak256(b"ownerOf(uint256)")[:4]): owners.get,
        (VAULT, keccak256(b"stakerOf(uint256)")[:4]): lambda id_: stakers.get(id_, ZERO_ADDRESS),
    }

    def fault(calls: list[Call], right: bytes) -> Reply | None:
        call = calls[0]
        if call["method"] != "eth_call":
            return None
        request = read_request(bytes.fromhex(call["params"][0]["data"][2:]))
        answer = b""
        for id_ in request.ids if request else ():
            for view in request.selectors:
                word = views.get((request.target, view), lambda _: None)(id_)
                ended = REVERTED if word is None else ANSWERED
                answer += bytes([ended]) + (word or b"").rjust(32, b"\0")
        body = {"jsonrpc": "2.0", "id": call["id"], "result": "0x" + answer.hex()}
        return Reply(json.dumps(body).encode())

    return fault


@pytest.mark.parametrize(
    ("view", "stakers", "code", "said"),
    [
        ("stakerOf(uint256)", {2: ALICE}, 0, "compared"),
        ("stakerOf(uint256)", {2: BOB}, 3, "compared"),
        ("", {}, 0, "not verifiable: no view tells who stakes (staking.view)"),
        ("depositor(uint256)", {}, 0,
         f"not verifiable: 0x{VAULT.hex()} does not answer depositor(uint256)"),
    ],
)  # fmt: skip
def test_custody(
    view: str, stakers: dict[int, bytes], code: int, said: str, tmp_path: Path
) -> None:
    """In custody the contract owns the token and the vault says who staked it; where nothing can
    say, stakers are not verifiable, and nobody calls them equal."""
    node, db, file = vault_chain(), tmp_path / "ngu.db", tmp_path / "ngu.toml"
    with serving(node) as served:
        file.write_text(
            f'[chain]\nrpc = ["{served.url}"]\nfinality = 0\n[contract]\nkind = "erc721"\n'
            f'address = "{named(node.contract)}"\n[staking]\ncustody = true\n'
            f'contracts = ["{named(VAULT)}"]\nview = "{view}"\n[store]\ndb = "{db}"\n'
        )
        assert ngu("sync", "--config", file).code == 0
        served.fault = contracts(node, stakers)
        ended = ngu("verify", "--config", file, "--json")
    assert ended.code == code, ended.err
    found = ended.json
    assert (found["owners"], found["stakers"]) == ("compared", said)
    assert found["supply"] == {"ours": 3, "chain": None}
    for one in found["differing"]:
        assert one["ours"] == {"owner": named(VAULT), "staker": named(ALICE)}
        assert one["chain"] == {"owner": named(VAULT), "staker": named(BOB)}


def test_a_contract_that_names_no_owners(tmp_path: Path) -> None:
    """Where ownerOf is answered for no living token, nothing counts as verified: exit code 3."""
    node, db = vault_chain(), tmp_path / "ngu.db"
    with serving(node) as served:
        words = (*place(node, served.url, db), "--kind", "erc721")
        assert ngu("sync", *words, "--finality", 0).code == 0
        ended = ngu("verify", *words, "--json")
    assert (ended.code, ended.json["agrees"]) == (3, False)
    assert ended.json["owners"].endswith("does not answer ownerOf(uint256)")


# What stands in the way -------------------------------------------------------------------


def test_a_node_without_earlier_states(tmp_path: Path) -> None:
    """What differs is told all the same; only its first block is not known, and why."""
    db = tmp_path / "ngu.db"
    with synced(small_chain(), db, omitting(7)) as served:
        served.fault = refusing(lambda block: isinstance(block, str), "missing trie node 1f2e")
        found = verify(served, db, "--json").json
    assert found["differences"] == 10
    for one in found["differing"]:
        assert (one["firstBlock"], one["hint"]) == (None, "ngu replay 1 40")
        assert "no longer has this history" in one["note"]


def test_a_node_without_the_state_of_our_block(tmp_path: Path) -> None:
    """Nothing can be compared: one line says which block, and that an archive node would do."""
    db = tmp_path / "ngu.db"
    with synced(small_chain(), db) as served:
        served.fault = refusing(lambda _: True, "missing trie node 1f2e")
        ended = verify(served, db)
    assert ended.code == 1
    assert "the contract cannot be asked at block 40" in ended.complaint
    assert "archive node" in ended.complaint
    assert noted(db) is None


def test_a_fork_is_no_difference(tmp_path: Path) -> None:
    """Where the chain has another block at our position now, nothing is compared."""
    db, node = tmp_path / "ngu.db", small_chain()
    with synced(node, db) as served:
        node.reorg(3)
        ended = verify(served, db)
    assert ended.code == 1
    assert "block 40 is another one now: the chain has forked; sync" in ended.complaint


def test_wrong_use(tmp_path: Path) -> None:
    """What cannot be meant is refused in one line: no node, another contract, all and some."""
    db, node = tmp_path / "ngu.db", small_chain()
    with synced(node, db) as served:
        for words, line in [
            (("--db", db), "no chain to ask: give --rpc URL"),
            (("--db", db, "--rpc", served.url, "--contract", named(VAULT)), "not 0xfafa"),
            (("--db", db, "--rpc", served.url, "--all", "--sample", 5), "contradict each other"),
        ]:
            ended = ngu("verify", *words)
            assert ended.code == 2
            assert line in ended.complaint
        node.chain_id = 1
        ended = verify(served, db)
        assert (ended.code, "serves chain 1" in ended.complaint) == (2, True)
