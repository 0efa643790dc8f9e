"""What has no room in an answer or in the stream is said on the page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

from playwright.sync_api import expect

from tests.console.browser.conftest import OpenTab
from tests.console.browser.house import House
from tests.console.browser.tab import Tab


def answer_live(tab: Tab, says: Callable[[], str]) -> None:
    """Every stream that is opened from now on says this, and ends; the page opens another."""
    tab.page.route(
        "**/api/live?*",
        lambda route: route.fulfill(content_type="text/event-stream", body=says()),
    )


def test_rows_that_are_missing_are_told(house: House, open_tab: OpenTab) -> None:
    """Where more came than a stream could send; and of all that came how many became rows."""
    found = house.service.admin("/tap/test?limit=1")
    told = {**found, "seen": 5000, "sampled": 1234, "lossy": True}
    numbers = itertools.count(found["next"] + 1)

    def says() -> str:
        row = {**found["rows"][0], "n": next(numbers), "at": "2026-02-03T10:20:30.000Z"}
        return f"event: tap:test\ndata: {json.dumps({**told, 'rows': [row]})}\n\n"

    tab = open_tab("/sources/test/debugger")
    expect(tab.main.locator(".event-row").first).to_be_visible()
    expect(tab.main.get_by_text("Rows are missing before")).to_have_count(0)
    tab.go("/jobs")
    answer_live(tab, says)
    tab.go("/sources/test/debugger")
    expect(tab.main.get_by_text("Rows are missing before")).to_be_visible()
    expect(tab.main).to_contain_text("1,234 of 5,000 events taken")


def test_what_is_too_large_for_the_stream_is_fetched(open_tab: OpenTab) -> None:
    """It is said beside how the stream is, and the page shows what the fetch answers."""
    tab = open_tab("/jobs")
    said = {"error": "too_large", "look": "pool:default", "message": "this look has 9 bytes"}
    answer_live(tab, lambda: f"event: too-large\ndata: {json.dumps(said)}\n\n")
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.go("/pools/default")
    expect(tab.page.locator(".stream")).to_contain_text("too large for the stream")
    expect(tab.main.locator("li.worker").first).to_be_visible()
    assert sum(url.endswith("/pools/default") for url in asked) >= 2


def test_what_needs_somebody_and_has_no_room_is_counted(house: House, open_tab: OpenTab) -> None:
    """The overview says how many more there are than it shows."""
    now = house.service.admin("/overview")
    tab = open_tab("/jobs")
    answer_live(tab, lambda: "")
    tab.page.route(
        "**/api/overview", lambda route: route.fulfill(json={**now, "more_attention": 7})
    )
    tab.go("/")
    expect(tab.main).to_contain_text("7 more things need you")
