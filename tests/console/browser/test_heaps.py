"""A heap is browsed: from what leaks to the attribute that holds it, by clicks alone."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.console.browser.conftest import OpenTab
from tests.console.browser.house import House


def test_from_a_suspect_to_its_attribute(house: House, open_tab: OpenTab) -> None:
    """The suspect's path leads to the object; its parts open one by one, each with its size."""
    tab = open_tab("/heaps")
    tab.main.locator(f'a[href="#/heaps/{house.snapshot}"]').click()
    tab.link("misbehaving.SEEN").first.click()
    expect(tab.page.locator("code.path")).to_have_text("misbehaving.SEEN")
    tree = tab.page.locator(".objects")
    tree.get_by_role("button").first.click()
    expect(tree.get_by_text("portrait").first).to_be_visible()
    tree.locator("li li").filter(has_text="portrait").first.get_by_role("link").first.click()
    expect(tab.heading).to_contain_text("bytes")
    expect(tab.page.locator("code.path")).to_contain_text("misbehaving.SEEN[")
    expect(tab.page.locator("code.path")).to_contain_text(".portrait")


def test_an_object_has_an_address(house: House, open_tab: OpenTab) -> None:
    """Loaded anew, the same object is shown, with who holds it and what it alone keeps alive."""
    tab = open_tab(f"/heaps/{house.snapshot}?q=misbehaving.Visitor")
    tab.page.get_by_role("table", name="Found").get_by_role("link").first.click()
    expect(tab.main).to_contain_text("Held by")
    title = tab.heading.inner_text()
    assert "@" in title
    tab.page.reload()
    tab.settled()
    expect(tab.heading).to_have_text(title)


def test_the_picture_is_gone_into_by_keyboard(house: House, open_tab: OpenTab) -> None:
    """Enter on a cell goes in, and tells how much it keeps; the way out stands above."""
    tab = open_tab(f"/heaps/{house.snapshot}")
    cells = tab.page.locator(".picture .cell")
    cells.nth(1).focus()
    tab.page.keyboard.press("Enter")
    crumbs = tab.page.locator(".crumbs button")
    expect(crumbs).to_have_count(2)
    expect(tab.page.locator(".detail")).to_contain_text("alive")
    crumbs.first.click()
    expect(crumbs).to_have_count(1)


def test_a_snapshot_is_taken_and_compared(house: House, open_tab: OpenTab) -> None:
    """By a button; its page compares it with an older one by another."""
    tab = open_tab("/heaps")
    tab.page.get_by_role("group", name="Take a snapshot of a worker").get_by_role(
        "button", name="default-1"
    ).click()
    tab.page.get_by_role("dialog").get_by_role("button", name="Take it").click()
    expect(tab.heading).to_have_text("Heap of default-1")
    tab.button("Show what grew").click()
    expect(tab.page.get_by_role("table", name="What grew, by class")).to_be_visible()
