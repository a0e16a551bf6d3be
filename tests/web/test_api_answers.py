"""The API's numbers are the oracle's, now and at every time, over HTTP on a real sync."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import oracle
from cli.program import address, busy_chain, ngu
from cli.truth import events_on, shown, told
from ngu_points.demo.contract import Event
from ngu_points.engine.events import ZERO_ADDRESS, Kind
from web.api import Api, running

DAY = 86_400


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running(busy_chain(70), tmp_path_factory.mktemp("api")) as served:
        yield served


@pytest.fixture(scope="module")
def events(api: Api) -> list[oracle.Event]:
    return events_on(api.node_url, address(api.node), api.node.head.number)


Truth = Callable[[int], oracle.View]


@pytest.fixture(scope="module")
def truth(events: list[oracle.Event]) -> Truth:
    """What the oracle says of a time."""
    return cache(lambda time: told(events, time))


def moments(api: Api, events: list[oracle.Event]) -> list[tuple[Any, int]]:
    """What to ask `at`, and the time that is: now, an event's block, midnight, some second."""
    now = api.node.head.timestamp
    middle = events[len(events) // 2]
    midnight = now // DAY * DAY
    return [(None, now), (middle.block, middle.timestamp), (f"@{midnight}", midnight),
            (f"@{middle.timestamp + 777}", middle.timestamp + 777)]  # fmt: skip


def test_the_leaderboard_is_the_oracles(api: Api, events: list[oracle.Event], truth: Truth) -> None:
    """Every wallet with points, in order, in pages and at once, now and in the past."""
    for at, time in moments(api, events):
        points = truth(time).points["1"]
        ranked = sorted((w for w in points if points[w]), key=lambda w: (-points[w], w))
        rows = api.pages("/api/leaderboard", "wallets", at=at, limit=3)
        assert [(row["rank"], row["wallet"], row["points"]) for row in rows] == [
            (rank, wallet, shown(points[wallet])) for rank, wallet in enumerate(ranked, 1)
        ]
        whole = api.get("/api/leaderboard", at=at, limit=1000)
        assert (whole["wallets"], whole["total"]) == (rows, len(ranked))
        around = api.get("/api/leaderboard", at=at, around=ranked[3], limit=3)
        assert around["wallets"] == rows[2:5]


def test_a_wallet_is_the_oracles(api: Api, events: list[oracle.Event], truth: Truth) -> None:
    """Exact points, facts, tokens and the day's points of every wallet, at every moment."""
    for at, time in moments(api, events):
        view = truth(time)
        midnight = truth(time // DAY * DAY).points["1"]
        for wallet, points in view.points["1"].items():
            found = api.get(f"/api/wallets/{wallet}", at=at)
            assert Fraction(found["exact"]) == points
            assert found["points"] == shown(points)
            facts = view.facts["1"][wallet]
            assert int(found["facts"]["held_seconds"]) == facts.held
            assert int(found["facts"]["feast_micro"]) == facts.awards_micro
            assert {n: int(found["facts"][n]) for n in oracle.COUNTS} == {
                n: facts.counts.get(n, 0) for n in oracle.COUNTS
            }
            staked = sum(who == wallet for who in view.stakers.values())
            owned = [t for t, who in view.owners.items() if who == wallet]
            assert int(found["currentStaked"]) == staked
            assert int(found["currentHeld"]) == sum(t not in view.stakers for t in owned)
            if at is None:
                gained = points - midnight.get(wallet, Fraction(0))
                assert found["dailyPoints"] == shown(gained)
                later = truth(time + DAY).points["1"][wallet]
                shares = truth(time + DAY).facts["1"][wallet].awards_micro
                earned = later - points - Fraction(shares - facts.awards_micro, oracle.MICRO)
                assert found["perDay"] == shown(earned)


def test_holdings_are_the_oracles(api: Api, events: list[oracle.Event], truth: Truth) -> None:
    """What a wallet owns or stakes, each token once, in id order, in pages."""
    for at, time in moments(api, events):
        view = truth(time)
        for wallet in view.points["1"]:
            rows = api.pages(f"/api/wallets/{wallet}/holdings", "ranges", at=at, limit=40)
            listed = [t for r in rows for t in range(int(r["first"]), int(r["last"]) + 1)]
            parties = ((t, {who, view.stakers.get(t)}) for t, who in view.owners.items())
            assert listed == sorted(t for t, mine in parties if wallet in mine)
            staked = {
                t for r in rows if r["staked"] for t in range(int(r["first"]), int(r["last"]) + 1)
            }
            assert staked == {t for t in listed if t in view.stakers}


def test_tokens_are_the_oracles(api: Api, events: list[oracle.Event], truth: Truth) -> None:
    """Owner, staker and since when of every token, and of some that do not exist."""
    for at, time in moments(api, events):
        view = truth(time)
        last = max(view.owners)
        for token in [*range(1, last + 3, last // 60), 2**256 - 1]:
            found = api.get(f"/api/tokens/{token}", at=at)
            assert found["exists"] == (token in view.owners)
            assert found["owner"] == view.owners.get(token)
            assert found["staker"] == view.stakers.get(token)
            assert found["ownedSince"] == view.owned_since.get(token)
            assert found["stakedSince"] == view.staked_since.get(token)


def test_an_explanation_adds_up(api: Api, events: list[oracle.Event], truth: Truth) -> None:
    """Lines sum to the points, intervals to the lines; each lies between the events that began
    and ended it."""
    known = {(e.block, e.timestamp, e.kind) for e in events}
    for at, time in moments(api, events)[:2]:
        view = truth(time)
        for wallet, points in view.points["1"].items():
            path = f"/api/wallets/{wallet}/explanation"
            found = api.get(path, at=at, limit=1000)
            assert found["agrees"]
            assert sum(Fraction(line["exact"]) for line in found["lines"]) == points
            rows = api.pages(path, "intervals", at=at, limit=100)
            assert rows == found["intervals"]
            earned = sum(Fraction(row["exact"]) for row in rows)
            feasts = Fraction(view.facts["1"][wallet].awards_micro, oracle.MICRO)
            assert earned + feasts == points
            for row in rows:
                opened, closed = row["opened"], row["closed"]
                assert opened["timestamp"] == row["since"]
                assert (opened["block"], opened["timestamp"], opened["type"]) in known
                assert row["openedBy"] >= 1
                assert (closed and closed["timestamp"]) == row["until"]


def test_points_over_time_are_the_oracles(
    api: Api, events: list[oracle.Event], truth: Truth
) -> None:
    """A wallet's points, held and staked tokens at each moment of a chart."""
    view = truth(api.node.head.timestamp)
    for wallet in list(view.points["1"])[:3]:
        for point in api.get(f"/api/wallets/{wallet}/history", points=9)["series"]:
            then = truth(point["timestamp"])
            assert point["points"] == shown(then.points["1"].get(wallet, Fraction(0)))
            held = [t for t, who in then.owners.items() if who == wallet and t not in then.stakers]
            assert int(point["held"]) == len(held)
            assert int(point["staked"]) == sum(who == wallet for who in then.stakers.values())


def test_feasts_are_the_oracles(api: Api, truth: Truth) -> None:
    """Pools, carries and every share, of all days and of each wallet; the open day goes on."""
    view = truth(api.node.head.timestamp)
    days = api.pages("/api/feasts", "feasts", limit=2)
    assert {d["day"] for d in days} == set(view.feasts)
    for day in days:
        held = view.feasts[day["day"]]
        assert int(day["poolMicro"]) == held.pool
        assert int(day["stakedSeconds"]) == held.total_seconds
        assert int(day["carryOutMicro"]) == held.carry_out
        for name in (day["day"], day["date"]):
            shares = api.pages(f"/api/feasts/{name}", "shares", limit=2)
            got = {s["wallet"]: int(s["shareMicro"]) for s in shares}
            assert got == held.shares
            assert [int(s["shareMicro"]) for s in shares] == sorted(got.values(), reverse=True)
    for wallet in view.points["1"]:
        mine = {d: f.shares[wallet] for d, f in view.feasts.items() if wallet in f.shares}
        rows = api.pages(f"/api/wallets/{wallet}/feasts", "feasts", limit=1)
        assert {r["day"]: int(r["shareMicro"]) for r in rows} == mine
    midnight = (api.node.head.timestamp // DAY + 1) * DAY
    coming = truth(midnight).feasts[midnight // DAY - 1]
    today = api.pages("/api/feasts/today", "shares", limit=1000)
    assert {s["wallet"]: int(s["shareMicro"]) for s in today if s["shareMicro"] != "0"} == (
        coming.shares
    )


def test_events_are_the_chains(api: Api, events: list[oracle.Event]) -> None:
    """Every event, the latest first, and those that a filter leaves."""

    def rows(**query: Any) -> list[tuple[int, int, str]]:
        found = api.pages("/api/events", "events", limit=100, **query)
        return [(e["block"], e["logIndex"], e["type"]) for e in found]

    def those(chosen: list[oracle.Event]) -> list[tuple[int, int, str]]:
        return [(e.block, e.log_index, e.kind) for e in reversed(chosen)]

    assert rows() == those(events)
    wallet = events[0].recipient
    token = events[3].first
    assert rows(type_="Stake,BatchBurn") == those(
        [e for e in events if e.kind in ("Stake", "BatchBurn")]
    )
    assert rows(wallet=wallet) == those([e for e in events if wallet in (e.sender, e.recipient)])
    mine = those([e for e in events if e.first <= token < e.first + e.quantity])
    assert rows(token=token) == mine
    history = api.pages(f"/api/tokens/{token}/history", "events", limit=2)
    assert [(e["block"], e["logIndex"], e["type"]) for e in history] == mine
    assert rows(fromBlock=30, toBlock=40) == those([e for e in events if 30 <= e.block <= 40])


def test_an_answer_says_what_it_is_valid_to(
    api: Api, events: list[oracle.Event], truth: Truth
) -> None:
    """Block, hash, time and finality; of the past the moment that was asked for."""
    head = api.node.head
    for path in ("/api/leaderboard", "/api/tokens/1", "/api/feasts", "/api/events", "/api/status"):
        valid = api.get(path)["valid"]
        assert (valid["block"], valid["blockHash"]) == (head.number, "0x" + head.hash.hex())
        assert valid["timestamp"] == head.timestamp
    event = events[len(events) // 3]
    valid = api.get("/api/leaderboard", at=event.block)["valid"]
    assert (valid["block"], valid["timestamp"]) == (event.block, event.timestamp)


def test_unknown_wallets_have_nothing(api: Api) -> None:
    """A wallet that no event names is no error."""
    nobody = "0x" + "77" * 20
    found = api.get(f"/api/wallets/{nobody}")
    assert (found["known"], found["points"], found["rank"]) == (False, "0.000000", None)
    assert api.get(f"/api/wallets/{nobody}/holdings")["ranges"] == []
    assert api.get(f"/api/wallets/{nobody}/feasts")["feasts"] == []
    why = api.get(f"/api/wallets/{nobody}/explanation")
    assert (why["lines"], why["intervals"], why["agrees"]) == ([], [], True)
    assert {p["points"] for p in api.get(f"/api/wallets/{nobody}/history")["series"]} == {
        "0.000000"
    }
    assert api.get("/api/leaderboard", around=nobody)["wallets"] == []


def test_status_and_metrics_agree(api: Api, events: list[oracle.Event], truth: Truth) -> None:
    """Counts of events, tokens and wallets; the same figures for Prometheus."""
    found = api.get("/api/status")
    view = truth(api.node.head.timestamp)
    assert found["events"]["total"] == len(events)
    assert int(found["totals"]["tokens"]) == len(view.owners)
    assert int(found["totals"]["staked"]) == len(view.stakers)
    assert (found["lag"], found["backlog"], found["deadLetters"]) == (0, 0, 0)
    assert [s["state"] for s in found["stages"]] == ["ok"] * 5
    assert api.get("/health") == {"status": "ok"}
    assert api.get("/ready") == {"ready": True, "why": []}
    lines = api.ask("/metrics").body.decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(values["ngu_tokens"]) == len(view.owners)
    stakes = sum(e.kind == "Stake" for e in events)
    assert float(values['ngu_events_total{type="Stake"}']) == stakes
    assert float(values["ngu_position_block"]) == api.node.head.number


def test_a_block_whose_time_is_not_recorded_names_one_that_is(tmp_path: Path) -> None:
    """Nothing is guessed: the nearest block before it that can be asked for is named, with its
    time; by time any moment can be asked for; the command asks the chain."""
    node = busy_chain(20)
    quiet = [node.mine() for _ in range(40)]
    node.mine([Event(Kind.MINT, ZERO_ADDRESS, b"\x07" * 20, 5_000_000, 2)])
    with running(node, tmp_path) as api:
        asked = {block: api.ask("/api/leaderboard", at=block.number) for block in quiet}
        known = [quiet[0].number - 1, *(b.number for b, a in asked.items() if a.status == 200)]
        wanted, refused = next((b, answer) for b, answer in asked.items() if answer.status == 404)
        near = max(number for number in known if number < wanted.number)
        hint = f"block {near}, which is of @{node.blocks[near].timestamp}"
        assert refused.json["parameter"] == "at"
        assert refused.json["hint"] == f"give a time, or {hint}"
        assert api.get("/api/leaderboard", at=near)["valid"]["block"] == near
        then = api.get("/api/leaderboard", at=f"@{wanted.timestamp}")["valid"]
        assert then["timestamp"] == wanted.timestamp
        offline = ngu("leaderboard", "--at", wanted.number, "--db", api.db)
        assert offline.code == 2
        assert hint in offline.complaint
        told = ngu("leaderboard", "--at", wanted.number, "--db", api.db, "--rpc", api.node_url)
        assert told.code == 0, told.err


def test_equal_points_are_ranked_by_address(tmp_path: Path) -> None:
    """Each has a rank of its own, the lower address the better one, on every page alike."""
    node = busy_chain(3)
    equal = [bytes([first]) * 20 for first in (0xEE, 0x03, 0x77, 0x04)]
    mints = [Event(Kind.MINT, ZERO_ADDRESS, who, 10**6 + n, 1) for n, who in enumerate(equal)]
    node.mine(mints)
    node.mine()
    with running(node, tmp_path) as api:
        whole = api.get("/api/leaderboard")["wallets"]
        found = [row for row in whole if bytes.fromhex(row["wallet"][2:]) in equal]
        assert len({row["points"] for row in found}) == 1
        assert [row["wallet"] for row in found] == ["0x" + who.hex() for who in sorted(equal)]
        assert [row["rank"] for row in whole] == [*range(1, len(whole) + 1)]
        assert api.pages("/api/leaderboard", "wallets", limit=1) == whole
