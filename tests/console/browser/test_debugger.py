"""The Debugger: what just came, exactly as it came, and no more of it than text."""

from __future__ import annotations

import json
import time

from playwright.sync_api import Locator, expect

from tests.console.browser.conftest import OpenTab
from tests.console.browser.house import EXACT, HUGE, House, post, track
from tests.console.browser.tab import Tab

#: Seconds within which an event that was just sent is seen, on a machine with nothing else to do.
SOON_S = 2.0
AT = "/sources/test/debugger"


def names(tab: Tab) -> list[str]:
    """What the rows are called, newest first."""
    return tab.page.locator(".event-name").all_inner_texts()


def rows_of(tab: Tab) -> Locator:
    """The rows, newest first; a list to choose from has options as well."""
    return tab.page.get_by_role("listbox", name="Events, newest first").get_by_role("option")


def live(tab: Tab) -> Tab:
    """Wait until the stream is there."""
    expect(tab.page.locator(".stream")).to_have_text("Live")
    return tab


def test_an_event_that_was_just_sent_is_seen(house: House, open_tab: OpenTab) -> None:
    """Within two seconds of the sender's 200, at the top, and selected where nothing else is."""
    tab = live(open_tab(AT))
    waits = []
    for n in range(3):
        assert post(house.service, json.dumps(track(f"now-{n}", f"Now {n}")), path="track") == 200
        began = time.monotonic()
        expect(rows_of(tab).first).to_contain_text(f"Now {n}")
        waits.append(time.monotonic() - began)
        expect(tab.page.locator("#event-name")).to_have_text(f"Now {n}")
    # A busy machine may be late once; the stream is not.
    assert min(waits) < SOON_S


def test_pause_is_pause(house: House, open_tab: OpenTab) -> None:
    """Space stops drawing and the stream; space again shows what came meanwhile."""
    tab = live(open_tab(AT))
    tab.heading.click()
    tab.page.keyboard.press("Space")
    expect(tab.button("Pause").last).to_have_attribute("aria-pressed", "true")
    expect(tab.page.locator(".stream")).to_have_text("Paused")
    before = names(tab)
    assert post(house.service, json.dumps(track("paused-1", "While Paused")), path="track") == 200
    house.service.admin("/events/paused-1")
    assert names(tab) == before
    tab.page.keyboard.press("Space")
    expect(rows_of(tab).first).to_contain_text("While Paused")


def test_texts_are_text(open_tab: OpenTab) -> None:
    """Markup does nothing; characters that are not seen stand there by their code."""
    tab = open_tab(f"{AT}?event=hostile&view=pretty")
    shown = tab.page.locator("#event-name")
    expect(shown).to_contain_text('<img src=x onerror="alert(1)"><script>alert(2)</script>')
    for code in ("U+202E", "U+0007", "U+2066"):
        expect(shown).to_contain_text(code)
    assert tab.page.locator("#main img, #main script").count() == 0


def test_numbers_are_as_they_were_written(open_tab: OpenTab) -> None:
    """Beyond what a double holds, and with the digits that the sender wrote."""
    tab = open_tab(f"{AT}?event=hostile&view=pretty")
    numbers = tab.page.locator(".json-number").all_inner_texts()
    assert {HUGE, EXACT} <= set(numbers)
    tab.button("Raw").click()
    raw = tab.page.get_by_role("region", name="the event as it came")
    expect(raw).to_contain_text(HUGE)
    expect(raw).to_contain_text(EXACT)


def test_an_event_has_an_address(open_tab: OpenTab) -> None:
    """A row is a link: loaded anew, the same event is shown in the same view."""
    tab = open_tab(AT)
    rows_of(tab).filter(has_text="Order Completed").first.click()
    tab.button("Deliveries").click()
    expect(tab.link("hook")).to_be_visible()
    address = tab.page.url
    tab.page.reload()
    tab.settled()
    assert tab.page.url == address
    expect(tab.page.locator("#event-name")).to_have_text("Order Completed")
    expect(tab.link("hook")).to_be_visible()


def test_rejected_events_have_their_reason(open_tab: OpenTab) -> None:
    """They stand in a ring of their own, with what the sender was told."""
    tab = open_tab(f"{AT}?outcome=rejected&view=violations")
    expect(rows_of(tab).first).to_be_visible()
    expect(tab.page.get_by_label("Why it was rejected")).to_contain_text("Code")
    signs = tab.page.locator(".event-row [role=img]")
    assert {each.get_attribute("aria-label") for each in signs.all()} == {"rejected"}


def test_filters_and_search(open_tab: OpenTab) -> None:
    """What is typed and chosen stands in the address, and holds after a reload."""
    tab = open_tab(AT)
    tab.page.get_by_label("Search", exact=True).fill("completed")
    expect(tab.page.locator(".event-name").first).to_have_text("Order Completed")
    assert set(names(tab)) == {"Order Completed"}
    tab.page.get_by_label("Type").select_option("page")
    expect(tab.main.get_by_text("None of the rows here is like that.")).to_be_visible()
    tab.page.reload()
    tab.settled()
    expect(tab.main.get_by_text("None of the rows here is like that.")).to_be_visible()
    assert "q=completed" in tab.page.url


def test_rows_by_keyboard(open_tab: OpenTab) -> None:
    """Arrows go from event to event, and the one with the focus is the one that is shown."""
    tab = open_tab(f"{AT}?q=completed")
    rows = rows_of(tab)
    expect(rows.nth(2)).to_be_visible()
    tab.button("Pause").last.click()
    rows.first.focus()
    for _ in range(2):
        tab.page.keyboard.press("ArrowDown")
    expect(rows.nth(2)).to_be_focused()
    expect(rows.nth(2)).to_have_attribute("aria-selected", "true")
    tab.page.keyboard.press("End")
    expect(rows.last).to_be_focused()


def test_it_is_copied_as_a_command(open_tab: OpenTab) -> None:
    """For a shell, with the key left to whoever runs it, and quotes that hold."""
    tab = open_tab(f"{AT}?event=hostile")
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.button("Copy as cURL").click()
    expect(tab.main.get_by_text("Copied")).to_be_visible()
    copied: str = tab.page.evaluate("navigator.clipboard.readText()")
    assert '-u "$WRITE_KEY:"' in copied
    assert HUGE in copied
    assert "test-write-key" not in copied
