"""The dashboard's files: vendored ones are what they claim, none needs another host, all ship."""

from __future__ import annotations

import hashlib
import lzma
import re
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path

from docs.pages import ROOT, table

STATIC = ROOT / "src/ngu_points/web/static"
VENDOR = STATIC / "vendor"
OURS = sorted(p for p in STATIC.rglob("*") if p.is_file() and VENDOR not in p.parents)
URL = re.compile(r"(?:https?:)?//[a-z0-9][\w.-]+\.[a-z]{2,}[^\s\"'<>]*")
IMPORT = re.compile(r"\b(?:from|import)\s*\"([^\"\n]+)\"")
NAMESPACE = "http://www.w3.org/2000/svg"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_vendored_files_are_what_their_source_says() -> None:
    """Every vendored file has a row in SOURCE.md with its hash, and the hash holds."""
    rows = table((VENDOR / "SOURCE.md").read_text(encoding="utf-8"), "package")
    named = {row["file"].strip("`"): row["SHA-256"].strip("`") for row in rows}
    files = {p.relative_to(VENDOR).as_posix(): p for p in VENDOR.rglob("*") if p.is_file()}
    assert named.keys() == files.keys() - {"SOURCE.md"}
    for name, path in files.items():
        if name != "SOURCE.md":
            assert sha256(path.read_bytes()) == named[name], name


def test_the_accessibility_checker_is_what_its_source_says() -> None:
    """axe-core, decompressed, has the hash that its SOURCE.md names."""
    folder = ROOT / "tests/data/axe-core"
    script = lzma.decompress((folder / "axe.min.js.xz").read_bytes())
    assert sha256(script) in (folder / "SOURCE.md").read_text(encoding="utf-8")


def test_no_file_of_ours_names_another_host() -> None:
    """Nothing is loaded from elsewhere: the only absolute URL is a namespace."""
    for path in OURS:
        for url in re.findall(
            r"(?:https?:)?//[a-z0-9][\w.-]+\.[a-z]{2,}[^\s\"'<>]*", path.read_text()
        ):
            assert url == NAMESPACE, f"{path.relative_to(STATIC)}: {url}"


class Inline(HTMLParser):
    """Collects what a strict content security policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        handlers = [name for name in given if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in given) or handlers:
            self.found.append(f"{tag} {handlers}")
        self.links += [v for k, v in attrs if k in ("src", "href") and v]


def test_the_page_has_nothing_inline() -> None:
    """No inline script, style or handler, and what it links is there."""
    page = Inline()
    page.feed((STATIC / "index.html").read_text(encoding="utf-8"))
    assert page.found == []
    for link in page.links:
        assert link.startswith("api/") or (STATIC / link).is_file(), link


def test_templates_have_no_style_attribute() -> None:
    """A style attribute in a template would be refused by the policy too."""
    for path in OURS:
        if path.suffix == ".js":
            assert not re.search(r"<[^>]*\sstyle=", path.read_text(encoding="utf-8")), path.name


def test_every_import_leads_to_a_file() -> None:
    """Modules import by relative paths that exist; there is no build step to find others."""
    for path in STATIC.rglob("*.js"):
        for name in IMPORT.findall(path.read_text(encoding="utf-8")):
            assert name.startswith("."), f"{path.name}: {name}"
            assert (path.parent / name).resolve().is_file(), f"{path.name}: {name}"


def test_the_wheel_holds_every_file(tmp_path: Path) -> None:
    """What is installed can serve the dashboard: each static file is in the wheel."""
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=False,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    wheel = tmp_path / done.stdout.splitlines()[-1]
    inside = set(zipfile.ZipFile(wheel).namelist())
    for path in STATIC.rglob("*"):
        if path.is_file():
            assert path.relative_to(ROOT / "src").as_posix() in inside


def test_our_files_are_small() -> None:
    """Each file of ours fits the house: at most 500 lines of at most 120 characters."""
    for path in OURS:
        lines = path.read_text(encoding="utf-8").splitlines()
        if path.suffix in (".js", ".css", ".html"):
            assert len(lines) <= 500, path.name
            assert max(map(len, lines)) <= 120, path.name
