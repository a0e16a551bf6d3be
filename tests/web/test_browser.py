"""The dashboard in a real browser, on the real program over a chain under traffic."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from cli.truth import shown
from docs.pages import ROOT, blocks
from docs.pages import page as text_of
from web.browsing import Site, site
from web.chromium import FLAGS, chromium

PLACES = ("#/", "#/feast", "#/activity", "#/tokens", "#/health")
AXE = ROOT / "tests/data/axe-core/axe.min.js.xz"
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def program() -> str:
    """Chromium; skips with the reason where there is none."""
    found, why = chromium()
    if found is None:
        pytest.skip(why)
    return found


@pytest.fixture(scope="module")
def running(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The program that is looked at."""
    with site(tmp_path_factory.mktemp("site")) as started:
        yield started


@pytest.fixture(scope="module")
def browser(program: str, running: Site) -> Iterator[Browser]:
    """One headless browser; opened last, because nothing may run an event loop beside it."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield opened
        opened.close()


class Tab:
    """A page, and everything that went wrong in it."""

    def __init__(self, browser: Browser, url: str, **context: Any) -> None:
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, **context}
        )
        self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
        self.page = self.context.new_page()
        self.url, self.wrong = url, []
        self.page.on("console", lambda m: m.type == "error" and self.wrong.append(m.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda r: r.url.startswith(url) or self.wrong.append(r.url))

    def go(self, place: str) -> Page:
        """Open a place in the dashboard and wait until it is drawn and live."""
        self.page.goto(f"{self.url}/{place}")
        expect(self.page.locator(".live")).to_have_text("Live")
        expect(self.page.locator("main h1")).to_be_visible()
        return self.page


@pytest.fixture
def tab(browser: Browser, running: Site) -> Iterator[Tab]:
    """A fresh tab; in the end nothing may have gone wrong and no other host been asked."""
    opened = Tab(browser, running.url)
    yield opened
    opened.context.close()
    assert opened.wrong == []


def board(page: Page) -> dict[str, str]:
    """The leaderboard as it is on the page: points without commas, by wallet."""
    rows = page.locator("tr[data-wallet]").evaluate_all(
        "rows => rows.map(r => [r.dataset.wallet, r.querySelector('.points').innerText])"
    )
    return {wallet: points.replace(",", "").strip() for wallet, points in rows}


def expected(running: Site, block: int) -> dict[str, str]:
    """The oracle's leaderboard at a block."""
    points = running.truth(block).points["1"]
    order = sorted((w for w in points if points[w]), key=lambda w: (-points[w], w))
    return {wallet: shown(points[wallet]) for wallet in order}


def at_block(page: Page, block: int) -> None:
    """Wait until the page says that it shows a block."""
    expect(page.locator("#block")).to_have_text(f"{block:,}")


def test_the_numbers_on_the_page_are_the_oracles(tab: Tab, running: Site) -> None:
    """Every wallet of the leaderboard has the oracle's points, in the oracle's order."""
    page = tab.go("#/")
    at_block(page, running.height)
    wanted = expected(running, running.height)
    assert len(wanted) >= 8
    assert list(board(page).items()) == list(wanted.items())


def test_a_new_block_appears_without_reload(tab: Tab, running: Site) -> None:
    """A block mined while one looks changes block and points on the page, which stays open."""
    page = tab.go("#/")
    page.evaluate("window.stayed = true")
    before = board(page)
    block = running.grow()
    at_block(page, block)
    wanted = expected(running, block)
    first = next(iter(wanted))
    cell = page.locator(f"tr[data-wallet='{first}'] .points")
    expect(cell).to_have_text(re.compile(rf"^\s*{int(wanted[first].split('.')[0]):,}"))
    expect(cell).to_contain_text("." + wanted[first].split(".")[1])
    assert board(page) == wanted != before
    assert page.evaluate("window.stayed")


def test_a_wallets_explanation_adds_up(tab: Tab, running: Site) -> None:
    """The lines under "Why this many?" sum to the points, which are the oracle's."""
    page = tab.go("#/")
    page.locator("tr[data-wallet] a").first.click()
    expect(page.get_by_text("adds up exactly")).to_be_visible()
    wallet = page.url.rpartition("/")[2]
    truth = running.truth(running.height)
    total = page.locator("#sum").inner_text().replace(",", "")
    assert total == shown(truth.points["1"][wallet])
    assert page.locator("#points").inner_text().replace(",", "") == total
    lines = [Fraction(t.replace(",", "")) for t in page.locator(".line").all_inner_texts()]
    assert 0 <= Fraction(total) - sum(lines) < Fraction(len(lines), 10**6)  # each rounded down
    page.get_by_text("Every interval").click()
    expect(page.locator("[aria-label=Intervals] tbody tr").first).to_contain_text("block")


