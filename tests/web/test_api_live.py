"""What holds while the chain goes on: pages, ETags, live events, readers beside a sync."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest

from cli.program import busy_chain
from ngu_points.demo.contract import Event
from ngu_points.demo.traffic import Traffic, events_of, wallets
from ngu_points.engine.events import ZERO_ADDRESS, Kind
from web.api import Api, running, until

CAROL, DAVE = bytes.fromhex("ca" * 20), bytes.fromhex("da" * 20)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running(busy_chain(40), tmp_path_factory.mktemp("live")) as served:
        yield served


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    """Transactions that can follow those of `busy_chain(40)`."""
    told = Traffic(1, wallets(8))
    for _ in range(40):
        told.take(10)
    return told


def grow(api: Api, traffic: Traffic, blocks: int = 1) -> None:
    for _ in range(blocks):
        api.node.mine_transactions([events_of(a) for a in traffic.take(10)])
    api.caught_up()


def test_pages_are_of_one_block_whatever_is_written(api: Api, traffic: Traffic) -> None:
    """Pages asked for while blocks come are together what the first page's block had at once."""
    whole = api.get("/api/leaderboard", limit=1000)
    page = api.get("/api/leaderboard", limit=2)
    rows, first = page["wallets"], page["valid"]
    while page["next"]:
        grow(api, traffic)
        page = api.get("/api/leaderboard", limit=2, cursor=page["next"])
        valid = page["valid"]
        assert (valid["block"], valid["timestamp"]) == (first["block"], first["timestamp"])
        rows += page["wallets"]
    assert rows == whole["wallets"]
    assert api.get("/api/leaderboard")["valid"]["block"] > first["block"]


def test_pages_of_events_lose_and_repeat_nothing(api: Api, traffic: Traffic) -> None:
    """New events come before the first page; what follows it stays as it was."""
    whole = api.pages("/api/events", "events", limit=500)
    page = api.get("/api/events", limit=50)
    rows = page["events"]
    while page["next"]:
        grow(api, traffic)
        page = api.get("/api/events", limit=50, cursor=page["next"])
        rows += page["events"]
    assert rows == whole


def test_a_fork_ends_a_cursor_that_it_changes(api: Api, traffic: Traffic) -> None:
    """After blocks were taken back the next page is refused with what to do, not another order."""
    grow(api, traffic, 3)
    before = api.get("/api/leaderboard", limit=2)
    tokens = api.get("/api/status")["totals"]["tokens"]
    api.node.reorg(2, [[Event(Kind.MINT, ZERO_ADDRESS, CAROL, 10**6, 3)], [], []])
    until(lambda: api.get(f"/api/wallets/0x{CAROL.hex()}")["known"])
    api.caught_up()
    refused = api.ask("/api/leaderboard", cursor=before["next"], limit=2)
    assert refused.status == 400
    assert refused.json["parameter"] == "cursor"
    assert "begin at the first page again" in refused.json["detail"]
    assert api.get("/api/tokens/1000001")["owner"] == "0x" + CAROL.hex()
    assert api.get("/api/status")["totals"]["tokens"] != tokens


def test_an_etag_saves_the_answer_until_the_position_moves(api: Api) -> None:
    """304 without a body while nothing is new, under any spelling of the header; then 200."""
    for path in ("/api/leaderboard", "/api/wallets/0x" + "11" * 20, "/api/feasts", "/api/events"):
        first = api.ask(path)
        tag = first.headers["etag"]
        assert tag.startswith(f'"{first.json["valid"]["block"]}.')
        for sent in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = api.ask(path, headers={"If-None-Match": sent})
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        assert api.ask(path, headers={"If-None-Match": '"another"'}).status == 200
    api.node.mine([])
    api.caught_up()
    moved = api.ask("/api/leaderboard", headers={"If-None-Match": tag})
    assert moved.status == 200
    assert moved.json["valid"]["block"] == api.node.head.number


