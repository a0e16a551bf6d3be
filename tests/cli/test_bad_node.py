"""Nodes that fail, lie or answer nonsense: one clear line, exit 1 or 2, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.faulty import FaultyNode, Reply, always, beyond, on, serving
from cli.program import Ended, address, busy_chain, ngu, place, spawned
from ngu_points.chain.rpc import Rpc
from ngu_points.demo.contract import Event, log_of
from ngu_points.demo.node import CONTRACT, SimNode
from ngu_points.engine.events import ZERO_ADDRESS, Kind

ALICE, BOB = bytes([0xA1] * 20), bytes([0xB0] * 20)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries happen, without the waiting between them."""

    async def at_once(_seconds: float) -> None:
        await asyncio.sleep(0)

    defaults = Rpc.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "sleep", at_once)


@pytest.fixture(scope="module")
def node() -> SimNode:
    return busy_chain(60, per_block=6, max_span=10)


@pytest.fixture(scope="module")
def served(node: SimNode) -> Iterator[FaultyNode]:
    with serving(node) as faulty:
        yield faulty


@pytest.fixture(scope="module")
def right(served: FaultyNode, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The fingerprint that a healthy node leads to."""
    db = tmp_path_factory.mktemp("right") / "ngu.db"
    found = sync(served, db)
    assert found.code == 0
    return str(found.json["fingerprint"])


def sync(served: FaultyNode, db: Path, *more: object) -> Ended:
    return ngu("sync", *place(served.node, served.url, db), "--finality", 0, "--json", *more)


def body(text: bytes, status: int = 200, **headers: str) -> Callable[[bytes], Reply]:
    return lambda _: Reply(text, status, headers)


def half(right: bytes) -> Reply:
    return Reply(right[: len(right) // 2], missing=len(right) - len(right) // 2)


def null_result(right: bytes) -> Reply:
    asked = json.loads(right)
    nulls = [{"jsonrpc": "2.0", "id": call["id"], "result": None}
             for call in (asked if isinstance(asked, list) else [asked])]  # fmt: skip
    return Reply(json.dumps(nulls if isinstance(asked, list) else nulls[0]).encode())


def without_index(right: bytes) -> Reply:
    return Reply(right.replace(b'"logIndex":"0x1"', b'"logIndex":"0xzz"'))


def of_another(right: bytes) -> Reply:
    return Reply(right.replace(CONTRACT.hex().encode(), b"ab" * 20))


def out_of_range(right: bytes) -> Reply:
    return Reply(right.replace(b'"blockNumber":"0x', b'"blockNumber":"0xff'))


HTML = b"<!doctype html><html><body><h1>Welcome</h1></body></html>"
BROKEN: dict[str, tuple[Callable[[bytes], Reply], str]] = {
    "garbage": (body(b"\x00\xff not json"), "an answer that is not JSON-RPC"),
    "half an answer": (half, "the answer broke off half-way"),
    "half an answer, well framed": (lambda r: Reply(r[: len(r) // 2]), "half an answer"),
    "nothing": (body(b""), "an empty answer"),
    "null": (body(b"null"), "an answer that is not JSON-RPC"),
    "a null result": (null_result, "null instead of a list of logs"),
    "HTML": (body(HTML), "an HTML page instead of JSON"),
    "HTML of a proxy": (body(HTML, 502), "502 bad gateway"),
    "429 for ever": (body(b'{"message":"slow down"}', 429), "429"),
    "429, told when": (body(b"slow down", 429, **{"Retry-After": "1"}), "429"),
    "30 MB": (body(b"[" + b"7" * (30 << 20)), "an answer that is not JSON-RPC"),
    "another contract": (of_another, "was not asked for"),
    "an impossible log index": (without_index, "logIndex is not a hex quantity: '0xzz'"),
    "a block not asked for": (out_of_range, "block"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_node_that_answers_nonsense_is_named_and_nothing_is_lost(
    name: str, served: FaultyNode, right: str, tmp_path: Path
) -> None:
    """One line says which node, what it was asked and what is wrong; a good node mends it."""
    spoil, words = BROKEN[name]
    served.fault = beyond(30, spoil)
    try:
        ended = sync(served, tmp_path / "ngu.db")
    finally:
        served.fault = None
    assert ended.code == 1
    assert words in ended.complaint
    assert "another --rpc" in ended.complaint or "requests" in ended.complaint
    assert "eth_getLogs" in ended.complaint
    assert len(ended.complaint) < 400
    assert ended.json == {"error": ended.complaint.removeprefix("ngu: "), "exit": 1}
    assert sync(served, tmp_path / "ngu.db").json["fingerprint"] == right


@pytest.mark.parametrize("name", ["garbage", "half an answer", "null", "HTML", "429 for ever"])
def test_a_node_broken_from_the_first_answer_is_named(
    name: str, served: FaultyNode, right: str, tmp_path: Path
) -> None:
    """What fails before anything is known says so too, with the host."""
    served.fault = always(BROKEN[name][0])
    try:
        ended = sync(served, tmp_path / "ngu.db")
    finally:
        served.fault = None
    assert ended.code == 1
    assert served.url.removeprefix("http://") in ended.complaint
    assert "eth_chainId" in ended.complaint
    assert sync(served, tmp_path / "ngu.db").json["fingerprint"] == right


def test_a_right_answer_of_30_mb_is_read(served: FaultyNode, right: str, tmp_path: Path) -> None:
    """A long answer is no fault: it is read like any other."""
    served.fault = beyond(55, lambda text: Reply(text + b" " * (30 << 20)))
    try:
        ended = sync(served, tmp_path / "ngu.db")
    finally:
        served.fault = None
    assert (ended.code, ended.json["fingerprint"]) == (0, right)


def test_a_second_endpoint_takes_over(served: FaultyNode, right: str, tmp_path: Path) -> None:
    """Where another node is given, one that answers nonsense does not matter."""
    with serving(served.node, on("eth_getLogs", body(HTML, 503))) as bad:
        words = (*place(served.node, bad.url, tmp_path / "ngu.db"), "--rpc", served.url)
        ended = ngu("sync", *words, "--finality", 0, "--json")
    assert (ended.code, ended.json["fingerprint"]) == (0, right)


def test_a_log_that_cannot_be_an_event_is_a_dead_letter(tmp_path: Path) -> None:
    """A mint of no token is kept aside with its reason; the rest goes on; the exit code is 3."""
    node = busy_chain(5)
    node.mine([Event(Kind.MINT, ZERO_ADDRESS, ALICE, 10**6, 0),
               log_of(Event(Kind.MINT, ZERO_ADDRESS, ALICE, 2**256 - 2, 7), CONTRACT),
               Event(Kind.MINT, ZERO_ADDRESS, BOB, 10**6 + 1, 1)])  # fmt: skip
    with serving(node) as served:
        ended = sync(served, tmp_path / "ngu.db")
    assert (ended.code, ended.json["deadLetters"], ended.json["anomalies"]) == (3, 2, 0)
    token = ngu("token", 10**6 + 1, "--db", tmp_path / "ngu.db", "--json")
    assert token.json["owner"] == "0x" + BOB.hex()
    status = ngu("status", "--db", tmp_path / "ngu.db", "--json")
    assert (status.code, status.json["alarms"]) == (3, ["2 dead letters"])


def test_an_unreachable_node_is_named(tmp_path: Path) -> None:
    """Where nobody listens, the line names the host and what to do."""
    ended = ngu("sync", "--rpc", "http://127.0.0.1:1", "--contract", "0x" + CONTRACT.hex(),
                "--db", tmp_path / "ngu.db", "--json")  # fmt: skip
    assert ended.code == 1
    assert "127.0.0.1:1: eth_chainId: cannot connect" in ended.complaint
    assert "add another --rpc" in ended.complaint


@pytest.mark.parametrize(
    ("rpc", "words"),
    [("127.0.0.1:8545", "http(s)://"), ("http://", "http(s)://"), ("ftp://x/secretkey", "http(s)"),
     ("ws://127.0.0.1:1", "an http:// or https:// URL is needed"), ("", "http(s)://")],
)  # fmt: skip
def test_what_is_no_node_address_is_refused(rpc: str, words: str, tmp_path: Path) -> None:
    """An --rpc that no node can have is wrong usage, and is not printed in full."""
    ended = ngu("sync", "--rpc", rpc, "--contract", "0x" + CONTRACT.hex(),
                "--db", tmp_path / "ngu.db", "--json")  # fmt: skip
    assert ended.code == 2
    assert words in ended.complaint
    assert "secretkey" not in ended.err + ended.out


def test_another_chain_is_refused(served: FaultyNode, tmp_path: Path) -> None:
    """A node of another chain than chain.chain_id says is refused before anything is written."""
    ended = ngu("sync", *place(served.node, served.url, tmp_path / "ngu.db"), "--json",
                env={"NGU_CHAIN_CHAIN_ID": "8453"})  # fmt: skip
    assert ended.code == 2
    assert "serves chain 31337, but chain.chain_id says 8453" in ended.complaint


@pytest.mark.parametrize("more", [(), ("--from-block", 1)])
def test_an_address_without_code_is_refused(
    more: tuple[object, ...], served: FaultyNode, right: str, tmp_path: Path
) -> None:
    """A wallet is no contract, whether or not the first block is given; the file stays usable."""
    db = tmp_path / "ngu.db"
    ended = ngu("sync", "--rpc", served.url, "--contract", "0x" + "11" * 20, "--db", db,
                "--json", *more)  # fmt: skip
    assert ended.code == 2
    assert f"0x{'11' * 20} has no code on chain 31337" in ended.complaint
    assert sync(served, db).json["fingerprint"] == right


def test_a_spawned_program_ends_the_same_way(served: FaultyNode, tmp_path: Path) -> None:
    """As a process of its own: one line, no traceback, the exit code of wrong usage."""
    ended = spawned("sync", "--rpc", served.url, "--contract", "0x" + "11" * 20,
                    "--db", tmp_path / "ngu.db", "--json")  # fmt: skip
    assert ended.code == 2
    assert "has no code" in ended.complaint
    assert ended.json["exit"] == 2
    assert address(served.node) not in ended.err
