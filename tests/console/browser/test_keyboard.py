"""Nothing needs a mouse."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.console.browser.conftest import OpenTab
from tests.console.browser.house import House

#: Letters after "g", and the heading that each leads to.
PLACES = {
    "s": "Sources",
    "c": "Connections",
    "i": "Issues",
    "d": "Dead letters",
    "e": "Exits",
    "h": "Heaps",
    "p": "Plan",
    "a": "Activity",
    "o": "Overview",
}


def test_every_page_by_two_keys(open_tab: OpenTab) -> None:
    """And the heading has the focus there, so that a voice says where one is."""
    tab = open_tab("/")
    for letter, heading in PLACES.items():
        tab.page.keyboard.press("g")
        tab.page.keyboard.press(letter)
        expect(tab.heading).to_have_text(heading)
        expect(tab.heading).to_be_focused()


def test_keys_are_told(open_tab: OpenTab) -> None:
    """? opens the list, Escape closes it and gives the focus back."""
    tab = open_tab("/exits")
    tab.page.keyboard.press("?")
    dialog = tab.page.get_by_role("dialog", name="Keys")
    expect(dialog).to_contain_text("Pause all that is live")
    tab.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_the_menu_is_skipped(open_tab: OpenTab) -> None:
    """The first Tab offers the content."""
    tab = open_tab("/")
    tab.page.keyboard.press("Tab")
    expect(tab.page.get_by_role("link", name="Skip to content")).to_be_focused()
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator("#main")).to_be_focused()


def test_a_table_is_gone_through_by_arrows(open_tab: OpenTab) -> None:
    """Tab leads into it once, arrows from row to row, Enter follows the row's link."""
    tab = open_tab("/connections")
    rows = tab.main.locator("tbody a[data-row]")
    expect(rows.nth(1)).to_be_visible()
    rows.first.focus()
    tab.page.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()
    name = rows.nth(1).inner_text()
    tab.page.keyboard.press("Enter")
    expect(tab.heading).to_have_text(name)


def test_a_connection_is_paused_by_keyboard(house: House, open_tab: OpenTab) -> None:
    """Button, question, answer; then the page says paused, and the way back is the same."""
    tab = open_tab("/connections/hook/queue")
    for label, state in (("Pause deliveries", "paused"), ("Resume deliveries", "open")):
        button = tab.main.get_by_role("button", name=label, exact=True)
        button.focus()
        tab.page.keyboard.press("Enter")
        dialog = tab.page.get_by_role("dialog")
        dialog.get_by_role("button", name=label, exact=True).focus()
        tab.page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)
        expect(tab.main.locator(".chip").first).to_contain_text(state)
    assert house.service.queue_of("hook")["state"] == "open"


def test_the_keys_can_be_turned_off(open_tab: OpenTab) -> None:
    """For those whose voice presses keys; it holds after a reload."""
    tab = open_tab("/exits")
    tab.page.keyboard.press("?")
    tab.page.get_by_label("Keys are on").uncheck()
    tab.page.keyboard.press("Escape")
    tab.page.reload()
    tab.settled()
    tab.page.keyboard.press("g")
    tab.page.keyboard.press("h")
    tab.page.keyboard.press("?")
    expect(tab.page.get_by_role("dialog")).to_have_count(0)
    expect(tab.heading).to_have_text("Exits")
