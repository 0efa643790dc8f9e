"""The page's files, as a browser gets them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient
from aiohttp.web import Application, Request

from supervisor.console.site import Site

Client = TestClient[Request, Application]

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "supervisor/console/static"
#: What every answer of the console says, whatever it is.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
}


async def test_the_page_names_its_files_below_itself(console: Client, site: Site) -> None:
    """Addresses are relative, and each of them is there."""
    page = await console.get("/console/")
    assert (page.status, page.content_type) == (200, "text/html")
    linked = re.findall(r'(?:src|href)="([^"]+)"', await page.text())
    linked = [link for link in linked if not link.startswith("data:")]
    assert linked
    for link in linked:
        assert re.fullmatch(rf"static/{site.build}/[a-z.]+", link)
        assert (await console.get(f"/console/{link}")).status == 200


async def test_the_way_to_the_page_is_relative(console: Client) -> None:
    """Below a proxy's prefix the same answer leads to the page below that prefix."""
    answer = await console.get("/console", allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (308, "console/")


async def test_files_are_packed_and_kept_for_ever(console: Client, site: Site) -> None:
    """Their address changes with them; who takes no gzip gets them plain."""
    path = f"/console/static/{site.build}/app.js"
    packed = await console.get(path, headers={"Accept-Encoding": "gzip"})
    plain = await console.get(path, headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert await packed.read() == await plain.read() == (STATIC / "app.js").read_bytes()
    for answer in (packed, plain):
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.content_type == "text/javascript"


@pytest.mark.parametrize(
    "path",
    [
        "static/0123456789abcdef/app.js",
        "static/BUILD/index.html",
        "static/BUILD/types.d.ts",
        "static/BUILD/../site.py",
        "static/BUILD/..%2Fsite.py",
        "static/BUILD/%2Fetc%2Fpasswd",
        "static/BUILD/pages/",
        "static/BUILD/none.js",
        "nothing",
    ],
)
async def test_what_is_no_file_of_the_page_is_not_there(
    console: Client, site: Site, path: str
) -> None:
    """Another version's files, sources of the service, and what nothing is."""
    answer = await console.get("/console/" + path.replace("BUILD", site.build))
    assert answer.status in (401, 404)


@pytest.mark.parametrize(
    "path", ["/console/", "/console/static/BUILD/app.js", "/console/none", "/console/api/me", "/me"]
)
async def test_every_answer_holds_browsers_to_the_policy(
    console: Client, site: Site, path: str
) -> None:
    """Errors too: nothing runs, loads, frames or sends but what is the console's own."""
    answer = await console.get(path.replace("BUILD", site.build))
    assert set(answer.headers["Content-Security-Policy"].split("; ")) == POLICY
    assert HEADERS.items() <= dict(answer.headers).items()


def test_the_page_has_nothing_inline() -> None:
    """No script, style or handler in the page itself: the policy would stop it."""
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\bon\w+=|\bstyle=|javascript:", page)


def test_files_fit_their_budget(site: Site) -> None:
    """What a browser loads is at most 90 KiB for the first page, packed; all of it stays small."""
    first = ("app.js", "api.js", "routes.js", "live.js", "vendor.js", "vendor.css", "app.css")
    assert sum(len(site.files[name].packed) for name in first) < 90 * 1024
    assert sum(len(file.packed) for file in site.files.values()) < 400 * 1024