def test_a_page_belongs_to_one_block(tab: Tab, running: Site) -> None:
    """While blocks come fast, points above and explanation below are always of the same block."""
    page = tab.go(f"#/wallet/{next(iter(expected(running, running.height)))}")
    seen = set()
    for _ in range(12):
        running.chain.grow(1)
        both = page.evaluate("['#points', '#sum'].map(n => document.querySelector(n).innerText)")
        assert both[0] == both[1]
        seen.add(both[0])
        page.wait_for_timeout(250)
    assert len(seen) > 1
    running.wait()


def test_holdings_and_feasts_of_a_wallet_are_the_oracles(tab: Tab, running: Site) -> None:
    """Held and staked tokens and the newest feast share are what the oracle says."""
    truth = running.truth(running.height)
    wallet = next(iter(expected(running, running.height)))
    page = tab.go(f"#/wallet/{wallet}")
    staked = [t for t, who in truth.stakers.items() if who == wallet]
    held = [t for t, who in truth.owners.items() if who == wallet and t not in truth.stakers]
    expect(page.locator("dt:text-is('Held') + dd")).to_contain_text(f"{len(held):,}")
    expect(page.locator("dt:text-is('Staked') + dd")).to_contain_text(f"{len(staked):,}")
    day, feast = max((d, f) for d, f in truth.feasts.items() if wallet in f.shares)
    row = page.locator("[aria-label='Feast shares'] tbody tr").first
    micro = feast.shares[wallet]
    assert day
    assert row.locator("td").nth(1).inner_text().replace(",", "") == shown(Fraction(micro, 10**6))


def test_a_token_is_found_by_its_id(tab: Tab, running: Site) -> None:
    """The search takes a token id and shows the owner and staker that the oracle has."""
    truth = running.truth(running.height)
    token = max(truth.stakers)
    page = tab.go("#/health")
    page.get_by_label("Find a wallet or a token").fill(str(token))
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text(f"Token {token}")
    owner = page.locator("dt:text-is('Owner') + dd [title]").first
    assert owner.get_attribute("title") == truth.owners[token]
    staker = page.locator("dt:text-is('Staker') + dd [title]").first
    assert staker.get_attribute("title") == truth.stakers[token]
    expect(page.locator("[data-event]").last).to_contain_text("Mint")


def test_a_token_that_is_not_there_says_why(tab: Tab, running: Site) -> None:
    """Burned, and when; or never minted. The last id of all has no next one."""
    burned = running.ask("events?type=BatchBurn&limit=1")["events"][0]
    page = tab.go(f"#/token/{burned['first']}")
    expect(page.locator("main")).to_contain_text(f"It was burned on {burned['time'][:10]}")
    page = tab.go(f"#/token/{2**256 - 1}")
    expect(page.locator("main")).to_contain_text("It was never minted.")
    expect(page.get_by_role("link", name="Previous")).to_be_visible()
    expect(page.get_by_role("link", name="Next")).to_have_count(0)


def test_the_search_takes_an_address_and_explains_a_mistake(tab: Tab, running: Site) -> None:
    """A wallet is opened; what is neither wallet nor token is told in a sentence."""
    page = tab.go("#/")
    find = page.get_by_label("Find a wallet or a token")
    find.fill("0x12")
    page.keyboard.press("Enter")
    expect(page.locator(".search [role=alert]")).to_contain_text("no wallet")
    find.fill("0x" + "12" * 20)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing has happened to this wallet")).to_be_visible()


@pytest.mark.parametrize("place", ["wallet/%", "token/%E0%A4", "wallet/%3Cb%3E"])
def test_an_address_that_cannot_be_decoded_is_told_of(tab: Tab, running: Site, place: str) -> None:
    """A mistyped link shows what it should have been, never an empty page."""
    tab.page.goto(f"{running.url}#/{place}")
    expect(tab.page.locator("main h2")).to_have_text("This could not be loaded")
    tab.wrong.clear()  # the browser notes the status


def test_an_address_is_copied_whole(tab: Tab, running: Site) -> None:
    """The button beside a shortened address puts all of it on the clipboard and says so."""
    page = tab.go("#/")
    row = page.locator("tr[data-wallet]").first
    row.get_by_role("button").click()
    expect(page.locator("#said")).to_have_text("address copied")
    assert page.evaluate("navigator.clipboard.readText()") == row.get_attribute("data-wallet")


