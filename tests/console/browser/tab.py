"""A browser's tab as tests see it: the page, and all that it said and asked for meanwhile.

Owns what no page may do: write to the browser's console, break a rule of the content security
policy, ask for anything elsewhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, expect

#: Milliseconds that a busy machine may take to show something.
PATIENCE_MS = 60_000
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
#: Runs before the page's own scripts: what the policy stops is said where we listen.
_TELL_VIOLATIONS = """
addEventListener('securitypolicyviolation', event =>
  console.error('policy', event.violatedDirective, event.blockedURI, event.sourceFile))
"""

expect.set_options(timeout=PATIENCE_MS)


@cache
def _axe() -> str:
    return AXE.read_text()


@dataclass
class Tab:
    """One tab at `base`, which ends in `/console/`. `faults` must stay empty."""

    page: Page
    base: str
    faults: list[str] = field(default_factory=list)
    #: Statuses that pages are meant to meet: Chromium writes each to its console.
    allowed_statuses: frozenset[int] = frozenset()

    @classmethod
    def of(cls, context: BrowserContext, base: str, *, allow: frozenset[int] = frozenset()) -> Self:
        """A new tab of a context."""
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        tab = cls(page, base, allowed_statuses=allow)
        page.add_init_script(_TELL_VIOLATIONS)
        page.on("console", lambda message: tab._said(message))
        page.on("pageerror", lambda error: tab.faults.append(f"page error: {error}"))
        page.on("request", lambda request: tab._asked(request.url))
        return tab

    def _said(self, message: ConsoleMessage) -> None:
        if any(f"status of {status} " in message.text for status in self.allowed_statuses):
            return
        if message.type != "debug":
            where = message.location.get("url", "")
            self.faults.append(f"console: {message.type}: {message.text} {where}")

    def _asked(self, url: str) -> None:
        ours, asked = urlsplit(self.base), urlsplit(url)
        if asked.scheme in ("data", "blob"):
            return
        if (asked.scheme, asked.netloc) != (ours.scheme, ours.netloc) or not asked.path.startswith(
            ours.path
        ):
            self.faults.append(f"asked elsewhere: {url}")

    def open(self, address: str) -> Self:
        """Load the page anew at an address such as `/pools/default`, and wait for its heading."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.base}#{address}")
        return self.settled()

    def begin(self, address: str) -> Self:
        """Load the page at an address, in a tab that is new; `settled` waits for it."""
        self.page.goto(f"{self.base}#{address}", wait_until="commit")
        return self

    def go(self, address: str) -> Self:
        """Follow a link of the page to an address, without loading anew."""
        self.page.evaluate("hash => { location.hash = hash }", f"#{address}")
        return self.settled()

    def settled(self) -> Self:
        """Wait until nothing says that it is being loaded."""
        self.heading.first.wait_for()
        self.page.wait_for_function(
            "() => !document.querySelector('[aria-busy=true]')"
            " && !document.body.textContent.includes('Loading the page')"
        )
        return self

    @property
    def heading(self) -> Locator:
        """The page's title."""
        return self.page.get_by_role("heading", level=1)

    @property
    def main(self) -> Locator:
        """The page without the menu and the bar at its top."""
        return self.page.locator("#main")

    def button(self, name: str) -> Locator:
        """A button of the page or of an open dialog, by its whole name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def link(self, name: str) -> Locator:
        """A link of the page, by its whole name."""
        return self.main.get_by_role("link", name=name, exact=True)

    def is_wide(self) -> float:
        """How many pixels the page is wider than its window, once charts have met its size."""
        self.page.bring_to_front()
        wide: float = self.page.evaluate(
            """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() =>
            done(document.documentElement.scrollWidth - document.documentElement.clientWidth))))"""
        )
        return wide

    def barriers(self, *rules: str) -> list[str]:
        """What axe finds now, one line each: by all of its rules, or by these."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(_axe())
        only = {"runOnly": {"type": "rule", "values": rules}} if rules else {}
        found: dict[str, Any] = self.page.evaluate(  # Any: axe's own JSON
            "how => axe.run(document, how)", {"resultTypes": ["violations"], **only}
        )
        return [
            f"{violation['id']}: {json.dumps(node['target'])}: {node['failureSummary']}"
            for violation in found["violations"]
            for node in violation["nodes"][:3]
        ]
