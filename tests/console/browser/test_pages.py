"""Every page opens without a fault, has no barrier in light and dark, and fits a small screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Browser, BrowserContext, ViewportSize

from tests.console.browser.conftest import new_window
from tests.console.browser.house import House
from tests.console.browser.tab import Tab

#: Pages that load beside the one that is looked at.
AHEAD = 2
#: Rules of axe that look at colours: nothing else changes with them.
OF_COLOURS = ("color-contrast", "link-in-text-block")
#: Width of a small phone in CSS pixels; WCAG 1.4.10 asks for it.
SMALL = ViewportSize(width=320, height=700)


def _issue(house: House) -> str:
    return str(house.service.admin("/issues")["issues"][0]["id"])


def _letter(house: House) -> str:
    return str(house.service.admin("/deadletters")["deadletters"][0]["id"])


#: Each page by an address, or by what makes it of what happened.
PAGES: dict[str, Callable[[House], str]] = {
    "overview": lambda house: "/",
    "sources": lambda house: "/sources",
    "source": lambda house: "/sources/test/overview",
    "debugger": lambda house: "/sources/test/debugger",
    "debugger raw": lambda house: "/sources/test/debugger?event=hostile&view=raw",
    "schema": lambda house: "/sources/test/schema",
    "source settings": lambda house: "/sources/test/settings",
    "connections": lambda house: "/connections",
    "delivery": lambda house: "/connections/refused/delivery",
    "queue": lambda house: "/connections/hook/queue",
    "letters": lambda house: "/connections/refused/letters",
    "tester": lambda house: "/connections/hook/tester",
    "connection settings": lambda house: "/connections/hook/settings",
    "issues": lambda house: "/issues",
    "issue": lambda house: f"/issues/{_issue(house)}",
    "dead letters": lambda house: "/deadletters",
    "dead letter": lambda house: f"/deadletters/{_letter(house)}",
    "jobs": lambda house: "/jobs",
    "event": lambda house: "/events/hostile",
    "isolation": lambda house: "/pools/default",
    "worker": lambda house: "/workers/default-1",
    "exits": lambda house: "/exits",
    "certificate": lambda house: f"/exits/{house.exit_id}",
    "heaps": lambda house: "/heaps",
    "heap": lambda house: f"/heaps/{house.snapshot}",
    "object": lambda house: f"/heaps/{house.snapshot}/objects/root",
    "plan": lambda house: "/plan",
    "activity": lambda house: "/activity",
    "no page": lambda house: "/nowhere",
}


@pytest.fixture(scope="module")
def open_page(window: BrowserContext, house: House) -> Iterator[Callable[[str], Tab]]:
    """Opens a page in a tab of its own, and the next ones, which load while it is looked at."""
    tabs: dict[str, Tab] = {}
    names = list(PAGES)

    def opened(name: str) -> Tab:
        first = names.index(name)
        for each in names[first : first + 1 + AHEAD]:
            if each not in tabs:
                tabs[each] = Tab.of(window, house.base).begin(PAGES[each](house))
        return tabs.pop(name).settled()

    yield opened
    for tab in tabs.values():
        tab.page.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page(name: str, open_page: Callable[[str], Tab]) -> None:
    """It opens by its address, axe finds nothing in light and dark, and nothing is cut off."""
    tab = open_page(name)
    found = {"light": tab.barriers()}
    tab.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    found["dark"] = tab.barriers(*OF_COLOURS)
    assert found == {"light": [], "dark": []}
    tab.page.set_viewport_size(SMALL)
    assert tab.is_wide() <= 0
    tab.page.close()
    assert tab.faults == []


def test_a_page_asks_for_little(browser: Browser, house: House) -> None:
    """What a first look loads of the site stays within its budget, and nothing is loaded twice."""
    with closing(new_window(browser)) as window:
        tab = Tab.of(window, house.base).open("/")
        loaded: list[dict[str, float | str]] = tab.page.evaluate(
            "performance.getEntriesByType('resource').map("
            "each => ({name: each.name, size: each.encodedBodySize}))"
            ".filter(each => each.name.includes('/static/'))"
        )
        assert tab.faults == []
    assert len(loaded) > 5
    names = [each["name"] for each in loaded]
    assert len(names) == len(set(names))
    assert sum(float(each["size"]) for each in loaded) < 90 * 1024