def test_disconnected_is_said_and_it_reconnects(tab: Tab, running: Site) -> None:
    """While the program is down the page says so; when it is back, so are the numbers."""
    page = tab.go("#/")
    running.stop()
    expect(page.locator(".live")).to_have_text("Disconnected")
    expect(page.get_by_text("What you see is from")).to_be_visible()
    running.start()
    expect(page.locator(".live")).to_have_text("Live")
    block = running.grow()
    at_block(page, block)
    expect(page.locator("tr[data-wallet]").first).to_be_visible()
    assert all("ERR_" in text or "Failed to load" in text for text in tab.wrong), tab.wrong
    tab.wrong.clear()


def test_where_nobody_streams_it_asks(tab: Tab, running: Site) -> None:
    """Behind a function on AWS there is no stream: the page polls, and a new block appears."""
    tab.page.route("**/api/live", lambda route: route.fulfill(status=404, json={}))
    page = tab.go("#/")
    block = running.grow()
    at_block(page, block)
    page = tab.go("#/activity")
    expect(page.get_by_role("button", name="5 minutes")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="Live")).to_have_count(0)
    assert all("404" in text or "api/live" in text for text in tab.wrong), tab.wrong
    tab.wrong.clear()


EXACT = """async () => {
  const {fromMicro, grouped, isTokenId, percent} = await import("/format.js");
  const {addsUp} = await import("/exact.js");
  const most = 2n ** 256n;
  return [
    fromMicro("123456789012345678901234567890"), fromMicro("7"), grouped("1234567.000001"),
    percent("1", "3"), percent(String(most - 1n), String(most)), percent("0", "0"),
    isTokenId(String(most - 1n)), isTokenId(String(most)), isTokenId("1e3"), isTokenId("-1"),
    addsUp(["1/3", "1/6", "1/2"], "1/1"), addsUp(["1/3", "1/3"], "666666666666/1000000000000"),
  ];
}"""


def test_the_pages_example_of_the_api_works(tab: Tab, running: Site) -> None:
    """What docs/api.md shows of a front end: points, rank and block, and again with a new block."""
    (example,) = blocks(text_of("docs/api.md"), "html")
    wallet = next(iter(expected(running, running.height)))
    page = re.sub("0x[0-9a-f]{40}", wallet, example)
    given = "<!doctype html><meta charset=utf-8>" + page
    tab.page.route("**/mine", lambda route: route.fulfill(body=given, content_type="text/html"))
    tab.page.goto(f"{running.url}/mine")
    for blocks_more in (0, 1):
        block = running.grow(blocks_more)
        order = expected(running, block)
        place = list(order).index(wallet) + 1
        shows = f"{order[wallet]} points, rank {place}, at block {block}"
        expect(tab.page.locator("#points")).to_have_text(shows)


def test_numbers_are_exact_in_the_browser(tab: Tab, running: Site) -> None:
    """Amounts, shares and sums past 2^53 keep every digit; a sum that is nearly right is wrong."""
    assert tab.go("#/tokens").evaluate(EXACT) == [
        "123456789012345678901234.567890", "0.000007", "1,234,567.000001",
        "33.3", "99.9", "0",
        True, False, False, False,
        True, False,
    ]  # fmt: skip


FAKE_SOURCE = """window.EventSource = class extends EventTarget {
  constructor() { super(); window.source = this; }
  close() {}
}"""
SEND = """([name, data]) => source.dispatchEvent(
  new MessageEvent(name, {data: JSON.stringify(data)}))"""


def test_stale_is_said_although_connected(tab: Tab, running: Site) -> None:
    """Connected but without news of the chain for two minutes: the page says stale, then live."""
    page = tab.page
    page.add_init_script(FAKE_SOURCE)
    page.clock.install()
    page.goto(running.url)
    status = running.ask("status")
    news = {"valid": status["valid"], "head": status["head"], "lag": 0, "alarms": 0, "events": 1,
            "eventsPerSecond": 0, "totals": status["totals"], "changed": [], "moved": [],
            "backlog": 0}  # fmt: skip
    page.evaluate(SEND, ["position", news])
    expect(page.locator(".live")).to_have_text("Live")
    expect(page.locator(".strip")).to_contain_text("provisional")
    for _ in range(14):
        page.clock.fast_forward(10_000)
        page.evaluate(SEND, ["heartbeat", {"at": 0, "block": 1}])
    page.clock.fast_forward(1000)
    expect(page.locator(".live")).to_have_text("Stale")
    expect(page.get_by_text("nothing new for 2 min")).to_be_visible()
    page.evaluate(SEND, ["position", news])  # the same again is no news
    expect(page.locator(".live")).to_have_text("Stale")
    page.evaluate(SEND, ["position", news | {"head": status["head"] + 1}])
    expect(page.locator(".live")).to_have_text("Live")