class Listener:
    """An EventSource, as small as can be."""

    def __init__(self, api: Api, last: str | None = None) -> None:
        self.connection = api.connection()
        headers = {} if last is None else {"Last-Event-ID": last}
        self.connection.request("GET", "/api/live", headers=headers)
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200
        assert self.answer.headers["content-type"].startswith("text/event-stream")

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.answer.close()
        self.connection.close()

    def next(self, kind: str = "position") -> dict[str, Any]:
        """The next message of a kind; its id under "id"."""
        while True:
            fields: dict[str, str] = {}
            while line := self.answer.readline().decode().rstrip("\n"):
                name, _, value = line.partition(": ")
                fields[name] = value
            if fields.get("event") == kind:
                return {"id": fields.get("id"), **json.loads(fields["data"])}

    def at(self, block: int) -> dict[str, Any]:
        """The message of a block or a later one."""
        while True:
            message = self.next()
            if message["valid"]["block"] >= block:
                return message


def test_a_new_block_is_told_at_once_with_what_it_changed(api: Api, traffic: Traffic) -> None:
    """The newest state on connecting; then the new position, who was touched, who moved."""
    with Listener(api) as listener:
        first = listener.at(api.node.head.number)
        rows = api.get("/api/leaderboard", limit=10)["wallets"]
        assert first["top"] == rows
        rich = Event(Kind.MINT, ZERO_ADDRESS, DAVE, 5 * 10**6, 10**7)
        api.node.mine([rich])
        told = listener.at(api.node.head.number)
        assert told["newEvents"] >= 1
        assert told["changed"] == ["0x" + DAVE.hex()]
        api.node.mine([])
        told = listener.at(api.node.head.number)
        assert told["top"][0]["wallet"] == "0x" + DAVE.hex()
        assert {"wallet": "0x" + DAVE.hex(), "rank": 1, "before": None} in told["moved"]


def test_who_comes_back_is_told_what_was_missed(api: Api) -> None:
    """With Last-Event-ID the messages since; an id that nobody knows gets the newest."""
    with Listener(api) as listener:
        last = listener.at(api.node.head.number)["id"]
    blocks = []
    for _ in range(2):
        api.node.mine([])
        api.caught_up()
        blocks.append(api.node.head.number)
    with Listener(api, last) as listener:
        assert listener.at(blocks[0])["valid"]["block"] == blocks[0]
        assert listener.at(blocks[1])["valid"]["block"] == blocks[1]
    with Listener(api, "9-nobody") as listener:
        assert listener.next()["valid"]["block"] == blocks[1]


def test_a_quiet_stream_beats(api: Api) -> None:
    """Where nothing happens a heartbeat says that the line is open."""
    with Listener(api) as listener:
        beat = listener.next("heartbeat")
        assert beat["block"] == api.node.head.number


def test_fifty_readers_see_whole_states_while_a_sync_goes_on(api: Api, traffic: Traffic) -> None:
    """Every answer of every reader is one moment's: rows in order, ranks without holes, totals
    that agree; and positions never go back."""
    over, wrong = threading.Event(), []

    def read() -> None:
        connection = api.connection()
        last = 0
        try:
            while not over.is_set():
                connection.request("GET", "/api/leaderboard?limit=1000")
                answer = connection.getresponse()
                found = json.loads(answer.read())
                assert answer.status == 200, found
                points = [Fraction(row["points"]) for row in found["wallets"]]
                assert points == sorted(points, reverse=True)
                assert [r["rank"] for r in found["wallets"]] == [*range(1, found["total"] + 1)]
                assert found["valid"]["block"] >= last
                last = found["valid"]["block"]
        except (AssertionError, OSError, http.client.HTTPException) as error:
            wrong.append(repr(error))
        finally:
            connection.close()

    readers = [threading.Thread(target=read) for _ in range(50)]
    for reader in readers:
        reader.start()
    for _ in range(8):
        grow(api, traffic, 2)
    over.set()
    for reader in readers:
        reader.join()
    assert wrong == []
