"""The page's files hold to the rules that its security and its size rest on."""

from __future__ import annotations

import re
import shutil
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.console import page

#: What makes markup or code of a text, and what fetches from elsewhere or keeps code inline.
FORBIDDEN = {
    "markup of a text": r"\b(innerHTML|outerHTML|insertAdjacentHTML|dangerouslySetInnerHTML)\b"
    r"|\bsrcdoc\b|\bdocument\.write|\bcreateContextualFragment\b|\bDOMParser\b",
    "code of a text": r"\beval\s*\(|\bnew Function\b|\bset(Timeout|Interval)\(\s*['\"`]"
    r"|javascript:",
    "a handler as a text": r"setAttribute\(\s*['\"]on|['\"]?\bon[a-z]+['\"]?\s*:\s*['\"]",
    "an address elsewhere": r"['\"`(](https?:|wss?:)?//\w",
    "a fetch from the root": r"\bfetch\(\s*['\"`]/",
    "another way to the network": r"\b(XMLHttpRequest|WebSocket|EventSource|sendBeacon)\b"
    r"|\bimportScripts\b",
}
#: Most that a first visit takes, gzipped: index, styles, vendor.js and the page's modules.
FIRST_VISIT_BYTES = 90 * 1024
#: Most by which the wheel may grow.
WHEEL_BYTES = 400 * 1024


@pytest.mark.parametrize(
    "path", page.own(".js"), ids=lambda path: str(path.relative_to(page.STATIC))
)
def test_own_code(path: Path) -> None:
    """No module makes markup or code of a text, nor speaks to anything but the API beside it."""
    text = page.code(path)
    found = {
        what: re.findall(rule, text) for what, rule in FORBIDDEN.items() if re.search(rule, text)
    }
    assert not found
    assert path.read_text().startswith("// @ts-check\n"), "so that editors check it, too"


def test_rules_find_what_they_forbid() -> None:
    """Each rule is one that finds."""
    bad = {
        "markup of a text": "node.innerHTML = text",
        "code of a text": "setTimeout('go()', 1)",
        "a handler as a text": "h('a', { onclick: 'go()' })",
        "an address elsewhere": "fetch('https://example.com')",
        "a fetch from the root": "fetch(`/status`)",
        "another way to the network": "new EventSource(url)",
    }
    assert bad.keys() == FORBIDDEN.keys()
    assert [what for what, text in bad.items() if not re.search(FORBIDDEN[what], text)] == []


def test_styles_load_nothing() -> None:
    """Styles name no file, and no address."""
    for path in page.own(".css"):
        assert not re.search(r"url\(|@import|https?:", path.read_text()), path.name


class _Inline(HTMLParser):
    """What of a page is inline, or comes from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._tag = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.found.append(f"{tag} {name}")
            is_ours = value == "data:," or (value or "").startswith("static/BUILD/")
            if name in ("src", "href") and not is_ours:
                self.found.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        if self._tag in ("script", "style") and data.strip():
            self.found.append(f"inline {self._tag}")


def test_index_has_nothing_inline() -> None:
    """Scripts and styles are files of ours, at relative addresses that hold the build."""
    parser = _Inline()
    parser.feed((page.STATIC / "index.html").read_text())
    assert parser.found == []


def test_every_module_is_there_and_used() -> None:
    """What is imported exists; what exists is imported, at once or by an address."""
    wanted = {(page.STATIC / "app.js").resolve()}
    reached: set[Path] = set()
    while wanted:
        path = wanted.pop()
        assert path.exists(), f"{path} is imported, and is not there"
        reached.add(path)
        wanted |= (page.imports(path, lazy=False) | page.imports(path, lazy=True)) - reached
    assert {path.resolve() for path in page.own(".js")} <= reached


def pages() -> list[Path]:
    """Each page, as routes.js has it."""
    return sorted(page.imports(page.STATIC / "routes.js", lazy=True))


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.stem)
def test_first_visit(path: Path) -> None:
    """Whichever page comes first, it and all that it needs is at most 90 KiB gzipped."""
    shell = page.needed(page.STATIC / "app.js") | set(page.STATIC.glob("*.css"))
    files = shell | page.needed(path) | {page.STATIC / "index.html"}
    sizes = {each.name: page.gzipped_bytes(each) for each in files}
    assert sum(sizes.values()) <= FIRST_VISIT_BYTES, sizes


def test_wheel(tmp_path: Path) -> None:
    """The wheel has every file that a browser asks for and no other; they add 400 KiB at most."""
    # Of a copy: setuptools takes what an earlier build has left in the checkout.
    copy = tmp_path / "checkout"
    for folder in ("supervisor", "sandbox", "destinations"):
        shutil.copytree(page.ROOT / folder, copy / folder)
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(page.ROOT / file, copy)
    page.run(
        *(
            page.ROOT / ".venv/bin/python",
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
        ),
        *("--disable-pip-version-check", "--quiet", "--wheel-dir", tmp_path, copy),
    )
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as wheel:
        held = {
            info.filename.removeprefix("supervisor/console/static/"): info
            for info in wheel.infolist()
            if info.filename.startswith("supervisor/console/static/")
        }
    assert held.keys() == {
        str(path.relative_to(page.STATIC))
        for path in page.STATIC.rglob("*")
        if path.suffix in page.SERVED
    }
    assert sum(info.compress_size for info in held.values()) <= WHEEL_BYTES