def test_a_phone_shows_every_page(browser: Browser, running: Site) -> None:
    """At 360 pixels nothing is wider than the screen, and the navigation is in reach."""
    phone = Tab(browser, running.url, viewport={"width": 360, "height": 740}, has_touch=True)
    wallet = next(iter(expected(running, running.height)))
    for place in (*PLACES, f"#/wallet/{wallet}", "#/token/1"):
        page = phone.go(place)
        assert page.evaluate("document.documentElement.scrollWidth") == 360, place
        expect(page.get_by_role("navigation")).to_be_in_viewport()
    phone.page.get_by_role("link", name="Feast", exact=True).tap()
    expect(phone.page.locator("h1")).to_contain_text("feast")
    phone.context.close()
    assert phone.wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_accessibility_fault(browser: Browser, running: Site, scheme: str) -> None:
    """axe-core finds nothing on any page, in light and in dark, serious or not."""
    checked = Tab(browser, running.url, color_scheme=scheme, reduced_motion="reduce")
    axe = lzma.decompress(AXE.read_bytes()).decode()
    wallet = next(iter(expected(running, running.height)))
    for place in (*PLACES, f"#/wallet/{wallet}", "#/token/1"):
        page = checked.go(place)
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        page.evaluate(axe)
        found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
        faults = [(v["id"], v["impact"], [n["target"] for n in v["nodes"]]) for v in found]
        assert faults == [], place
    checked.context.close()
    assert checked.wrong == []


def test_the_keyboard_is_enough(tab: Tab, running: Site) -> None:
    """The first Tab leads to the content, links change the page and move the focus there."""
    page = tab.go("#/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("link", name="Health").focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Health")
    expect(page.locator("h1")).to_be_focused()
    expect(page).to_have_title("Health · ngu points")


def test_the_colours_are_kept(tab: Tab, running: Site) -> None:
    """The switch turns light into dark, also after a reload."""
    page = tab.go("#/")
    page.get_by_label("Switch between light and dark").click()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_flow_is_a_picture_with_its_figures(tab: Tab, running: Site) -> None:
    """Health shows the five stages in order, the read block and no alarm."""
    page = tab.go("#/health")
    stages = page.locator(".stage").evaluate_all("all => all.map(s => s.dataset.stage)")
    assert stages == ["monitor", "stream", "tables", "process", "state"]
    expect(page.locator("[data-stage=stream]")).to_contain_text(f"{running.height:,}")
    expect(page.locator("[data-stage=tables]")).to_contain_text("Backlog")
    expect(page.get_by_text("All is well")).to_be_visible()


def test_the_charts_move(tab: Tab, running: Site) -> None:
    """Event rate and staking share are drawn live; the share is the oracle's."""
    page = tab.go("#/activity")
    chart = page.get_by_role("img", name="Share of tokens staked")
    expect(chart.locator("canvas")).to_be_visible()  # two figures, one every 5 seconds
    block = running.grow()
    at_block(page, block)
    truth = running.truth(block)
    tenths = 1000 * len(truth.stakers) // len(truth.owners)
    share = page.locator("dt:text-is('Staked') + dd")
    expect(share).to_contain_text(f"{tenths // 10}.{tenths % 10}%")
    expect(page.locator("[data-event]").first).to_contain_text(f"{block:,}")
    page.get_by_role("button", name="5 minutes").click()
    expect(page.get_by_role("button", name="5 minutes")).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize(
    ("status", "body", "shows"),
    [
        (503, {"code": "no-data", "detail": "nothing is covered yet"}, "on their way"),
        (500, {"code": "internal", "detail": "internal error"}, "Internal error."),
        (429, {"code": "too-many-requests", "detail": "too many requests", "hint": "wait 3 s"},
         "Too many requests. Wait 3 s."),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_a_sentence(
    tab: Tab, running: Site, status: int, body: dict[str, str], shows: str
) -> None:
    """Nothing covered yet tells what happens now; an error is what the API says."""
    tab.page.route("**/api/leaderboard*", lambda route: route.fulfill(status=status, json=body))
    tab.page.goto(running.url)
    expect(tab.page.locator("main")).to_contain_text(shows)
    tab.wrong.clear()  # the browser notes the status
