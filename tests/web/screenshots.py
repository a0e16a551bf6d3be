"""The dashboard's pictures in docs/images, taken of a local chain with three weeks of traffic.

`.venv/bin/python tests/web/screenshots.py` takes them; it needs Chromium.
"""

from __future__ import annotations

import base64
import contextlib
import io
import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from ngu_points.config import Config, rules_of
from ngu_points.embedded.picture import WIDTH, frame, picture
from ngu_points.embedded.store import Store

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from web.browsing import Site, site  # noqa: E402
from web.chromium import FLAGS, chromium  # noqa: E402

IMAGES = ROOT / "docs/images"
BLOCKS = 21 * 24
DESK, PHONE = {"width": 1200, "height": 800}, {"width": 360, "height": 740}
PICTURES = (
    ("leaderboard", "#/", DESK, "light"),
    ("wallet", "#/wallet/{first}", DESK, "dark"),
    ("health", "#/health", DESK, "light"),
    ("phone", "#/", PHONE, "light"),
)
QUALITY = 0.85
TERMINAL = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.S).replace(
    "Fira Code", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono"
)
TO_WEBP = """async ([png, quality]) => {
  const image = new Image();
  image.src = "data:image/png;base64," + png;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL("image/webp", quality).split(",")[1];
}"""


def shot(browser: Browser, running: Site, place: str, size: dict[str, int], scheme: str) -> bytes:
    """What is at a place, with twice the pixels, as WebP: the browser itself makes it small."""
    context = browser.new_context(viewport=size, color_scheme=scheme, device_scale_factor=2)
    page = context.new_page()
    page.goto(f"{running.url}/{place}")
    page.locator("main h1").wait_for()
    for _ in range(4):  # so that the charts have something to show
        running.grow()
        page.wait_for_timeout(1000)
    png = base64.b64encode(page.screenshot()).decode()
    page.goto("about:blank")  # without the dashboard's content policy
    made = base64.b64decode(page.evaluate(TO_WEBP, [png, QUALITY]))
    context.close()
    return made


def take(running: Site) -> None:
    """All pictures."""
    program, why = chromium()
    if program is None:
        sys.exit(why)
    first = running.ask("leaderboard?limit=1")["wallets"][0]["wallet"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        for name, place, size, scheme in PICTURES:
            made = shot(browser, running, place.format(first=first), size, scheme)
            (IMAGES / f"{name}.webp").write_bytes(made)
        browser.close()


def take_terminal(running: Site) -> None:
    """The terminal's view of the same chain, without the typefaces that rich would link to."""
    with contextlib.closing(Store.open(running.folder / "site.db", rules_of(Config()))) as store:
        seen = frame(store, store.rules, "anvil", store.meta("head"))
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(picture(seen))
    console.save_svg(str(IMAGES / "demo.svg"), title="ngu demo", code_format=TERMINAL)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, site(Path(folder), BLOCKS) as running:
        take_terminal(running)
        take(running)
